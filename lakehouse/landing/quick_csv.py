"""The plain majority of a large csv's rows, typed by its reader in one pass.

A csv line is plain only where its fields are as many as the header's.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import duckdb
import numpy as np
import polars as pl

from lakehouse.contracts.forms import CsvForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.columns import header_names, selected
from lakehouse.landing.pieces import AHEAD, Marks, Piece, Places, in_turn, pieces, wrong_fields
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.quick_columns import Planned, by_name, is_decimal, placed, plan_columns, reader_type
from lakehouse.landing.quick_quotes import Quotes, Quoting
from lakehouse.landing.quick_rows import QuickRows, Rest, TooFewPlain, is_large_text
from lakehouse.landing.read_csv import head_of_csv, without_quotes
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile

EXPONENT, DIGIT_ZERO, TO_LOWER = ord("e"), ord("0"), 0x20
SCANNED_BYTES = 1 << 18
# Of the first piece: what tells in which columns texts are few.
LOOKED_AT_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads pieces: columns by their place, the last one too, which tells short lines. ``decimals``: whether some of
    them are, of which exponents are to be looked for."""

    names: list[str]
    delimiter: str
    quoting: Quoting | None
    types: dict[str, pl.DataType]
    decimals: bool

    @property
    def last(self) -> str:
        return self.names[-1]

    def read(self, text: bytes, *, typed: bool = True) -> pl.DataFrame:
        lines = pl.scan_csv(
            text,
            has_header=False,
            separator=self.delimiter,
            quote_char=self.quoting.quote if self.quoting else None,
            schema={name: self.types.get(name, pl.String()) if typed else pl.String() for name in self.names},
            ignore_errors=True,
            missing_columns="insert",
            extra_columns="ignore",
        )
        return lines.select(list(dict.fromkeys([*self.types, self.last]))).collect()


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A piece, and what the reader made of it. ``quotes``: ``None`` where the file has none."""

    piece: Piece
    reader: _Reader
    quotes: Quotes | None
    frame: pl.DataFrame
    exponents: bool

    @property
    def text(self) -> bytes:
        return self.quotes.text if self.quotes else self.piece.text


def read_csv_quickly(
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    form: CsvForm,
    contract: Contract,
    part: int,
    plain: PlainRows,
) -> Rest | None:
    """Adds the plain rows of a csv to ``plain``; returns what is left, or ``None`` where all of it is.

    That is so for small files, for those with columns that only all rows together can type, where too few lines are
    plain or a value in quotes may go over several, and where the header is not the contract's.
    """
    if not is_large_text(file) or form.unpivot is not None or len(form.delimiter.encode()) != 1:
        return None
    form = without_quotes(file.path, form)
    quoting = Quoting.of(form) if form.quote else None
    if form.quote and quoting is None:
        return None
    try:
        names, skip = head_of_csv(file.path, form, contract)
        found = header_names(names, contract, line=form.skip_lines + 1, place=lambda number: f"c{number}")
        selected(contract, found)
    except DeliveryRefused:
        return None
    planned = plan_columns(contract, form, found)
    if planned is None or len(names) < 2:
        return None
    rows = QuickRows(connection, contract, form, part, plain, planned)
    try:
        reader = _Reader(
            names=[f"c{number}" for number in range(len(names))],
            delimiter=form.delimiter,
            quoting=quoting,
            types={},
            decimals=any(map(is_decimal, planned)),
        )
        return _read(file, form, rows, reader, skip)
    except (TooFewPlain, pl.exceptions.PolarsError):
        rows.forget()
        return None


def _read(file: PlainFile, form: CsvForm, rows: QuickRows, reader: _Reader, skip: int) -> Rest:
    path = file.scratch / "rest"
    left = []
    with path.open("wb") as rest, ThreadPoolExecutor(AHEAD) as pool:
        with file.path.open("rb") as source:
            rest.writelines(source.readline() for _ in range(skip))
        for read in in_turn(pool, _parse, _with_reader(file, rows, reader, skip)):
            line = skip + 1 + rows.lines
            places = _keep(read, rows, line)
            rest.write(read.piece.gathered(places))
            left.append(places + line)
    lines = np.concatenate(left) if left else np.empty(0, np.int64)
    return Rest(
        file=replace(file, path=path, form=form, lines=skip + len(lines), whole=False),
        skip=skip,
        lines=lines,
        plain=rows.kept,
    )


def _with_reader(file: PlainFile, rows: QuickRows, reader: _Reader, skip: int) -> Iterator[tuple[Piece, _Reader]]:
    """The pieces, and what reads them; the first tells of the columns that are texts whether these are few."""
    for number, piece in enumerate(pieces(file.path, skip=skip)):
        if number == 0:
            reader = replace(reader, types=_types(rows.planned))
            some = Piece(piece.first(LOOKED_AT_BYTES))
            rows.look_at(reader.read(reader.quoting.look(some).text if reader.quoting else some.text, typed=False))
        # Categories are new for each piece.
        yield piece, replace(reader, types=_types(rows.planned))


def _types(planned: list[Planned]) -> dict[str, pl.DataType]:
    return {place: reader_type(one) for place, one in placed(planned)}


def _parse(given: tuple[Piece, _Reader]) -> _Read:
    piece, reader = given
    quotes = reader.quoting.look(piece) if reader.quoting else None
    return _Read(
        piece=piece,
        reader=reader,
        quotes=quotes,
        frame=reader.read(quotes.text if quotes else piece.text),
        exponents=reader.decimals and _has_exponents(piece),
    )


def _keep(read: _Read, rows: QuickRows, line: int) -> Places:
    if read.frame.height != read.piece.lines:
        rows.count(read.piece.lines, 0)
        return np.arange(read.piece.lines)
    # A line whose last field has a value has no fewer fields than the header.
    short = read.frame[read.reader.last].is_null().to_numpy()
    doubtful = _wrong_fields(read, short)
    if b"\0" in read.piece.text:
        doubtful |= read.piece.count_each(b"\0") > 0

    def texts() -> pl.DataFrame:
        return read.reader.read(read.text, typed=False)

    return rows.keep(by_name(read.frame), doubtful, texts, line=line, exponents=read.exponents)


def _wrong_fields(read: _Read, short: Marks) -> Marks:
    piece, quotes, between = read.piece, read.quotes, len(read.reader.names) - 1
    delimiter = read.reader.delimiter.encode()
    if quotes is None:
        return wrong_fields(piece, delimiter, between, short)
    within = partial(quotes.delimiters_within, piece, delimiter)
    return wrong_fields(piece, delimiter, between, short, within) | quotes.odd


def _has_exponents(piece: Piece) -> bool:
    """Whether an ``e`` stands behind a digit or a point somewhere."""
    for first in range(0, len(piece.text), SCANNED_BYTES):
        there = piece.bytes_[first : first + SCANNED_BYTES + 1]
        letters = (there[1:] | TO_LOWER) == EXPONENT
        numbers = (there[:-1] - DIGIT_ZERO < 10) | (there[:-1] == ord("."))
        if (letters & numbers).any():
            return True
    return False
