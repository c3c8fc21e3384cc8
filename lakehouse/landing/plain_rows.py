"""The typed rows of a delivery that need no second look, as columns in memory, or in files where they are many.

All others are in DuckDB's table ``exact_rows``. What is asked of both is asked of the views ``rows`` and ``typed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.held_columns import AS_THEY_ARE, ByPlace, Coding
from lakehouse.landing.pieces import Places
from lakehouse.storage.sql import identifier

# With the pieces that are being read, and what DuckDB takes for the lines that are left, this stays below 2 GB.
HELD_BYTES = 768 << 20
# Once some are in files: of more rows more lines are left, and DuckDB may take all that it is allowed.
FILED_BYTES = 64 << 20
# Of a frame in a file so many distinct values of a column stay in memory.
FEW_VALUES = 1024
# DuckDB hands its filters on to Arrow, which knows none over the newer form of texts.
ARROW = pl.CompatLevel.oldest()
LINE = "exchange_line"


@dataclass(frozen=True, kw_only=True)
class PlainFrame:
    """Rows of a piece of a file: all that are held, or those marked as ``kept``.

    ``held``: the columns of ``height`` rows, by ``codings``, and the line of each, counted from ``first``; in memory or
    in a file.
    """

    first: int
    height: int
    held: pl.DataFrame | Path
    codings: Mapping[str, Coding]
    kept: pl.Series | None = None

    @classmethod
    def of(cls, held: pl.DataFrame, codings: Mapping[str, Coding] | None = None, *, first: int = 0) -> PlainFrame:
        codings = codings or dict.fromkeys((name for name in held.columns if name != LINE), AS_THEY_ARE)
        return cls(first=first, height=held.height, held=held, codings=codings)

    @cached_property
    def rows(self) -> int:
        return self.height if self.kept is None else int(self.kept.sum())

    @cached_property
    def schema(self) -> pl.Schema:
        """Of its rows: their lines, and the contract's columns."""
        empty = self.held.clear() if isinstance(self.held, pl.DataFrame) else pl.read_ipc(self.held, n_rows=0)
        return self._made(empty, list(self.codings)).schema

    def column(self, name: str) -> tuple[pl.Series, Coding]:
        """A column, as it is held."""
        column = self._read([name])[name]
        return (column if self.kept is None else column.filter(self.kept)), self.codings[name]

    def ends(self, name: str) -> tuple[Any, Any] | None:
        """No value of a column is less than the first or greater than the second; ``None`` where one may be missing."""
        held, coding = self._read([name])[name], self.codings[name]
        return None if coding.lacking(held) is not None else coding.ends(held)

    def may_hold(self, name: str, low: Any, high: Any) -> bool:
        """Whether a value of a column may lie between two; where this is false none does."""
        least, most = self.codings[name].ends(self._read([name])[name])
        return least is not None and bool(least <= high and most >= low)

    def frame(self, columns: Sequence[str]) -> pl.DataFrame:
        """The lines and these columns."""
        return self._made(_kept(self._read([LINE, *columns]), self.kept), columns)

    @property
    def lines(self) -> Places:
        """The line of each row."""
        return self.lines_at(slice(None))

    def lines_at(self, places: Places | slice) -> Places:
        """The lines of the rows at these places, of those that are kept."""
        held = self._read([LINE])[LINE]
        lines: Places = np.add(
            (held if self.kept is None else held.filter(self.kept)).to_numpy()[places], self.first, dtype=np.int64
        )
        return lines

    def loaded(self, columns: Sequence[str]) -> PlainFrame:
        """The same of these columns, held in memory: of a file, each look at a column would read it anew."""
        return replace(self, held=self._read([LINE, *columns]), codings={name: self.codings[name] for name in columns})

    def parts(self, rows: int) -> Iterator[PlainFrame]:
        """The same as frames of about as many held rows each, of so many at most."""
        held = self._read([LINE, *self.codings])
        size = -(-self.height // -(-self.height // rows))
        for first in range(0, self.height, size):
            part = held.slice(first, size)
            kept = None if self.kept is None else self.kept.slice(first, size)
            yield replace(self, height=part.height, held=part, kept=kept)

    def recoded(self, name: str, change: Callable[[pl.Series], pl.Series]) -> PlainFrame:
        """The same with other values in a column, each made of one of the given; of distinct ones once."""
        held, coding = self._read([name])[name], self.codings[name]
        if isinstance(coding, ByPlace):
            return replace(self, codings={**self.codings, name: ByPlace(change(coding.of.values(coding.each)))})
        values = self._read([LINE, *self.codings]).with_columns(change(coding.values(held)).alias(name))
        return replace(self, held=values, codings={**self.codings, name: AS_THEY_ARE})

    def some(self, columns: Sequence[str], places: Places) -> pl.DataFrame:
        """The same of the rows at these places, of which some may not be kept."""
        if self.kept is not None:
            places = places[self.kept.gather(places).to_numpy()]
        return self._made(self._read([LINE, *columns])[places], columns)

    def split(self, keys: Callable[[PlainFrame], pl.Series]) -> dict[Any, PlainFrame]:
        """Frames of the rows of each key; ``keys`` gives that of each row."""
        held = self._read([LINE, *self.codings])
        held, of_each = _kept(held, self.kept), keys(self)
        if of_each.is_sorted():
            # Files mostly go by time: then nothing is copied.
            runs = of_each.rle_id()
            starts = [0, *(np.flatnonzero(np.diff(runs.to_numpy())) + 1).tolist(), len(of_each)]
            parts = {(of_each[first],): held[first:behind] for first, behind in pairwise(starts)}
        else:
            held = held.with_columns(exchange_key=of_each)
            parts = held.partition_by("exchange_key", as_dict=True, include_key=False, maintain_order=True)
        return {key: PlainFrame.of(part, self.codings, first=self.first) for (key,), part in parts.items()}

    def places_of(self, lines: Places) -> Places:
        """Where the rows are that stand on some of these lines, sorted, and are kept."""
        here = self._read([LINE])[LINE]
        if here.is_empty():
            return np.empty(0, np.int64)
        lines = lines[np.searchsorted(lines, here[0] + self.first) : np.searchsorted(lines, here[-1] + self.first + 1)]
        wanted = pl.Series(lines - self.first, dtype=here.dtype)
        found = here.search_sorted(wanted).to_numpy()
        places: Places = found[(here.gather(found) == wanted).to_numpy()]
        return places if self.kept is None else places[self.kept.gather(places).to_numpy()]

    def without(self, places: Places) -> PlainFrame:
        """The same without the rows at these places, which are kept so far."""
        if not len(places):
            return self
        kept = np.ones(self.height, bool) if self.kept is None else np.array(self.kept.to_numpy())
        kept[places] = False
        return replace(self, kept=pl.Series(kept))

    def filed(self, path: Path) -> PlainFrame:
        """The same, held in a file."""
        assert isinstance(self.held, pl.DataFrame)
        many = {
            name: coding
            for name, coding in self.codings.items()
            if isinstance(coding, ByPlace) and len(coding.each) > FEW_VALUES
        }
        held = self.held.with_columns(coding.spelt(self.held[name]).alias(name) for name, coding in many.items())
        held.write_ipc(path, compression="lz4", compat_level=ARROW)
        return replace(self, held=path, codings={**self.codings, **{name: coding.of for name, coding in many.items()}})

    def _made(self, held: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        lines = pl.Series(np.add(held[LINE].to_numpy(), self.first, dtype=np.int64))
        return pl.DataFrame({LINE: lines, **{name: self.codings[name].values(held[name]) for name in columns}})

    def _read(self, columns: Sequence[str]) -> pl.DataFrame:
        if isinstance(self.held, pl.DataFrame):
            # By brackets: Polars plans a select as it does a query.
            return self.held[list(columns)]
        return pl.read_ipc(self.held, columns=list(columns))


def _kept(held: pl.DataFrame, kept: pl.Series | None) -> pl.DataFrame:
    return held if kept is None else held.filter(kept)


class PlainRows:
    """Frames of ``exchange_line`` and the contract's columns, in the order of the lines."""

    def __init__(self, contract: Contract, folder: Path) -> None:
        self.columns = [column.name for column in contract.columns]
        self.rows = 0
        self.folder = folder
        self.frames: list[PlainFrame] = []
        # Lines of rows that went into exact_rows since somebody looked at these.
        self.taken: list[Places] = []
        self._held = 0
        self._written = 0

    def add(self, frame: PlainFrame) -> None:
        if not frame.rows:
            return
        assert isinstance(frame.held, pl.DataFrame)
        self.rows += frame.rows
        self._held += int(frame.held.estimated_size())
        self.frames.append(frame)
        if self._held > (FILED_BYTES if self._written else HELD_BYTES):
            self.frames = [self._filed(one) for one in self.frames]
            self._held = 0

    def drop_from(self, line: int) -> None:
        """Forgets the rows from this line on."""
        kept = [frame for frame in self.frames if frame.first < line]
        self.frames, self.rows = kept, sum(frame.rows for frame in kept)
        self._held = sum(int(one.held.estimated_size()) for one in kept if isinstance(one.held, pl.DataFrame))

    def only(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Each frame's lines and these columns; no others are made or read."""
        return (frame.frame(columns) for frame in self.frames)

    @property
    def schema(self) -> pl.Schema:
        return self.frames[0].schema

    def show(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Makes ``rows`` and ``typed`` hold these rows too. To be called once they have changed."""
        if not self.frames:
            show_exact_rows(connection, self.columns)
            return
        connection.register("plain_rows", _Stream(self))
        names = ", ".join(identifier(name) for name in self.columns)
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP VIEW rows AS
            SELECT exchange_line, exchange_ordinal, {names}, exchange_bad, exchange_warned FROM exact_rows
            UNION ALL SELECT exchange_line, 0, {names}, false, false FROM plain_rows;
            CREATE OR REPLACE TEMP VIEW typed AS
            FROM exact_typed UNION ALL SELECT exchange_line, 0, {names} FROM plain_rows
            """
        )

    def take_out(self, connection: duckdb.DuckDBPyConnection, lines: Places) -> None:
        """Moves the rows of these lines, sorted, into ``exact_rows``."""
        if not len(lines) or not self.frames:
            return
        taken: list[pl.DataFrame] = []
        for number, frame in enumerate(self.frames):
            places = frame.places_of(lines)
            if len(places):
                taken.append(frame.some(self.columns, places))
                self.frames[number] = frame.without(places)
        self.frames = [one for one in self.frames if one.rows]
        if not taken:
            return
        moved = pl.concat(taken)
        self.taken.append(moved[LINE].to_numpy())
        self.rows -= moved.height
        connection.register("taken_out", moved.to_arrow(compat_level=pl.CompatLevel.newest()))
        names = ", ".join(identifier(name) for name in self.columns)
        connection.execute(
            f"INSERT INTO exact_rows (exchange_line, exchange_ordinal, {names}, exchange_bad, exchange_warned) "
            f"SELECT exchange_line, 0, {names}, false, false FROM taken_out"
        )
        connection.unregister("taken_out")
        self.show(connection)

    def _filed(self, frame: PlainFrame) -> PlainFrame:
        if isinstance(frame.held, Path):
            return frame
        self._written += 1
        return frame.filed(self.folder / f"plain-rows-{self._written}.arrow")


class _Stream:
    """What DuckDB reads the rows from, anew for each query, a frame at a time."""

    def __init__(self, plain: PlainRows) -> None:
        self._plain = plain

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        plain = self._plain
        schema = plain.schema.to_frame().to_arrow(compat_level=ARROW).schema
        batches = (
            batch
            for frame in plain.only(plain.columns)
            for batch in frame.to_arrow(compat_level=ARROW).cast(schema).to_batches()
        )
        return pa.RecordBatchReader.from_batches(schema, batches).__arrow_c_stream__(requested_schema)


def show_exact_rows(connection: duckdb.DuckDBPyConnection, columns: list[str]) -> None:
    """Makes ``rows`` and ``typed`` hold the rows of ``exact_rows`` alone."""
    names = ", ".join(identifier(name) for name in columns)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW exact_typed AS
        SELECT exchange_line, exchange_ordinal, {names} FROM exact_rows WHERE NOT exchange_bad;
        CREATE OR REPLACE TEMP VIEW rows AS
        SELECT exchange_line, exchange_ordinal, {names}, exchange_bad, exchange_warned FROM exact_rows;
        CREATE OR REPLACE TEMP VIEW typed AS FROM exact_typed
        """
    )
    # Those of the delivery before need not be held any longer.
    connection.unregister("plain_rows")
