"""From a table of the build's database to the Parquet files of a candidate, as a consumer will read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.build.periods import span_of
from lakehouse.contracts.mart import INTEGERS, Mart
from lakehouse.storage.sql import identifier, literal

ROW_GROUP = 122_880


@dataclass(frozen=True, kw_only=True)
class Exported:
    """One file that was written; ``bytes`` is its size."""

    partition: str
    path: Path
    rows: int
    bytes: int
    sha256: str


def partition_path(mart: Mart, partition: str) -> str:
    """The file of a partition, relative to its release: ``month=2024-10/part-0.parquet``."""
    return f"{mart.exchange.partition.grain}={partition}/part-0.parquet"


def partition_condition(mart: Mart, partition: str) -> str:
    """SQL that holds for the rows of a partition (``2024-10-27``, ``2024-10`` or ``2024``), in a session in UTC."""
    spec = mart.exchange.partition
    column = next(column for column in mart.columns if column.name == spec.column)
    name = identifier(spec.column)
    if column.kind in INTEGERS:
        return f"{name} = {int(partition)}"
    span = span_of(partition, spec.grain)
    first, end = (literal(f"{moment:%Y-%m-%d}") for moment in (span.start, span.end))
    return f"({name} >= {first}::{column.data_type} AND {name} < {end}::{column.data_type})"


def export(
    *, connection: duckdb.DuckDBPyConnection, mart: Mart, partitions: Sequence[str], folder: Path
) -> Iterator[Exported]:
    """Writes one file for each of the partitions that has rows, sorted by the mart's key.

    The order is total and nothing of the clock or of chance goes in, so the same rows give the same bytes on
    any number of threads. Each column's description and unit stand in its Parquet field. Memory is one row
    group, and DuckDB's for the sort.
    """
    names = [column.name for column in mart.columns]
    listed = ", ".join(identifier(name) for name in names)
    order = ", ".join(identifier(name) for name in dict.fromkeys([*mart.exchange.key, *names]))
    for partition in partitions:
        reader = connection.execute(
            f"SELECT {listed} FROM marts.{identifier(mart.name)} "
            f"WHERE {partition_condition(mart, partition)} ORDER BY {order}"
        ).to_arrow_reader(ROW_GROUP)
        path = folder / partition_path(mart, partition)
        rows = _write(reader, mart, path)
        if rows:
            with path.open("rb") as written:
                sha256 = hashlib.file_digest(written, "sha256").hexdigest()
            yield Exported(partition=partition, path=path, rows=rows, bytes=path.stat().st_size, sha256=sha256)


def _write(reader: pa.RecordBatchReader, mart: Mart, path: Path) -> int:
    """Returns the number of rows; where there are none no file is made."""
    schema = _described(reader.schema, mart)
    writer, rows = None, 0
    for group in _row_groups(reader):
        if writer is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
        # In one piece: where a column's chunks end, the writer may begin a new page.
        writer.write_table(group.combine_chunks().cast(schema), row_group_size=ROW_GROUP)
        rows += group.num_rows
    if writer is not None:
        writer.close()
    return rows


def _row_groups(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows in tables of one row group's size, whatever batches the engine hands out."""
    held: list[pa.RecordBatch] = []
    for batch in reader:
        held.append(batch)
        if sum(piece.num_rows for piece in held) >= ROW_GROUP:
            table = pa.Table.from_batches(held)
            yield table.slice(0, ROW_GROUP)
            held = table.slice(ROW_GROUP).to_batches()
    if any(piece.num_rows for piece in held):
        yield pa.Table.from_batches(held)


def _described(schema: pa.Schema, mart: Mart) -> pa.Schema:
    fields = []
    for field, column in zip(schema, mart.columns, strict=True):
        facts = {"description": column.description.strip()}
        if column.unit is not None:
            facts["unit"] = column.unit
        fields.append(field.with_metadata(facts))
    about = {
        "mart": mart.name,
        "major": mart.major,
        "title": mart.exchange.title,
        "licence": mart.exchange.licence.id,
        "columns": {c.name: {"description": c.description.strip(), "unit": c.unit} for c in mart.columns},
    }
    return pa.schema(fields, metadata={"exchange": json.dumps(about, ensure_ascii=False, sort_keys=True)})
