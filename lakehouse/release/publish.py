"""The steps by which a candidate's files become a release. Each may be done again after a death."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lakehouse.exchange import Exchange
from lakehouse.release import attack_gate, text_scan
from lakehouse.release.manifest import (
    Candidate,
    Manifest,
    latest_manifest,
    manifest_key,
    number_of,
    parse_manifest,
)
from lakehouse.release.pointer import move_pointer, pointing_at
from lakehouse.release.signing import sign, signature_key, verified_manifest
from lakehouse.storage.lake import Conflict, ObjectNotFound

COPIES = 8
FOR_REVIEWERS = (attack_gate.REPORT, text_scan.REPORT)


class NotPromotable(RuntimeError):
    """A candidate that did not pass its gate, or was built on what is not the newest release."""


def publish(
    exchange: Exchange, manifest: Manifest, made: Candidate, base: Manifest | None, *, version: str | None
) -> Manifest:
    """Files, manifest, signature, the report's copy, and then the pointer, if it is still of that ``version``.
    Returns the manifest that stands. Raises :class:`NotPromotable`."""
    try:
        _place_files(exchange, manifest, made, base)
        manifest = _write_manifest(exchange, manifest)
        _copy_report(exchange, made, manifest)
        highest = number_of(manifest.release)
        move_pointer(exchange, pointing_at(manifest, highest=highest), expected=version)
    except (Conflict, ObjectNotFound) as error:
        # Another promoter came first: it moved the pointer, or has cleared the candidate after that.
        now = latest_manifest(exchange, mart=made.mart, major=made.major)
        if now is None or now.release == made.base:
            raise
        if now.release != manifest.release:
            raise NotPromotable(
                f"{made.mart}: {now.release} was released meanwhile: build {made.candidate} again"
            ) from error
    return manifest


def _place_files(exchange: Exchange, manifest: Manifest, made: Candidate, base: Manifest | None) -> None:
    """Links or copies each file into the release, within the store: no byte passes through here."""
    built = {file.path for file in made.built.values() if file is not None}

    def place(path: str) -> None:
        if path in built:
            exchange.lake.copy("candidates", f"{made.prefix}/{path}", "marts", f"{manifest.prefix}/{path}")
        elif base is not None:
            exchange.lake.copy("marts", f"{base.prefix}/{path}", "marts", f"{manifest.prefix}/{path}")

    with ThreadPoolExecutor(COPIES) as pool:
        list(pool.map(place, (file.path for file in manifest.files)))


def _write_manifest(exchange: Exchange, manifest: Manifest) -> Manifest:
    """Writes it once, and then its signature. Where one stands already that was signed, that one holds: the
    release's name is a digest of what it says, so both say the same. One that was not signed is of an attempt that
    died, or of another promoter of the same candidate who is about to; any other is not signed for whoever wrote it.
    """
    content = manifest.model_dump_json(indent=1).encode()
    key = manifest_key(manifest.mart, manifest.major, manifest.release)
    try:
        exchange.lake.write_if("marts", key, content, expected=None)
    except Conflict:
        content = exchange.lake.read_bytes("marts", key)
        standing = parse_manifest(content, mart=manifest.mart, major=manifest.major, release=manifest.release)
        if exchange.lake.stat("marts", signature_key(manifest)) is not None:
            return verified_manifest(
                exchange, mart=manifest.mart, major=manifest.major, release=manifest.release
            ).manifest
        if _lasting(standing) != _lasting(manifest):
            raise NotPromotable(
                f"marts/{key} stands there unsigned, and is not of candidate {manifest.candidate}: `exchange doctor "
                "--sweep` removes what was never released"
            ) from None
        manifest = standing
    sign(exchange, manifest, content)
    return manifest


def _lasting(manifest: Manifest) -> dict[str, Any]:
    """All that two attempts at the same release say alike."""
    said = manifest.model_dump(mode="json", exclude={"created_at", "notices"})
    said["notices"] = [notice.model_dump(exclude={"since", "until", "text"}) for notice in manifest.notices]
    return {**said, "gates": {name: value for name, value in manifest.gates.items() if name != "seconds"}}


def _copy_report(exchange: Exchange, made: Candidate, manifest: Manifest) -> None:
    """All but what names cells or texts: that stays with the candidate, for reviewers."""
    for entry in list(exchange.lake.list("reports", f"{made.prefix}/")):
        name = entry.key.removeprefix(f"{made.prefix}/")
        if name in FOR_REVIEWERS:
            continue
        exchange.lake.copy("reports", entry.key, "reports", f"{manifest.mart}/{manifest.release}/{name}")
