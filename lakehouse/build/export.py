"""From a table of the build's database to the Parquet files of a candidate, as a consumer will read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.contracts.mart import Mart
from lakehouse.storage.sql import identifier, literal

ROW_GROUP = 122_880
BATCH = 122_880


@dataclass(frozen=True, kw_only=True)
class Exported:
    partition: str
    path: Path
    rows: int
    bytes: int
    sha256: str


def partition_path(mart: Mart, partition: str) -> str:
    """The file of a partition, relative to its release: ``month=2024-10/part-0.parquet``."""
    return f"{mart.exchange.partition.grain}={partition}/part-0.parquet"


def partition_sql(mart: Mart) -> str:
    """SQL of a row's partition: ``2024-10-27``, ``2024-10`` or ``2024``."""
    column = mart.exchange.partition.column
    kind = next(c.data_type for c in mart.columns if c.name == column).upper()
    if kind.startswith(("BIGINT", "INTEGER", "SMALLINT")):
        return f"{identifier(column)}::VARCHAR"
    form = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}[mart.exchange.partition.grain]
    return f"strftime({identifier(column)}, {literal(form)})"


def export(
    *, connection: duckdb.DuckDBPyConnection, mart: Mart, partitions: Sequence[str], folder: Path
) -> list[Exported]:
    """Writes one file for each of the partitions that has rows, sorted by the mart's key.

    The order is total and nothing of the clock or of chance goes in, so the same rows give the same bytes on
    any number of threads. Each column's description and unit stand in its Parquet field. Memory is one batch.
    """
    names = [column.name for column in mart.columns]
    listed = ", ".join(identifier(name) for name in names)
    order = ", ".join(identifier(name) for name in dict.fromkeys([*mart.exchange.key, *names]))
    exported = []
    for partition in partitions:
        reader = connection.execute(
            f"SELECT {listed} FROM marts.{identifier(mart.name)} WHERE {partition_sql(mart)} = ? ORDER BY {order}",
            [partition],
        ).to_arrow_reader(BATCH)
        written = _write(reader, mart, folder / partition_path(mart, partition))
        if written is not None:
            path, rows = written
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            exported.append(
                Exported(partition=partition, path=path, rows=rows, bytes=path.stat().st_size, sha256=sha256)
            )
    return exported


def _write(reader: pa.RecordBatchReader, mart: Mart, path: Path) -> tuple[Path, int] | None:
    schema = _described(reader.schema, mart)
    writer, rows = None, 0
    for batch in reader:
        if batch.num_rows == 0:
            continue
        if writer is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
        writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema), row_group_size=ROW_GROUP)
        rows += batch.num_rows
    if writer is None:
        return None
    writer.close()
    return path, rows


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
