"""What happened to the marts, the newest first: releases, what became of them, notices. What the feed tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest, Notice, read_manifest
from lakehouse.release.pointer import read_pointer
from lakehouse.release.standing import Event, read_standing
from lakehouse.storage.index import releases
from lakehouse.storage.lake import ObjectNotFound

NEWEST = 100
WORDS = {
    "rolled_back": "is no longer the newest: the pointer was moved back. It can still be read by its name.",
    "restored": "is the newest again.",
    "yanked": "was withdrawn: do not use it. Its files are gone from every door.",
    "expired": "is past its retention: its files are gone, its manifest stays.",
}


@dataclass(frozen=True, kw_only=True)
class Happening:
    """``kind``: ``released``, what became of a release (``yanked`` …), or ``deprecated``. ``name`` tells it from
    every other for good."""

    name: str
    kind: str
    mart: str
    major: int
    at: datetime
    title: str
    summary: str


def happenings(exchange: Exchange, *, newest: int = NEWEST) -> list[Happening]:
    """At most ``newest``. Of the releases, and of those of which something became, as many of the newest are looked
    at, whatever the length of history."""
    listed = sa.select(releases.c.mart, releases.c.major, releases.c.release).limit(newest)
    by_age = (releases.c.created_at.desc(), releases.c.mart)
    made = exchange.index.rows(listed.order_by(*by_age))
    changed = exchange.index.rows(listed.where(releases.c.status != "released").order_by(*by_age))
    found: list[Happening] = []
    for row in made:
        found += _of(exchange, row["mart"], row["major"], row["release"], became=False)
    for row in changed:
        found += _of(exchange, row["mart"], row["major"], row["release"], became=True)
    for row in exchange.index.rows(sa.select(releases.c.mart, releases.c.major).distinct()):
        pointer, _ = read_pointer(exchange, mart=row["mart"], major=row["major"])
        if pointer is not None and pointer.notice is not None:
            found.append(_noticed(pointer.notice))
    return sorted(found, key=lambda one: (one.at, one.name), reverse=True)[:newest]


def _of(exchange: Exchange, mart: str, major: int, release: str, *, became: bool) -> Iterator[Happening]:
    try:
        manifest = read_manifest(exchange, mart=mart, major=major, release=release)
    except ObjectNotFound:
        return
    if not became:
        yield _released(manifest)
        return
    events = read_standing(exchange, mart=mart, major=major, release=release).events
    for number, event in enumerate(events, 1):
        if event.what in WORDS:
            yield _became(manifest, event, number)


def _released(manifest: Manifest) -> Happening:
    return Happening(
        name=f"{manifest.mart}/v{manifest.major}/{manifest.release}/released",
        kind="released",
        mart=manifest.mart,
        major=manifest.major,
        at=manifest.created_at,
        title=f"{manifest.title}: release {manifest.release}",
        summary=_difference(manifest),
    )


def _difference(manifest: Manifest) -> str:
    diff, grain = manifest.diff, manifest.partition["grain"]
    if diff["before"] is None:
        return f"First release of v{manifest.major}: {manifest.rows:,} rows in {len(manifest.files):,} {grain}s."
    counts = {
        "added": len(diff["partitions_added"]),
        "changed": len(diff["partitions_changed"]),
        "removed": len(diff["partitions_removed"]),
    }
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "none added, changed or removed"
    rows = f"{diff['rows_before']:,} rows before, {diff['rows_after']:,} now"
    return f"Against {diff['before']}: {grain}s: {said}; {diff['partitions_carried']:,} as they were. {rows}."


def _became(manifest: Manifest, event: Event, number: int) -> Happening:
    """Without who said so: that stands in the record, and is nobody's business who reads a feed."""
    return Happening(
        name=f"{manifest.mart}/v{manifest.major}/{manifest.release}/{event.what}/{number}",
        kind=event.what,
        mart=manifest.mart,
        major=manifest.major,
        at=event.at,
        title=f"{manifest.title}: release {manifest.release} {event.what.replace('_', ' ')}",
        summary=f"{manifest.release} {WORDS[event.what]} Why: {event.reason}",
    )


def _noticed(notice: Notice) -> Happening:
    return Happening(
        name=f"{notice.mart}/v{notice.major}/deprecated/v{notice.successor}",
        kind=notice.kind,
        mart=notice.mart,
        major=notice.major,
        at=notice.since,
        title=f"{notice.mart}: v{notice.major} gives way to v{notice.successor}, until {notice.until:%Y-%m-%d}",
        summary=" ".join([notice.text, *notice.changes]),
    )
