"""The gate tests itself at each candidate: known faults in a copy of its smallest partition must be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy, SuppressPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.faults import unseen
from lakehouse.privacy.membership import read_membership, record_file
from lakehouse.privacy.recorded import differing_rows
from lakehouse.privacy.table_faults import unseen_in_table
from lakehouse.privacy.table_record import PublishedTable, read_tables
from lakehouse.release.attacks import DATABASE, entry_of
from lakehouse.release.file_faults import CANARY, PHYSICAL, faults_of_any_file, faulty_tables, green_on
from lakehouse.release.manifest import Candidate, File
from lakehouse.release.suite_faults import SuiteFaults, faults_of_suite

if TYPE_CHECKING:
    from lakehouse.gates.physical import ColumnContract


def unseen_faults(
    exchange: Exchange,
    *,
    mart: Mart,
    policy: AggregatePolicy | SuppressPolicy,
    made: Candidate,
    files: Mapping[File, Path],
    columns: Sequence[ColumnContract],
) -> list[str]:
    """Each fault with the check that stayed green on it. Nothing but copies is touched."""
    sample = min(files, key=lambda file: (file.rows, file.partition))
    entry = entry_of(made, policy, mart, sample.partition)
    with (
        exchange.workplace("self-test") as folder,
        exchange.duckdb(folder / DATABASE) as connection,
    ):
        if isinstance(entry, PublishedTable):
            read_tables(exchange, [entry], connection, folder)
            found = list(unseen_in_table(connection))
        else:
            read_membership(exchange, [entry], connection, folder)
            found = list(unseen(connection))
        cells = record_file(exchange, entry, "cells", folder)
        for name, faulty in faulty_tables(mart, policy, pq.read_table(files[sample])):
            # A file each: DuckDB remembers what it read of a path.
            path = folder / f"{name}.parquet"
            pq.write_table(faulty, path, compression="zstd")
            if name == CANARY or name in PHYSICAL:
                if green := green_on(connection, mart, path, sample, columns, name):
                    found.append(f"{name}: {green}")
            elif differing_rows(connection, mart=mart, policy=policy, file=path, cells=cells) == 0:
                found.append(f"{name}: cells_are_as_recorded")
    return found


# Rows of an open mart's partition that are enough for a fault.
SAMPLE_ROWS = 1_000


def unseen_open_faults(
    exchange: Exchange, *, mart: Mart, files: Mapping[File, Path], columns: Sequence[ColumnContract]
) -> SuiteFaults:
    """Of an open mart, which no attack is for: the faults of any file and those that its suite is to see, each with
    what stayed green on it."""
    if not files:
        return SuiteFaults()
    sample = min(files, key=lambda file: (file.rows, file.partition))
    with (
        exchange.workplace("self-test") as folder,
        exchange.duckdb() as connection,
        pq.ParquetFile(files[sample]) as parquet,
    ):
        rows = pa.Table.from_batches([next(parquet.iter_batches(batch_size=SAMPLE_ROWS))])
        found = []
        for name, faulty in faults_of_any_file(mart, rows, identifier="person_id"):
            path = folder / f"{name}.parquet"
            pq.write_table(faulty, path, compression="zstd")
            if green := green_on(connection, mart, path, sample, columns, name):
                found.append(f"{name}: {green}")
        of_suite = faults_of_suite(exchange, mart, rows, partition=sample.partition, folder=folder)
    return SuiteFaults(unseen=(*found, *of_suite.unseen), untried=of_suite.untried)
