"""What has arrived in a provider's inbox and come to rest: one listing of its bucket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lakehouse.contracts.derive import landing_bucket
from lakehouse.exchange import Exchange

# Key and version: a file that is written again under its name arrives again.
Arrival = tuple[str, str]


def arrivals(exchange: Exchange, provider: str) -> frozenset[Arrival]:
    """The files of a provider's inbox to which nobody has written for as long as a file has to rest."""
    rested = datetime.now(UTC) - timedelta(seconds=exchange.settings.settle_seconds)
    entries = exchange.lake.list(landing_bucket(provider), "inbox/")
    return frozenset(
        (entry.key, f"{entry.version}@{entry.modified.isoformat()}") for entry in entries if entry.modified <= rested
    )
