"""From a delivery to the releases that can hold a row of it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import read_manifest
from lakehouse.storage.index import deliveries, releases


class NoSuchDelivery(LookupError):
    """The index knows no delivery of that id."""


def releases_of(exchange: Exchange, delivery: str) -> dict[str, Any]:
    """``{delivery, dataset, file, received_at, status, releases: [{mart, major, release, status, latest, files}]}``,
    where ``files`` are those that name the delivery among the ones whose rows they can hold.

    Only releases made after it came are looked at, by their manifests; no data is read. Raises
    :class:`NoSuchDelivery`.
    """
    row = exchange.index.row(sa.select(deliveries).where(deliveries.c.delivery == delivery))
    if row is None:
        raise NoSuchDelivery(f"no delivery {delivery!r}; `exchange receipts --json` has the ids of all")
    made = exchange.index.rows(
        sa.select(releases)
        .where(releases.c.created_at >= row["received_at"])
        .order_by(releases.c.mart, releases.c.major, releases.c.release)
    )
    found = []
    for release in made:
        manifest = read_manifest(exchange, mart=release["mart"], major=release["major"], release=release["release"])
        files = [file.path for file in manifest.files if delivery in file.deliveries]
        if files:
            names = ("mart", "major", "release", "status", "latest")
            found.append({name: release[name] for name in names} | {"files": files})
    return {
        "delivery": delivery,
        "dataset": f"{row['provider']}/{row['dataset']}",
        "file": row["file"],
        "received_at": row["received_at"].isoformat(),
        "status": row["status"],
        "releases": found,
    }
