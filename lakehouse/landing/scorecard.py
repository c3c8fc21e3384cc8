"""Scorecards: how good a dataset's deliveries are over time, in a line and on a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.alarms import age_in_words, is_late, is_live, is_stale, span_in_words
from lakehouse.landing.profile import HISTORY, past_profiles
from lakehouse.landing.receipt import render
from lakehouse.storage.index import delivery_profiles

ALARM_DAYS = 30
# On a page: where thousands of files come a day, so may alarms.
SHOWN_ALARMS = 20
GRADES = "ABCD"
# Of the last deliveries' rows; above the second it costs two grades.
REFUSED_LIMITS = (0.01, 0.1)
WIDTH, HEIGHT = 120, 28


@dataclass(frozen=True, kw_only=True)
class Score:
    """One dataset. ``refused_share`` is of all rows ever, ``recent`` the last deliveries, the oldest first.

    ``freshness`` says in words what is promised and what was found. ``grade``: A, less one for each of ``reasons``;
    empty where nothing was delivered yet.
    """

    provider: str
    dataset: str
    title: str
    simulated: bool
    deliveries: int
    rows: int
    refused_share: float
    last_delivery: str | None
    newest_event: str | None
    freshness: str
    alarms: tuple[str, ...]
    notes: tuple[str, ...]
    grade: str
    reasons: tuple[str, ...]
    recent: tuple[dict[str, Any], ...]


def scorecard(exchange: Exchange, *, provider: str | None = None, now: datetime | None = None) -> list[Score]:
    """A score of each contract's dataset, as of ``now`` (aware)."""
    contracts = [c for c in exchange.contracts.values() if provider in (None, c.provider)]
    return [_score(exchange, contract, now or datetime.now(UTC)) for contract in contracts]


def overdue(exchange: Exchange, contract: Contract, *, now: datetime | None = None) -> str | None:
    """In words that a delivery has not come, of a live dataset with a promised frequency; else ``None``."""
    rows = _recent(exchange, contract)
    return _overdue(contract, past_profiles(exchange, contract), rows, now or datetime.now(UTC))


def write_pages(exchange: Exchange, scores: Sequence[Score]) -> dict[str, bytes]:
    """A page for each provider into the bucket of reports; returns them by their keys."""
    by_provider: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        by_provider[score.provider].append(score)
    pages = {f"_scorecards/{name}.html": _page(name, found) for name, found in sorted(by_provider.items())}
    for key, page in pages.items():
        exchange.lake.write_bytes("reports", key, page, content_type="text/html; charset=utf-8")
    return pages


def _score(exchange: Exchange, contract: Contract, now: datetime) -> Score:
    mine = (
        delivery_profiles.c.provider == contract.provider,
        delivery_profiles.c.dataset == contract.dataset,
    )
    sums = exchange.index.rows(
        sa.select(
            sa.func.count().label("deliveries"),
            sa.func.coalesce(sa.func.sum(delivery_profiles.c.delivered), 0).label("delivered"),
            sa.func.coalesce(sa.func.sum(delivery_profiles.c.refused), 0).label("refused"),
        ).where(*mine)
    )[0]
    month = exchange.index.rows(
        sa.select(delivery_profiles.c.received_at, delivery_profiles.c.alarms)
        .where(
            *mine,
            delivery_profiles.c.received_at >= now - timedelta(days=ALARM_DAYS),
            # Most have none.
            sa.cast(delivery_profiles.c.alarms, sa.Text) != "[]",
        )
        .order_by(delivery_profiles.c.received_at.desc(), delivery_profiles.c.delivery.desc())
    )
    alarms = tuple(f"{row['received_at']:%Y-%m-%d}: {alarm}" for row in month for alarm in row["alarms"])
    recent, past = _recent(exchange, contract), past_profiles(exchange, contract)
    late = _overdue(contract, past, recent, now)
    reasons = _reasons(contract, recent, past, alarms, late)
    last = recent[-1] if recent else None
    return Score(
        provider=contract.provider,
        dataset=contract.dataset,
        title=contract.name,
        simulated=contract.exchange.simulated,
        deliveries=sums["deliveries"],
        rows=int(sums["delivered"]),
        refused_share=_share(int(sums["refused"]), int(sums["delivered"])),
        last_delivery=last["received_at"].isoformat() if last else None,
        newest_event=past[0]["newest_event"] if past else None,
        freshness=_freshness(contract, past),
        alarms=alarms,
        notes=(late,) if late else (),
        grade=GRADES[min(len(reasons), len(GRADES) - 1)] if recent else "",
        reasons=tuple(reasons),
        recent=tuple(
            {
                "received_at": row["received_at"].isoformat(),
                "status": row["status"],
                "delivered": row["delivered"],
                "refused": row["refused"],
            }
            for row in recent
        ),
    )


