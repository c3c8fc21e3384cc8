"""What the ledger of privacy spending says to a person: by population and year, and by mart."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import Budget, DpPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.ledger import entries, epsilon
from lakehouse.storage.index import releases

# No true count stands in it, but who guesses a partition could prove the guess by it.
KEPT_BACK = {"digest"}


def privacy_statement(exchange: Exchange, marts: dict[str, Mart]) -> dict[str, Any]:
    """``{populations, marts, entries}``; an entry names the release that its candidate came to. Rho is exact, as
    text; ``left`` is what the caps of today's policies still allow (the lowest, where marts differ), ``None`` for
    a population that no mart names any more."""
    rows = entries(exchange)
    listed = exchange.index.rows(sa.select(releases.c.mart, releases.c.candidate, releases.c.release))
    names = {(row["mart"], row["candidate"]): row["release"] for row in listed}
    budgets = _budgets(marts)
    found: dict[str, Any] = {"populations": [], "marts": [], "entries": []}
    periods: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    by_mart: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        periods[row["population"], "lifetime"] += Decimal(row["rho"])
        periods[row["population"], row["partition"][:4]] += Decimal(row["rho"])
        by_mart[row["population"], row["mart"], row["major"]].append(row)
        said = {name: value for name, value in row.items() if name not in KEPT_BACK}
        found["entries"].append(said | {"release": names.get((row["mart"], row["candidate"]))})
    for (population, period), rho in sorted(periods.items()):
        budget = budgets.get(population)
        cap = None if budget is None else budget.lifetime_rho if period == "lifetime" else budget.year_rho
        found["populations"].append(
            {
                "population": population,
                "period": period,
                "rho": str(rho),
                "cap": None if cap is None else str(cap),
                "left": None if cap is None else str(cap - rho),
                "epsilon": None if budget is None else round(epsilon(rho, budget.delta), 2),
                "delta": None if budget is None else str(budget.delta),
            }
        )
    for (population, mart, major), spendings in sorted(by_mart.items()):
        charged = [row for row in spendings if row["status"] == "charged"]
        partitions = sorted({row["partition"] for row in charged})
        found["marts"].append(
            {
                "mart": mart,
                "major": major,
                "population": population,
                "unit": charged[-1]["unit"],
                "partitions": len(partitions),
                "first": partitions[0],
                "last": partitions[-1],
                "rho": str(sum((Decimal(row["rho"]) for row in charged), Decimal(0))),
                "charged": len(charged),
                "drawn": sum(row["status"] == "drawn" for row in spendings),
            }
        )
    return found


def _budgets(marts: dict[str, Mart]) -> dict[str, Budget]:
    """Of each population the budget with the lowest lifetime cap."""
    found: dict[str, Budget] = {}
    for mart in marts.values():
        policy = mart.exchange.privacy
        if isinstance(policy, DpPolicy):
            standing = found.setdefault(policy.population, policy.budget)
            if policy.budget.lifetime_rho < standing.lifetime_rho:
                found[policy.population] = policy.budget
    return found
