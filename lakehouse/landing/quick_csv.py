"""The plain majority of a large csv's rows, typed by its reader in one pass.

A csv line is plain only where its fields are as many as the header's.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import polars as pl

from lakehouse.contracts.forms import CsvForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.columns import header_names, selected
from lakehouse.landing.pieces import AHEAD, Piece, Places, in_turn, pieces, wrong_fields
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.quick_columns import LOOKED_AT_BYTES, Planned, by_name, placed, plan_columns, reader_type
from lakehouse.landing.quick_rows import QuickRows, Rest, TooFewPlain, is_large_text
from lakehouse.landing.read_csv import head_of_csv, without_quotes
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile

EXPONENT, DIGIT_ZERO, TO_LOWER = ord("e"), ord("0"), 0x20
SCANNED_BYTES = 1 << 18


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads pieces: columns by their place, the last one too, which tells short lines."""

    names: list[str]
    delimiter: str
    types: dict[str, pl.DataType]

    @property
    def last(self) -> str:
        return self.names[-1]

    def read(self, text: bytes, *, typed: bool = True) -> pl.DataFrame:
        lines = pl.scan_csv(
            text,
            has_header=False,
            separator=self.delimiter,
            quote_char=None,
            schema={name: self.types.get(name, pl.String()) if typed else pl.String() for name in self.names},
            ignore_errors=True,
            missing_columns="insert",
            extra_columns="ignore",
        )
        return lines.select(list(dict.fromkeys([*self.types, self.last]))).collect()


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A piece, and what the reader made of it."""

    piece: Piece
    reader: _Reader
    frame: pl.DataFrame
    exponents: bool


def read_csv_quickly(
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    form: CsvForm,
    contract: Contract,
    part: int,
    plain: PlainRows,
) -> Rest | None:
    """Adds the plain rows of a csv to ``plain``; returns what is left, or ``None`` where all of it is.

    That is so for small files, for those with quotes or with columns that only all rows together can type, where
    too few lines are plain, and where the header is not the contract's.
    """
    if not is_large_text(file) or form.unpivot is not None or len(form.delimiter.encode()) != 1:
        return None
    form = without_quotes(file.path, form)
    if form.quote:
        return None
    try:
        names, skip = head_of_csv(file.path, form, contract)
        found = header_names(names, line=form.skip_lines + 1, place=lambda number: f"c{number}")
        selected(contract, found)
    except DeliveryRefused:
        return None
    planned = plan_columns(contract, form, found)
    if planned is None or len(names) < 2:
        return None
    rows = QuickRows(connection, contract, form, part, plain, planned)
    try:
        return _read(file, form, rows, len(names), skip)
    except (TooFewPlain, pl.exceptions.PolarsError):
        rows.forget()
        return None


def _read(file: PlainFile, form: CsvForm, rows: QuickRows, columns: int, skip: int) -> Rest:
    path = file.scratch / "rest"
    left = []
    with path.open("wb") as rest, ThreadPoolExecutor(AHEAD) as pool:
        with file.path.open("rb") as source:
            rest.writelines(source.readline() for _ in range(skip))
        for read in in_turn(pool, _parse, _with_reader(file, form, rows, columns, skip)):
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


def _with_reader(
    file: PlainFile, form: CsvForm, rows: QuickRows, columns: int, skip: int
) -> Iterator[tuple[Piece, _Reader]]:
    """The pieces, and what reads them; the first tells of the columns that are texts whether these are few."""
    reader = _Reader(names=[f"c{number}" for number in range(columns)], delimiter=form.delimiter, types={})
    for number, piece in enumerate(pieces(file.path, skip=skip)):
        if number == 0:
            reader = replace(reader, types=_types(rows.planned))
            rows.look_at(reader.read(piece.first(LOOKED_AT_BYTES), typed=False))
        # Categories are new for each piece.
        yield piece, replace(reader, types=_types(rows.planned))


def _types(planned: list[Planned]) -> dict[str, pl.DataType]:
    return {place: reader_type(one) for place, one in placed(planned)}


def _parse(given: tuple[Piece, _Reader]) -> _Read:
    piece, reader = given
    decimals = any(isinstance(type_, pl.Decimal) for type_ in reader.types.values())
    return _Read(
        piece=piece, reader=reader, frame=reader.read(piece.text), exponents=decimals and _has_exponents(piece)
    )


def _keep(read: _Read, rows: QuickRows, line: int) -> Places:
    if read.frame.height != read.piece.lines:
        rows.count(read.piece.lines, 0)
        return np.arange(read.piece.lines)
    names, piece = read.reader.names, read.piece
    # A line whose last field has a value has no fewer fields than the header.
    short = read.frame[read.reader.last].is_null().to_numpy()
    doubtful = wrong_fields(piece, read.reader.delimiter.encode(), len(names) - 1, short)
    if b"\0" in read.piece.text:
        doubtful |= read.piece.count_each(b"\0") > 0

    def texts() -> pl.DataFrame:
        return read.reader.read(read.piece.text, typed=False)

    return rows.keep(by_name(read.frame), doubtful, texts, line=line, exponents=read.exponents)


def _has_exponents(piece: Piece) -> bool:
    """Whether an ``e`` stands behind a digit or a point somewhere."""
    for first in range(0, len(piece.text), SCANNED_BYTES):
        there = piece.bytes_[first : first + SCANNED_BYTES + 1]
        letters = (there[1:] | TO_LOWER) == EXPONENT
        numbers = (there[:-1] - DIGIT_ZERO < 10) | (there[:-1] == ord("."))
        if (letters & numbers).any():
            return True
    return False
