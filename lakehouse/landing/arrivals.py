"""What has arrived in a provider's inbox and come to rest: one listing of its bucket."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from lakehouse.contracts.derive import landing_bucket
from lakehouse.exchange import Exchange

# Key and version: a file that is written again under its name arrives again.
Arrival = tuple[str, str]
# By the folder of the inbox, as inbox/parking/, or inbox/ of what lies in none.
Arrivals = Mapping[str, frozenset[Arrival]]


class Inbox(NamedTuple):
    """``rested``: files that nobody has written to for as long as they have to rest; ``restless``: are there others."""

    rested: Arrivals
    restless: bool


def look(exchange: Exchange, provider: str) -> Inbox:
    """A provider's inbox as it is now. Raises :class:`lakehouse.storage.lake.StorageError`."""
    now, rest = datetime.now(UTC), timedelta(seconds=exchange.settings.settle_seconds)
    restless, rested = False, defaultdict(list)
    for entry in exchange.lake.list(landing_bucket(provider), "inbox/"):
        # A time that is still to come was brought along, or is another clock's: it says nothing of who writes now, and
        # who takes the file in looks whether it still changes.
        if now - rest < entry.modified <= now + rest:
            restless = True
        else:
            arrival = entry.key, f"{entry.version}@{entry.modified.isoformat()}"
            rested[_folder(entry.key)].append(arrival)
    return Inbox(rested={folder: frozenset(files) for folder, files in rested.items()}, restless=restless)


def _folder(key: str) -> str:
    inbox, name, *below = key.split("/", 2)
    return f"{inbox}/{name}/" if below else f"{inbox}/"
