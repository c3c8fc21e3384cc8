"""Sealed bytes without the rows of people who were erased: under a new seal, with a tombstone where they lay."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.erased import Erased, cut_out, erased_from
from lakehouse.landing.receipt import Sender, build_receipt, refusal_entry
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.storage.index import deliveries

TOMBSTONE = "tombstone.json"
ORIGIN = "origin.json"
RULE = "erased_subject"
WHY = "a person's right to erasure (GDPR article 17)"


def take_erased_out(
    exchange: Exchange, contract: Contract, delivery: dict[str, Any], connection: duckdb.DuckDBPyConnection
) -> int:
    """Rows of erased people are taken out of what was sealed before anything else reads it. Returns how many.

    The delivery's ``raw_key`` is then that of what is left, ``None`` where nothing is.
    """
    erased = erased_from(exchange, contract)
    if erased is None:
        return 0
    # Of deliveries of the same bytes, which share what was sealed, one may have been here since this one was read.
    mine = deliveries.c.delivery == delivery["delivery"]
    delivery["raw_key"] = exchange.index.rows(sa.select(deliveries.c.raw_key).where(mine))[0]["raw_key"]
    if delivery["raw_key"] is None:
        return 0
    try:
        rows, delivery["raw_key"] = without_erased(exchange, contract, erased, delivery["raw_key"], connection)
    except (DeliveryRefused, duckdb.Error):
        return 0  # it will be refused as it is, with the reason
    return rows


def without_erased(
    exchange: Exchange,
    contract: Contract,
    erased: Erased,
    raw_key: str,
    connection: duckdb.DuckDBPyConnection,
) -> tuple[int, str | None]:
    """Takes the rows of erased people out of one object of ``raw``. Returns how many, and the key of what is left:
    the same where it holds none, ``None`` where nothing is left.

    The rest is sealed anew and the index names it before the old bytes go; what died in between is done by the
    next call. A file whose format has no lines goes whole.
    Raises :class:`DeliveryRefused` where the file cannot be read.
    """
    with exchange.workplace("erase") as folder:
        path = exchange.lake.download("raw", raw_key, folder / "delivered")
        cut = cut_out(
            connection=connection,
            contract=contract,
            erased=erased,
            path=path,
            name=PurePosixPath(raw_key).name,
            folder=folder,
            max_bytes=exchange.settings.max_unpacked_bytes,
        )
        if cut is None:
            return 0, raw_key
        return cut.rows, replace_raw(exchange, raw_key, cut.path, rows=cut.rows)


def replace_raw(exchange: Exchange, raw_key: str, path: Path | None, *, rows: int | None) -> str | None:
    """Puts ``path`` in the place of a sealed object, or nothing. Returns the new key."""
    old = str(PurePosixPath(raw_key).parent)
    new_key = None if path is None else _seal_again(exchange, raw_key, path)
    with exchange.index.begin() as connection:
        connection.execute(sa.update(deliveries).where(deliveries.c.raw_key == raw_key).values(raw_key=new_key))
    tombstone = {
        "what": "the whole file" if path is None else "the rows of a person",
        "rows": rows,
        "why": WHY,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "now": new_key,
    }
    _write_json(exchange, f"{old}/{TOMBSTONE}", tombstone)
    exchange.lake.delete("raw", raw_key)
    exchange.lake.delete("raw", f"{old}/{ORIGIN}")
    return new_key


def _seal_again(exchange: Exchange, raw_key: str, path: Path) -> str:
    old = PurePosixPath(raw_key).parent
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = f"{old.parent}/{sha256}"
    new_key = f"{folder}/{PurePosixPath(raw_key).name}"
    exchange.lake.upload("raw", new_key, path)
    if exchange.lake.stat("raw", f"{old}/{ORIGIN}") is not None:
        # `sha256` stays that of what was delivered: by it the same file is known when it comes again.
        origin = json.loads(exchange.lake.read_bytes("raw", f"{old}/{ORIGIN}"))
        _write_json(exchange, f"{folder}/{ORIGIN}", {**origin, "erased": True})
    return new_key


def _write_json(exchange: Exchange, key: str, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    exchange.lake.write_bytes("raw", key, text.encode(), content_type="application/json")


def _refusal(problem: str) -> DeliveryRefused:
    return DeliveryRefused(RULE, problem, "Leave the rows of this person out of further deliveries.")


def went_whole(sender: Sender, delivery: dict[str, Any]) -> dict[str, Any]:
    """The receipt of a delivery with rows of erased people, in a format out of which no rows can be taken."""
    refusal = _refusal("The file holds rows of a person who was erased from this dataset; it was not kept.")
    return build_receipt(
        sender=sender,
        delivery=delivery,
        status="refused",
        errors=[refusal_entry(refusal, 0)],
        message=f"The delivery was refused whole. {refusal.problem}",
        next_step=refusal.advice,
    )


def with_erased(receipt: dict[str, Any], rows: int) -> dict[str, Any]:
    """The receipt of a delivery out of which rows of erased people were taken before it was loaded."""
    refusal = _refusal("no row of a person who was erased from this dataset")
    status = "partly_accepted" if receipt["status"] == "accepted" else receipt["status"]
    return {
        **receipt,
        "status": status,
        "delivered": receipt["delivered"] + rows,
        "refused": receipt["refused"] + rows,
        "errors": [refusal_entry(refusal, rows), *receipt["errors"]],
        "message": f"{receipt['message']} {rows:,} more were refused: they are of a person who was erased.",
    }


def erased_rows(receipt: dict[str, Any]) -> int:
    """How many rows of a delivery were taken out of it, by its receipt."""
    return sum(int(entry["rows"]) for entry in receipt["errors"] if entry["rule"] == RULE)
