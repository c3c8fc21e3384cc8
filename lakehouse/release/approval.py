"""Approval: who lets a candidate become a release, or refuses it, when and why; written once, wherever it was said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Approval, Pointer, Strict, latest_manifest, number_of, read_candidate
from lakehouse.release.pointer import read_pointer
from lakehouse.storage.index import candidates
from lakehouse.storage.lake import Conflict, ObjectNotFound

Verdict = Literal["approved", "refused"]
Through = Literal["command", "airflow", "portal"]


class NotWaiting(RuntimeError):
    """A candidate that waits for nobody's approval; the message says what became of it."""


class Decision(Strict):
    """The answer, on record beside the candidate. ``number`` is the release that it was asked for: a candidate of
    the same name that is built again after a rollback is asked for anew."""

    format: Literal["city-data-exchange/decision/1"] = "city-data-exchange/decision/1"
    mart: str
    candidate: str
    number: int
    verdict: Verdict
    by: str
    at: datetime
    reason: str
    through: Through

    @property
    def approval(self) -> Approval:
        return Approval(by=self.by, at=self.at, reason=self.reason, through=self.through)


def why_asked(mart: Mart, pointer: Pointer | None) -> str | None:
    """Why this mart's next release needs an approval, or ``None``: its yml asks for one, or the last release was
    taken back, and what was built since could say the same again."""
    if pointer is not None and pointer.withdrew is not None:
        how = "rolled back from" if pointer.withdrew.how == "rolled_back" else "yanked"
        return f"{pointer.withdrew.release} was {how} ({pointer.withdrew.reason})"
    return "its yml asks for an approval" if mart.exchange.approval == "required" else None


def decision_key(mart: str, candidate: str, number: int) -> str:
    return f"{mart}/{candidate}/decision-{number:04d}.json"


def read_decision(exchange: Exchange, *, mart: str, candidate: str, number: int) -> Decision | None:
    try:
        content = exchange.lake.read_bytes("candidates", decision_key(mart, candidate, number))
    except ObjectNotFound:
        return None
    return Decision.model_validate_json(content)


def decide(
    exchange: Exchange, *, mart: Mart, candidate: str, verdict: Verdict, by: str, reason: str, through: Through
) -> Decision:
    """Writes the answer, unless somebody has answered before: then that one holds. Returns the one that holds.

    Nothing is released by it; :func:`lakehouse.release.promote.promote` goes on from there. Raises
    :class:`NotWaiting`, and ``ValueError`` for an answer without a name or a reason.
    """
    if not by.strip() or not reason.strip():
        raise ValueError("an answer needs a name and a reason, which are kept")
    row = exchange.index.row(
        sa.select(candidates).where(candidates.c.mart == mart.name, candidates.c.candidate == candidate)
    )
    number = _number(exchange, mart, candidate)
    standing = read_decision(exchange, mart=mart.name, candidate=candidate, number=number)
    if standing is not None:
        return standing
    if row is None or row["status"] != "waiting":
        state = "is not known" if row is None else f"is {row['status']}"
        why = f" ({row['reason']})" if row is not None and row["reason"] else ""
        raise NotWaiting(f"{mart.name}: candidate {candidate} {state}{why}; it waits for nobody")
    decision = Decision(
        mart=mart.name, candidate=candidate, number=number, verdict=verdict, by=by.strip(), at=datetime.now(UTC),
        reason=reason.strip(), through=through,
    )  # fmt: skip
    key = decision_key(mart.name, candidate, number)
    try:
        exchange.lake.write_if("candidates", key, decision.model_dump_json(indent=1).encode(), expected=None)
    except Conflict:
        found = read_decision(exchange, mart=mart.name, candidate=candidate, number=number)
        assert found is not None, "what was in the way stands"
        return found
    return decision


def _number(exchange: Exchange, mart: Mart, candidate: str) -> int:
    """Of the release that is asked for: the next one, or the newest where that was made of this candidate already and
    whoever moved the pointer died before telling the index."""
    newest = latest_manifest(exchange, mart=mart.name, major=mart.major)
    if newest is not None and newest.candidate == candidate:
        return number_of(newest.release)
    pointer, _ = read_pointer(exchange, mart=mart.name, major=mart.major)
    return (pointer.highest if pointer else 0) + 1


def question(exchange: Exchange, *, mart: str, candidate: str) -> dict[str, str] | None:
    """What a reviewer is asked of a candidate that waits: ``body`` in Markdown, and ``run``, a name that is the same
    for as long as it waits. ``None`` where it waits for nobody."""
    found = [entry for entry in list_candidates(exchange, mart=mart) if entry["candidate"] == candidate]
    if not found:
        return None
    [entry] = found
    pointer, _ = read_pointer(exchange, mart=mart, major=entry["major"])
    number = (pointer.highest if pointer else 0) + 1
    bucket, _, key = entry["report"].partition("/")
    lines = [
        f"**{mart} v{entry['major']}**, candidate `{candidate}`, built on {entry['base'] or 'no release'} because "
        f"{entry['because']}: {entry['rows']:,} rows in {entry['partitions']:,} partitions.",
        f"It {entry['reason']}. Every blocking check of its gate passed.",
        *(f"- warning: {warning}" for warning in entry["warnings"]),
        f"Report: `{exchange.lake.duckdb_url(bucket, key)}`",
        "Until somebody answers, the former release stands.",
    ]
    created = datetime.fromisoformat(entry["created_at"])
    return {"body": "\n\n".join(lines), "run": f"{mart}-{candidate}-{number:04d}-{created:%Y%m%dT%H%M%S}"}


def list_candidates(exchange: Exchange, *, everything: bool = False, mart: str | None = None) -> list[dict[str, Any]]:
    """Candidates that wait for an approval, the newest first within a mart; ``everything``: of all fates.

    Each ``{mart, major, candidate, status, created_at, reason, base, partitions, rows, warnings, report, folder}``:
    ``base`` is the release that it was built on, ``rows`` those of its own ``partitions``, ``report`` and
    ``folder`` keys in the lake.
    """
    query = sa.select(candidates).order_by(candidates.c.mart, candidates.c.created_at.desc())
    if not everything:
        query = query.where(candidates.c.status == "waiting")
    if mart is not None:
        query = query.where(candidates.c.mart == mart)
    found = []
    for row in exchange.index.rows(query):
        entry: dict[str, Any] = {
            name: row[name] for name in ("mart", "major", "candidate", "status", "reason", "release")
        }
        made = read_candidate(exchange, mart=row["mart"], candidate=row["candidate"])
        files = [file for file in made.built.values() if file is not None]
        found.append(
            {
                **entry,
                "created_at": row["created_at"].isoformat(),
                "because": made.reason,
                "base": made.base,
                "partitions": len(made.built),
                "rows": sum(file.rows for file in files),
                "warnings": (row["gates"] or {}).get("warnings", []),
                "report": f"reports/{made.prefix}/index.html",
            }
        )
    return found
