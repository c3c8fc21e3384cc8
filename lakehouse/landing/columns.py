"""Which of a file's columns are the contract's, and which are missing, unknown or there twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.storage.sql import identifier

SHOWN_NAMES = 40
AMBIGUOUS = ""


def header_names(names: Sequence[str], *, line: int, place: Callable[[int], str]) -> dict[str, str]:
    """The columns of a header by name, with the SQL of the place where each stands. Blanks around are cut.

    A name that stands twice is :data:`AMBIGUOUS`. Raises :class:`DeliveryRefused` for a header without a name.
    """
    stripped = [name.strip("\ufeff\u00a0 \t\r\n") for name in names]
    if not any(stripped):
        raise DeliveryRefused("no_header", f"There is no header on line {line}.", "Deliver the file anew.", line=line)
    found: dict[str, str] = {}
    for number, name in enumerate(stripped):
        found[name] = AMBIGUOUS if name in found else place(number)
    return found


def selected(contract: Contract, found: Mapping[str, str]) -> str:
    """SQL of the contract's columns out of ``found`` (source name → SQL expression of text).

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
        f"{found.get(column.source, 'NULL::VARCHAR')} AS {identifier(column.name)}" for column in contract.columns
    )


def unknown_columns(contract: Contract, found: Iterable[str]) -> list[str]:
    """Columns of the file that the contract neither has nor ignores.

    Of a nested field of JSON that is loaded in part nothing is said.
    """
    known = {column.source for column in contract.columns} | set(contract.exchange.delivery.ignored_columns)
    known |= {column.parse.path.split(".")[0] for column in contract.columns if column.parse.path}
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
