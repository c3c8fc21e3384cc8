"""What has been published, what waits, and one release with all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest, latest_manifest, read_manifest
from lakehouse.release.standing import read_standing
from lakehouse.storage.index import candidates, releases

# Of these every file stands, under its release's own name.
READABLE = ("released", "rolled_back")
# And it was not rolled back from.
STANDING = "released"


class NoSuchRelease(LookupError):
    """No release of that name; the message lists those that there are."""


class ReleaseGone(LookupError):
    """A release that was there, and that nobody gets any more: yanked, or past its retention. Says why."""


def waiting_candidates(exchange: Exchange, *, statuses: Sequence[str] = ("built", "passed")) -> list[dict[str, str]]:
    """Built and not yet judged, or judged and not yet promoted (a run that died in between)."""
    rows = exchange.index.rows(
        sa.select(candidates.c.mart, candidates.c.candidate)
        .where(candidates.c.status.in_(statuses))
        .order_by(candidates.c.mart)
    )
    return [{"mart": row["mart"], "candidate": row["candidate"]} for row in rows]


def list_releases(
    exchange: Exchange, *, mart: str | None = None, as_of: datetime | None = None
) -> list[dict[str, Any]]:
    """All releases, the newest first within a mart; ``as_of``: of each mart and major the one that was newest then.
    Those of a status in ``READABLE`` can be read."""
    query = sa.select(releases).order_by(releases.c.mart, releases.c.major, releases.c.release.desc())
    if mart is not None:
        query = query.where(releases.c.mart == mart)
    if as_of is not None:
        newest = (
            sa.select(releases.c.mart, releases.c.major, sa.func.max(releases.c.created_at).label("created_at"))
            .where(releases.c.created_at <= as_of)
            .group_by(releases.c.mart, releases.c.major)
            .subquery()
        )
        query = query.join(
            newest,
            (releases.c.mart == newest.c.mart)
            & (releases.c.major == newest.c.major)
            & (releases.c.created_at == newest.c.created_at),
        )
    return [
        {
            "mart": row["mart"],
            "major": row["major"],
            "release": row["release"],
            "rows": row["rows"],
            "bytes": row["bytes"],
            "created_at": row["created_at"].isoformat(),
            "path": location(exchange, row["path"]),
            "latest": row["latest"],
            "status": row["status"],
        }
        for row in exchange.index.rows(query)
    ]


def standing_majors(exchange: Exchange, mart: str | None = None) -> list[tuple[str, int]]:
    """Marts and their majors that have a release that stands, in order; of ``mart`` alone where it is given."""
    query = sa.select(releases.c.mart, releases.c.major).where(releases.c.status == STANDING).distinct()
    if mart is not None:
        query = query.where(releases.c.mart == mart)
    rows = exchange.index.rows(query.order_by(releases.c.mart, releases.c.major))
    return [(row["mart"], row["major"]) for row in rows]


def location(exchange: Exchange, path: str) -> str:
    """Where a reader finds a release's folder: a path, or an address of the store."""
    return exchange.lake.duckdb_url("marts", path)


def find_release(exchange: Exchange, name: str, *, gone: bool = False) -> Manifest:
    """The manifest of ``mart`` (the newest release of its newest major), ``mart@v2`` (of that major), or
    ``mart@release`` (its whole name or its number, as ``0003``). Raises :class:`NoSuchRelease`, and
    :class:`ReleaseGone` unless ``gone`` says that the record alone is wanted.
    """
    mart, _, wanted = name.partition("@")
    rows = _rows_of(exchange, mart)
    majors = sorted({row["major"] for row in rows})
    if not wanted or wanted in {f"v{major}" for major in majors}:
        major = int(wanted[1:]) if wanted else majors[-1]
        manifest = latest_manifest(exchange, mart=mart, major=major)
        if manifest is None:
            listed = ", ".join(f"{row['release']} ({row['status']})" for row in rows if row["major"] == major)
            raise ReleaseGone(f"of {mart} v{major} no release stands: {listed}")
        return manifest
    row = _named(mart, wanted, rows)
    if not gone and row["status"] not in READABLE:
        raise ReleaseGone(why_gone(exchange, mart=mart, major=row["major"], release=row["release"]))
    return read_manifest(exchange, mart=mart, major=row["major"], release=row["release"])


def release_row(exchange: Exchange, mart: str, wanted: str) -> dict[str, Any]:
    """What the index says of a release, named in full or by its number. Raises :class:`NoSuchRelease`."""
    return _named(mart, wanted, _rows_of(exchange, mart))


def why_gone(exchange: Exchange, *, mart: str, major: int, release: str) -> str:
    """In words, for who asks for a release that cannot be read any more."""
    standing = read_standing(exchange, mart=mart, major=major, release=release)
    event = standing.why("yanked") or standing.why("expired")
    if event is None:
        return f"{mart}@{release} cannot be read any more"
    said = "was yanked" if event.what == "yanked" else "is past its retention and was removed"
    return (
        f"{mart}@{release} {said} on {event.at:%Y-%m-%d} by {event.by}: {event.reason}. Its manifest stays as the "
        f"record; `exchange releases {mart}` lists those that stand"
    )


def _rows_of(exchange: Exchange, mart: str) -> list[dict[str, Any]]:
    rows = list_releases(exchange, mart=mart)
    if not rows:
        known = sorted({row["mart"] for row in list_releases(exchange)})
        raise NoSuchRelease(f"{mart!r} has no release; released are: {', '.join(known) or 'none yet'}")
    return rows


def _named(mart: str, wanted: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = [row for row in rows if wanted in (row["release"], row["release"].split("-")[0])]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{row['release']} (v{row['major']})" for row in rows)
    if found:
        raise NoSuchRelease(f"{mart} has several releases {wanted!r}: name one in full, of {listed}")
    raise NoSuchRelease(f"{mart} has no release {wanted!r}; there are: {listed}")
