"""Retention: every release of the last days, then the last of each month, and what is pinned for ever.

Of a release that is past it the files go. Its manifest, signature and standing stay as the record, and so does what
the audit of a private release needs: that it is not kept any more does not make it unread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.release.listing import READABLE, ReleaseGone, release_row, why_gone
from lakehouse.release.manifest import read_manifest
from lakehouse.release.pointer import read_pointer
from lakehouse.release.standing import Standing, note, read_standing
from lakehouse.release.withdraw import AT_ONCE, WITHDRAWN, finish_yank, set_status
from lakehouse.storage.index import release_pins, releases, upsert

BY = "retention"


@dataclass(frozen=True, kw_only=True)
class Past:
    """A release that is past its retention. ``bytes``: of its files, which other releases may share on a disk."""

    mart: str
    major: int
    release: str
    created_at: datetime
    files: int
    bytes: int


def retention(exchange: Exchange, *, now: datetime, days: int, apply: bool = False) -> list[Past]:
    """What is past its retention at ``now``; with ``apply`` its files are removed, and what a killed command left is
    finished. Left alone are the newest of each major, what is pinned, all of the last ``days``, the last release of
    each calendar month (UTC), and all majors of a mart in whose overlap of majors ``now`` falls.
    """
    if apply:
        _finish(exchange)
    found = list(_past(exchange, now, days))
    if apply:
        for past in found:
            _expire(exchange, past, days)
        _remove_withdrawn(exchange, now - timedelta(days=days))
    return found


def _past(exchange: Exchange, now: datetime, days: int) -> Iterator[Past]:
    pinned = {(row["mart"], row["major"], row["release"]) for row in exchange.index.rows(sa.select(release_pins))}
    majors: dict[str, set[int]] = defaultdict(set)
    months: dict[tuple[str, int, str], str] = {}
    rows = exchange.index.rows(
        sa.select(releases).where(releases.c.status.in_(READABLE)).order_by(releases.c.created_at, releases.c.release)
    )
    for row in rows:
        majors[row["mart"]].add(row["major"])
        months[row["mart"], row["major"], f"{row['created_at']:%Y-%m}"] = row["release"]
    overlapping = {mart for mart, found in majors.items() if len(found) > 1 and _in_overlap(exchange, mart, found, now)}
    for row in rows:
        name = (row["mart"], row["major"], row["release"])
        last_of_month = months[row["mart"], row["major"], f"{row['created_at']:%Y-%m}"] == row["release"]
        recent = row["created_at"] >= now - timedelta(days=days)
        if row["latest"] or recent or last_of_month or name in pinned or row["mart"] in overlapping:
            continue
        manifest = read_manifest(exchange, mart=row["mart"], major=row["major"], release=row["release"])
        yield Past(
            mart=row["mart"], major=row["major"], release=row["release"], created_at=row["created_at"],
            files=len(manifest.files), bytes=manifest.bytes,
        )  # fmt: skip


def _in_overlap(exchange: Exchange, mart: str, majors: set[int], now: datetime) -> bool:
    pointers = (read_pointer(exchange, mart=mart, major=major)[0] for major in majors)
    return any(
        pointer is not None and pointer.notice is not None and now < pointer.notice.until for pointer in pointers
    )


def _expire(exchange: Exchange, past: Past, days: int) -> None:
    """Says so first, and removes nothing where somebody has pinned it or gone back to it meanwhile."""
    named = {"mart": past.mart, "release": past.release}
    reason = f"older than {days} days, and not the last of its month"
    standing = note(exchange, **named, major=past.major, what="expired", by=BY, reason=reason)
    if standing.status != "expired":
        return
    pointer, _ = read_pointer(exchange, mart=past.mart, major=past.major)
    if pointer is not None and pointer.release == past.release:
        note(exchange, **named, major=past.major, what="restored", by=BY, reason="the pointer names it")
        return
    _remove_files(exchange, past.mart, past.major, past.release)


def _remove_files(exchange: Exchange, mart: str, major: int, release: str) -> None:
    """Of other releases the files are links or copies of their own: they stay whole."""
    manifest = read_manifest(exchange, mart=mart, major=major, release=release)
    set_status(exchange, mart, major, release, "expiring")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        keys = (f"{manifest.prefix}/{file.path}" for file in manifest.files)
        list(pool.map(lambda key: exchange.lake.delete("marts", key), keys))
    set_status(exchange, mart, major, release, "expired")


def _finish(exchange: Exchange) -> None:
    """What a killed command had begun."""
    rows = exchange.index.rows(sa.select(releases).where(releases.c.status.in_(["yanking", "expiring"])))
    for row in rows:
        if row["status"] == "expiring":
            _remove_files(exchange, row["mart"], row["major"], row["release"])
        else:
            named = {"mart": row["mart"], "release": row["release"]}
            finish_yank(exchange, read_manifest(exchange, **named, major=row["major"]))


def _remove_withdrawn(exchange: Exchange, before: datetime) -> None:
    """Files of yanked releases are kept for as long as others are."""
    for row in exchange.index.rows(sa.select(releases).where(releases.c.status == "yanked")):
        standing = read_standing(exchange, mart=row["mart"], major=row["major"], release=row["release"])
        event = standing.why("yanked")
        if event is not None and event.at < before:
            for entry in list(exchange.lake.list(WITHDRAWN, f"{row['path']}/")):
                exchange.lake.delete(WITHDRAWN, entry.key)


def pin(exchange: Exchange, *, mart: str, release: str, by: str, reason: str) -> Standing:
    """Keeps a release for ever. Raises :class:`lakehouse.release.listing.NoSuchRelease`, and
    :class:`lakehouse.release.listing.ReleaseGone` where there is nothing to keep any more."""
    row = release_row(exchange, mart, release)
    named = {"mart": mart, "release": row["release"]}
    standing = note(exchange, **named, major=row["major"], what="pinned", by=by, reason=reason)
    if not standing.pinned:
        raise ReleaseGone(why_gone(exchange, **named, major=row["major"]))
    with exchange.index.begin() as connection:
        upsert(connection, release_pins, {**named, "major": row["major"]})
    return standing


def unpin(exchange: Exchange, *, mart: str, release: str, by: str, reason: str) -> Standing:
    """Lets retention have it again. Raises :class:`lakehouse.release.listing.NoSuchRelease`."""
    row = release_row(exchange, mart, release)
    standing = note(
        exchange, mart=mart, major=row["major"], release=row["release"], what="unpinned", by=by, reason=reason
    )
    with exchange.index.begin() as connection:
        connection.execute(
            sa.delete(release_pins).where(
                release_pins.c.mart == mart,
                release_pins.c.major == row["major"],
                release_pins.c.release == row["release"],
            )
        )
    return standing
