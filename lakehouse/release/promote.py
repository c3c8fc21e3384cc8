"""Promotion: a candidate that passed its gate becomes an immutable release, and the pointer moves last."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.release.compose import compose, same_content
from lakehouse.release.diff.keep import in_brief, kept_diff
from lakehouse.release.manifest import (
    Candidate,
    Manifest,
    latest_key,
    latest_manifest,
    manifest_key,
    parse_manifest,
    read_candidate,
)
from lakehouse.release.record import record_outcome, record_release
from lakehouse.release.signing import sign, signature_key, signer, verified_manifest
from lakehouse.storage.index import candidates
from lakehouse.storage.lake import Conflict, ObjectNotFound

COPIES = 8
SETTLED = ("released", "unchanged")


class NotPromotable(RuntimeError):
    """A candidate that did not pass its gate, lacks an approval, or was built on what is not the newest release."""


def promote(exchange: Exchange, *, mart: Mart, candidate: str, approved_by: str | None = None) -> dict[str, Any]:
    """Makes the release of a candidate that passed. Returns ``{mart, candidate, status, release, …}``, where
    status is ``released``, ``unchanged`` (it says what the last release says) or ``withheld``.

    Every step may be repeated: files under a release's key are always the same bytes, its manifest is written
    once and after them, then its signature, and ``latest.json`` after that, so a reader that starts there sees the
    old release or the new one. Of two promoters one moves the pointer. Raises :class:`NotPromotable`.
    """
    row = exchange.index.row(
        sa.select(candidates).where(candidates.c.mart == mart.name, candidates.c.candidate == candidate)
    )
    if row is None or row["status"] not in ("passed", "withheld", *SETTLED):
        found = "is not known" if row is None else f"is {row['status']}"
        raise NotPromotable(f"{mart.name}: candidate {candidate} {found}; it must have passed its gate")
    if row["status"] in SETTLED:
        return _outcome(mart.name, candidate, row["status"], row["release"])
    if mart.exchange.approval == "required" and approved_by is None and row["status"] == "passed":
        raise NotPromotable(f"{mart.name}: candidate {candidate} waits for a reviewer's approval")
    made = read_candidate(exchange, mart=mart.name, candidate=candidate)
    base = latest_manifest(exchange, mart=mart.name, major=mart.major)
    if base is not None and base.candidate == candidate:
        # An earlier attempt died after it had moved the pointer.
        return _settle(exchange, made, "released", base)
    if (base.release if base else None) != made.base:
        raise NotPromotable(
            f"{mart.name}: candidate {candidate} was built on {made.base or 'no release'}, but the newest is now "
            f"{base.release if base else 'none'}: build it again"
        )
    if row["status"] == "withheld":
        return _settle(exchange, made, "withheld", base) | {"reason": row["reason"]}
    manifest = compose(
        mart,
        made,
        base,
        gates=row["gates"] or {},
        approved_by=approved_by,
        signed_with=signer(exchange),
        changes=_changes(exchange, made),
    )
    if base is not None and same_content(manifest, base):
        return _settle(exchange, made, "unchanged", base) | {"reason": "it says what the last release says"}
    return _settle(exchange, made, "released", _publish(exchange, manifest, made, base))


def _changes(exchange: Exchange, made: Candidate) -> dict[str, Any]:
    """What the candidate's diff says in brief: nothing is released of which nobody can see what changed."""
    try:
        return in_brief(kept_diff(exchange, made))
    except ObjectNotFound:
        raise NotPromotable(
            f"{made.mart}: candidate {made.candidate} has no diff against {made.base or 'nothing'}: judge it again"
        ) from None


def _publish(exchange: Exchange, manifest: Manifest, made: Candidate, base: Manifest | None) -> Manifest:
    try:
        _place_files(exchange, manifest, made, base)
        manifest = _write_manifest(exchange, manifest)
        _copy_report(exchange, made, manifest)
        _move_pointer(exchange, manifest)
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
    said = manifest.model_dump(mode="json", exclude={"created_at"})
    return {**said, "gates": {name: value for name, value in manifest.gates.items() if name != "seconds"}}


def _copy_report(exchange: Exchange, made: Candidate, manifest: Manifest) -> None:
    for entry in list(exchange.lake.list("reports", f"{made.prefix}/")):
        name = entry.key.removeprefix(f"{made.prefix}/")
        exchange.lake.copy("reports", entry.key, "reports", f"{manifest.mart}/{manifest.release}/{name}")


def _move_pointer(exchange: Exchange, manifest: Manifest) -> None:
    """Raises :class:`lakehouse.storage.lake.Conflict` unless it still names the release before."""
    key = latest_key(manifest.mart, manifest.major)
    pointer = {
        "mart": manifest.mart,
        "major": manifest.major,
        "release": manifest.release,
        "path": manifest.prefix,
        "created_at": manifest.created_at.isoformat(),
    }
    standing = exchange.lake.stat("marts", key)
    expected = standing.version if standing else None
    now = latest_manifest(exchange, mart=manifest.mart, major=manifest.major)
    if (now.release if now else None) != manifest.diff["before"]:
        raise Conflict("marts", key, expected)
    exchange.lake.write_if("marts", key, json.dumps(pointer, indent=1).encode(), expected=expected)


def _settle(exchange: Exchange, made: Candidate, status: str, newest: Manifest | None) -> dict[str, Any]:
    """Tells the index, in one transaction; may run again after a death before it. Then the candidate's Parquet
    is removed, for the release has it; its description and its reports stay."""
    release = newest.release if newest else None
    facts: dict[str, Any] = {}
    with exchange.index.begin() as connection:
        if status == "released" and newest is not None:
            record_release(connection, newest)
            facts = {"rows": newest.rows, "bytes": newest.bytes}
        record_outcome(connection, made, status=status, release=release)
    for file in made.built.values():
        if file is not None:
            exchange.lake.delete("candidates", f"{made.prefix}/{file.path}")
    return _outcome(made.mart, made.candidate, status, release) | facts


def _outcome(mart: str, candidate: str, status: str, release: str | None) -> dict[str, Any]:
    return {"mart": mart, "candidate": candidate, "status": status, "release": release}
