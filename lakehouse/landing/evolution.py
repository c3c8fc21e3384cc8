"""A delivery whose columns are not the contract's: what differs, what likely became of it, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.forms import CsvForm, FileForm, JsonForm, NdjsonForm, ParquetForm, XlsxForm
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.columns import unknown_columns
from lakehouse.landing.contract_change import draft_change
from lakehouse.landing.guess_types import Guess, guess_types
from lakehouse.landing.receipt import column_entry
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.sniff import FoundColumn, Sniffed, read_as_text
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.index import deliveries
from lakehouse.storage.sql import identifier

DELIMITERS = (";", ",", "\t", "|")
# From here on two names are likely the same in other words.
ALIKE = 0.6
# Columns of a foreign file are not all looked at, nor all of its rows.
LOOKED_AT, HEAD_BYTES = 60, 1 << 20
LEAST_ROWS = 20


def explained(
    exchange: Exchange,
    contract: Contract,
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    refusal: DeliveryRefused,
) -> DeliveryRefused:
    """The refusal of a file that lacks required columns, with the likely cause, the difference and a draft."""
    if isinstance(file.form, CsvForm) and (delimiter := _other_delimiter(contract, file.form, refusal.found)):
        return DeliveryRefused(
            "wrong_delimiter",
            f"The columns are parted by {delimiter!r} where the contract says {file.form.delimiter!r}.",
            "Excel parts columns so under some languages. Export from the source anew, or save with the "
            "contract's delimiter.",
        )
    if other := _other_dataset(exchange, contract, file.form, refusal.found):
        return DeliveryRefused(
            "wrong_dataset",
            f"{refusal.problem} It looks like a delivery of {other}.",
            f"Put it into inbox/{other}/.",
        )
    form = file.form
    missing = [
        column
        for column in contract.columns
        if column.required and _name(column, form) not in refusal.found and not _of_root(column, form)
    ]
    unknown = unknown_columns(contract, refusal.found)[:LOOKED_AT]
    guesses = _guesses(connection, file, [FoundColumn(source=name) for name in unknown if name])
    by_name, by_values = _likely_renames(missing, unknown, guesses)
    if not any(_name(column, form) in refusal.found for column in contract.columns):
        # A foreign file, or one without a header: what its values are alike to says nothing.
        by_values = {}
    # A name that is like none may be a value, in a file without a header.
    renamed = by_name if contract.private else by_name | by_values
    added = [] if contract.private else [guess for guess in guesses if guess.found.source not in renamed.values()]
    change: dict[str, Any] = {
        "contract_has": [_name(column, form) for column in missing],
        "file_has": [name for name in unknown if not contract.private or name in renamed.values()],
        "likely_renames": [
            {"contract": _name(column, form), "file": renamed[column.name]}
            for column in missing
            if column.name in renamed
        ],
        "draft": draft_change(contract, exchange.settings.contracts_path, renamed=renamed, retyped={}, added=added),
    }
    if not renamed:
        return DeliveryRefused("missing_columns", refusal.problem, refusal.advice, change=change)
    words = ", ".join(f"{pair['contract']!r} is likely {pair['file']!r} now" for pair in change["likely_renames"])
    return DeliveryRefused(
        "missing_columns",
        f"{refusal.problem} {words}.",
        "Deliver the columns under the names of the contract, or ask the exchange to take the drafted change.",
        change=change,
    )


def refuse_changed_types(
    exchange: Exchange, contract: Contract, connection: duckdb.DuckDBPyConnection, file: PlainFile
) -> None:
    """Raises :class:`DeliveryRefused` where not one value of a column is of its type any more."""
    faulty = connection.execute(
        "SELECT column_name, count(*) FROM faults WHERE NOT warning AND starts_with(rule, 'not_a') "
        f"GROUP BY column_name HAVING count(*) >= {LEAST_ROWS} ORDER BY column_name"
    ).fetchall()
    changed = [
        contract.column(name)
        for name, _ in faulty
        if connection.execute(f"SELECT count({identifier(name)}) FROM rows").fetchone() == (0,)
    ]
    if not changed:
        return
    columns = [FoundColumn(source=column.source, path=column.parse.path) for column in changed]
    guesses = {guess.found.source: guess for guess in _guesses(connection, file, columns)}
    guessed = [(column, guesses.get(column.source)) for column in changed]
    retyped = {column.name: guess for column, guess in guessed if guess and _is_retyped(column, guess)}
    draft = ""
    if retyped:
        draft = draft_change(contract, exchange.settings.contracts_path, renamed={}, retyped=retyped, added=[])
    raise DeliveryRefused(
        "type_changed",
        f"Not one value is of the contract's type: {', '.join(_retyped(*one) for one in guessed)}.",
        "Deliver the column as the contract states it, or ask the exchange to take "
        + ("the drafted change." if retyped else "this form."),
        change={
            "contract_has": [f"{column.source}: {column.logicalType}" for column in changed],
            "file_has": [f"{column.source}: {_found_type(column, guess)}" for column, guess in guessed if guess],
            "likely_renames": [],
            # Of a value's form there is none: with another version alone the file would be refused again.
            "draft": draft,
        },
    )


def _is_retyped(column: Column, guess: Guess) -> bool:
    return guess.logical != column.logicalType or (guess.physical or column.physicalType) != column.physicalType


def _found_type(column: Column, guess: Guess) -> str:
    if _is_retyped(column, guess):
        return guess.logical
    rule = f"{guess.parse.epoch} since 1970" if guess.parse.epoch else ", ".join(guess.parse.formats)
    return f"{guess.logical} in another form" + (f" ({rule})" if rule else "")


def _retyped(column: Column, guess: Guess | None) -> str:
    looks = "" if guess is None else f" but looks like {_found_type(column, guess)}"
    return f"{column.source!r} is no {column.logicalType} any more{looks}"


def reordered_columns(
    exchange: Exchange, contract: Contract, delivery: dict[str, Any], order: list[str], rows: int
) -> list[dict[str, Any]]:
    """An entry for the receipt where the contract's columns stand in another ``order`` than in the delivery before.

    They are found by name, so nothing is lost; but whoever made the file has changed how it is made.
    """
    last = exchange.index.row(
        sa.select(deliveries.c.receipt)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.status == "loaded",
            deliveries.c.delivery < delivery["delivery"],
        )
        .order_by(deliveries.c.delivery.desc())
        .limit(1)
    )
    before = last["receipt"].get("columns", []) if last else []
    common = set(before) & set(order)
    was, now = ([name for name in names if name in common] for names in (before, order))
    if was == now:
        return []
    moved = next(new for new, old in zip(now, was, strict=True) if new != old)
    return [
        column_entry(
            "reordered_columns",
            moved,
            rows,
            f"the columns in the order of the delivery before: {', '.join(was)}",
            "They were found by their names. See that each still holds what its name says.",
        )
    ]


def _name(column: Column, form: FileForm) -> str:
    """The name under which a file of this form has a column: of a nested record of JSON that of its outermost field."""
    if isinstance(form, CsvForm | ParquetForm | XlsxForm) or column.parse.path is None:
        return column.source
    return column.parse.path.removeprefix("$.").split(".")[0]


def _of_root(column: Column, form: FileForm) -> bool:
    """Whether the column stands beside the records of a document, where nobody has looked for it."""
    return isinstance(form, JsonForm) and (column.parse.path or "").startswith("$.")


def _other_delimiter(contract: Contract, form: CsvForm, found: Iterable[str]) -> str | None:
    """The sign that parts the header into the required columns, where the contract's does not."""
    header = form.delimiter.join(found)
    required = {column.source for column in contract.columns if column.required}
    for delimiter in DELIMITERS:
        names = {name.strip(f" {form.quote}") for name in header.split(delimiter)}
        if delimiter != form.delimiter and required <= names:
            return delimiter
    return None


