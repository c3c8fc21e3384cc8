"""Known faults of a candidate's file, put into a copy of it, and the physical checks that see some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy, DpPolicy, SuppressPolicy
from lakehouse.release.manifest import File

if TYPE_CHECKING:
    from lakehouse.gates.physical import ColumnContract

# The physical check that sees a fault of the file; the others are seen by comparing it to what the build kept.
CANARY, NOBODYS_CPR = "a CPR number in a text", "born 211062-5629"
PHYSICAL = {"an identifier column let through": "parquet_columns", "nulls": "parquet_nulls"}


def faulty_tables(
    mart: Mart, policy: AggregatePolicy | SuppressPolicy | DpPolicy, table: pa.Table
) -> Iterator[tuple[str, pa.Table]]:
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


def physical_passes(path: Path, sample: File, columns: Sequence[ColumnContract], check: str) -> bool:
    from lakehouse.gates.batches import CandidateFile
    from lakehouse.gates.physical import check_physical

    faulty = CandidateFile(path=path, partition=sample.partition, rows=sample.rows)
    results = check_physical(files=[faulty], columns=columns, sort_by=())
    return next((result.success for result in results if result.name == check), True)
