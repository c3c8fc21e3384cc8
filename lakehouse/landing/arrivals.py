"""What has arrived in a provider's inbox and come to rest: one listing of its bucket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from lakehouse.contracts.derive import landing_bucket
from lakehouse.exchange import Exchange

# Key and version: a file that is written again under its name arrives again.
Arrival = tuple[str, str]


class Inbox(NamedTuple):
    """``rested``: files that nobody has written to for as long as they have to rest; ``restless``: are there others."""

    rested: frozenset[Arrival]
    restless: bool


def look(exchange: Exchange, provider: str) -> Inbox:
    """A provider's inbox as it is now. Raises :class:`lakehouse.storage.lake.StorageError`."""
    since = datetime.now(UTC) - timedelta(seconds=exchange.settings.settle_seconds)
    entries = list(exchange.lake.list(landing_bucket(provider), "inbox/"))
    rested = [entry for entry in entries if entry.modified <= since]
    return Inbox(
        rested=frozenset((entry.key, f"{entry.version}@{entry.modified.isoformat()}") for entry in rested),
        restless=len(rested) < len(entries),
    )
