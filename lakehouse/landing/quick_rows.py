"""Rows of a large text file that need no second look: typed by columns, a piece of the file at a time.

A row is plain where each value is sure to be what ``values`` makes of it, and no rule is broken. All other lines,
wrong or only unusual, are copied into a small file of the same form, which the exact way reads: so each fault is found
by the same rules, whichever way a row went.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import duckdb
import numpy as np
import polars as pl

from lakehouse.contracts.forms import CsvForm, FileForm, NdjsonForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.lines import MAX_LINE_BYTES
from lakehouse.landing.pieces import AHEAD, Extent, Marks, Piece, Places, Room, extents, head_of, in_turn, one_end
from lakehouse.landing.plain_rows import LINE, PlainFrame, PlainRows
from lakehouse.landing.quick_columns import (
    FEW,
    Coded,
    Planned,
    RowRules,
    TextTyping,
    Typed,
    Way,
    few_distinct,
    is_decimal,
    placed,
    read_values,
)
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.landing.unpack import PlainFile

# Below it, what is done once a file costs more than is won.
LEAST_BYTES = 4 << 20
# Once so many lines are known, a file with a larger share of lines that are not plain goes the exact way whole.
JUDGED_AFTER, MOST_LEFT = 20_000, 0.3


@dataclass(frozen=True, kw_only=True)
class Rest:
    """The lines that are left, as a ``file`` of their own with the head of the whole, of ``skip`` lines.

    ``lines``: the number of each in the file that was delivered. ``plain``: how many rows are done.
    """

    file: PlainFile
    skip: int
    lines: Places
    plain: int


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept of a piece's lines: a frame of the plain ones, and the places of the ``others``, sorted."""

    lines: int
    others: Places
    frame: PlainFrame | None

    @classmethod
    def nothing(cls, lines: int) -> Kept:
        return cls(lines=lines, others=np.arange(lines), frame=None)


class TooFewPlain(Exception):
    """So many lines are not plain, or so little is known of their quotes, that the file goes the exact way whole."""


def is_large_text(file: PlainFile) -> bool:
    """Whether a file is worth it, and all of it is text in lines of bounded length."""
    longest = file.longest.bytes if file.longest else 0
    return file.path.stat().st_size >= LEAST_BYTES and not file.damaged and longest <= MAX_LINE_BYTES


