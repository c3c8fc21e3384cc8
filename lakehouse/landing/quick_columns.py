"""Columns of a piece of plain text, typed at once where that is sure to give what ``values`` would give.

What is not sure is marked: those lines are looked at a second time, one by one, by the rules that hold for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from threading import Lock
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from lakehouse.contracts.derive import duckdb_type
from lakehouse.contracts.forms import FileForm
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.landing.excel import excel_rules
from lakehouse.landing.held_columns import AS_THEY_ARE, ByPlace, Coding, InUnits, WordsOfArrow
from lakehouse.landing.local_time import has_local_time
from lakehouse.landing.pieces import Marks
from lakehouse.landing.row_rules import Rule, rules
from lakehouse.landing.values import typed_rows
from lakehouse.storage.sql import identifier

DECIMAL_TYPE = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)", re.IGNORECASE)
# A binary number's nearest is off by this share of itself at most, and so is what it is multiplied to: twice that.
UNSURE = 2.0**-51
# From 2^50 of its last digit no decimal is sure: with more digits behind the point that would be most numbers.
MOST_DIGITS = 12
# Values at a time: what is worked on stays in the processor's cache.
BLOCK = 1 << 15
# Of the lines: more empty cells than this are read once more as text, to see whether they are empty.
FEW = 0.01
# Distinct texts of a column that are kept from piece to piece, unless a piece has so few that these are typed at once.
MOST_KNOWN, FEW_TEXTS = 50_000, 1000
NO_TEXTS = pl.Series([], dtype=pl.String)
# A column with fewer distinct texts than this, of those looked at, is typed text by text.
FEW_DISTINCT = 0.2


class Way(Enum):
    """How a column is typed: by the reader of the file, or by its texts, all of them or the distinct ones."""

    READER = "reader"
    DISTINCT = "distinct"
    TEXTS = "texts"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A column of the contract and its ``place`` in the file, by name; ``None`` where the file lacks it."""

    column: Column
    place: str | None
    way: Way


def plan_columns(contract: Contract, form: FileForm, found: Mapping[str, str]) -> list[Planned] | None:
    """How each column is typed, ``found`` being places by the source's name; ``None`` where one wants all rows."""
    planned = []
    for column in contract.columns:
        if column.parse.geometry or (has_local_time(column) and column.parse.ambiguous == "sequence"):
            return None
        place = found.get(column.source)
        alone = sum(found.get(other.source) == place for other in contract.columns) == 1
        way = Way.READER if place is not None and alone and _is_readable(column, form) else Way.DISTINCT
        planned.append(Planned(column=column, place=place, way=way))
    return planned


def _is_readable(column: Column, form: FileForm) -> bool:
    """Whether the reader's own typing of a number can stand in for that of ``values``."""
    options = column.logicalTypeOptions
    if column.logicalType not in ("integer", "number") or column.parse.seconds_of_day:
        return False
    if any(option is not None for option in (options.pattern, options.minLength, options.maxLength)):
        return False
    if getattr(form, "thousands", "") or (column.logicalType == "number" and getattr(form, "decimal", ".") != "."):
        return False
    nulls = (*form.null_values, *column.parse.null_values)
    if any(any(sign.isdigit() for sign in null) for null in nulls):
        return False
    decimal = _precision_and_scale(column)
    return decimal is None or decimal[1] <= MOST_DIGITS


def reader_type(planned: Planned) -> pl.DataType:
    """The type in which the reader is to give a column."""
    if planned.way is Way.DISTINCT:
        # Categories of its own: those of all columns together would grow with every file.
        return pl.Categorical(pl.Categories.random())
    if planned.way is Way.TEXTS:
        return pl.String()
    # A decimal too: its digits are found again in the binary number wherever that is sure.
    return pl.Int64() if planned.column.logicalType == "integer" else pl.Float64()


def placed(planned: Iterable[Planned]) -> list[tuple[str, Planned]]:
    """Those that the file has, with their places."""
    return [(one.place, one) for one in planned if one.place is not None]


