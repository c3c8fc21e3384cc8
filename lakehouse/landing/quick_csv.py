"""The plain majority of a large csv's rows, typed by its reader in one pass.

A csv line is plain only where its fields are as many as the header's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import duckdb
import numpy as np
import polars as pl

from lakehouse.contracts.forms import CsvForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.columns import header_names, selected
from lakehouse.landing.pieces import Marks, Piece, wrong_fields
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.quick_columns import (
    Coded,
    Planned,
    by_name,
    is_decimal,
    placed,
    plan_columns,
    reader_type,
)
from lakehouse.landing.quick_quotes import Quotes, Quoting
from lakehouse.landing.quick_rows import Kept, QuickRows, Rest, TooFewPlain, read_pieces
from lakehouse.landing.read_csv import head_of_csv, without_quotes
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.text import NotPlain
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.landing.unpack import PlainFile

EXPONENT, TO_LOWER = ord("e"), 0x20
# Between the two stand a slash and the other digits.
POINT, NINE = ord("."), ord("9")
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

    def quotes(self, piece: Piece) -> Quotes | None:
        """``None`` where it has none. Raises :class:`TooFewPlain`."""
        return self.quoting.look(piece) if self.quoting and self.quoting.signs_in(piece) else None

    def texts(self, piece: Piece) -> pl.DataFrame:
        """Its values as they stand."""
        quotes = self.quotes(piece)
        return self.read(quotes.text if quotes else piece.text, quoted=bool(quotes), typed=False)

    def read(self, text: bytes, *, quoted: bool, typed: bool = True) -> pl.DataFrame:
        lines = pl.scan_csv(
            text,
            has_header=False,
            separator=self.delimiter,
            quote_char=self.quoting.quote if self.quoting and quoted else None,
            schema={name: self.types.get(name, pl.String()) if typed else pl.String() for name in self.names},
            ignore_errors=True,
            missing_columns="insert",
            extra_columns="ignore",
        )
        return lines.select(list(dict.fromkeys([*self.types, self.last]))).collect()


def read_csv_quickly(
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    *,
    form: CsvForm,
    contract: Contract,
    part: int,
    plain: PlainRows,
) -> Rest | None:
    """Adds the plain rows of a large csv to ``plain``; returns what is left, or ``None`` where all of it is.

    That is so for those with columns that only all rows together can type, where too few lines are plain or a value in
    quotes may go over several, where the header is not the contract's, and where the text is to be surveyed first.
    """
    if form.unpivot is not None or len(form.delimiter.encode()) != 1:
        return None
    quoting = Quoting.of(form) if form.quote else None
    if form.quote and quoting is None and without_quotes(file.path, form).quote:
        return None
    try:
        names, skip = head_of_csv(file.path, form, contract)
        found = header_names(names, contract, line=form.skip_lines + 1, place=lambda number: f"c{number}")
        selected(contract, found)
    except (DeliveryRefused, UnicodeDecodeError):
        return None
    planned = plan_columns(contract, form, found)
    if planned is None or len(names) < 2:
        return None
    reader = _Reader(
        names=[f"c{number}" for number in range(len(names))],
        delimiter=form.delimiter,
        quoting=quoting,
        types=_types(planned),
        decimals=any(map(is_decimal, planned)),
    )
    make = partial(QuickRows, connection, contract, form, part, plain, planned)
    try:
        return read_pieces(
            file, form, make, reader.texts, partial(_parse, reader), looked_at=LOOKED_AT_BYTES, skip=skip
        )
    except (TooFewPlain, NotPlain, pl.exceptions.PolarsError):
        plain.drop_from(part * PART_LINES)
        return None


def _types(planned: list[Planned]) -> dict[str, pl.DataType]:
    return {place: reader_type(one) for place, one in placed(planned)}


def _parse(reader: _Reader, piece: Piece, rows: QuickRows) -> Kept:
    # Categories are new for each piece.
    reader = replace(reader, types=_types(rows.planned))
    quotes = reader.quotes(piece)
    text = quotes.text if quotes else piece.text
    frame = reader.read(text, quoted=bool(quotes))
    if frame.height != piece.lines:
        return Kept.nothing(piece.lines)
    doubtful = _doubtful(piece, reader, quotes, frame)
    columns = by_name(frame)
    exponents = reader.decimals and _may_have_exponents(piece, columns.values())
    texts = partial(reader.read, text, quoted=bool(quotes), typed=False)
    return rows.typed(columns, doubtful, texts, exponents=exponents)


def _doubtful(piece: Piece, reader: _Reader, quotes: Quotes | None, frame: pl.DataFrame) -> Marks:
    """Lines with other fields than the header's, or signs that are none."""
    # A line whose last field has a value has no fewer fields than the header.
    doubtful = _wrong_fields(piece, reader, quotes, frame[reader.last].is_null().to_numpy())
    if piece.has(b"\0"):
        doubtful |= piece.count_each(b"\0") > 0
    return doubtful


def _wrong_fields(piece: Piece, reader: _Reader, quotes: Quotes | None, short: Marks) -> Marks:
    between = len(reader.names) - 1
    delimiter = reader.delimiter.encode()
    if quotes is None:
        return wrong_fields(piece, delimiter, between, short)
    within = partial(quotes.delimiters_within, piece, delimiter)
    return wrong_fields(piece, delimiter, between, short, within) | quotes.odd


def _may_have_exponents(piece: Piece, columns: Iterable[pl.Series | Coded]) -> bool:
    """Whether an ``e`` may stand in a number. None does where all of the piece stand in ``columns`` of few texts."""
    letters = piece.count(b"e") + piece.count(b"E")
    in_texts = sum(_letters_in(one) for one in columns if isinstance(one, Coded))
    return letters > in_texts and _has_exponents(piece)


def _letters_in(texts: Coded) -> int:
    letters = texts.each.str.count_matches("[eE]")
    if not letters.sum():
        return 0
    # Behind the last place is that of rows without a text.
    rows = np.bincount(texts.places.to_numpy(), minlength=len(letters))[: len(letters)]
    return int(letters.to_numpy() @ rows)


def _has_exponents(piece: Piece) -> bool:
    """Whether an ``e`` stands behind a digit, a point or a slash somewhere."""
    for first in range(0, len(piece.text), SCANNED_BYTES):
        there = piece.bytes_[first : first + SCANNED_BYTES + 1]
        letters = (there[1:] | TO_LOWER) == EXPONENT
        numbers = there[:-1] - POINT <= NINE - POINT
        if (letters & numbers).any():
            return True
    return False
