"""What happened to the marts, the newest first: releases, withdrawals, notices. What the feed tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest, read_manifest
from lakehouse.storage.index import releases
from lakehouse.storage.lake import ObjectNotFound

NEWEST = 100


@dataclass(frozen=True, kw_only=True)
class Happening:
    """``kind``: ``released``, what became of the release later (``yanked`` …), or ``deprecated``. ``name`` tells it
    from every other for good."""

    kind: str
    mart: str
    major: int
    release: str
    at: datetime
    title: str
    summary: str

    @property
    def name(self) -> str:
        return f"{self.mart}/v{self.major}/{self.release}/{self.kind}"


def happenings(exchange: Exchange, *, newest: int = NEWEST) -> list[Happening]:
    """At most ``newest``. As many manifests are read, whatever the length of history."""
    rows = exchange.index.rows(
        sa.select(releases.c.mart, releases.c.major, releases.c.release)
        .order_by(releases.c.created_at.desc(), releases.c.mart)
        .limit(newest)
    )
    found: list[Happening] = []
    for row in rows:
        try:
            manifest = read_manifest(exchange, mart=row["mart"], major=row["major"], release=row["release"])
        except ObjectNotFound:
            continue
        found += [_released(manifest), *_noticed(manifest)]
    # A notice stands in every release from its day on, and happened once.
    once = {happening.name: happening for happening in reversed(found)}
    return sorted(once.values(), key=lambda one: (one.at, one.name), reverse=True)[:newest]


def _released(manifest: Manifest) -> Happening:
    return Happening(
        kind="released",
        mart=manifest.mart,
        major=manifest.major,
        release=manifest.release,
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


def _noticed(manifest: Manifest) -> list[Happening]:
    return [
        Happening(
            kind=notice.kind,
            mart=notice.mart,
            major=notice.major,
            release=f"v{notice.successor}",
            at=notice.since,
            title=f"{manifest.title}: v{notice.major} gives way to v{notice.successor}, until {notice.until:%Y-%m-%d}",
            summary=f"{notice.text} {' '.join(notice.changes)}".strip(),
        )
        for notice in manifest.notices
    ]
