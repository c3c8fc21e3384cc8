"""What the plain rows hold, column by column, counted where they lie: a frame at a time, and never all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import polars as pl

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.held_columns import ByPlace
from lakehouse.landing.pieces import Places
from lakehouse.landing.plain_rows import PlainFrame, PlainRows
from lakehouse.privacy.personal_data import PREFILTER, SHORTEST
from lakehouse.storage.sql import identifier

# The smallest hashes tell how many distinct values there are: exactly while they are fewer, else to some four percent.
KEPT_HASHES = 512
# After these, hashes of most columns are too large to count.
FIRST_VALUES = 8192
HASHES = 1 << 64
# Texts that are looked at together.
TEXTS = 500_000
# Rows that are enough for medians and deciles.
SAMPLED = 50_000


@dataclass(kw_only=True)
class Measured:
    """Of a column's values, without nulls: how many, the least, the greatest and the sum, as far as these were asked
    for, and about how many distinct ones."""

    values: int = 0
    distinct: int = 0
    least: Any = None
    most: Any = None
    total: float = 0.0

    def add(self, more: Measured) -> None:
        """What was measured of the plain rows, who are most: distinct values are theirs."""
        self.values += more.values
        self.distinct = more.distinct
        self.least = _of(min, self.least, more.least)
        self.most = _of(max, self.most, more.most)
        self.total += more.total


class _Distinct:
    def __init__(self) -> None:
        self._kept = np.empty(0, np.uint64)

    def add(self, values: pl.Series) -> None:
        hashes = values.hash().to_numpy()
        if not len(self._kept):
            self._keep(hashes[:FIRST_VALUES])
        self._keep(hashes)

    def _keep(self, hashes: np.ndarray[Any, np.dtype[np.uint64]]) -> None:
        if len(self._kept) == KEPT_HASHES:
            hashes = hashes[hashes < self._kept[-1]]
        self._kept = np.unique(np.concatenate([self._kept, hashes]))[:KEPT_HASHES]

    def count(self) -> int:
        if len(self._kept) < KEPT_HASHES:
            return len(self._kept)
        return (KEPT_HASHES - 1) * HASHES // int(self._kept[-1])


class Measuring:
    """Each column of plain rows measured; least, greatest and sum of those in ``spread``, and of the time of the event.
    As many threads measure as join in, each a column at a time."""

    def __init__(self, frames: Sequence[PlainFrame], contract: Contract, *, spread: Sequence[str]) -> None:
        event = contract.exchange.time
        self._frames, self._spread = frames, set(spread)
        self._ends = {*spread, event.column} if event else set(spread)
        self.found = {column.name: Measured() for column in contract.columns}
        # One for all threads: each takes what comes next.
        self._left = iter(list(self.found))

    def join(self) -> None:
        """Measures until no column is left that nobody has begun."""
        for name in self._left:
            self._measure(name, self.found[name])

    def _measure(self, name: str, one: Measured) -> None:
        distinct = _Distinct()
        for frame in (frame.loaded([name]) for frame in self._frames):
            held, coding = frame.column(name)
            weighed = coding.weighed(held)
            one.values += weighed.number
            distinct.add(weighed.hashable)
            if name in self._ends:
                least, most = weighed.ends()
                one.least, one.most = _of(min, one.least, least), _of(max, one.most, most)
            if name in self._spread:
                one.total += weighed.total()
        one.distinct = distinct.count()


def _of(choose: Any, known: Any, new: Any) -> Any:
    return choose(one for one in (known, new) if one is not None) if known is not None or new is not None else None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """SQL of the numbers of some ``rows`` of ``typed``, about one in ``every`` so many, by chance, and the same each
    time: not every so many, for series stand in rows at regular distances."""

    rows: str
    every: int


def sample_typed(connection: duckdb.DuckDBPyConnection, contract: Contract, plain: PlainRows, rows: int) -> Sample:
    """Of so many rows; good until ``plain`` is another."""
    columns = [column.name for column in contract.columns if column.logicalType in ("integer", "number")]
    every = max(rows // SAMPLED, 1)
    if not columns:
        return Sample(rows="FROM exact_typed", every=every)
    names = ", ".join(map(identifier, columns))
    where = f" WHERE hash(exchange_line, exchange_ordinal) % {every} = 0" if every > 1 else ""
    sql = f"SELECT {names} FROM exact_typed{where}"
    if plain.rows:
        kept = [frame.some(columns, _some(frame, every)) for frame in plain.frames]
        connection.register("plain_sample", pl.concat(kept).select(columns).to_arrow())
        sql += " UNION ALL FROM plain_sample"
    return Sample(rows=sql, every=every)


def _some(frame: PlainFrame, every: int) -> Places:
    """Places of about one row in so many: of each so many that follow one another, one by chance."""
    starts = np.arange(0, frame.height, every)
    places = starts + np.random.default_rng(frame.first).integers(0, every, len(starts))
    return places if len(places) == 0 or places[-1] < frame.height else places[:-1]


def suspect_texts(plain: PlainRows, column: str) -> Iterator[pl.DataFrame]:
    """Distinct texts that may hold personal data, as ``text``: more than hold any, none of those that do is lacking."""
    waiting: list[pl.Series] = []
    for number, frame in enumerate(plain.frames, start=1):
        held, coding = frame.column(column)
        waiting.append(coding.each if isinstance(coding, ByPlace) else held)
        # Few at a time cost as much as many.
        if number < len(plain.frames) and sum(map(len, waiting)) < TEXTS:
            continue
        each = pl.concat(waiting)
        texts = each.filter(each.str.len_bytes() >= SHORTEST).unique()
        suspects = texts.filter(texts.str.contains("@", literal=True) | texts.str.contains(PREFILTER))
        if not suspects.is_empty():
            yield suspects.to_frame("text")
        waiting = []


def any_between(plain: PlainRows, column: str, low: int, high: int) -> bool:
    """Whether a value may lie between them; where this is false none does."""
    return any(frame.may_hold(column, low, high) for frame in plain.frames)


def distinct_values(plain: PlainRows, column: str) -> pl.Series:
    """Each value that a row has, once."""
    found = [coding.weighed(held).values for held, coding in (frame.column(column) for frame in plain.frames)]
    return pl.concat([values.unique() for values in found]).unique()
