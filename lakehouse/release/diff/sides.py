"""The two sides of a comparison: a release, or a candidate as the release that it would become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.release.compose import columns_of, files_of
from lakehouse.release.manifest import Candidate, Column, File, Manifest


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of a side, and where it stands in the lake."""

    file: File
    bucket: str
    key: str

    def local(self, exchange: Exchange, target: Path) -> Path:
        """The file on this machine; downloaded to ``target`` where it is not."""
        return exchange.lake.local_path(self.bucket, self.key) or exchange.lake.download(self.bucket, self.key, target)


@dataclass(frozen=True, kw_only=True)
class Side:
    """``name`` is the release's, or the candidate's; ``parts`` by partition."""

    mart: str
    name: str
    major: int
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition: dict[str, str]
    parts: dict[str, Part]

    @property
    def rows(self) -> int:
        return sum(part.file.rows for part in self.parts.values())


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What is compared at a time: a partition whose bytes differ, with its file on either side. Where the two sides
    are not partitioned alike all of them is one unit."""

    name: str
    before: tuple[Part, ...]
    after: tuple[Part, ...]


def of_release(manifest: Manifest) -> Side:
    parts = {
        file.partition: Part(file=file, bucket="marts", key=f"{manifest.prefix}/{file.path}") for file in manifest.files
    }
    return Side(
        mart=manifest.mart,
        name=manifest.release,
        major=manifest.major,
        columns=manifest.columns,
        key=manifest.key,
        partition=manifest.partition,
        parts=parts,
    )


def of_candidate(mart: Mart, made: Candidate, base: Manifest | None) -> Side:
    """What its release would hold: the files that it built, and those that it carries over from ``base``."""
    built = {file.path for file in made.built.values() if file is not None}
    parts = {}
    for file in files_of(made, base):
        if file.path in built or base is None:
            parts[file.partition] = Part(file=file, bucket="candidates", key=f"{made.prefix}/{file.path}")
        else:
            parts[file.partition] = Part(file=file, bucket="marts", key=f"{base.prefix}/{file.path}")
    meta = mart.exchange
    return Side(
        mart=mart.name,
        name=made.candidate,
        major=mart.major,
        columns=columns_of(mart),
        key=tuple(meta.key),
        partition={"column": meta.partition.column, "grain": meta.partition.grain},
        parts=parts,
    )


def differing(before: Side | None, after: Side) -> Iterator[Unit]:
    """In order of the partitions. Files of one hash are the same file, and are not opened."""
    if before is None:
        for name, part in sorted(after.parts.items()):
            yield Unit(name=name, before=(), after=(part,))
        return
    if before.partition != after.partition:
        yield Unit(name="all", before=tuple(_ordered(before)), after=tuple(_ordered(after)))
        return
    for name in sorted(before.parts.keys() | after.parts.keys()):
        was, now = before.parts.get(name), after.parts.get(name)
        if was is None or now is None or was.file.sha256 != now.file.sha256:
            yield Unit(name=name, before=(was,) if was else (), after=(now,) if now else ())


def _ordered(side: Side) -> Iterator[Part]:
    for _, part in sorted(side.parts.items()):
        yield part
