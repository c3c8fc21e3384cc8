"""The gate tests itself at each private candidate: known faults in a copy of its smallest partition must be seen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
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
from lakehouse.release.manifest import Candidate, File
from lakehouse.release.text_scan import found_in_files

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
        tempfile.TemporaryDirectory(prefix="self-test-") as folder,
        exchange.duckdb(Path(folder) / DATABASE) as connection,
    ):
        if isinstance(entry, PublishedTable):
            read_tables(exchange, [entry], connection, Path(folder))
            found = list(unseen_in_table(connection))
        else:
            read_membership(exchange, [entry], connection, Path(folder))
            found = list(unseen(connection))
        cells = record_file(exchange, entry, "cells", Path(folder))
        for name, faulty in _faulty(mart, policy, pq.read_table(files[sample])):
            # A file each: DuckDB remembers what it read of a path.
            path = Path(folder) / f"{name}.parquet"
            pq.write_table(faulty, path, compression="zstd")
            if name == CANARY:
                if not found_in_files(connection, mart, [path]):
                    found.append(f"{name}: no_personal_data_in_texts")
            elif name in PHYSICAL:
                if _physical_passes(path, sample, columns, PHYSICAL[name]):
                    found.append(f"{name}: {PHYSICAL[name]}")
            elif differing_rows(connection, mart=mart, policy=policy, file=path, cells=cells) == 0:
                found.append(f"{name}: cells_are_as_recorded")
    return found


# The physical check that sees a fault of the file; the others are seen by comparing it to the record.
CANARY, NOBODYS_CPR = "a CPR number in a text", "born 211062-5629"
PHYSICAL = {"an identifier column let through": "parquet_columns", "nulls": "parquet_nulls"}


def _faulty(mart: Mart, policy: AggregatePolicy | SuppressPolicy, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The file's table with one fault each, its descriptions and types as they were."""

    def replaced(name: str, values: pa.ChunkedArray) -> pa.Table:
        place = table.schema.get_field_index(name)
        return table.set_column(place, table.schema.field(place), values)

    yield (
        "an identifier column let through",
        table.append_column(policy.unit_column, pa.array([f"unit-{row}" for row in range(table.num_rows)])),
    )
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    if texts:
        values = [NOBODYS_CPR, *table.column(texts[0]).to_pylist()[1:]]
        yield CANARY, replaced(texts[0], pa.chunked_array([pa.array(values, pa.string())]))
    key = table.column(mart.exchange.key[0])
    yield "nulls", replaced(mart.exchange.key[0], pc.if_else(pa.array([False] * table.num_rows), key, None))
    yield "duplicates", pa.concat_tables([table.slice(0, 1), table])
    measure = table.column(policy.measure)
    yield "a shifted unit in the file", replaced(policy.measure, pc.multiply(measure, 1000).cast(measure.type))
    start = table.column(mart.exchange.partition.column)
    step = pa.scalar(1) if pa.types.is_integer(start.type) else pa.scalar(31 * 86_400_000_000, pa.duration("us"))
    before = pc.subtract(start, step).cast(start.type)
    yield "a stale partition", replaced(mart.exchange.partition.column, before)


def _physical_passes(path: Path, sample: File, columns: Sequence[ColumnContract], check: str) -> bool:
    from lakehouse.gates.batches import CandidateFile
    from lakehouse.gates.physical import check_physical

    faulty = CandidateFile(path=path, partition=sample.partition, rows=sample.rows)
    results = check_physical(files=[faulty], columns=columns, sort_by=())
    return next((result.success for result in results if result.name == check), True)