def _recent(exchange: Exchange, contract: Contract) -> list[sa.RowMapping]:
    """The last deliveries, whatever came of them, the oldest first."""
    rows = exchange.index.rows(
        sa.select(delivery_profiles)
        .where(
            delivery_profiles.c.provider == contract.provider,
            delivery_profiles.c.dataset == contract.dataset,
        )
        .order_by(delivery_profiles.c.delivery.desc())
        .limit(HISTORY)
    )
    return list(reversed(rows))


def _overdue(
    contract: Contract, past: Sequence[dict[str, Any]], recent: Sequence[sa.RowMapping], now: datetime
) -> str | None:
    frequency = contract.promised("frequency")
    if frequency is None or not recent or not is_live(contract, past):
        return None
    # Of events the very bytes of before are nothing new, and a source that stands still may send them for ever.
    told = [row for row in recent if row["status"] != "repeated"] if contract.exchange.time else recent
    last = told[-1] if told else recent[0]
    waited = (now - last["received_at"]).total_seconds() / 3600
    if not is_late(frequency, waited):
        return None
    promise = span_in_words(frequency.total_seconds() / 3600)
    new = "" if last is recent[-1] else " that was no repetition"
    return f"expected every {promise}, last delivery{new} {span_in_words(waited)} ago"


def _freshness(contract: Contract, past: Sequence[dict[str, Any]]) -> str:
    promised = [
        f"{name} {span_in_words(span.total_seconds() / 3600)}"
        for name in ("frequency", "latency")
        if (span := contract.promised(name)) is not None
    ]
    words = ", ".join(promised) or "nothing promised"
    if past and past[0]["age_hours"] is not None:
        words += f"; the newest row was {age_in_words(past[0]['age_hours'])} on arrival"
    return words


def _reasons(
    contract: Contract,
    recent: Sequence[sa.RowMapping],
    past: Sequence[dict[str, Any]],
    alarms: Sequence[str],
    late: str | None,
) -> list[str]:
    """Each costs a grade."""
    found = []
    share = _share(sum(row["refused"] for row in recent), sum(row["delivered"] for row in recent))
    for limit in REFUSED_LIMITS:
        if share > limit:
            found.append(f"more than {limit:.0%} of the rows of the last {len(recent)} deliveries were refused")
    if recent and recent[-1]["status"] == "refused":
        found.append("the last delivery was refused whole")
    if late is not None:
        found.append(late)
    elif past and is_stale(contract, past[0]) and is_live(contract, past):
        found.append("the newest row was older on arrival than is promised")
    if alarms:
        found.append(f"{len(alarms)} alarm{'' if len(alarms) == 1 else 's'} in the last {ALARM_DAYS} days")
    return found


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _page(provider: str, scores: Sequence[Score]) -> bytes:
    lines = [
        {
            **asdict(score),
            "rows_line": _polyline([entry["delivered"] for entry in score.recent]),
            "refused_line": _polyline([_share(entry["refused"], entry["delivered"]) for entry in score.recent], top=1),
        }
        for score in scores
    ]
    return render(
        "scorecard.html",
        provider=provider,
        scores=lines,
        days=ALARM_DAYS,
        shown=SHOWN_ALARMS,
        width=WIDTH,
        height=HEIGHT,
    )


def _polyline(values: Sequence[float], *, top: float | None = None) -> str:
    """Points of an SVG polyline, the first value at the left; ``top`` is the value at the upper edge."""
    if len(values) < 2:
        return ""
    highest = top or max(values) or 1
    step = WIDTH / (len(values) - 1)
    return " ".join(
        f"{number * step:.1f},{HEIGHT - 2 - (HEIGHT - 4) * value / highest:.1f}" for number, value in enumerate(values)
    )
