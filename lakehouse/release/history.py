"""Which releases were ever published, as the lake alone tells it: for an index that was lost, and for the sweep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest, read_manifest
from lakehouse.release.pointer import read_pointer
from lakehouse.release.standing import NAME, Standing, read_standing


@dataclass(frozen=True, kw_only=True)
class History:
    """One major of one mart. ``releases``, the oldest first, each with what became of it; ``newest`` is the one that
    the pointer names. ``strays``: names of folders that no pointer ever named. ``lost``: the pointer is not there."""

    mart: str
    major: int
    newest: str | None
    lost: bool
    releases: list[tuple[Manifest, Standing]] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


def histories(exchange: Exchange) -> Iterator[History]:
    """Of each mart and major, in order. Lists the whole bucket.

    A release was published if the pointer names it, if it was the one before such a one, or if something became of
    it after: that is noted beside it, or in the pointer if whoever moved it died before. Where there is no pointer, it
    may have been lost, and each that is whole counts as published.
    """
    folders: dict[tuple[str, int], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entry in exchange.lake.list("marts", ""):
        parts = PurePosixPath(entry.key).parts
        if len(parts) >= 5 and parts[2] == "releases":
            folders[parts[0], int(parts[1].removeprefix("v"))][parts[3]].add(parts[4])
    for (mart, major), names in sorted(folders.items()):
        yield _history(exchange, mart, major, names)


def _history(exchange: Exchange, mart: str, major: int, names: dict[str, set[str]]) -> History:
    pointer, _ = read_pointer(exchange, mart=mart, major=major)
    ends = [name for name, found in names.items() if NAME in found]
    if pointer is None:
        ends += [name for name, found in names.items() if "manifest.json" in found]
    else:
        ends += [name for name in (pointer.release, pointer.withdrew and pointer.withdrew.release) if name]
    published: dict[str, Manifest] = {}
    for end in sorted(ends, reverse=True):
        name: str | None = end
        while name is not None and name not in published and "manifest.json" in names.get(name, ()):
            published[name] = read_manifest(exchange, mart=mart, major=major, release=name)
            name = published[name].diff["before"]
    return History(
        mart=mart,
        major=major,
        newest=pointer.release if pointer else None,
        lost=pointer is None,
        releases=[
            (published[name], _standing(exchange, published[name], noted=NAME in names[name]))
            for name in sorted(published)
        ],
        strays=sorted(names.keys() - published.keys()),
    )


def _standing(exchange: Exchange, manifest: Manifest, *, noted: bool) -> Standing:
    named = {"mart": manifest.mart, "release": manifest.release}
    if not noted:
        return Standing(**named, major=manifest.major)
    return read_standing(exchange, **named, major=manifest.major)
