"""What the index is told of a release. The lake's pointer decides; the index only has to follow it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lakehouse.release.manifest import Candidate, Manifest
from lakehouse.storage.index import candidates, mart_state, releases, upsert

# Candidates that may still become a release.
AWAITED = ("built", "passed", "waiting")


def record_release(
    connection: Connection, manifest: Manifest, *, latest: bool = True, status: str = "released"
) -> None:
    """Lists a release, as the newest unless told otherwise, and settles the candidate that it was made from."""
    if latest:
        connection.execute(
            sa.update(releases)
            .where(releases.c.mart == manifest.mart, releases.c.major == manifest.major)
            .values(latest=False)
        )
    upsert(
        connection,
        releases,
        {
            "mart": manifest.mart,
            "major": manifest.major,
            "release": manifest.release,
            "candidate": manifest.candidate,
            "created_at": manifest.created_at,
            "rows": manifest.rows,
            "bytes": manifest.bytes,
            "path": manifest.prefix,
            "status": status,
            "latest": latest,
        },
    )
    _settle(connection, manifest.mart, manifest.candidate, status="released", release=manifest.release)


def record_outcome(connection: Connection, made: Candidate, *, status: str, release: str | None) -> None:
    """Settles a candidate, and remembers how far its mart has come since ``release``, the newest."""
    _settle(connection, made.mart, made.candidate, status=status, release=release)
    upsert(
        connection,
        mart_state,
        {
            "mart": made.mart,
            "major": made.major,
            "change": made.change,
            "code": made.code,
            "release": release,
            "waiting": list(made.waiting),
        },
    )


def _settle(connection: Connection, mart: str, candidate: str, *, status: str, release: str | None) -> None:
    connection.execute(
        sa.update(candidates)
        .where(candidates.c.mart == mart, candidates.c.candidate == candidate)
        .values(status=status, release=release)
    )