def is_decimal(planned: Planned) -> bool:
    return planned.way is Way.READER and _precision_and_scale(planned.column) is not None


def few_distinct(texts: pl.DataFrame) -> frozenset[str]:
    """The columns, of which these are some texts, with so few distinct ones that each is worth typing once."""
    return frozenset(one.name for one in texts if one.len() == 0 or one.n_unique() < FEW_DISTINCT * one.len())


@dataclass(frozen=True, kw_only=True)
class Typed:
    """A column as it is ``held``, and of which rows it is not to be trusted. Rows whose values differ are held
    differently, and others mostly the same."""

    held: pl.Series
    doubtful: Marks
    coding: Coding = AS_THEY_ARE

    def values(self) -> pl.Series:
        return self.coding.values(self.held)

    def lacking(self) -> Marks | None:
        """Which rows have no value; ``None`` where all have."""
        return self.coding.lacking(self.held)

    def of_each(self, coded: Coded) -> Typed:
        """Of each row of a column, this being of its distinct texts and, behind these, of none."""
        assert not isinstance(self.coding, ByPlace)
        doubts, places = self.doubtful, coded.places.to_numpy()
        # Few columns have doubts, and fewer rows lack a text.
        some = doubts[:-1].any() or (doubts[-1] and len(places) and places.max() == len(coded.each))
        doubtful = doubts[places] if some else np.zeros(len(places), bool)
        return Typed(held=coded.places, doubtful=doubtful, coding=ByPlace(self.held, self.coding))


def read_values(planned: Planned, read: pl.Series | Coded) -> Typed:
    """What the reader typed, in the contract's type. Where it gave nothing, that is not doubted here."""
    if isinstance(read, Coded):
        return read_values(planned, read.each.extend_constant(None, 1)).of_each(read)
    decimal = _precision_and_scale(planned.column)
    if decimal is None:
        # The reader gives many chunks, which each look at all of them would join anew.
        return Typed(held=read.rechunk(), doubtful=np.zeros(len(read), bool))
    return _rounded(read, *decimal)


def _precision_and_scale(column: Column) -> tuple[int, int] | None:
    """Of a decimal; ``None`` of any other column."""
    found = DECIMAL_TYPE.fullmatch(duckdb_type(column))
    return (int(found[1]), int(found[2])) if found else None


def _rounded(read: pl.Series, precision: int, scale: int) -> Typed:
    """Decimals, read as binary numbers, as whole numbers of their last digit, rounded half away from zero.

    Which that is is sure where a number lies further from the middle of two than it may be off: all others are
    doubtful, those in the middle among them, and so are numbers without an end.
    """
    made, doubtful, behind = WordsOfArrow(len(read)), np.empty(len(read), bool), 0
    # Of a number without an end nothing is sure, but numpy would warn of it.
    with np.errstate(invalid="ignore", over="ignore"):
        for numbers in _blocks(read):
            rows = slice(behind, behind := behind + len(numbers))
            units = numbers * 10.0**scale
            whole = np.rint(units)
            size = max(-units.min(), units.max())
            off = np.subtract(units, whole, out=units)
            # What holds for the largest of them holds for all.
            if max(-off.min(), off.max()) < 0.5 - UNSURE * size and size < 10.0**precision - 1:
                doubtful[rows] = False
                made.words[rows] = whole
                continue
            sizes = np.abs(numbers * 10.0**scale)
            sure = (np.abs(off) < 0.5 - UNSURE * sizes) & (sizes < 10.0**precision - 1)
            np.logical_not(sure, out=doubtful[rows])
            made.words[rows] = np.where(sure, whole, 0)
    there = read.is_not_null() if read.null_count() else None
    held = made.series(pa.int64(), len(read), there)
    return Typed(held=held, doubtful=doubtful, coding=InUnits(precision, scale))