def _other_dataset(exchange: Exchange, contract: Contract, form: FileForm, found: Iterable[str]) -> str | None:
    """The dataset of the same provider whose required columns the file has; of several the one it fits best."""
    names, best = set(found), (0, "")
    for other in exchange.sound_contracts.values():
        required = {_name(column, form) for column in other.columns if column.required and not _of_root(column, form)}
        if other.provider == contract.provider and other.key != contract.key and required <= names:
            known = sum(_name(column, form) in names for column in other.columns)
            best = max(best, (known, other.dataset))
    return best[1] or None


def _guesses(connection: duckdb.DuckDBPyConnection, file: PlainFile, columns: list[FoundColumn]) -> list[Guess]:
    """What some columns of a file hold, by its head; nothing where that cannot be read as text."""
    if not columns:
        return []
    head = file
    if isinstance(file.form, CsvForm | NdjsonForm) and file.path.stat().st_size > HEAD_BYTES:
        head = PlainFile(**{**file.__dict__, **_head(file)})
    try:
        read_as_text(connection, head, Sniffed(form=file.form, reasons={}, columns=columns))
        return guess_types(connection=connection, form=file.form, columns=columns)[0]
    except (duckdb.Error, DeliveryRefused):
        return []


def _head(file: PlainFile) -> dict[str, Any]:
    path: Path = file.scratch / "head"
    with file.path.open("rb") as source:
        text = source.read(HEAD_BYTES).rpartition(b"\n")[0] + b"\n"
    path.write_bytes(text)
    return {"path": path, "lines": text.count(b"\n")}


def _likely_renames(
    missing: list[Column], unknown: list[str], guesses: list[Guess]
) -> tuple[dict[str, str], dict[str, str]]:
    """Contract's column → file's name: those alike by name, and of the rest those that are alone of their type."""
    scored = sorted(
        ((_likeness(column, name), column.name, name) for column in missing for name in unknown), reverse=True
    )
    by_name: dict[str, str] = {}
    for score, ours, theirs in scored:
        if score >= ALIKE and ours not in by_name and theirs not in by_name.values():
            by_name[ours] = theirs
    by_values: dict[str, str] = {}
    rest = [column for column in missing if column.name not in by_name]
    others = [guess for guess in guesses if guess.found.source not in by_name.values()]
    for column in rest:
        same = [guess for guess in others if guess.logical == column.logicalType]
        alone = sum(one.logicalType == column.logicalType for one in rest) == 1
        if alone and len(same) == 1 and (column.logicalType != "string" or len(others) == 1):
            by_values[column.name] = same[0].found.source
    return by_name, by_values


def _likeness(column: Column, name: str) -> float:
    def plain(text: str) -> str:
        return re.sub(r"[^0-9a-zæøå]", "", text.lower())

    ours, theirs = {plain(column.source), plain(column.name)}, plain(name)
    if not theirs:
        return 0
    held = [one in theirs or theirs in one for one in ours if min(len(one), len(theirs)) >= 4]
    return max(0.9 if any(held) else 0, *(SequenceMatcher(None, one, theirs).ratio() for one in ours))
