"""What has been published, what waits, and one release with all that is known of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest, latest_manifest, read_manifest
from lakehouse.storage.index import candidates, releases


class NoSuchRelease(LookupError):
    """No release of that name; the message lists those that there are."""


def waiting_candidates(exchange: Exchange) -> list[dict[str, str]]:
    """Built and not yet judged, or judged and not yet promoted (a run that died in between)."""
    rows = exchange.index.rows(
        sa.select(candidates.c.mart, candidates.c.candidate)
        .where(candidates.c.status.in_(["built", "passed"]))
        .order_by(candidates.c.mart)
    )
    return [{"mart": row["mart"], "candidate": row["candidate"]} for row in rows]


def list_releases(
    exchange: Exchange, *, mart: str | None = None, as_of: datetime | None = None
) -> list[dict[str, Any]]:
    """All releases, the newest first within a mart; ``as_of``: of each mart and major the one that was newest then."""
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


def location(exchange: Exchange, path: str) -> str:
    """Where a reader finds a release's folder: a path, or an address of the store."""
    return exchange.lake.duckdb_url("marts", path)


def find_release(exchange: Exchange, name: str) -> Manifest:
    """The manifest of ``mart`` (the newest release of its newest major), ``mart@v2`` (of that major), or
    ``mart@release`` (its whole name or its number, as ``0003``). Raises :class:`NoSuchRelease`.
    """
    mart, _, wanted = name.partition("@")
    rows = list_releases(exchange, mart=mart)
    if not rows:
        known = sorted({row["mart"] for row in list_releases(exchange)})
        raise NoSuchRelease(f"{mart!r} has no release; released are: {', '.join(known) or 'none yet'}")
    majors = sorted({row["major"] for row in rows})
    if not wanted or wanted in {f"v{major}" for major in majors}:
        manifest = latest_manifest(exchange, mart=mart, major=int(wanted[1:]) if wanted else majors[-1])
        if manifest is not None:
            return manifest
    found = [row for row in rows if wanted in (row["release"], row["release"].split("-")[0])]
    if len(found) == 1:
        return read_manifest(exchange, mart=mart, major=found[0]["major"], release=found[0]["release"])
    listed = ", ".join(f"{row['release']} (v{row['major']})" for row in rows)
    if found:
        raise NoSuchRelease(f"{mart} has several releases {wanted!r}: name one in full, of {listed}")
    raise NoSuchRelease(f"{mart} has no release {wanted!r}; there are: {listed}")