class QuickRows:
    """The rows of one file on their way into ``plain``.

    ``planned``: how each column is typed; ``few``: the places with few distinct values. Frames given have a column for
    each ``place``, of the type that :func:`lakehouse.landing.quick_columns.reader_type` states.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: Contract,
        form: FileForm,
        part: int,
        plain: PlainRows,
        planned: list[Planned],
        *,
        most_left: float | None = None,
    ) -> None:
        self.connection, self.form, self.planned = connection, form, planned
        self._plain, self._first = plain, part * PART_LINES
        self._rules = RowRules(contract, form, planned)
        self._texts = {
            one.column.name: TextTyping(connection, contract, form, one.column)
            for one in planned
            if one.way is not Way.READER
        }
        self._most_left = MOST_LEFT if most_left is None else most_left
        self.few = frozenset[str]()
        self.lines = self.kept = 0

    def look_at(self, texts: pl.DataFrame) -> None:
        """Settles which columns have few distinct texts, as some texts of each place tell."""
        self.few = few = few_distinct(texts)
        self.planned = [
            replace(one, way=Way.TEXTS)
            if one.place is not None and one.way is Way.DISTINCT and one.place not in few
            else one
            for one in self.planned
        ]

    def typed(
        self,
        read: Mapping[str, pl.Series | Coded],
        doubtful: Marks,
        texts: pl.DataFrame | Callable[[], pl.DataFrame],
        *,
        exponents: bool,
    ) -> Kept:
        """What can be kept of the rows read; for several threads beside each other.

        ``read``: the columns by place. ``doubtful``: what is known not to be plain. ``texts``: the same rows as
        texts, or what makes them where the reader gave too little. ``exponents``: whether decimals may have some.
        """
        columns: dict[str, Typed] = {}
        empties: list[tuple[Planned, Marks]] = []
        for one in self.planned:
            typed = self._column(one, read, len(doubtful))
            columns[one.column.name] = typed
            doubtful = doubtful | typed.doubtful
            lacking = typed.lacking() if one.way is Way.READER else None
            if lacking is not None and (one.column.required or lacking.sum() <= FEW * len(doubtful)):
                doubtful |= lacking
            elif lacking is not None:
                empties.append((one, lacking))
        if empties:
            doubtful |= self._not_empty(_made(texts), empties)
        if exponents:
            doubtful |= self._with_exponents(_made(texts))
        broken = self._rules.broken(self.connection, columns, len(doubtful))
        if broken is not None:
            doubtful |= broken
        held = pl.DataFrame(
            {LINE: np.arange(len(doubtful), dtype=np.uint32), **{name: typed.held for name, typed in columns.items()}}
        )
        codings = {name: typed.coding for name, typed in columns.items()}
        frame = PlainFrame.of(held.filter(pl.Series(~doubtful)), codings)
        return Kept(lines=len(doubtful), others=np.flatnonzero(doubtful), frame=frame)

    def keep(self, kept: Kept, *, line: int) -> Places:
        """Keeps what can be kept of the next rows, the first of which stands on ``line``; returns the others' places.
        Raises :class:`TooFewPlain`."""
        if kept.frame is not None:
            self._plain.add(replace(kept.frame, first=self._first + line))
        self.count(kept.lines, kept.lines - len(kept.others))
        return kept.others

    def count(self, lines: int, kept: int) -> None:
        """Counts lines, of which so many were kept. Raises :class:`TooFewPlain`."""
        self.lines += lines
        self.kept += kept
        if self.lines >= JUDGED_AFTER and self.lines - self.kept > self._most_left * self.lines:
            raise TooFewPlain

    def _column(self, one: Planned, read: Mapping[str, pl.Series | Coded], rows: int) -> Typed:
        if one.place is None:
            nothing = Coded(each=pl.Series([], dtype=pl.String), places=pl.repeat(0, rows, dtype=pl.UInt32, eager=True))
            return self._texts[one.column.name].typed_distinct(nothing)
        given = read[one.place]
        if one.way is Way.READER:
            return read_values(one, given)
        if isinstance(given, Coded):
            return self._texts[one.column.name].typed_distinct(given)
        return self._texts[one.column.name].typed(given)

    def _not_empty(self, texts: pl.DataFrame, empties: list[tuple[Planned, Marks]]) -> Marks:
        """Rows of which the reader gave no number although there is a text."""
        doubtful = np.zeros(texts.height, bool)
        for one, lacking in empties:
            assert one.place is not None
            nulls = pl.Series(["", *self.form.null_values, *one.column.parse.null_values], dtype=pl.String)
            text = texts[one.place]
            empty = text.is_null() | text.is_in(nulls.implode())
            doubtful |= lacking & ~empty.to_numpy()
        return doubtful

    def _with_exponents(self, texts: pl.DataFrame) -> Marks:
        """Rows with an exponent in a decimal, of which every reader has its own opinion."""
        doubtful = np.zeros(texts.height, bool)
        for place, one in placed(self.planned):
            if is_decimal(one):
                doubtful |= texts[place].str.contains("[eE]").fill_null(False).to_numpy()
        return doubtful


def _made(texts: pl.DataFrame | Callable[[], pl.DataFrame]) -> pl.DataFrame:
    return texts if isinstance(texts, pl.DataFrame) else texts()


def read_pieces(
    file: PlainFile,
    form: CsvForm | NdjsonForm,
    make: Callable[[], QuickRows],
    split: Callable[[Piece], pl.DataFrame],
    parse: Callable[[Piece, QuickRows], Kept],
    *,
    looked_at: int,
    skip: int,
    first: int = 0,
    longer: float = 1,
) -> Rest:
    """Reads a file's rows after the first ``skip`` lines, several pieces beside each other, ``longer`` than usual so
    many times; the ``first`` of them are left in any case.

    ``split`` gives the texts of some ``looked_at`` bytes: these tell in which places values are few. Raises
    :class:`TooFewPlain`, and :class:`lakehouse.landing.text.NotPlain` where the text is to be surveyed first.
    """
    encoding = None if file.surveyed else form.encoding
    room = Room()

    def parsed(extent: Extent) -> tuple[bytes | None, Kept, bytes]:
        piece = extent.read(room)
        end = piece.plain_end(encoding) if encoding else None
        kept = parse(piece, looked.result())
        # Here and not where all is put in order: so the piece need not wait for that.
        return end, kept, piece.gathered(kept.others)

    def look(made: Future[QuickRows]) -> QuickRows:
        some = [split(extent.first(looked_at)) for extent in islice(extents(file.path, skip=skip), 1)]
        rows = made.result()
        for texts in some:
            rows.look_at(texts)
        rows.count(first, 0)
        return rows

    path, left = file.scratch / "rest", [np.arange(skip, skip + first) + 1]
    with path.open("wb") as rest, ThreadPoolExecutor(1) as maker, ThreadPoolExecutor(AHEAD) as pool:
        looked = pool.submit(look, maker.submit(make))
        head = head_of(file.path, skip + first)
        if not skip:
            head = head.removeprefix(BOM_UTF8)
        rest.write(head)
        end = Piece(head).plain_end(encoding) if encoding else None
        # Of the first pieces the bytes are read meanwhile.
        for one, kept, text in in_turn(pool, parsed, extents(file.path, skip=skip + first, longer=longer)):
            end = one_end(end, one)
            rest.write(text)
            rows = looked.result()
            line = skip + 1 + rows.lines
            left.append(rows.keep(kept, line=line) + line)
    rows = looked.result()
    lines = np.concatenate(left)
    return Rest(
        file=replace(file, path=path, form=form, lines=skip + len(lines), whole=False),
        skip=skip,
        lines=lines,
        plain=rows.kept,
    )


def number_rest(connection: duckdb.DuckDBPyConnection, rest: Rest) -> None:
    """Gives ``delivered`` and ``malformed``, read of what was left, the lines on which their rows were delivered."""
    places = pl.DataFrame({"place": np.arange(len(rest.lines)) + rest.skip + 1, "line": rest.lines})
    connection.register("left_lines", places.to_arrow())
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE left_places AS FROM left_lines;
        DROP VIEW IF EXISTS delivered_rest;
        ALTER VIEW delivered RENAME TO delivered_rest;
        CREATE OR REPLACE TEMP VIEW delivered AS
        SELECT p.line AS exchange_line, d.* EXCLUDE (exchange_line)
        FROM delivered_rest AS d JOIN left_places AS p ON p.place = d.exchange_line;
        UPDATE malformed SET exchange_line = p.line FROM left_places AS p WHERE p.place = malformed.exchange_line
        """
    )
    connection.unregister("left_lines")
