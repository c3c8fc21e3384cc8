"""What the catalogue is made of: the newest release of each mart and major, and what is stated of the mart today.

Made when somebody asks. The cost goes with the number of marts; of a mart's history a bounded part is read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import cast

import sqlalchemy as sa

from lakehouse.build.periods import Grain, span_of
from lakehouse.contracts.mart import Mart, read_marts
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.release.listing import STANDING, standing_majors
from lakehouse.release.manifest import Manifest, latest_manifest
from lakehouse.storage.index import releases

# Earlier releases that the catalogue names of each mart and major.
VERSIONS = 20


@dataclass(frozen=True, kw_only=True)
class Version:
    """One release that stands."""

    release: str
    created_at: datetime
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One mart and major. ``mart``: as its file states it, ``None`` where the project makes another major now or
    none. ``inputs``: the contracts, as they stand, of the datasets that the newest release is made of."""

    manifest: Manifest
    manifest_sha256: str
    mart: Mart | None
    versions: tuple[Version, ...]
    inputs: tuple[Contract, ...]

    @property
    def name(self) -> str:
        return self.manifest.mart

    @property
    def key(self) -> str:
        """``<mart>/v<major>``."""
        return f"{self.manifest.mart}/v{self.manifest.major}"

    @property
    def open(self) -> bool:
        """Whether anybody may read its rows, by the release and by what the mart's file says today."""
        return self.manifest.access == "open" and (self.mart is None or self.mart.exchange.access == "open")

    @property
    def high_value(self) -> str | None:
        """The category of High-Value Datasets that the mart's file states."""
        return self.mart.exchange.high_value if self.mart else None

    @property
    def coverage(self) -> tuple[date, date]:
        """First and last day of the newest release, both included (UTC)."""
        partitions = sorted(file.partition for file in self.manifest.files)
        grain = cast(Grain, self.manifest.partition["grain"])
        last = span_of(partitions[-1], grain).end - timedelta(days=1)
        return span_of(partitions[0], grain).start.date(), last.date()


def read_entries(exchange: Exchange, *, mart: str | None = None) -> list[Entry]:
    """The marts that have a release that stands, by name and major; of ``mart`` alone where it is given."""
    stated = read_marts(exchange.settings.marts_path)
    found = []
    for name, major in standing_majors(exchange, mart):
        manifest = latest_manifest(exchange, mart=name, major=major)
        if manifest is not None:
            found.append(_entry(exchange, manifest, stated.get(name)))
    return found


def _entry(exchange: Exchange, manifest: Manifest, mart: Mart | None) -> Entry:
    content = exchange.lake.read_bytes("marts", f"{manifest.prefix}/manifest.json")
    rows = exchange.index.rows(
        sa.select(releases)
        .where(
            releases.c.mart == manifest.mart,
            releases.c.major == manifest.major,
            releases.c.status == STANDING,
        )
        .order_by(releases.c.release.desc())
        .limit(VERSIONS)
    )
    datasets = sorted({entry.dataset for entry in manifest.inputs})
    return Entry(
        manifest=manifest,
        manifest_sha256=hashlib.sha256(content).hexdigest(),
        mart=mart if mart is not None and mart.major == manifest.major else None,
        versions=tuple(
            Version(release=row["release"], created_at=row["created_at"], rows=row["rows"], bytes=row["bytes"])
            for row in rows
        ),
        inputs=tuple(exchange.contracts[key] for key in datasets if key in exchange.contracts),
    )