def _blocks(read: pl.Series) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    """Binary numbers, some at a time, as the reader's chunks hold them; anything where one is missing."""
    for array in (chunk.to_arrow() for chunk in read.get_chunks()):
        numbers = np.frombuffer(array.buffers()[1], np.float64)[array.offset : array.offset + len(array)]
        for first in range(0, len(array), BLOCK):
            yield numbers[first : first + BLOCK]


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A column by its distinct texts, or what numbers these are, and the place of each row's among them; that behind
    the last is of none."""

    each: pl.Series
    places: pl.Series

    @classmethod
    def of(cls, categories: pl.Series) -> Coded:
        """Of categories of their own: those of all columns together would be many."""
        # The reader gives many chunks, which each look at all of them would join anew.
        codes = categories.to_physical().rechunk()
        most: Any = codes.max()
        every = pl.Series(np.arange(0 if most is None else most + 1, dtype=np.uint32))
        texts = every.cat.to(categories.dtype).cast(pl.String)
        return cls(each=texts, places=codes.fill_null(len(texts)) if codes.null_count() else codes)


def by_name(frame: pl.DataFrame) -> dict[str, pl.Series | Coded]:
    """Its columns; categories as what they stand for."""
    return {one.name: Coded.of(one) if isinstance(one.dtype, pl.Categorical) else one for one in frame}


class _Given:
    """A table that DuckDB scans as it is when a statement is executed."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class TextTyping:
    """Types the texts of one column by the rules that hold for all. What is against a rule, or draws a warning, is
    doubtful. Distinct texts are kept, as they come again in the next piece. One thread at a time."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, contract: Contract, form: FileForm, column: Column
    ) -> None:
        # A cursor of its own: most of what a few texts take is the optimizer's, which has nothing to win here.
        self._connection, self._column = connection.cursor(), column
        self._connection.execute("SET TimeZone = 'UTC'; PRAGMA disable_optimizer")
        broken = any_of(_column_rules(contract, form, column))
        self._given = _Given(self._numbered(NO_TEXTS))
        # Prepared once, over a table that is another each time: to plan it takes twice as long as to type a few texts.
        self._connection.register("quick_texts", self._given)
        self._connection.execute(
            f"PREPARE quick_typing AS SELECT exchange_line, {identifier(column.name)} AS value, {broken} AS broken "
            f"FROM ({typed_rows([column], form, source='quick_texts')})"
        )
        self._known: pl.DataFrame | None = None
        self._lock = Lock()

    def typed(self, texts: pl.Series) -> Typed:
        with self._lock:
            return self._typed(texts)

    def typed_distinct(self, coded: Coded) -> Typed:
        """Types each distinct text once."""
        texts = pl.concat([coded.each, pl.Series([None], dtype=pl.String)])
        with self._lock:
            each = self._typed_once(texts)
        return each.of_each(coded)

    def _typed(self, texts: pl.Series) -> Typed:
        self._given.table = self._numbered(texts.cast(pl.String))
        found = pl.DataFrame(self._connection.execute("EXECUTE quick_typing").to_arrow_table())
        self._given.table = self._numbered(NO_TEXTS)
        if not found["exchange_line"].is_sorted():
            found = found.sort("exchange_line")
        return Typed(held=found["value"], doubtful=found["broken"].to_numpy())

    def _typed_few(self, texts: pl.Series) -> Typed:
        typed = self._typed(texts)
        # A copy: DuckDB's own memory has room for a million rows, and would be kept from piece to piece.
        return replace(typed, held=typed.held.gather(np.arange(len(texts))))

    def _numbered(self, texts: pl.Series) -> pa.Table:
        table = pl.DataFrame({"exchange_line": np.arange(len(texts)), self._column.name: texts})
        return table.to_arrow(compat_level=pl.CompatLevel.newest())

    def _typed_once(self, texts: pl.Series) -> Typed:
        if len(texts) <= FEW_TEXTS:
            return self._typed_few(texts)
        given = pl.DataFrame({"text": texts})
        known = self._known if self._known is not None and self._known.height <= MOST_KNOWN else None
        new = given
        if known is not None:
            found = _joined(given, known)
            new = given.filter(found["doubtful"].is_null()) if found["doubtful"].null_count() else given.clear()
        if known is None or not new.is_empty():
            new = new.unique(maintain_order=True)
            typed = self._typed_few(new["text"])
            more = new.with_columns(value=typed.held, doubtful=pl.Series(typed.doubtful))
            known = more if known is None else pl.concat([known, more])
            found = _joined(given, known)
        self._known = known
        return Typed(held=found["value"], doubtful=found["doubtful"].to_numpy())


def _joined(texts: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    return texts.join(known, on="text", how="left", nulls_equal=True, maintain_order="left")


def _column_rules(contract: Contract, form: FileForm, column: Column) -> list[Rule]:
    found = [*rules(contract, form, damaged=False), *excel_rules(contract, form)]
    return [rule for rule in found if rule.column == column.name]


def any_of(found: list[Rule]) -> str:
    return " OR ".join(f"coalesce({rule.condition}, false)" for rule in found) or "false"


class RowRules:
    """The rules that are left for whole rows once each column is typed: limits of what the reader typed, and rules
    over several columns."""

    def __init__(self, contract: Contract, form: FileForm, planned: list[Planned]) -> None:
        self._read = [one.column for one in planned if one.way is Way.READER]
        self._several = [rule for rule in rules(contract, form, damaged=False) if rule.column is None]
        # Of a number that was read, no more is asked than whether there is one.
        known = ("missing_value", "not_a_whole_number", "not_an_integer")
        self._limits = {
            column.name: [rule for rule in _column_rules(contract, form, column) if rule.rule not in known]
            for column in self._read
        }
        self._lock = Lock()

    def broken(self, connection: duckdb.DuckDBPyConnection, typed: Mapping[str, Typed], rows: int) -> Marks | None:
        """Which rows are against one of the rules; ``None`` where none is."""
        outside = [column.name for column in self._read if not _within(column, typed[column.name])]
        found = [*self._several, *(rule for name in outside for rule in self._limits[name])]
        if not found:
            return None
        asked = list(typed) if self._several else outside
        frame = pl.DataFrame({"exchange_line": np.arange(rows), **{name: typed[name].values() for name in asked}})
        texts = ", ".join(
            f"CASE WHEN {identifier(name)} IS NOT NULL THEN '' END AS exchange_t_{name}" for name in asked
        )
        with self._lock:
            connection.register("quick_rows", frame.to_arrow(compat_level=pl.CompatLevel.newest()))
            struck = connection.execute(
                f"SELECT exchange_line FROM (SELECT *, {texts} FROM quick_rows) WHERE {any_of(found)}"
            ).fetchnumpy()["exchange_line"]
            connection.unregister("quick_rows")
        marks = np.zeros(rows, bool)
        marks[np.asarray(struck, np.int64)] = True
        return marks


def _within(column: Column, typed: Typed) -> bool:
    """Whether all values keep to the column's limits for certain."""
    options, held = column.logicalTypeOptions, typed.held
    if column.quality or (held.dtype.is_float() and not held.is_finite().all()):
        return False
    bounds = (options.minimum, options.maximum, options.exclusiveMinimum, options.exclusiveMaximum)
    if all(bound is None for bound in bounds):
        return True
    least, most = typed.coding.ends(held)
    if least is None:
        return True
    low = [Decimal(str(bound)) for bound in (options.minimum, options.exclusiveMinimum) if bound is not None]
    high = [Decimal(str(bound)) for bound in (options.maximum, options.exclusiveMaximum) if bound is not None]
    above = options.exclusiveMinimum is None or Decimal(str(options.exclusiveMinimum)) < Decimal(least)
    below = options.exclusiveMaximum is None or Decimal(str(options.exclusiveMaximum)) > Decimal(most)
    return above and below and all(one <= Decimal(least) for one in low) and all(one >= Decimal(most) for one in high)
