"""What a release's files were made from: of each the candidate that built it, with its inputs, code and pins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import AreaGroup, Candidate, Environment, File, Input, Manifest, read_candidate
from lakehouse.storage.lake import ObjectNotFound


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Files of one release that one candidate built: this release's own, or one that they are carried over from.

    ``inputs``: the deliveries by their ids. ``code``: the mart's digest of code. ``version``: the commit.
    ``areas``: the groups of areas that stood.
    """

    mart: str
    major: int
    release: str
    candidate: str
    files: tuple[File, ...]
    inputs: dict[str, Input]
    code: str
    version: str
    environment: Environment | None
    areas: tuple[AreaGroup, ...] = ()

    @property
    def names(self) -> str:
        return f"{self.mart}@{self.release}"


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """One file of a release beside what came out: ``found`` is its sha256, none where nothing did, ``why`` what kept
    it from being equal where that is known."""

    mart: str
    release: str
    file: str
    expected: str
    found: str | None
    equal: bool
    why: str | None = None


def wanted_of(exchange: Exchange, manifest: Manifest, *, built_by: str | None = None) -> list[Wanted]:
    """The files of a release by the candidate that built them; of one candidate alone where it is named.

    What a candidate was made of stands in its ``candidate.json``; where that is gone the manifest's inputs are taken.
    """
    by_candidate: dict[str, list[File]] = defaultdict(list)
    for file in manifest.files:
        by_candidate[file.candidate or manifest.candidate].append(file)
    return [
        _wanted(exchange, manifest, candidate, files)
        for candidate, files in sorted(by_candidate.items())
        if built_by in (None, candidate)
    ]


def _wanted(exchange: Exchange, manifest: Manifest, candidate: str, files: list[File]) -> Wanted:
    try:
        made: Candidate | Manifest = read_candidate(exchange, mart=manifest.mart, candidate=candidate)
    except ObjectNotFound:
        made = manifest
    needed = {delivery for file in files for delivery in file.deliveries}
    known = {entry.delivery: entry for entry in (*manifest.inputs, *made.inputs)}
    return Wanted(
        mart=manifest.mart,
        major=manifest.major,
        release=manifest.release,
        candidate=candidate,
        files=tuple(files),
        inputs={delivery: known[delivery] for delivery in sorted(needed & known.keys())},
        code=made.code,
        version=made.code_version,
        environment=made.environment,
        areas=manifest.areas,
    )


def together(wanted: Iterable[Wanted]) -> list[list[Wanted]]:
    """Grouped so that in a group each delivery was read by one version of its contract: it lands once for all."""
    groups: list[tuple[dict[str, str], list[Wanted]]] = []
    for entry in wanted:
        versions = {delivery: made.contract_version for delivery, made in entry.inputs.items()}
        for known, members in groups:
            if all(known.get(delivery, version) == version for delivery, version in versions.items()):
                known.update(versions)
                members.append(entry)
                break
        else:
            groups.append((versions, [entry]))
    return [members for _, members in groups]
