"""Known faults of a candidate's file, put into a copy of it, and the physical checks that see some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy, DpPolicy, SuppressPolicy
from lakehouse.release.manifest import File
from lakehouse.release.text_scan import found_in_files

if TYPE_CHECKING:
    from lakehouse.gates.physical import ColumnContract

# The physical check that sees a fault of the file; the others are seen by comparing it to what the build kept.
CANARY, NOBODYS_CPR = "a CPR number in a text", "born 211062-5629"
PHYSICAL = {
    "an identifier column let through": "parquet_columns",
    "nulls": "parquet_nulls",
    "a stale partition": "parquet_partition",
}
# Further back than the longest partition is long.
YEAR_AND_A_DAY = pa.scalar(366 * 86_400_000_000, pa.duration("us"))


def faulty_tables(
    mart: Mart, policy: AggregatePolicy | SuppressPolicy | DpPolicy, table: pa.Table
) -> Iterator[tuple[str, pa.Table]]:
    """The file's table with one fault each, its descriptions and types as they were."""

    yield from faults_of_any_file(mart, table, identifier=policy.unit_column)
    yield "duplicates", pa.concat_tables([table.slice(0, 1), table])
    measure = table.column(policy.measure)
    yield "a shifted unit in the file", _replaced(table, policy.measure, pc.multiply(measure, 1000).cast(measure.type))


def faults_of_any_file(mart: Mart, table: pa.Table, *, identifier: str) -> Iterator[tuple[str, pa.Table]]:
    """Those that are seen on the file alone, whatever its mart's policy."""
    rows = table.num_rows
    yield (
        "an identifier column let through",
        table.append_column(identifier, pa.array([f"unit-{row}" for row in range(rows)])),
    )
    contacts = {column.name for column in mart.columns if column.published_contact}
    texts = [field.name for field in table.schema if pa.types.is_string(field.type) and field.name not in contacts]
    if texts:
        values = [NOBODYS_CPR, *table.column(texts[0]).to_pylist()[1:]]
        yield CANARY, _replaced(table, texts[0], pa.chunked_array([pa.array(values, pa.string())]))
    key = mart.exchange.key[0]
    yield "nulls", _replaced(table, key, pc.if_else(pa.array([False] * rows), table.column(key), None))
    start = table.column(mart.exchange.partition.column)
    step = pa.scalar(1) if pa.types.is_integer(start.type) else YEAR_AND_A_DAY
    before = pc.subtract(start, step).cast(start.type)
    yield "a stale partition", _replaced(table, mart.exchange.partition.column, before)


def _replaced(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), values)


def green_on(
    connection: duckdb.DuckDBPyConnection, mart: Mart, path: Path, sample: File, columns: Sequence[ColumnContract],
    fault: str,
) -> str | None:  # fmt: skip
    """The check that stayed green on a fault of any file, at ``path``; ``None`` where it is seen."""
    if fault == CANARY:
        return None if found_in_files(connection, mart, [path]) else "no_personal_data_in_texts"
    return PHYSICAL[fault] if physical_passes(mart, path, sample, columns, PHYSICAL[fault]) else None


def physical_passes(mart: Mart, path: Path, sample: File, columns: Sequence[ColumnContract], check: str) -> bool:
    from lakehouse.gates.batches import CandidateFile
    from lakehouse.gates.physical import check_physical

    faulty = CandidateFile(path=path, partition=sample.partition, rows=sample.rows)
    results = check_physical(files=[faulty], columns=columns, partition_by=mart.exchange.partition.column)
    return next((result.success for result in results if result.name == check), True)
