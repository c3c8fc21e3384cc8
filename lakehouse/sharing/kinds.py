"""Types of a release's columns, as its manifest states them (DuckDB's names): what a value in a request means."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

Kind = Literal["integer", "decimal", "float", "boolean", "date", "timestamp", "text", "other"]

_KINDS: dict[Kind, tuple[str, ...]] = {
    "integer": (
        *("TINYINT", "SMALLINT", "INT", "INTEGER", "BIGINT", "HUGEINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
    ),
    "decimal": ("DECIMAL", "NUMERIC"),
    "float": ("DOUBLE", "FLOAT", "REAL"),
    "boolean": ("BOOLEAN", "BOOL"),
    "date": ("DATE",),
    "timestamp": ("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"),
    "text": ("VARCHAR", "TEXT", "STRING"),
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,38}")


def kind_of(data_type: str) -> Kind:
    """``decimal`` of ``decimal(9, 2)``."""
    name = data_type.split("(")[0].strip().upper()
    return next((kind for kind, names in _KINDS.items() if name in names), "other")


def read_value(text: str, kind: Kind) -> Any:
    """The value that a text stands for in a column of that kind; times without an offset are UTC.

    Raises ``ValueError`` for one that it cannot be, in words for whoever wrote it.
    """
    try:
        return _read(text.strip() if kind != "text" else text, kind)
    except (ValueError, InvalidOperation):
        wanted = {
            "integer": "a whole number",
            "decimal": "a number, as 12.5",
            "float": "a number, as 12.5",
            "boolean": "true or false",
            "date": "a date, as 2024-10-26",
            "timestamp": "a time, as 2024-10-26T13:00:00Z",
        }.get(kind, "a value that can be compared")
        raise ValueError(f"{text[:60]!r} is not {wanted}") from None


def _read(text: str, kind: Kind) -> Any:
    if kind == "integer":
        if not _INTEGER.fullmatch(text):
            raise ValueError
        return int(text)
    if kind in ("decimal", "float"):
        number = Decimal(text)
        if not number.is_finite():
            raise ValueError
        return number
    if kind == "boolean":
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else _no()
    if kind == "date":
        return date.fromisoformat(text)
    if kind == "timestamp":
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return text if kind == "text" else _no()


def _no() -> Any:
    raise ValueError
