"""Which of a file's columns are the contract's, and which are missing, unknown or there twice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

import duckdb

from lakehouse.contracts.forms import Unpivot
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.storage.sql import identifier, literal

SHOWN_NAMES = 40
AMBIGUOUS = ""


def header_names(names: Sequence[str], contract: Contract, *, line: int, place: Callable[[int], str]) -> dict[str, str]:
    """The columns of a header by name, with the SQL of the place where each stands. Blanks around are cut, and letters
    that a Mac writes in two parts (``a`` and a ring) are the contract's.

    A name that stands twice is :data:`AMBIGUOUS`. Raises :class:`DeliveryRefused` for a header without a name.
    """
    stripped = [name.strip("\ufeff\u00a0 \t\r\n") for name in names]
    if not any(stripped):
        raise DeliveryRefused("no_header", f"There is no header on line {line}.", "Deliver the file anew.", line=line)
    spelt = {_composed(column.source): column.source for column in contract.columns}
    found: dict[str, str] = {}
    for number, written in enumerate(stripped):
        name = spelt.get(_composed(written), written)
        found[name] = AMBIGUOUS if name in found else place(number)
    return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def with_lists(found: dict[str, str], unpivot: Unpivot | None) -> dict[str, str]:
    """The columns found, those that are to become rows put together: two lists, of their names and of their cells.

    :func:`rows_of_lists` makes rows of them once the file is read. Raises :class:`DeliveryRefused` where no column
    matches.
    """
    if unpivot is None:
        return found
    matches = {name: re.fullmatch(unpivot.columns, name) for name in found}
    taken = {name: match[1] if match.re.groups else name for name, match in matches.items() if match}
    if not taken:
        raise DeliveryRefused(
            "missing_columns",
            f"No column's name has the form {unpivot.columns!r}, by which columns become rows.",
            "Is it the right file for this dataset? If the columns were renamed, tell the exchange first.",
        )
    twice = [name for name in taken if found[name] == AMBIGUOUS]
    kept = {name: place for name, place in found.items() if name not in taken}
    if twice:
        return {**kept, unpivot.name: AMBIGUOUS, unpivot.value: AMBIGUOUS}
    return {
        **kept,
        unpivot.name: f"[{', '.join(literal(name) for name in taken.values())}]",
        unpivot.value: f"[{', '.join(found[name] for name in taken)}]",
    }


def rows_of_lists(connection: duckdb.DuckDBPyConnection, contract: Contract, unpivot: Unpivot) -> None:
    """Makes of each row of ``delivered`` one for each entry of its lists; all keep the row's line, and have their
    order there."""
    lists = [column.name for column in contract.columns if column.source in (unpivot.name, unpivot.value)]
    rows = ", ".join(f"unnest({identifier(name)}) AS {identifier(name)}" for name in lists)
    connection.execute("DROP VIEW IF EXISTS delivered_wide")
    connection.execute("ALTER VIEW delivered RENAME TO delivered_wide")
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW delivered AS "
        f"SELECT * REPLACE ({rows}), generate_subscripts({identifier(lists[0])}, 1) AS exchange_ordinal "
        "FROM delivered_wide"
    )


def selected(contract: Contract, found: Mapping[str, str], *, prefix: str = "") -> str:
    """SQL of the contract's columns out of ``found`` (source name → SQL expression of text), a ``prefix`` before their
    names.

    Raises :class:`DeliveryRefused` where required columns are missing, or one is there twice.
    """
    twice = [column.source for column in contract.columns if found.get(column.source) == AMBIGUOUS]
    if twice:
        raise DeliveryRefused(
            "duplicate_columns",
            f"The header names more than once: {_quoted(twice)}.",
            "Leave one of each, and deliver the file anew.",
        )
    missing = [column for column in contract.columns if column.required and column.source not in found]
    if missing:
        raise DeliveryRefused(
            "missing_columns",
            f"Required columns are missing: {_quoted(column.source for column in missing)}. "
            f"{_what_there_is(contract, list(found))}",
            "Is it the right file for this dataset? If the columns were renamed, tell the exchange first.",
            found=list(found),
        )
    return ", ".join(
        f"{found.get(column.source, 'NULL::VARCHAR')} AS {identifier(prefix + column.name)}"
        for column in contract.columns
    )


def refuse_foreign_records(connection: duckdb.DuckDBPyConnection, contract: Contract, fields: list[str]) -> None:
    """Raises :class:`DeliveryRefused` for records without a single value for a required column: they are another
    dataset's. ``fields``: what the records have instead."""
    required = [column for column in contract.columns if column.required]
    counts = connection.execute(
        f"SELECT count(*), {', '.join(f'count({identifier(column.name)})' for column in required)} FROM delivered"
    ).fetchone()
    if not counts or counts[0] == 0:
        return
    absent = [column for column, count in zip(required, counts[1:], strict=True) if count == 0]
    if absent:
        raise DeliveryRefused(
            "missing_columns",
            f"No record has: {', '.join(repr(column.parse.path or column.source) for column in absent)}.",
            "Is it the right file for this dataset? If the fields were renamed, tell the exchange first.",
            found=fields,
        )


def unknown_columns(contract: Contract, found: Iterable[str]) -> list[str]:
    """Columns of the file that the contract neither has nor ignores.

    Of a nested field of JSON that is loaded in part nothing is said.
    """
    known = {column.source for column in contract.columns} | set(contract.exchange.delivery.ignored_columns)
    paths = [column.parse.path for column in contract.columns if column.parse.path]
    paths += [unnest for form in contract.exchange.delivery.forms if (unnest := getattr(form, "unnest", None))]
    known |= {path.removeprefix("$.").removeprefix("^.").split(".")[0] for path in paths}
    return [name for name in found if name not in known]


def dropped_columns(contract: Contract, found: Iterable[str]) -> list[str]:
    """Optional columns of the contract that a table does not have."""
    names = set(found)
    return [column.source for column in contract.columns if not column.required and column.source not in names]


def _what_there_is(contract: Contract, names: list[str]) -> str:
    """What the file has instead. Of a private dataset only known names: without a header they are data."""
    if not contract.private:
        return f"The file has: {_quoted(names[:SHOWN_NAMES]) or 'none'}."
    unknown = set(unknown_columns(contract, names))
    known = _quoted(name for name in names if name not in unknown) or "none that the contract knows"
    return f"The file has: {known}; and {len(unknown)} others."


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
