"""An answer to a candidate that waits, and what follows from it: the same from the command line and from Airflow."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.release.approval import Through, Verdict, decide
from lakehouse.release.promote import promote
from lakehouse.storage.index import candidates


def answer(
    exchange: Exchange, *, mart: Mart, candidate: str, verdict: Verdict, by: str, reason: str, through: Through
) -> dict[str, Any]:
    """Writes the answer once, and releases the candidate or ends it, by whichever answer holds. Two may answer at
    once, and one that died is finished by the next who answers.

    Returns what :func:`lakehouse.release.promote.promote` does, and the ``decision``. Raises
    :class:`lakehouse.release.approval.NotWaiting` and :class:`lakehouse.release.publish.NotPromotable`.
    """
    decision = decide(exchange, mart=mart, candidate=candidate, verdict=verdict, by=by, reason=reason, through=through)
    outcome = promote(exchange, mart=mart, candidate=candidate)
    return outcome | {"decision": decision.model_dump(mode="json")}


def fate(exchange: Exchange, *, mart: str, candidate: str) -> dict[str, Any]:
    """What became of a candidate, as the index says: ``{status, release, reason}``; ``unknown`` where it was lost."""
    row = exchange.index.row(
        sa.select(candidates).where(candidates.c.mart == mart, candidates.c.candidate == candidate)
    )
    if row is None:
        return {"status": "unknown", "release": None, "reason": None}
    return {name: row[name] for name in ("status", "release", "reason")}
