"""The ledger of privacy spending: written before noise is drawn, only ever added to, composed in zCDP.

It stands in the index, and each entry in the bucket ``privacy`` under ``ledger/``, from which an index that was
lost gets it back.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lakehouse.contracts.policy import Budget
from lakehouse.exchange import Exchange
from lakehouse.storage.index import hold_changes, privacy_ledger
from lakehouse.storage.lake import Conflict

BUCKET = "privacy"
KEY = ("population", "mart", "major", "partition", "policy", "digest", "status")


class OverBudget(RuntimeError):
    """A spending that would pass a cap. Nothing of it was charged."""


@dataclass(frozen=True, kw_only=True)
class Charge:
    """Noise that is to be drawn for one partition. ``policy``: digest of the policy; ``digest``: of the whole
    partition's true counts, so it is as private as they are; ``candidate``: for which it is drawn first (a
    release has no name before)."""

    population: str
    unit: str
    mart: str
    major: int
    partition: str
    policy: str
    mechanism: str
    rho: Decimal
    digest: str
    candidate: str


def charge(exchange: Exchange, charges: Sequence[Charge], budget: Budget) -> None:
    """Writes the charges that are not on the ledger yet, all of them or none, and returns once they stand.

    A charge that stands already (its build was killed before the draw) costs nothing more. Raises
    :class:`OverBudget` where they would pass the year's or the lifetime's cap of their population, or where their mart
    has spent of another one: under a new name the same people would have a new budget.
    """
    with exchange.index.begin() as connection:
        hold_changes(connection)
        standing = _entries(connection)
        _require_same_population(standing, charges)
        known = {_key(row) for row in standing}
        new = [row for row in (_row(one, "charged", one.rho) for one in charges) if _key(row) not in known]
        _require_within(connection, new, budget)
        _add(connection, new)
    for one in charges:
        _copy_to_lake(exchange, _row(one, "charged", one.rho))


def record_drawn(exchange: Exchange, charges: Iterable[Charge]) -> None:
    """Notes, at no cost, that the draws of these charges are kept."""
    rows = [_row(one, "drawn", Decimal(0)) for one in charges]
    with exchange.index.begin() as connection:
        hold_changes(connection)
        known = {_key(row) for row in _entries(connection)}
        _add(connection, [row for row in rows if _key(row) not in known])


def restore_ledger(exchange: Exchange) -> int:
    """Adds the entries that the lake has and the index has not; returns how many."""
    kept = [json.loads(exchange.lake.read_bytes(BUCKET, entry.key)) for entry in exchange.lake.list(BUCKET, "ledger/")]
    for row in kept:
        row["recorded_at"] = datetime.fromisoformat(row["recorded_at"])
    with exchange.index.begin() as connection:
        hold_changes(connection)
        known = {_key(row) for row in _entries(connection)}
        missing = [row for row in kept if _key(row) not in known]
        _add(connection, sorted(missing, key=lambda row: row["recorded_at"]))
    return len(missing)


def spent(exchange: Exchange, *, mart: str, major: int) -> dict[str, Decimal]:
    """Rho on each partition of a mart, all its draws together."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in entries(exchange):
        if (row["mart"], row["major"]) == (mart, major):
            found[row["partition"]] += Decimal(row["rho"])
    return dict(found)


def entries(exchange: Exchange) -> list[dict[str, Any]]:
    """The whole ledger in the order in which it was written."""
    return [dict(row) for row in exchange.index.rows(sa.select(privacy_ledger).order_by(privacy_ledger.c.entry))]


def epsilon(rho: Decimal, delta: Decimal) -> float:
    """An epsilon such that rho-zCDP is (epsilon, delta)-DP: rho + 2 √(rho ln(1/delta)) (Bun and Steinke 2016,
    proposition 1.3). A bound: the smallest such epsilon is a little lower."""
    return float(rho) + 2 * math.sqrt(float(rho) * math.log(1 / float(delta)))


def _require_same_population(standing: Iterable[Mapping[str, Any]], charges: Iterable[Charge]) -> None:
    named = {one.mart: one.population for one in charges}
    for row in standing:
        wanted = named.get(row["mart"], row["population"])
        if row["population"] != wanted:
            raise OverBudget(
                f"{row['mart']} has spent of the privacy budget of {row['population']}; as {wanted} the same people "
                f"would have another: name population {row['population']} again. Nothing was charged or drawn"
            )


def _require_within(connection: Connection, new: list[dict[str, Any]], budget: Budget) -> None:
    for population in sorted({row["population"] for row in new}):
        of_it = [row for row in new if row["population"] == population]
        standing = [row for row in _entries(connection) if row["population"] == population]
        caps = {"its lifetime": budget.lifetime_rho} | {row["partition"][:4]: budget.year_rho for row in of_it}
        for period, cap in sorted(caps.items()):
            before, more = (_total(rows, period) for rows in (standing, of_it))
            if before + more > cap:
                partitions = ", ".join(sorted(row["partition"] for row in of_it))
                raise OverBudget(
                    f"the privacy budget of {population} does not reach: rho {before} of {cap} is spent in {period}, "
                    f"and {more} more is asked for ({partitions}); nothing was charged or drawn"
                )


def _total(rows: Iterable[Mapping[str, Any]], period: str) -> Decimal:
    """zCDP composes by adding rho up."""
    return sum(
        (Decimal(row["rho"]) for row in rows if period == "its lifetime" or row["partition"][:4] == period), Decimal(0)
    )


def _entries(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(sa.select(privacy_ledger)).mappings()]


def _add(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(privacy_ledger), rows)


def _row(one: Charge, status: str, rho: Decimal) -> dict[str, Any]:
    return {**asdict(one), "rho": str(rho), "status": status, "recorded_at": datetime.now(UTC)}


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _copy_to_lake(exchange: Exchange, row: dict[str, Any]) -> None:
    folder = f"ledger/{row['population']}/{row['mart']}/v{row['major']}/{row['partition']}"
    content = json.dumps({**row, "recorded_at": row["recorded_at"].isoformat()}, indent=1).encode()
    try:
        exchange.lake.write_if(BUCKET, f"{folder}/{row['policy']}-{row['digest']}.json", content, expected=None)
    except Conflict:
        return  # It stands already.
