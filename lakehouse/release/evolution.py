"""What a mart's contract says otherwise than its newest release, and whether that breaks those who read it.

A change is compatible if every program that read the release reads the next one too, and is told nothing untrue: a
column more, a wider type, a promise that is stricter. All else breaks, and asks for a new major.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lakehouse.contracts.mart import Mart, MartColumn
from lakehouse.release.manifest import Column, Manifest

# Each holds every value of those before it, and readers take it for the same type: the promotions that Iceberg allows.
WIDER = (("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), ("FLOAT", "DOUBLE"))
ALIASES = {
    "INT": "INTEGER",
    "INT4": "INTEGER",
    "INT8": "BIGINT",
    "NUMERIC": "DECIMAL",
    "REAL": "FLOAT",
    "STRING": "VARCHAR",
    "TEXT": "VARCHAR",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
}
_TYPE = re.compile(r"\s*([A-Z0-9 ]+?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*")


@dataclass(frozen=True, kw_only=True)
class Change:
    """``what`` is the column, or ``key`` or ``partition``; ``words`` says it from the reader's side."""

    what: str
    breaking: bool
    words: str


def changes_since(base: Manifest, mart: Mart) -> list[Change]:
    """All differences of the contract: columns in the release's order, then new ones, then key and partition."""
    return list(_changes(base, mart))


def _changes(base: Manifest, mart: Mart) -> Iterator[Change]:
    now = {column.name: column for column in mart.columns}
    for before in base.columns:
        after = now.pop(before.name, None)
        if after is None:
            yield Change(what=before.name, breaking=True, words=f"column {before.name} is gone")
        else:
            yield from _column(before, after, private=mart.private)
    for name in now:
        # Published periods of a private mart are not built again, so they would lack it.
        why = ", which published periods would lack" if mart.private else ""
        yield Change(what=name, breaking=mart.private, words=f"column {name} is new{why}")
    meta = mart.exchange
    if base.key != tuple(meta.key):
        words = f"a row is named by {', '.join(meta.key)} and no more by {', '.join(base.key)}"
        yield Change(what="key", breaking=True, words=words)
    partition = {"column": meta.partition.column, "grain": meta.partition.grain}
    if base.partition != partition:
        words = f"partitions are {_partition(partition)} and no more {_partition(base.partition)}"
        yield Change(what="partition", breaking=True, words=words)


def _partition(stated: dict[str, str]) -> str:
    return f"by {stated['grain']} of {stated['column']}"


def _column(before: Column, after: MartColumn, *, private: bool) -> Iterator[Change]:
    name = before.name
    old, new = _plain(before.type), _plain(after.data_type)
    if old != new:
        wider = _holds(new, old) and not private
        yield Change(what=name, breaking=not wider, words=f"{name} was {old.lower()} and is {new.lower()}")
    if before.unit != after.unit:
        words = f"{name} was in {before.unit or 'no unit'} and is in {after.unit or 'no unit'}"
        yield Change(what=name, breaking=before.unit is not None, words=words)
    if before.required is not None and before.required != after.required:
        words = f"{name} was never null and may be" if before.required else f"{name} is never null any more"
        yield Change(what=name, breaking=before.required, words=words)
    yield from _values(name, before.values, after.values, known=before.required is not None)
    if before.description != after.description.strip():
        yield Change(what=name, breaking=False, words=f"{name} is described otherwise")


def _values(
    name: str, before: tuple[str, ...] | None, after: tuple[str, ...] | None, *, known: bool
) -> Iterator[Change]:
    """A value that readers were told would never come breaks those who count on it, as who adds up by kind."""
    if not known or before == after:
        return
    if before is None:
        yield Change(what=name, breaking=False, words=f"{name} takes listed values alone: {', '.join(after or ())}")
    elif after is None:
        yield Change(what=name, breaking=True, words=f"{name} may take other values than {', '.join(before)}")
    elif more := sorted(set(after) - set(before)):
        yield Change(what=name, breaking=True, words=f"{name} takes new values: {', '.join(more)}")
    else:
        fewer = sorted(set(before) - set(after))
        yield Change(what=name, breaking=False, words=f"{name} does not take any more: {', '.join(fewer)}")


def _holds(wide: str, narrow: str) -> bool:
    """Whether every value of the one type is one of the other, and readers take it so."""
    (kind, precision, scale), (other, less, same) = _parts(wide), _parts(narrow)
    if kind == other == "DECIMAL":
        return scale == same and precision >= less
    return any(kind in row and other in row and row.index(kind) >= row.index(other) for row in WIDER)


def _parts(data_type: str) -> tuple[str, int, int]:
    found = _TYPE.fullmatch(data_type.upper())
    if found is None:
        return data_type.upper(), 0, 0
    name = " ".join(found[1].split())
    return ALIASES.get(name, name), int(found[2] or 0), int(found[3] or 0)


def _plain(data_type: str) -> str:
    """One spelling of each type."""
    kind, precision, scale = _parts(data_type)
    return f"{kind}({precision}, {scale})" if precision else kind
