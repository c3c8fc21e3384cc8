"""Which small deliveries of a dataset are loaded together, how far that goes, and how it is named."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.plausibility import HISTORY, known_levels
from lakehouse.landing.profile import HISTORY as PROFILES
from lakehouse.landing.profile import last_arrival, past_profiles
from lakehouse.landing.repeats import Before, loaded_before
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.storage.index import deliveries

# A batch is not larger than what one reading and one transaction bear, nor its files than what memory does.
MOST, LARGEST_BYTES, BATCH_BYTES = 500, 256 << 10, 16 << 20
# Of fewer there is nothing to be saved.
LEAST = 8
# In the name of a batch.
BETWEEN = "-to-"
Delivery = dict[str, Any]


@dataclass(kw_only=True)
class Past:
    """What the next delivery is held to, of those before it; the newest first."""

    levels: deque[dict[str, dict[str, float]]]
    profiles: deque[dict[str, Any]]
    last: datetime | None
    loaded: dict[str, Before]

    @classmethod
    def of(
        cls,
        exchange: Exchange,
        contract: Contract,
        members: Sequence[Delivery],
        told: Mapping[str, dict[str, Any]] | None = None,
    ) -> Past:
        """``told``: receipts by delivery that take the place of those in the index."""
        first = members[0]["delivery"]
        return cls(
            levels=deque(known_levels(exchange, contract, before=first, told=told), maxlen=HISTORY),
            profiles=deque(past_profiles(exchange, contract, before=first), maxlen=PROFILES),
            last=last_arrival(exchange, contract, first),
            loaded=loaded_before(exchange, contract, [member["sha256"] for member in members], before=first),
        )


@dataclass(kw_only=True)
class Batch:
    """One attempt. A ``part`` is a member's place; ``end``: the first that is not of the batch."""

    exchange: Exchange
    contract: Contract
    connection: duckdb.DuckDBPyConnection
    folder: Path
    members: Sequence[Delivery]
    past: Past
    end: int
    # By the part of a repetition what it repeats; of bytes that a member has too, once that is loaded.
    repeated: dict[int, str] = field(default_factory=dict)
    odd: set[str] = field(default_factory=set)

    def cut(self, parts: Iterable[int]) -> None:
        """These are loaded alone, and the batch ends before the first of them."""
        found = {part for part in parts if part < self.end}
        self.odd |= {self.members[part]["delivery"] for part in found}
        self.end = min(found, default=self.end)

    def keep_rows(self) -> None:
        """Forgets the rows that are behind the end."""
        self.connection.execute(f"DELETE FROM exact_rows WHERE exchange_line >= {self.end * PART_LINES}")


def batch_of(left: Iterable[Delivery], odd: set[str], *, again: bool = False) -> list[Delivery]:
    """The first of these that are small, not known to be odd, and still to be loaded, unless it is ``again``."""
    members: list[Delivery] = []
    size = 0
    for delivery in left:
        fits = (
            (again or delivery["receipt"] is None)
            and delivery["raw_key"] is not None
            and delivery["bytes"] <= LARGEST_BYTES
        )
        if not fits or delivery["delivery"] in odd or len(members) == MOST or size > BATCH_BYTES:
            break
        members.append(delivery)
        size += delivery["bytes"]
    return members


def members_of(exchange: Exchange, contract: Contract, batch: str) -> list[Delivery]:
    """The deliveries whose receipts say that they were loaded together under that name, in order."""
    first, last = batch[: batch.rindex("-")].split(BETWEEN)
    rows = exchange.index.rows(
        sa.select(deliveries)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.receipt.is_not(None),
            deliveries.c.delivery.between(first, last),
        )
        .order_by(deliveries.c.delivery)
    )
    return [dict(row) for row in rows if row["receipt"] and row["receipt"].get("batch") == batch]


def between_them(contract: Contract, members: Sequence[Delivery]) -> sa.Select[Any]:
    """Asks for deliveries between the first and the last that were loaded already: they are judged by what came before
    those, and those behind by them."""
    return (
        sa.select(deliveries.c.delivery)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.status == "loaded",
            deliveries.c.delivery > members[0]["delivery"],
            deliveries.c.delivery < members[-1]["delivery"],
        )
        .order_by(deliveries.c.delivery)
        .limit(1)
    )


def batch_name(members: list[str]) -> str:
    """Of the files of a batch: its first and last delivery, and a hash of all, for another batch may begin so too."""
    digest = hashlib.sha256("\n".join(members).encode()).hexdigest()[:8]
    return f"{members[0]}{BETWEEN}{members[-1]}-{digest}"
