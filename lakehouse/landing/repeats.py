"""Bytes that were delivered before: known by their hash, and not read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.receipt import Sender, build_receipt
from lakehouse.storage.index import deliveries


@dataclass(frozen=True, kw_only=True)
class Before:
    """A delivery of the same bytes that was loaded, by its receipt."""

    receipt: dict[str, Any]

    @property
    def delivery(self) -> str:
        return str(self.receipt["delivery"])

    def by(self, contract: Contract) -> bool:
        """By another version of the contract the same bytes may mean something else: they are read anew."""
        return bool(self.receipt["contract_version"] == contract.version)


def repeats(exchange: Exchange, contract: Contract, delivery: dict[str, Any]) -> dict[str, Any] | None:
    """The receipt of bytes that were loaded before by the same contract, or ``None``."""
    if is_extract(delivery):
        # Sealed only where the source had answered otherwise in between.
        return None
    found = loaded_before(exchange, contract, [delivery["sha256"]], before=delivery["delivery"])
    earlier = found.get(delivery["sha256"])
    return repetition(contract, delivery, earlier.receipt) if earlier and earlier.by(contract) else None


def loaded_before(exchange: Exchange, contract: Contract, hashes: Sequence[str], *, before: str) -> dict[str, Before]:
    """By hash, the newest delivery of such bytes that was loaded, of those before one."""
    # Asked for by nothing but their hashes: a database that may choose reads all deliveries in their order.
    rows = exchange.index.rows(
        sa.select(deliveries.c.sha256, deliveries.c.delivery, deliveries.c.status, deliveries.c.receipt).where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.sha256.in_(hashes),
        )
    )
    loaded = [row for row in rows if row["status"] == "loaded" and row["delivery"] < before]
    return {row["sha256"]: Before(receipt=row["receipt"]) for row in sorted(loaded, key=itemgetter("delivery"))}


def is_extract(delivery: dict[str, Any]) -> bool:
    return str(delivery["inbox_key"]).startswith("extract/")


def repetition(contract: Contract, delivery: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """The receipt of a delivery whose bytes came before, with that receipt."""
    rows = int(earlier["delivered"])
    return build_receipt(
        sender=Sender.of(contract),
        delivery=delivery,
        status="repeated",
        delivered=rows,
        duplicates=rows,
        message=f"These very bytes were delivered before, as {earlier['delivery']}: nothing was changed.",
        next_step=(
            "Nothing is to be done. If you meant to send newer data, check which file was sent; to take a later "
            "correction back, deliver the rows in question in a file of their own."
        ),
    )
