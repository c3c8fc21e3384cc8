"""Promotion: a candidate that passed its gate becomes an immutable release, and the pointer moves last."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import signing_key
from lakehouse.release.approval import Decision, read_decision, why_asked
from lakehouse.release.compose import compose, same_content
from lakehouse.release.diff.keep import in_brief, kept_diff
from lakehouse.release.manifest import Candidate, Manifest, read_candidate, read_manifest
from lakehouse.release.notices import announce, notices_of
from lakehouse.release.pointer import read_pointer
from lakehouse.release.publish import NotPromotable, publish
from lakehouse.release.record import record_outcome, record_release
from lakehouse.release.signing import key_id, signer, verified_manifest
from lakehouse.release.withdraw import PointerLost, go_on_from_pointer
from lakehouse.storage.index import candidates
from lakehouse.storage.lake import ObjectNotFound

__all__ = ["NotPromotable", "promote"]

ENDED = ("released", "unchanged", "refused")


def promote(exchange: Exchange, *, mart: Mart, candidate: str) -> dict[str, Any]:
    """Makes the release of a candidate that passed. Returns ``{mart, candidate, status, release, …}``, where
    status is ``released``, ``unchanged`` (it says what the last release says), ``withheld``, ``waiting`` (for an
    approval; the former release stands) or ``refused`` (by a reviewer).

    Every step may be repeated: files under a release's key are always the same bytes, its manifest is written
    once and after them, then its signature, and ``latest.json`` after that, so a reader that starts there sees the
    old release or the new one. Of two promoters one moves the pointer. Raises :class:`NotPromotable`, and
    :class:`lakehouse.release.signing.Untrusted` where the release before was tampered with.
    """
    row = exchange.index.row(
        sa.select(candidates).where(candidates.c.mart == mart.name, candidates.c.candidate == candidate)
    )
    if row is None or row["status"] not in ("passed", "waiting", "withheld", *ENDED):
        found = "is not known" if row is None else f"is {row['status']}"
        raise NotPromotable(f"{mart.name}: candidate {candidate} {found}; it must have passed its gate")
    if row["status"] in ENDED:
        return _outcome(mart.name, candidate, row["status"], row["release"])
    made = read_candidate(exchange, mart=mart.name, candidate=candidate)
    try:
        go_on_from_pointer(exchange, mart=mart.name, major=mart.major)
    except PointerLost as lost:
        raise NotPromotable(str(lost)) from None
    pointer, version = read_pointer(exchange, mart=mart.name, major=mart.major)
    base = _base(exchange, mart, pointer.release if pointer else None)
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
    number = (pointer.highest if pointer else 0) + 1
    manifest = compose(
        mart,
        made,
        base,
        gates=row["gates"] or {},
        number=number,
        signed_with=signer(exchange),
        notices=notices_of(exchange, mart, now=datetime.now(UTC)),
        changes=_changes(exchange, made),
    )
    if base is not None and same_content(manifest, base):
        return _settle(exchange, made, "unchanged", base) | {"reason": "it says what the last release says"}
    asked = why_asked(mart, pointer)
    if asked is not None:
        decision = read_decision(exchange, mart=mart.name, candidate=candidate, number=number)
        if decision is None:
            return _wait(exchange, made, asked)
        if decision.verdict == "refused":
            return _refuse(exchange, made, decision)
        manifest = manifest.model_copy(update={"approval": decision.approval, "approved_by": decision.by})
    return _settle(exchange, made, "released", publish(exchange, manifest, made, base, version=version))


def _changes(exchange: Exchange, made: Candidate) -> dict[str, Any]:
    """What the candidate's diff says in brief: nothing is released of which nobody can see what changed."""
    try:
        return in_brief(kept_diff(exchange, made))
    except ObjectNotFound:
        raise NotPromotable(
            f"{made.mart}: candidate {made.candidate} has no diff against {made.base or 'nothing'}: judge it again"
        ) from None


def _base(exchange: Exchange, mart: Mart, release: str | None) -> Manifest | None:
    """The release before, verified: what is carried over from it is signed again. One from before releases were
    signed is taken as it is."""
    if release is None:
        return None
    base = read_manifest(exchange, mart=mart.name, major=mart.major, release=release)
    if base.signed_with is None:
        return base
    ours = signing_key(exchange).public_key()
    trusted = ours if key_id(ours) == base.signed_with else None
    return verified_manifest(exchange, mart=mart.name, major=mart.major, release=release, key=trusted).manifest


def _wait(exchange: Exchange, made: Candidate, asked: str) -> dict[str, Any]:
    _set(exchange, made, status="waiting", reason=f"waits for an approval: {asked}")
    return _outcome(made.mart, made.candidate, "waiting", None) | {"reason": f"waits for an approval: {asked}"}


def _refuse(exchange: Exchange, made: Candidate, decision: Decision) -> dict[str, Any]:
    """Its description, its reports and the answer stay; its Parquet goes."""
    reason = f"refused by {decision.by}: {decision.reason}"
    _clear(exchange, made)
    _set(exchange, made, status="refused", reason=reason)
    return _outcome(made.mart, made.candidate, "refused", None) | {"reason": reason}


def _set(exchange: Exchange, made: Candidate, *, status: str, reason: str) -> None:
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(candidates)
            .where(candidates.c.mart == made.mart, candidates.c.candidate == made.candidate)
            .where(candidates.c.status.in_(["passed", "waiting"]))
            .values(status=status, reason=reason)
        )


def _settle(exchange: Exchange, made: Candidate, status: str, newest: Manifest | None) -> dict[str, Any]:
    """Tells the readers of the major before, and then the index, in one transaction; may run again after a death
    before it. Then the candidate's Parquet is removed, for the release has it; its description and its reports stay.
    """
    if status == "released" and newest is not None:
        announce(exchange, newest)
    release = newest.release if newest else None
    facts: dict[str, Any] = {}
    with exchange.index.begin() as connection:
        if status == "released" and newest is not None:
            record_release(connection, newest)
            facts = {"rows": newest.rows, "bytes": newest.bytes}
        record_outcome(connection, made, status=status, release=release)
    _clear(exchange, made)
    return _outcome(made.mart, made.candidate, status, release) | facts


def _clear(exchange: Exchange, made: Candidate) -> None:
    for file in made.built.values():
        if file is not None:
            exchange.lake.delete("candidates", f"{made.prefix}/{file.path}")


def _outcome(mart: str, candidate: str, status: str, release: str | None) -> dict[str, Any]:
    return {"mart": mart, "candidate": candidate, "status": status, "release": release}
