"""A part of a release as csv, GeoJSON or xlsx: read and written in batches, whatever its size."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import xlsxwriter

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Column, Manifest
from lakehouse.sharing.kinds import kind_of
from lakehouse.sharing.pruning import prune
from lakehouse.sharing.selection import Selection
from lakehouse.storage.sql import identifier, literal

Form = Literal["csv", "geojson", "xlsx"]
FORMS: tuple[Form, ...] = get_args(Form)
MEDIA_TYPES: dict[Form, str] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "geojson": "application/geo+json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# A sheet has 1,048,576 rows, and the first holds the columns' names.
SHEET_ROWS = 1_048_575
_BATCH_ROWS = 20_000
_MEMORY = "512MB"
# Above it a spreadsheet's numbers, which are doubles, are no longer exact.
_EXACT = 2**53
_LONGITUDES, _LATITUDES = ("longitude", "lon", "lng"), ("latitude", "lat")


class TooLarge(ValueError):
    """More rows than the form holds or the exchange gives at once; the message says what to do."""


class NoPlace(ValueError):
    """A mart that has no column to draw on a map."""


@dataclass(frozen=True)
class Part:
    """What is left of a release after a selection. ``rows`` is an upper bound that costs nothing."""

    exchange: Exchange
    manifest: Manifest
    selection: Selection
    addresses: tuple[str, ...]
    rows: int


def part_of(exchange: Exchange, manifest: Manifest, selection: Selection) -> Part:
    """Leaves out the files that cannot hold a row of the selection."""
    kept = prune(exchange, manifest, [condition.predicate() for condition in selection.conditions]).files
    addresses = [exchange.lake.duckdb_url("marts", f"{manifest.prefix}/{file.path}") for file in kept]
    rows = sum(file.rows for file in kept)
    if selection.limit is not None:
        rows = min(rows, selection.limit)
    return Part(exchange, manifest, selection, tuple(addresses), rows)


def check_size(part: Part, form: Form, *, most: int) -> None:
    """Raises :class:`TooLarge` where more than ``most`` rows, or a sheet's, would be written. Counts only where the
    files together hold more, and never further than needed."""
    limit = min(most, SHEET_ROWS) if form == "xlsx" else most
    if part.rows <= limit or _count(part, limit + 1) <= limit:
        return
    name = f"{part.manifest.mart}@{part.manifest.release}"
    why = "a sheet holds" if limit == SHEET_ROWS else "the exchange gives at once"
    raise TooLarge(
        f"more than {limit:,} rows of {name} are asked for, which is the most that {why} as {form}: ask for fewer "
        f"(as {part.manifest.partition['column']}.gte=…, or limit={limit}), or read the Parquet files, which have no "
        "limit"
    )


def csv_bytes(part: Part) -> Iterator[tuple[bytes, int]]:
    """The csv in pieces, each with how many rows it holds: UTF-8, comma, a header, times in UTC as ISO 8601. An empty
    cell is null, ``""`` an empty text."""
    with _rows(part, [_as_text(column) for column in _columns(part)]) as reader:
        options = pa_csv.WriteOptions(include_header=True, quoting_style="needed")
        yield _csv(reader.schema.empty_table(), options), 0
        options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
        for batch in reader:
            yield _csv(pa.Table.from_batches([batch]), options), batch.num_rows


def geojson_bytes(part: Part) -> Iterator[tuple[bytes, int]]:
    """A FeatureCollection in pieces: a point a row, its other columns as properties. Raises :class:`NoPlace`."""
    longitude, latitude = place_columns(part.manifest)
    geometry = (
        f"CASE WHEN {identifier(longitude)} IS NULL OR {identifier(latitude)} IS NULL THEN NULL ELSE "
        f"json_object('type', 'Point', 'coordinates', json_array({identifier(longitude)}::DOUBLE, "
        f"{identifier(latitude)}::DOUBLE)) END"
    )
    properties = ", ".join(
        f"{literal(column.name)}, {_as_json(column)}"
        for column in _columns(part)
        if column.name not in (longitude, latitude)
    )
    feature = f"json_object('type', 'Feature', 'geometry', {geometry}, 'properties', json_object({properties}))"
    with _rows(part, [f"{feature}::VARCHAR AS feature"]) as reader:
        yield b'{"type":"FeatureCollection","features":[', 0
        begun = False
        for batch in reader:
            lines = batch.column(0).to_pylist()
            if lines:
                yield ((",\n" if begun else "\n") + ",\n".join(lines)).encode(), len(lines)
                begun = True
        yield b"\n]}\n", 0


def place_columns(manifest: Manifest) -> tuple[str, str]:
    """The columns of longitude and latitude (WGS 84, in degrees). Raises :class:`NoPlace`."""
    names = {column.name.lower(): column.name for column in manifest.columns}

    def found(wanted: Sequence[str]) -> str | None:
        named = (f"{word}{end}" for word in wanted for end in ("", "_wgs84", "_deg"))
        return next((names[name] for name in named if name in names), None)

    longitude, latitude = found(_LONGITUDES), found(_LATITUDES)
    if longitude is None or latitude is None:
        raise NoPlace(
            f"{manifest.mart} has no columns longitude and latitude, so it cannot be drawn on a map: take csv or xlsx"
        )
    return longitude, latitude


def write_xlsx(part: Part, target: Path) -> int:
    """Writes a workbook and returns its rows: a sheet with the data, one that says what it is. Memory does not grow
    with the rows; the time does, for a workbook is written a cell at a time."""
    written = 0
    book = xlsxwriter.Workbook(str(target), {"constant_memory": True, "default_date_format": "yyyy-mm-dd hh:mm:ss"})
    try:
        bold = book.add_format({"bold": True})
        sheet = book.add_worksheet("data")
        columns = _columns(part)
        sheet.write_row(0, 0, [column.name for column in columns], bold)
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(columns) - 1, 18)
        with _rows(part, [identifier(column.name) for column in columns]) as reader:
            for batch in reader:
                for row in zip(*(values.to_pylist() for values in batch.columns), strict=True):
                    written += 1
                    _write_row(sheet, written, row)
        _write_about(book.add_worksheet("about"), part, bold, written)
    finally:
        book.close()
    return written


def _write_row(sheet: Any, number: int, row: Sequence[Any]) -> None:
    for place, value in enumerate(row):
        if value is None:
            continue
        if isinstance(value, bool):
            sheet.write_boolean(number, place, value)
        elif isinstance(value, (int, float, Decimal)):
            if -_EXACT <= value <= _EXACT:
                sheet.write_number(number, place, value)
            else:
                sheet.write_string(number, place, str(value))
        elif isinstance(value, datetime):
            sheet.write_datetime(number, place, value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value)
        elif isinstance(value, str):
            # Never as a formula, whatever a text begins with.
            sheet.write_string(number, place, value)
        else:
            sheet.write_string(number, place, str(value))


def _write_about(sheet: Any, part: Part, bold: Any, written: int) -> None:
    manifest = part.manifest
    facts = [
        ("title", manifest.title),
        ("description", manifest.description),
        ("mart", manifest.mart),
        ("major", str(manifest.major)),
        ("release", manifest.release),
        ("released", manifest.created_at.isoformat()),
        ("rows here, of the release", f"{written:,} of {manifest.rows:,}"),
        ("licence", f"{manifest.licence['id']} {manifest.licence['url']}"),
        *(("name as source", text) for text in manifest.attribution),
        ("times", "UTC"),
        ("", ""),
        ("column", "what it is"),
        *((c.name, f"{c.description.strip()}{f' [{c.unit}]' if c.unit else ''}") for c in _columns(part)),
    ]
    sheet.set_column(0, 0, 30)
    sheet.set_column(1, 1, 100)
    for number, (name, text) in enumerate(facts):
        sheet.write_string(number, 0, name, bold)
        sheet.write_string(number, 1, text)


def _columns(part: Part) -> list[Column]:
    named = {column.name: column for column in part.manifest.columns}
    return [named[name] for name in part.selection.columns]


def _as_text(column: Column) -> str:
    name = identifier(column.name)
    if kind_of(column.type) == "timestamp":
        return f"strftime({name}, '%Y-%m-%dT%H:%M:%SZ') AS {name}"
    if kind_of(column.type) == "other":
        return f"{name}::VARCHAR AS {name}"
    return name


def _as_json(column: Column) -> str:
    name = identifier(column.name)
    if kind_of(column.type) == "timestamp":
        return f"strftime({name}, '%Y-%m-%dT%H:%M:%SZ')"
    return f"{name}::DOUBLE" if kind_of(column.type) == "decimal" else name


def _csv(table: pa.Table, options: pa_csv.WriteOptions) -> bytes:
    sink = io.BytesIO()
    pa_csv.write_csv(table, sink, options)
    return sink.getvalue()


@contextmanager
def _rows(part: Part, expressions: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
    """Batches in the order of the files, each sorted by the mart's key. The values that were asked for are bound and
    stand in no SQL."""
    source, values = _source(part)
    limit = "" if part.selection.limit is None else f" LIMIT {part.selection.limit}"
    with _opened(part) as connection:
        yield connection.execute(f"SELECT {', '.join(expressions)} {source}{limit}", values).to_arrow_reader(
            _BATCH_ROWS
        )


def _count(part: Part, most: int) -> int:
    source, values = _source(part)
    limit = most if part.selection.limit is None else min(most, part.selection.limit)
    with _opened(part) as connection:
        [(found,)] = connection.execute(f"SELECT count(*) FROM (SELECT 1 {source} LIMIT {limit})", values).fetchall()
    return int(found)


def _opened(part: Part) -> duckdb.DuckDBPyConnection:
    """Many parts may be given beside each other, so each has little."""
    connection = part.exchange.duckdb()
    connection.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 1; SET enable_progress_bar = false")
    return connection


def _source(part: Part) -> tuple[str, list[Any]]:
    where, values = part.selection.where()
    if not part.addresses:
        typed = ", ".join(f"NULL::{column.type} AS {identifier(column.name)}" for column in part.manifest.columns)
        return f"FROM (SELECT {typed} LIMIT 0){where}", values
    listed = ", ".join(map(literal, part.addresses))
    return f"FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = true){where}", values


def write_part(part: Part, form: Form, target: Path) -> int:
    """Writes the part to a file, which has its name only once it is whole. Returns its rows."""
    unfinished = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if form == "xlsx":
            rows = write_xlsx(part, unfinished)
        else:
            rows = 0
            with unfinished.open("wb") as file:
                for data, count in (csv_bytes if form == "csv" else geojson_bytes)(part):
                    file.write(data)
                    rows += count
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows
