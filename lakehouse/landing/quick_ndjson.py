"""The plain majority of a large ndjson's records: read once, typed by columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from lakehouse.contracts.forms import NdjsonForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.lines import MAX_LINE_BYTES
from lakehouse.landing.pieces import Places, pieces
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.quick_columns import Way, is_decimal, placed, plan_columns, reader_type
from lakehouse.landing.quick_rows import QuickRows, Rest, TooFewPlain, is_large_text
from lakehouse.landing.read_json import RECORDS_LOOKED_AT
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import identifier, literal

# Records at a time.
BATCH = 262_144
# What DuckDB reads ahead.
BUFFERED = "64MB"


def read_ndjson_quickly(
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    form: NdjsonForm,
    contract: Contract,
    part: int,
    plain: PlainRows,
) -> Rest | None:
    """Adds the plain rows of a file of records to ``plain``; returns what is left, or ``None`` where all of it is.

    That is so for small files, for nested records, for files with blank lines, and where too few lines are plain.
    """
    if not is_large_text(file) or form.unnest is not None or any(c.parse.path is not None for c in contract.columns):
        return None
    sources = list(dict.fromkeys(column.source for column in contract.columns))
    if len({source.lower() for source in sources}) < len(sources):
        return None
    places = {source: f"c{number}" for number, source in enumerate(sources)}
    planned = plan_columns(contract, form, places)
    if planned is None:
        return None
    rows = QuickRows(connection, contract, form, part, plain, planned)
    try:
        lines = _read(connection, file, places, rows)
    except (TooFewPlain, pl.exceptions.PolarsError):
        lines = None
    # A blank line is no record: then numbers of records are not those of lines.
    if lines is None or rows.lines != file.lines:
        rows.forget()
        return None
    path = file.scratch / "rest"
    _copy_lines(file, lines, path)
    return Rest(file=replace(file, path=path, lines=len(lines), whole=False), skip=0, lines=lines, plain=rows.kept)


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
        left.append(rows.keep(read, doubtful, texts, line=line, exponents=exponents) + line)
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
        for piece in pieces(file.path, skip=0):
            behind = first + piece.lines
            here = lines[np.searchsorted(lines, first) : np.searchsorted(lines, behind)]
            sink.write(piece.gathered(here - first))
            first = behind
