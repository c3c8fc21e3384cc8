"""What the doors show: releases that stand, each with who may read it. A withdrawn release is in none of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import cast

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from lakehouse.contracts.mart import Mart, read_mart
from lakehouse.exchange import Exchange
from lakehouse.release.listing import READABLE, standing_majors, why_gone
from lakehouse.release.manifest import File, Manifest, latest_key, manifest_key, parse_pointer
from lakehouse.release.signing import verified_manifest
from lakehouse.sharing.entitlement import Access, stricter
from lakehouse.storage.index import releases
from lakehouse.storage.lake import ObjectNotFound

_MANIFESTS_HELD = 64


class NotPublished(LookupError):
    """There is no such mart, release or file; the message says what there is."""


class Withdrawn(LookupError):
    """The release was published once and no longer is."""


@dataclass(frozen=True)
class Published:
    """One release that stands, and the level of access at which it is read."""

    manifest: Manifest
    access: Access

    @cached_property
    def files(self) -> dict[str, File]:
        return {file.path: file for file in self.manifest.files}


class Publications:
    """Asks the index each time, so what is withdrawn is gone at once; manifests, which never change, are held."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._held: OrderedDict[tuple[str, str], Manifest] = OrderedDict()
        self._marts: dict[Path, tuple[int, Mart]] = {}
        self._lock = Lock()

    def majors(self, mart: str | None = None) -> list[tuple[str, int]]:
        """Marts and their majors that have a release that stands, in order."""
        return standing_majors(self._exchange, mart)

    def releases(self, *, mart: str, major: int) -> Sequence[RowMapping]:
        """Rows of the index of all that can be read, the newest first: ``release``, ``status``, ``rows``, ``bytes``,
        ``created_at``…; those that were rolled back from among them."""
        standing = (releases.c.mart == mart, releases.c.major == major, releases.c.status.in_(READABLE))
        return self._exchange.index.rows(sa.select(releases).where(*standing).order_by(releases.c.release.desc()))

    def latest(self, *, mart: str, major: int) -> Published:
        """What the mart's pointer names. Raises :class:`NotPublished`."""
        try:
            content = self._exchange.lake.read_bytes("marts", latest_key(mart, major))
        except ObjectNotFound:
            raise NotPublished(self._unknown(mart, major)) from None
        release = parse_pointer(content, mart=mart, major=major).release
        if release is None:
            raise Withdrawn(f"of {mart} v{major} no release stands any more")
        return self.release(mart=mart, major=major, release=release)

    def release(self, *, mart: str, major: int, release: str) -> Published:
        """Raises :class:`NotPublished` or :class:`Withdrawn`."""
        named = (releases.c.mart == mart, releases.c.major == major, releases.c.release == release)
        row = self._exchange.index.row(sa.select(releases.c.status).where(*named))
        if row is None:
            if not (standing := self.releases(mart=mart, major=major)):
                raise NotPublished(self._unknown(mart, major))
            listed = ", ".join(found["release"] for found in standing[:20])
            raise NotPublished(f"{mart} v{major} has no release {release!r}; the newest are: {listed}")
        if row["status"] not in READABLE:
            raise Withdrawn(why_gone(self._exchange, mart=mart, major=major, release=release))
        manifest = self._manifest(mart, major, release)
        return Published(manifest, self.access(mart, manifest))

    def access(self, mart: str, manifest: Manifest) -> Access:
        """The stricter of what the release says and what the mart's contract says today."""
        access = cast(Access, manifest.access)
        described = self._mart(mart)
        return stricter(access, described.exchange.access) if described else access

    def freshness_hours(self, mart: str) -> int | None:
        """How soon after new data the mart's contract promises a release."""
        described = self._mart(mart)
        return described.exchange.freshness_hours if described else None

    def _mart(self, name: str) -> Mart | None:
        """The mart's contract as it stands, read again when its file changes; None where there is none any more."""
        path = self._exchange.settings.marts_path / f"{name}.yml"
        try:
            changed = path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        held = self._marts.get(path)
        if held is None or held[0] != changed:
            held = self._marts[path] = (changed, read_mart(path))
        return held[1]

    def _manifest(self, mart: str, major: int, release: str) -> Manifest:
        """Raises :class:`lakehouse.release.signing.Untrusted` for one that is not as the exchange signed it."""
        key = manifest_key(mart, major, release)
        standing = self._exchange.lake.stat("marts", key)
        if standing is None:
            raise NotPublished(f"{mart} v{major} {release} is not in the lake: tell the exchange")
        with self._lock:
            if found := self._held.get((key, standing.version)):
                self._held.move_to_end((key, standing.version))
                return found
        manifest = verified_manifest(self._exchange, mart=mart, major=major, release=release).manifest
        with self._lock:
            self._held[key, standing.version] = manifest
            while len(self._held) > _MANIFESTS_HELD:
                self._held.popitem(last=False)
        return manifest

    def _unknown(self, mart: str, major: int) -> str:
        listed = ", ".join(f"{name} v{number}" for name, number in self.majors())
        return f"there is no mart {mart!r} v{major}; there are: {listed or 'none yet'}"
