"""A part of a release: which columns and which rows, asked for in the words of an address and never in SQL."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lakehouse.release.manifest import Manifest
from lakehouse.sharing.hints import Predicate, compared, either, is_null, negated
from lakehouse.sharing.kinds import Kind, kind_of, read_value
from lakehouse.storage.sql import identifier

OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
COLUMNS, LIMIT = "columns", "limit"
_MOST_VALUES = 1000


class WrongSelection(ValueError):
    """What is asked for cannot be; the message says what can."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """``column operator values``: one value, several for ``in``, none for ``null``."""

    column: str
    operator: str
    values: tuple[Any, ...]

    def sql(self) -> tuple[str, list[Any]]:
        """A condition with a question mark for each value, and the values."""
        name = identifier(self.column)
        if self.operator == "null":
            return (f"{name} IS NULL" if self.values[0] else f"{name} IS NOT NULL"), []
        if self.operator == "in":
            return f"{name} IN ({', '.join('?' * len(self.values))})", list(self.values)
        return f"{name} {OPERATORS[self.operator]} ?", list(self.values)

    def predicate(self) -> Predicate:
        """The same, to leave files out by."""
        if self.operator == "null":
            return is_null(self.column) if self.values[0] else negated(is_null(self.column))
        if self.operator == "in":
            return either([compared(self.column, "=", value) for value in self.values])
        if self.operator == "ne":
            return negated(compared(self.column, "=", self.values[0]))
        return compared(self.column, OPERATORS[self.operator], self.values[0])


@dataclass(frozen=True, kw_only=True)
class Selection:
    """``columns`` in the order in which they are wanted; rows for which every condition holds, ``limit`` at most."""

    columns: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    limit: int | None = None

    def where(self) -> tuple[str, list[Any]]:
        """A WHERE clause, or nothing, and the values of its question marks."""
        pieces, values = [], []
        for condition in self.conditions:
            text, found = condition.sql()
            pieces.append(text)
            values += found
        return (f" WHERE {' AND '.join(pieces)}" if pieces else ""), values


def read_selection(manifest: Manifest, asked: Iterable[tuple[str, str]], *, ignored: Sequence[str] = ()) -> Selection:
    """Reads ``columns=a,b``, ``limit=10`` and any number of ``column=value`` and ``column.operator=value``, where
    the operator is one of eq, ne, lt, lte, gt, gte, in (values with commas between, quoted where they hold one) and
    null (true or false). Whatever else is asked for is refused, so that no misspelt condition is passed over.

    Raises :class:`WrongSelection`.
    """
    kinds = {column.name: kind_of(column.type) for column in manifest.columns}
    columns: tuple[str, ...] = tuple(kinds)
    conditions, limit = [], None
    for name, text in asked:
        if name in ignored:
            continue
        if name == COLUMNS:
            columns = _columns(text, kinds)
        elif name == LIMIT:
            limit = _limit(text)
        else:
            conditions.append(_condition(name, text, kinds))
    return Selection(columns=columns, conditions=tuple(conditions), limit=limit)


def _columns(text: str, kinds: dict[str, Kind]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        _known(name, kinds)
    if not names:
        raise WrongSelection(f"columns is empty; there are: {', '.join(kinds)}")
    return names


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise WrongSelection(f"limit {text[:60]!r} is not a whole number")
    return int(text)


def _condition(name: str, text: str, kinds: dict[str, Kind]) -> Condition:
    column, operator = (name, "eq") if name in kinds or "." not in name else name.rsplit(".", 1)
    _known(column, kinds)
    kind = kinds[column]
    try:
        if operator == "null":
            return Condition(column=column, operator=operator, values=(read_value(text, "boolean"),))
        if operator == "in":
            listed = next(csv.reader([text], skipinitialspace=True), [])
            if not 0 < len(listed) <= _MOST_VALUES:
                raise WrongSelection(f"{name}: give from one to {_MOST_VALUES} values, with commas between")
            return Condition(column=column, operator=operator, values=tuple(read_value(v, kind) for v in listed))
        if operator in OPERATORS:
            return Condition(column=column, operator=operator, values=(read_value(text, kind),))
    except csv.Error:
        raise WrongSelection(f"{name}: this is no list of values with commas between") from None
    except WrongSelection:
        raise
    except ValueError as error:
        raise WrongSelection(f"{name}: {error}") from None
    known = ", ".join([*OPERATORS, "in", "null"])
    raise WrongSelection(f"{name}: there is no operator {operator!r}; there are: {known}")


def _known(name: str, kinds: dict[str, Kind]) -> None:
    if name not in kinds:
        raise WrongSelection(f"there is no column {name[:60]!r}; there are: {', '.join(kinds)}")
