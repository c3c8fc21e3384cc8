"""Types of a mart's columns, as other standards call them."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.contracts.mart import INTEGERS


@dataclass(frozen=True)
class _Names:
    odcs: str
    frictionless: str
    croissant: str


_INTEGER = _Names("integer", "integer", "cr:Int64")
_NUMBER = _Names("number", "number", "sc:Float")
_MOMENT = _Names("timestamp", "datetime", "sc:DateTime")
_TEXT = _Names("string", "string", "sc:Text")
_BY_KIND = {
    **dict.fromkeys(INTEGERS, _INTEGER),
    **dict.fromkeys(("DECIMAL", "NUMERIC", "DOUBLE", "FLOAT", "REAL"), _NUMBER),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"), _MOMENT),
    "DATE": _Names("date", "date", "sc:Date"),
    "BOOLEAN": _Names("boolean", "boolean", "sc:Boolean"),
}


def _names(data_type: str) -> _Names:
    return _BY_KIND.get(data_type.split("(")[0].strip().upper(), _TEXT)


def odcs_type(data_type: str) -> str:
    """The logical type of the Open Data Contract Standard."""
    return _names(data_type).odcs


def frictionless_type(data_type: str) -> str:
    """The type of a field in a Frictionless table schema."""
    return _names(data_type).frictionless


def croissant_type(data_type: str) -> str:
    return _names(data_type).croissant
