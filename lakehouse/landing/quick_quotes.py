"""Quotes in the lines of a csv: which lines have them as plainly as can be, and whether all lines are records.

Plain are quotes round whole fields with no quote within, which every reader takes alike. All other lines are left to
the exact way, and only where it is sure that it, too, ends their records at their ends: a quote left open takes in
the lines that follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from lakehouse.contracts.forms import CsvForm
from lakehouse.landing.pieces import LINE_END, Marks, Piece, Places
from lakehouse.landing.quick_rows import TooFewPlain

RETURN, BLANK = ord("\r"), ord(" ")


@dataclass(frozen=True, kw_only=True)
class Quotes:
    """Of a piece of a csv: ``text`` for a reader, which has no quotes in ``odd`` lines, those that are not plain; where
    each quoted field of the others opens and closes."""

    text: bytes
    odd: Marks
    opened: Places
    closed: Places

    def delimiters_within(self, piece: Piece, delimiter: bytes) -> Places:
        """How many delimiters of each line stand within quotes, odd lines apart."""
        found = np.flatnonzero(piece.bytes_ == delimiter[0])
        within = np.searchsorted(found, self.closed) - np.searchsorted(found, self.opened)
        some = np.flatnonzero(within)
        lines = np.searchsorted(piece.ends, self.opened[some])
        return np.bincount(lines, weights=within[some], minlength=piece.lines).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Quoting:
    """The signs of a csv with quotes, each of one byte. ``escape``: empty where a quote is never part of a value."""

    delimiter: str
    quote: str
    escape: str

    @classmethod
    def of(cls, form: CsvForm) -> Quoting | None:
        """``None`` where the form's signs are none that can be told apart byte by byte."""
        signs = {form.delimiter, form.quote, *form.escape}
        if (
            any(len(sign.encode()) != 1 or sign in " \r\n" for sign in signs)
            or form.delimiter in form.quote + form.escape
        ):
            return None
        return cls(delimiter=form.delimiter, quote=form.quote, escape=form.escape)

    def signs_in(self, piece: Piece) -> bool:
        """Whether a piece has a quote or an escape at all."""
        return any(piece.has(sign.encode()) for sign in {self.quote, self.escape} if sign)

    def look(self, piece: Piece) -> Quotes:
        """Raises :class:`TooFewPlain` where a record may go over several lines."""
        quotes = np.flatnonzero(piece.bytes_ == ord(self.quote))
        counts = np.diff(np.searchsorted(quotes, piece.ends), prepend=0)
        odd = counts % 2 == 1
        if self.escape not in ("", self.quote):
            odd |= piece.count_each(self.escape.encode()) > 0
        # Where each line has an even number, every second one of the piece closes.
        pairs = quotes[~np.repeat(odd, counts)] if odd.any() else quotes
        unlike = ~self._round_fields(piece, pairs[0::2], pairs[1::2])
        if unlike.any():
            odd[np.searchsorted(piece.ends, pairs[0::2][unlike])] = True
            pairs = quotes[~np.repeat(odd, counts)]
        text = piece.text
        if odd.any():
            if not self._end_with_their_lines(piece.gathered(np.flatnonzero(odd))):
                raise TooFewPlain
            # The reader gives up the whole piece at quotes that it does not understand.
            without = piece.bytes_.copy()
            without[quotes[np.repeat(odd, counts)]] = BLANK
            text = without.tobytes()
        return Quotes(text=text, odd=odd, opened=pairs[0::2], closed=pairs[1::2])

    def _round_fields(self, piece: Piece, opened: Places, closed: Places) -> Marks:
        """Which pairs of quotes stand at both ends of a field. Before the piece's first byte stands, as it were, its
        last, the end of a line."""
        before, behind = piece.bytes_[opened - 1], piece.bytes_[closed + 1]
        ended = (behind == ord(self.delimiter)) | (behind == LINE_END)
        returns = np.flatnonzero(behind == RETURN)
        ended[returns] = piece.bytes_[closed[returns] + 2] == LINE_END
        round_fields: Marks = ended & ((before == ord(self.delimiter)) | (before == LINE_END))
        return round_fields

    def _end_with_their_lines(self, text: bytes) -> bool:
        """Whether DuckDB, too, sees no quote open at the end of any of these lines."""
        lines = pl.Series(text.decode().removesuffix("\n").split("\n"))
        return bool(lines.str.contains(self._whole_records).all())

    @cached_property
    def _whole_records(self) -> str:
        """A pattern of lines of which that is sure, whatever DuckDB says of their values."""
        delimiter, quote = f"\\x{ord(self.delimiter):02x}", f"\\x{ord(self.quote):02x}"
        escape = f"\\x{ord(self.escape):02x}" if self.escape else ""
        simple = f"{quote}[^{quote}{escape}]*{quote}"
        fields = [
            # A quote is one only at the start of a field.
            f" *(?:[^{quote}{delimiter} ][^{delimiter}]*)?",
            f"{simple} *",
            # Behind blanks it may be one or not. The line is the same either way where no sign stands between the two.
            f" +{quote}[^{quote}{delimiter}{escape}]*{quote} *",
        ]
        if self.escape == self.quote:
            fields.append(f"{quote}(?:[^{quote}]|{quote}{quote})*{quote}")
        elif escape:
            fields.append(f"{quote}(?:[^{quote}{escape}]|{escape}.)*{quote}")
        field, plain = f"(?:{'|'.join(fields)})", f"(?:{simple}|[^{quote}{delimiter}]*)"
        # Of a line with two faults, or blanks behind a value with an escape, DuckDB's place may be that of another.
        fault = f"{simple} *[^{quote}{delimiter} ][^{delimiter}]*"
        lines = f"{field}(?:{delimiter}{field})*|(?:{plain}{delimiter})*{fault}(?:{delimiter}{plain})*"
        return f"^(?:{lines})\\r?$"
