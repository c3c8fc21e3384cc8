"""The gate's own check of a mart with noise: its cells, its numbers, who counts, and what it cost. It returns
counts only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

import duckdb

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import DpPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.dp import capped_relation
from lakehouse.privacy.ledger import entries, spent
from lakehouse.privacy.thresholds import Violation
from lakehouse.storage.sql import identifier


def recount_noisy(
    *, connection: duckdb.DuckDBPyConnection, mart: Mart, policy: DpPolicy, published: str = "true"
) -> list[Violation]:
    """Every rule of the policy, on the rows of ``marts.<mart>`` for which the SQL condition ``published`` holds."""
    schema, _, name = policy.key_set.partition(".")
    keys = ", ".join(identifier(key) for key in mart.exchange.key)
    rows = f"(SELECT * FROM marts.{identifier(mart.name)} WHERE {published})"
    public = f"(SELECT DISTINCT {keys} FROM {identifier(schema)}.{identifier(name)} WHERE {published})"
    capped = f"(SELECT * FROM {capped_relation(mart)} WHERE {published})"
    partition = f"date_trunc('{mart.exchange.partition.grain}', {identifier(mart.exchange.partition.column)})"
    measure = identifier(policy.measure)
    rules = [
        (
            "every_public_cell_is_there",
            "no cell of the public key set is left out, whatever its count",
            f"SELECT count(*) FROM {public} ANTI JOIN {rows} USING ({keys})",
        ),
        (
            "no_cell_beyond_the_public_ones",
            "each cell is of the public key set",
            f"SELECT count(*) FROM {rows} ANTI JOIN {public} USING ({keys})",
        ),
        (
            "each_cell_once",
            "one row a cell",
            f"SELECT count(*) FROM (SELECT 1 FROM {rows} GROUP BY {keys} HAVING count(*) > 1)",
        ),
        (
            "noise_in_every_cell",
            "each cell has a whole number with its errors",
            f"SELECT count(*) FROM {rows} WHERE {measure} IS NULL OR error_90 IS NULL OR standard_error IS NULL",
        ),
        (
            "unit_is_capped",
            f"a {policy.unit} counts in at most {policy.cap.value} cells of a partition",
            f"SELECT count(*) FROM (SELECT 1 FROM {capped} GROUP BY unit, {partition} "
            f"HAVING count(*) > {policy.cap.value})",
        ),
        (
            "unit_counts_once_in_a_cell",
            f"one count of a {policy.unit} in a cell",
            f"SELECT count(*) FROM (SELECT 1 FROM {capped} GROUP BY unit, {keys} HAVING count(*) > 1)",
        ),
    ]
    return [
        Violation(rule=rule, expected=expected, cells=int((connection.execute(query).fetchone() or (0,))[0]))
        for rule, expected, query in rules
    ]


def recount_ledger(exchange: Exchange, *, mart: Mart, policy: DpPolicy, partitions: Iterable[str]) -> list[Violation]:
    """Whether each published partition was paid for, and the population's caps hold after that."""
    paid = spent(exchange, mart=mart.name, major=mart.major)
    years: dict[str, Decimal] = defaultdict(Decimal)
    for row in entries(exchange):
        if row["population"] == policy.population:
            years[row["partition"][:4]] += Decimal(row["rho"])
    budget = policy.budget
    above = sum(rho > budget.year_rho for rho in years.values()) + (sum(years.values()) > budget.lifetime_rho)
    return [
        Violation(
            rule="noise_is_on_the_ledger",
            expected=f"rho {budget.rho} at least is charged for each published {mart.exchange.partition.grain}",
            cells=sum(paid.get(partition, Decimal(0)) < budget.rho for partition in partitions),
        ),
        Violation(
            rule="ledger_is_within_its_caps",
            expected=f"{policy.population} at most rho {budget.year_rho} a year and {budget.lifetime_rho} in all",
            cells=above,
        ),
    ]
