"""What follows once something was published or taken back, whoever did it: lineage hears of it, and doors that keep
tables of their own are brought to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.lineage.events import promotion_event
from lakehouse.lineage.store import tell
from lakehouse.release.answer import answer
from lakehouse.release.approval import Through, Verdict


def answer_and_follow(
    exchange: Exchange,
    *,
    mart: Mart,
    candidate: str,
    verdict: Verdict,
    by: str,
    reason: str,
    through: Through,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """:func:`lakehouse.release.answer.answer` and what follows from it; ``warn`` hears what of that failed."""
    outcome = answer(exchange, mart=mart, candidate=candidate, verdict=verdict, by=by, reason=reason, through=through)
    tell(exchange, lambda: [promotion_event(exchange, outcome)], warn=warn)
    if (failed := bring_doors(exchange, mart=mart.name)) is not None:
        warn(failed)
    return outcome


def bring_doors(exchange: Exchange, *, mart: str) -> str | None:
    """Brings the mart's Iceberg tables to its releases. What was published stands whatever comes of this, so nothing
    is raised: returns in words what failed. The next release, or `exchange iceberg`, makes it good."""
    try:
        # pyiceberg takes a second to import; commands that publish nothing must not pay for it.
        from lakehouse.sharing.iceberg_register import register_releases

        register_releases(exchange, mart=mart)
    except Exception as error:
        return f"{mart}: its Iceberg table was not brought to the releases ({error}); `exchange iceberg` does it"
    return None
