"""Columns of two sides: which came, went or changed in type, unit or description, and by which rows are matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lakehouse.contracts.mart import NUMBERS
from lakehouse.release.diff.sides import Side
from lakehouse.release.manifest import Column
from lakehouse.storage.sql import identifier

STATED = ("type", "unit", "description")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A column that is not of the key, as either side has it."""

    name: str
    before: Column | None
    after: Column | None

    @property
    def differs(self) -> str | None:
        """SQL, of ``b`` and ``a``, that holds where its value was restated; none for a column of one side alone."""
        if self.before is None or self.after is None:
            return None
        old, new = (f"{side}.{identifier(self.name)}" for side in "ba")
        if plain(self.before.type) != plain(self.after.type) and not (is_number(self.before) and is_number(self.after)):
            old, new = f"{old}::VARCHAR", f"{new}::VARCHAR"
        return f"{old} IS DISTINCT FROM {new}"


def values_of(before: Side | None, after: Side) -> list[Value]:
    """In the order of the newer side, then what only the older one had."""
    old, new = _by_name(before), _by_name(after)
    key = set(after.key)
    names = [name for name in [*new, *(name for name in old if name not in new)] if name not in key]
    return [Value(name=name, before=old.get(name), after=new.get(name)) for name in names]


def is_number(column: Column) -> bool:
    return column.type.split("(")[0].strip().upper() in NUMBERS


def plain(data_type: str) -> str:
    return "".join(data_type.upper().split())


def column_changes(before: Side | None, after: Side) -> list[dict[str, Any]]:
    """A column each that is not on both sides as it was: ``{column, change, what, type_before, type_after, …}``.

    ``what``: which of type, unit and description are others. Nothing where there is no older side.
    """
    if before is None:
        return []
    old, new = _by_name(before), _by_name(after)
    changes = []
    for name in [*new, *(name for name in old if name not in new)]:
        was, now = old.get(name), new.get(name)
        what = [fact for fact in STATED if was and now and _stated(was, fact) != _stated(now, fact)]
        if was is not None and now is not None and not what:
            continue
        change = "added" if was is None else "removed" if now is None else "changed"
        facts: dict[str, Any] = {"column": name, "change": change, "what": what}
        for fact in STATED:
            facts |= {f"{fact}_before": getattr(was, fact, None), f"{fact}_after": getattr(now, fact, None)}
        changes.append(facts)
    return changes


def unmatched(before: Side | None, after: Side) -> str | None:
    """Why rows of the two sides cannot be matched, or ``None`` where they can."""
    if before is None:
        return "it is the first release"
    if set(before.key) != set(after.key):
        return f"the key was ({', '.join(before.key)}) and is ({', '.join(after.key)})"
    old, new = _by_name(before), _by_name(after)
    other = [name for name in after.key if plain(old[name].type) != plain(new[name].type)]
    return f"of the key, {', '.join(other)} has another type" if other else None


def _by_name(side: Side | None) -> dict[str, Column]:
    return {column.name: column for column in side.columns} if side else {}


def _stated(column: Column, fact: str) -> Any:
    stated = getattr(column, fact)
    return plain(stated) if fact == "type" else stated
