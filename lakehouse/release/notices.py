"""Notices: what readers of a mart are to know, as objects in the lake beside what they read.

When a new major begins, the one before it stays published, as it was last released, for as long as the mart's yml
says. Who reads it finds that in its ``latest.json`` and in ``notice.json`` beside it; who reads the new one, in every
manifest until the overlap ends.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.release.evolution import changes_since
from lakehouse.release.manifest import Manifest, Notice, read_manifest
from lakehouse.release.pointer import move_pointer, read_pointer
from lakehouse.release.standing import read_standing
from lakehouse.storage.index import releases
from lakehouse.storage.lake import Conflict, ObjectNotFound

ATTEMPTS = 10
_TAKEN_BACK = ("rolled_back", "yanking", "yanked")


@dataclass(frozen=True, kw_only=True)
class Told:
    """One thing that readers are told. ``release`` where it is about one, ``until`` where it ends."""

    kind: Literal["deprecated", "rolled_back", "yanked"]
    mart: str
    major: int
    release: str | None
    at: datetime
    until: datetime | None
    text: str


def notice_key(mart: str, major: int) -> str:
    return f"{mart}/v{major}/notice.json"


def read_notice(exchange: Exchange, *, mart: str, major: int) -> Notice | None:
    """That of a major which another follows."""
    try:
        return Notice.model_validate_json(exchange.lake.read_bytes("marts", notice_key(mart, major)))
    except ObjectNotFound:
        return None


def notices_of(exchange: Exchange, mart: Mart, *, now: datetime) -> tuple[Notice, ...]:
    """What the release of ``mart`` that comes now has to say of the major before it, if there was one, until the
    overlap ends. It begins with the first release of the new major; its end follows the yml, so an overlap can be made
    longer."""
    if mart.major == 1 or mart.exchange.overlap_days is None:
        return ()
    former, _ = read_pointer(exchange, mart=mart.name, major=mart.major - 1)
    if former is None or former.release is None:
        return ()
    standing = read_notice(exchange, mart=mart.name, major=mart.major - 1)
    since = standing.since if standing else now
    until = since + timedelta(days=mart.exchange.overlap_days)
    if standing is not None and now >= until:
        return ()
    before = read_manifest(exchange, mart=mart.name, major=mart.major - 1, release=former.release)
    changes = tuple(change.words for change in changes_since(before, mart) if change.breaking)
    notice = Notice(
        mart=mart.name,
        major=mart.major - 1,
        successor=mart.major,
        since=since,
        until=until,
        changes=standing.changes if standing else changes,
        text=(
            f"{mart.name} v{mart.major - 1} is followed by v{mart.major}. It stays published until {until:%Y-%m-%d} as "
            f"it was released on {before.created_at:%Y-%m-%d}, and gets no new releases."
        ),
    )
    return (notice,)


def announce(exchange: Exchange, manifest: Manifest) -> None:
    """Puts the notices of a release where readers of the former major find them. May be done again: the newest
    release of the new major decides."""
    for notice in manifest.notices:
        _write(exchange, notice)
        _point(exchange, notice)


def _write(exchange: Exchange, notice: Notice) -> None:
    if read_notice(exchange, mart=notice.mart, major=notice.major) != notice:
        content = notice.model_dump_json(indent=1).encode()
        key = notice_key(notice.mart, notice.major)
        exchange.lake.write_bytes("marts", key, content, content_type="application/json")


def _point(exchange: Exchange, notice: Notice) -> None:
    for _ in range(ATTEMPTS):
        pointer, version = read_pointer(exchange, mart=notice.mart, major=notice.major)
        if pointer is None or pointer.notice == notice:
            return
        try:
            move_pointer(exchange, pointer.model_copy(update={"notice": notice}), expected=version)
        except Conflict:
            continue
        return


def notices(exchange: Exchange) -> list[Told]:
    """All that readers are told of what is published, the newest first: majors that others follow, and releases that
    were taken back. For the catalogue and the feed; reads one small object for each."""
    found: list[Told] = []
    majors: dict[str, set[int]] = defaultdict(set)
    for row in exchange.index.rows(sa.select(releases.c.mart, releases.c.major).distinct()):
        majors[row["mart"]].add(row["major"])
    for mart, known in majors.items():
        for major in known - {max(known)}:
            notice = read_notice(exchange, mart=mart, major=major)
            if notice is not None:
                found.append(_deprecated(notice))
    for row in exchange.index.rows(sa.select(releases).where(releases.c.status.in_(_TAKEN_BACK))):
        told = _taken_back(exchange, row["mart"], row["major"], row["release"])
        if told is not None:
            found.append(told)
    return sorted(found, key=lambda told: (told.at, told.mart, told.major), reverse=True)


def remarks(exchange: Exchange, manifest: Manifest) -> list[str]:
    """What whoever reads this one release is to know today: that another major follows, that it was taken back."""
    notice = read_notice(exchange, mart=manifest.mart, major=manifest.major)
    told = [_deprecated(notice)] if notice is not None else []
    back = _taken_back(exchange, manifest.mart, manifest.major, manifest.release)
    return [entry.text for entry in (*told, *([back] if back is not None else []))]


def _deprecated(notice: Notice) -> Told:
    breaks = f" What breaks: {'; '.join(notice.changes)}." if notice.changes else ""
    return Told(
        kind="deprecated", mart=notice.mart, major=notice.major, release=None, at=notice.since, until=notice.until,
        text=notice.text + breaks,
    )  # fmt: skip


def _taken_back(exchange: Exchange, mart: str, major: int, release: str) -> Told | None:
    standing = read_standing(exchange, mart=mart, major=major, release=release)
    kind: Literal["rolled_back", "yanked"]
    if standing.status == "yanked":
        kind, said = "yanked", "was yanked and cannot be read any more"
    elif standing.status == "rolled_back":
        kind, said = "rolled_back", "was rolled back from"
    else:
        return None
    event = standing.why(kind)
    if event is None:
        return None
    text = f"{mart} v{major} {release} {said}: {event.reason}"
    return Told(kind=kind, mart=mart, major=major, release=release, at=event.at, until=None, text=text)
