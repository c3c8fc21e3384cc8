"""The plain majority of a large ndjson's records: read once, typed by columns.

Where records are written alike, a reader of csv splits them; else DuckDB's reader of JSON reads.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from lakehouse.contracts.forms import NdjsonForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.lines import MAX_LINE_BYTES
from lakehouse.landing.pieces import Piece, Places, extents
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.quick_columns import (
    Way,
    by_name,
    is_decimal,
    placed,
    plan_columns,
    reader_type,
)
from lakehouse.landing.quick_records import Field, RecordReader, fields_of
from lakehouse.landing.quick_rows import Kept, QuickRows, Rest, TooFewPlain, read_pieces
from lakehouse.landing.read_json import RECORDS_LOOKED_AT
from lakehouse.landing.text import NotPlain
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import identifier, literal

# One of these is a record such as the others are, if they are written alike.
FIRST_LINES = 20
# With more lines that are not like it, DuckDB reads: the exact way of each costs as much as forty plain ones.
MOST_UNLIKE = 0.05
# Of the first piece: what tells in which columns values are few. Records are longer than lines of a csv.
LOOKED_AT_BYTES = 4 << 20
# Pieces of records, and of so many fewer lines.
LONGER = 1.7
# Records at a time.
BATCH = 262_144
# What DuckDB reads ahead.
BUFFERED = "64MB"


def read_ndjson_quickly(
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    *,
    form: NdjsonForm,
    contract: Contract,
    part: int,
    plain: PlainRows,
    alike: bool,
) -> Rest | None:
    """Adds the plain rows of a large file of records to ``plain``; returns what is left, or ``None`` where all of it
    is.

    That is so for nested records, for files with blank lines, and where too few lines are plain. ``alike``: only of
    records that are written alike, in pieces, if the text need not be surveyed first; else of any that has been
    surveyed, by DuckDB's reader.
    """
    if form.unnest is not None or any(column.parse.path is not None for column in contract.columns):
        return None
    sources = list(dict.fromkeys(column.source for column in contract.columns))
    if len({source.lower() for source in sources}) < len(sources):
        return None
    way = _read_alike if alike else _read_any
    try:
        if rest := way(connection, file, form, contract, part, plain, sources):
            return rest
    except (TooFewPlain, NotPlain, pl.exceptions.PolarsError):
        pass
    plain.drop_from(part * PART_LINES)
    return None


def _read_alike(
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    form: NdjsonForm,
    contract: Contract,
    part: int,
    plain: PlainRows,
    sources: list[str],
) -> Rest | None:
    """Raises :class:`TooFewPlain`, and :class:`NotPlain`."""
    with file.path.open("rb") as source:
        lines = [source.readline(MAX_LINE_BYTES) for _ in range(FIRST_LINES)]
    fields = next(filter(None, map(fields_of, lines)), None)
    if fields is None:
        return None
    # Of these a record may lack some, and be another's for all that is known here.
    names = {field.name for field in fields}
    planned = plan_columns(contract, form, {source: source for source in sources if source in names})
    if planned is None or not names.intersection(sources):
        return None
    make = partial(QuickRows, connection, contract, form, part, plain, planned, most_left=MOST_UNLIKE)
    return read_pieces(
        file,
        form,
        make,
        RecordReader(fields=fields, planned=dict(placed(planned))).split,
        partial(_parse, fields),
        looked_at=LOOKED_AT_BYTES,
        skip=0,
        # They tell which fields a file has.
        first=RECORDS_LOOKED_AT,
        longer=LONGER,
    )


def _parse(fields: list[Field], piece: Piece, rows: QuickRows) -> Kept:
    reader = RecordReader(fields=fields, planned=dict(placed(rows.planned)), few=rows.few)
    read = reader.read(piece)
    if read is None:
        return Kept.nothing(piece.lines)
    return rows.typed(read.columns, read.doubtful, partial(reader.texts, read), exponents=False)


def _read_any(
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    form: NdjsonForm,
    contract: Contract,
    part: int,
    plain: PlainRows,
    sources: list[str],
) -> Rest | None:
    """Of any file, by DuckDB's reader. ``None`` where records are not lines. Raises :class:`TooFewPlain`."""
    places = {source: f"c{number}" for number, source in enumerate(sources)}
    planned = plan_columns(contract, form, places)
    if planned is None:
        return None
    rows = QuickRows(connection, contract, form, part, plain, planned)
    lines = _read(connection, file, places, rows)
    # A blank line is no record: then numbers of records are not those of lines.
    if rows.lines != file.lines:
        return None
    path = file.scratch / "rest"
    _copy_lines(file, lines, path)
    rest = replace(file, path=path, lines=len(lines), whole=False)
    return Rest(file=rest, skip=0, lines=lines, plain=rows.kept)


def _read(connection: duckdb.DuckDBPyConnection, file: PlainFile, places: dict[str, str], rows: QuickRows) -> Places:
    """The numbers of the lines that are not plain."""
    # A cursor: other questions are asked while this one is being answered.
    cursor = connection.cursor()
    cursor.execute(f"SET streaming_buffer_size = {literal(BUFFERED)}")
    cursor.execute("SET produce_arrow_string_view = true")
    columns = ", ".join(f"{literal(source)}: 'VARCHAR'" for source in places)
    named = ", ".join(f"{identifier(source)} AS {place}" for source, place in places.items())
    found = cursor.execute(
        f"SELECT {named} FROM read_json({literal(str(file.path))}, format='newline_delimited', ignore_errors=true, "
        f"maximum_object_size={2 * MAX_LINE_BYTES}, columns={{{columns}}})"
    )
    left = []
    for batch in found.to_arrow_reader(BATCH):
        texts = pl.DataFrame(batch)
        if rows.lines == 0:
            rows.look_at(texts)
        line = 1 + rows.lines
        doubtful = np.zeros(texts.height, bool)
        # The first records tell which fields a file has.
        doubtful[: max(0, RECORDS_LOOKED_AT + 1 - line)] = True
        read, exponents = _typed(texts, rows)
        kept = rows.typed(by_name(read), doubtful, texts, exponents=exponents)
        left.append(rows.keep(kept, line=line) + line)
    cursor.close()
    return np.concatenate(left) if left else np.empty(0, np.int64)


def _typed(texts: pl.DataFrame, rows: QuickRows) -> tuple[pl.DataFrame, bool]:
    """The texts in the types that are asked for, and whether a decimal has an exponent."""
    planned = placed(rows.planned)
    read = texts.select(
        pl.col(place).cast(reader_type(one), strict=False) for place, one in planned if one.way is not Way.TEXTS
    ).with_columns(texts[place] for place, one in planned if one.way is Way.TEXTS)
    decimals = [place for place, one in planned if is_decimal(one)]
    exponents = (
        texts.select(pl.any_horizontal(pl.col(decimals).str.contains("[eE]").any())).item() if decimals else False
    )
    return read, bool(exponents)


def _copy_lines(file: PlainFile, lines: Places, target: Path) -> None:
    first = 1
    with target.open("wb") as sink:
        for piece in (extent.read() for extent in extents(file.path, skip=0)):
            behind = first + piece.lines
            here = lines[np.searchsorted(lines, first) : np.searchsorted(lines, behind)]
            sink.write(piece.gathered(here - first))
            first = behind
