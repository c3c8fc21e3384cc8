"""What became of a release after it was published: ``standing.json`` beside its manifest, which never changes.

It is there only where something became of it. The index follows it; a lost index is made again from it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import release_prefix
from lakehouse.storage.lake import Conflict, ObjectNotFound

Status = Literal["released", "rolled_back", "yanked", "expired"]
What = Literal["rolled_back", "restored", "yanked", "expired", "pinned", "unpinned"]
NAME = "standing.json"
ATTEMPTS = 10
_STATUS: dict[What, Status] = {
    "rolled_back": "rolled_back",
    "restored": "released",
    "yanked": "yanked",
    "expired": "expired",
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Event(_Model):
    what: What
    at: datetime
    by: str
    reason: str


class Standing(_Model):
    """``released`` and ``rolled_back`` releases can be read, ``yanked`` and ``expired`` ones cannot. ``events`` in
    the order in which they happened; none is ever taken out."""

    format: Literal["city-data-exchange/standing/1"] = "city-data-exchange/standing/1"
    mart: str
    major: int
    release: str
    status: Status = "released"
    pinned: bool = False
    events: tuple[Event, ...] = ()

    @property
    def last(self) -> Event | None:
        return self.events[-1] if self.events else None

    def why(self, what: What) -> Event | None:
        """The last event of that kind."""
        return next((event for event in reversed(self.events) if event.what == what), None)


def standing_key(mart: str, major: int, release: str) -> str:
    return f"{release_prefix(mart, major, release)}/{NAME}"


def read_standing(exchange: Exchange, *, mart: str, major: int, release: str) -> Standing:
    """One that says nothing where nothing became of the release."""
    try:
        content = exchange.lake.read_bytes("marts", standing_key(mart, major, release))
    except ObjectNotFound:
        return Standing(mart=mart, major=major, release=release)
    return Standing.model_validate_json(content)


def note(exchange: Exchange, *, mart: str, major: int, release: str, what: What, by: str, reason: str) -> Standing:
    """Adds an event, unless the release stands so already: then whoever came first is the one on record. What is
    pinned does not expire, and what is gone is not pinned or restored: then nothing is added."""
    key = standing_key(mart, major, release)
    for _ in range(ATTEMPTS):
        entry = exchange.lake.stat("marts", key)
        before = read_standing(exchange, mart=mart, major=major, release=release)
        after = _with(before, Event(what=what, at=datetime.now(UTC), by=by, reason=reason))
        if after is None:
            return before
        try:
            content = after.model_dump_json(indent=1).encode()
            exchange.lake.write_if("marts", key, content, expected=entry.version if entry else None)
        except Conflict:
            continue
        return after
    raise Conflict("marts", key, None)


def _with(standing: Standing, event: Event) -> Standing | None:
    readable = standing.status in ("released", "rolled_back")
    if (event.what == "expired" and (standing.pinned or not readable)) or (event.what == "pinned" and not readable):
        return None
    if event.what in ("rolled_back", "restored") and standing.status == "yanked":
        return None
    status = _STATUS.get(event.what, standing.status)
    pinned = {"pinned": True, "unpinned": False}.get(event.what, standing.pinned)
    if (status, pinned) == (standing.status, standing.pinned):
        return None
    return standing.model_copy(update={"status": status, "pinned": pinned, "events": (*standing.events, event)})
