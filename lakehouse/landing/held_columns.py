"""How columns of plain rows are held: as a reader gave them, and what makes values of that when they are asked for.

Most of the price of a column is that of fresh memory. Held so, rows take half of it, and what is asked of their
distinct values is asked of each once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from lakehouse.landing.pieces import Marks


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """Values of a column, without nulls: all of them, or each that there is and how often (``counts``).

    ``hashable``: the same, so that equal values have equal hashes however they are held. ``unit``: what a value is
    multiplied by.
    """

    values: pl.Series
    hashable: pl.Series
    counts: pl.Series | None = None
    unit: Decimal | None = None

    @property
    def number(self) -> int:
        return len(self.values) if self.counts is None else int(self.counts.sum())

    def ends(self) -> tuple[Any, Any]:
        """The least and the greatest; ``None`` where there is none."""
        least: Any = self.values.min()
        most: Any = self.values.max()
        return (least, most) if least is None or self.unit is None else (least * self.unit, most * self.unit)

    def total(self) -> float:
        # As DuckDB's mean is: a sum of whole numbers need not fit 64 bits.
        values = self.values.cast(pl.Float64)
        total = float((values if self.counts is None else values * self.counts).sum())
        return total if self.unit is None else total * float(self.unit)


@dataclass(frozen=True)
class AsTheyAre:
    """Held are the values."""

    def values(self, held: pl.Series) -> pl.Series:
        return held

    def ordered(self, held: pl.Series) -> pl.Series:
        """What compares as the values do, with others of these that are held."""
        return held

    def lacking(self, held: pl.Series) -> Marks | None:
        """Which values are missing; ``None`` where none is."""
        return _missing(held)

    def occurring(self, held: pl.Series) -> pl.Series:
        """Each value that is held, and nothing where some lack one; some perhaps more than once."""
        return held

    def ends(self, held: pl.Series) -> tuple[Any, Any]:
        """No value is less than the first or greater than the second; ``None`` where there is none."""
        return held.min(), held.max()

    def weighed(self, held: pl.Series) -> Weighed:
        values = held.drop_nulls() if held.null_count() else held
        hashable = values.to_physical().cast(pl.Int64, strict=False) if isinstance(values.dtype, pl.Decimal) else values
        return Weighed(values=values, hashable=hashable)


AS_THEY_ARE = AsTheyAre()


@dataclass(frozen=True)
class InUnits:
    """Held are decimals as whole numbers of their last digit."""

    precision: int
    scale: int

    def values(self, held: pl.Series) -> pl.Series:
        array = held.to_arrow()
        low = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array)]
        halves = WordsOfArrow(2 * len(low))
        halves.words[0::2] = low
        np.right_shift(low, 63, out=halves.words[1::2])
        there = held.is_not_null() if held.null_count() else None
        return halves.series(pa.decimal128(self.precision, self.scale), len(low), there)

    def ordered(self, held: pl.Series) -> pl.Series:
        return held

    def lacking(self, held: pl.Series) -> Marks | None:
        return _missing(held)

    def occurring(self, held: pl.Series) -> pl.Series:
        return self.values(held)

    def ends(self, held: pl.Series) -> tuple[Any, Any]:
        return self.weighed(held).ends()

    def weighed(self, held: pl.Series) -> Weighed:
        values = held.drop_nulls() if held.null_count() else held
        return Weighed(values=values, hashable=values, unit=Decimal(1).scaleb(-self.scale))


@dataclass(frozen=True)
class ByPlace:
    """Held are places among the distinct values: ``each``, as ``of`` holds them."""

    each: pl.Series
    of: AsTheyAre | InUnits = AS_THEY_ARE

    @cached_property
    def _nothing(self) -> Marks | None:
        """Which of the distinct values are none, if some are."""
        return self.each.is_null().to_numpy() if self.each.null_count() else None

    @cached_property
    def _texts(self) -> pa.Array:
        return self.each.to_arrow(compat_level=pl.CompatLevel.oldest())

    def values(self, held: pl.Series) -> pl.Series:
        return self.of.values(self.spelt(held))

    def ordered(self, held: pl.Series) -> pl.Series:
        each = self.each.drop_nulls()
        ascending = bool((each[1:] > each[:-1]).all()) and self.lacking(held) is None
        return held if ascending else self.values(held)

    def spelt(self, held: pl.Series) -> pl.Series:
        """The values, as ``of`` holds them."""
        # By brackets: Polars plans to gather as it does a query.
        return self.each[held]

    def ends(self, held: pl.Series) -> tuple[Any, Any]:
        return self.of.ends(self.each)

    def lacking(self, held: pl.Series) -> Marks | None:
        if self._nothing is None:
            return None
        # Mostly but the last of them is nothing, and no row's.
        most: Any = held.max()
        if most is None or most < np.flatnonzero(self._nothing)[0]:
            return None
        marks: Marks = self._nothing[held.to_numpy()]
        return marks if marks.any() else None

    def occurring(self, held: pl.Series) -> pl.Series:
        return self.values(held.unique())

    def dictionary(self, held: pl.Series) -> pa.DictionaryArray:
        """Texts as Arrow has few of them. None is listed that no row has: it may be one that was refused."""
        places = held.to_numpy()
        listed = np.bincount(places, minlength=len(self.each)) > 0
        if self._nothing is not None:
            listed &= ~self._nothing
        numbers = (np.cumsum(listed) - 1).astype(np.int32)
        texts = self._texts.filter(pa.array(listed))
        return pa.DictionaryArray.from_arrays(numbers[places], texts, mask=self.lacking(held))

    def weighed(self, held: pl.Series) -> Weighed:
        counts = np.bincount(held.to_numpy(), minlength=len(self.each))
        there = pl.Series(counts > 0) & self.each.is_not_null()
        return replace(self.of.weighed(self.each.filter(there)), counts=pl.Series(counts).filter(there))


Coding = AsTheyAre | ByPlace | InUnits


def _missing(held: pl.Series) -> Marks | None:
    return held.is_null().to_numpy() if held.null_count() else None


class WordsOfArrow:
    """Whole numbers of 64 bits, as many as asked for, in memory that becomes a column without a copy.

    It is Arrow's own: memory of Python's is given back by its lock alone, for which a thread of DuckDB or Polars that
    lets go of a column would wait while Python waits for the thread.
    """

    def __init__(self, number: int) -> None:
        self._buffer = pa.allocate_buffer(8 * number)
        self.words: np.ndarray[Any, np.dtype[np.int64]] = np.frombuffer(self._buffer, np.int64)

    def series(self, type_: pa.DataType, length: int, there: pl.Series | None = None) -> pl.Series:
        """So many values of a type; ``there`` marks those that are any, if some are none."""
        marks = None
        if there is not None:
            marks = pa.allocate_buffer(-(-length // 8))
            np.frombuffer(marks, np.uint8)[:] = np.packbits(there.to_numpy(), bitorder="little")
        return pl.Series(pa.Array.from_buffers(type_, length, [marks, self._buffer]))
