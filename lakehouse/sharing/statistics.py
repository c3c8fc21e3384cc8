"""The least and greatest value of each column of a file, from its footer: read once, and kept by the file's hash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Column, File, Manifest
from lakehouse.sharing.kinds import kind_of
from lakehouse.sharing.tables import file_statistics
from lakehouse.storage.sql import identifier, literal

# Footers read for one question; the rest of a large release is read by the questions after it.
_FOOTERS_A_QUESTION = 2000
_FOOTERS_AT_ONCE = 500
_HASHES_AT_ONCE = 500
_LONGEST_TEXT = 64
# Decimals are written as JSON numbers, which readers take for doubles.
_EXACT_DIGITS = 15
_COMPARED = ("integer", "decimal", "date", "timestamp", "text")

Statistics = dict[str, Any]


def statistics_of(exchange: Exchange, manifest: Manifest, files: Sequence[File]) -> dict[str, Statistics]:
    """By hash, in the form of Delta Lake: ``{minValues, maxValues, nullCount}``; times are UTC, cut to milliseconds
    so that they still enclose all. A file that is not there yet has none."""
    known = dict(_kept(exchange, files))
    missing = [file for file in files if file.sha256 not in known][:_FOOTERS_A_QUESTION]
    for begin in range(0, len(missing), _FOOTERS_AT_ONCE):
        read = dict(_read(exchange, manifest, missing[begin : begin + _FOOTERS_AT_ONCE]))
        _keep(exchange, read)
        known |= read
    return known


def _kept(exchange: Exchange, files: Sequence[File]) -> Iterator[tuple[str, Statistics]]:
    hashes = [file.sha256 for file in files]
    for begin in range(0, len(hashes), _HASHES_AT_ONCE):
        asked = file_statistics.c.sha256.in_(hashes[begin : begin + _HASHES_AT_ONCE])
        for row in exchange.index.rows(sa.select(file_statistics).where(asked)):
            yield row["sha256"], row["statistics"]


def _keep(exchange: Exchange, read: dict[str, Statistics]) -> None:
    with exchange.index.begin() as connection:
        # Another process may have read the same footers meanwhile.
        connection.execute(sa.delete(file_statistics).where(file_statistics.c.sha256.in_(list(read))))
        rows = [{"sha256": sha256, "statistics": found} for sha256, found in read.items()]
        connection.execute(sa.insert(file_statistics), rows)


def _read(exchange: Exchange, manifest: Manifest, files: Sequence[File]) -> Iterator[tuple[str, Statistics]]:
    columns = [column for column in manifest.columns if _is_compared(column)]
    urls = {exchange.lake.duckdb_url("marts", f"{manifest.prefix}/{file.path}"): file.sha256 for file in files}
    with exchange.duckdb() as connection:
        for url, *found in _footers(connection, columns, list(urls)):
            yield urls[url], _formed(columns, found)


def _is_compared(column: Column) -> bool:
    if kind_of(column.type) == "decimal":
        return int(column.type.partition("(")[2].partition(",")[0].strip(") ") or 18) <= _EXACT_DIGITS
    return kind_of(column.type) in _COMPARED


def _footers(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], urls: Sequence[str]
) -> list[tuple[Any, ...]]:
    """A row a file: its address, then low, high and nulls of each column. Where a row group does not say its bounds
    (and is not all null) the file has none."""
    wanted = []
    for column in columns:
        of_column = f"FILTER (path_in_schema = {literal(column.name)})"
        known = f"bool_and(stats_min_value IS NOT NULL OR stats_null_count = num_values) {of_column}"
        for bound in ("min", "max"):
            value = f"{bound}(CASE WHEN path_in_schema = {literal(column.name)} "
            value += f"THEN CAST(stats_{bound}_value AS {column.type}) END)"
            wanted.append(f"CASE WHEN {known} THEN {value} END AS {identifier(f'{bound} {column.name}')}")
        wanted.append(f"sum(stats_null_count) {of_column} AS {identifier(f'nulls {column.name}')}")
    listed = ", ".join(map(literal, urls))
    return connection.execute(
        f"SELECT file_name, {', '.join(wanted)} FROM parquet_metadata([{listed}]) GROUP BY file_name"
    ).fetchall()


def _formed(columns: Sequence[Column], found: Sequence[Any]) -> Statistics:
    low, high, nulls = {}, {}, {}
    for number, column in enumerate(columns):
        first, last, count = found[3 * number : 3 * number + 3]
        if count is not None:
            nulls[column.name] = int(count)
        if first is None or last is None:
            continue
        if isinstance(first, str) and max(len(first), len(last)) > _LONGEST_TEXT:
            continue
        low[column.name], high[column.name] = _json(first, up=False), _json(last, up=True)
    return {"minValues": low, "maxValues": high, "nullCount": nulls}


def _json(value: Any, *, up: bool) -> Any:
    if isinstance(value, datetime):
        whole = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        cut = whole.replace(microsecond=whole.microsecond // 1000 * 1000)
        if up and cut < whole:
            cut += timedelta(milliseconds=1)
        return f"{cut.isoformat(timespec='milliseconds')}Z"
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, (int, str)) else float(value)
