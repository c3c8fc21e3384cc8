"""The gate's own recount of a private mart's cells, from the private rows of the build.

It is written apart from the dbt macros that made the cells, so that one mistake does not pass both. It returns
counts of violations, never a value.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy
from lakehouse.privacy.gathered import CELLS, MEMBERS
from lakehouse.storage.sql import identifier, literal


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One rule, what it asks, and how many published cells break it (0 where it holds)."""

    rule: str
    expected: str
    cells: int


def recount(connection: duckdb.DuckDBPyConnection, *, mart: Mart, policy: AggregatePolicy) -> list[Violation]:
    """Every rule of the policy, on the published cells (:func:`lakehouse.privacy.gathered.gather`)."""
    rules = _rules(mart, policy)
    counts = connection.execute(
        f"""
        WITH shares AS (
            SELECT published_cell, unit, count(*) AS times, sum(contribution) AS share
            FROM {MEMBERS} GROUP BY published_cell, unit
        ),
        held AS (
            SELECT published_cell, count(*) AS counted, max(times) AS times, sum(share) AS total,
                   max(share) AS largest, coalesce(max(share, 2)[2], 0) AS second
            FROM shares GROUP BY published_cell
        ),
        judged AS (
            SELECT {CELLS}.*, coalesce(counted, 0) AS counted, times, total, largest, second,
                   CASE period_grain {_least_units(policy)} END AS least_units
            FROM {CELLS} LEFT JOIN held USING (published_cell)
        )
        SELECT {", ".join(f"count(*) FILTER (WHERE {broken})" for _, _, broken in rules)} FROM judged
        """
    ).fetchone() or (0,) * len(rules)
    return [
        Violation(rule=rule, expected=expected, cells=int(cells))
        for (rule, expected, _), cells in zip(rules, counts, strict=True)
    ]


def _least_units(policy: AggregatePolicy) -> str:
    return " ".join(f"WHEN {literal(grain)} THEN {least}" for grain, least in sorted(policy.k.items()))


def _rules(mart: Mart, policy: AggregatePolicy) -> list[tuple[str, str, str]]:
    """Name, what it asks, and SQL that holds for a cell that breaks it."""
    starts = f"timezone('UTC', {identifier(mart.exchange.partition.column)}::TIMESTAMPTZ)"
    least = " or ".join(f"{units} by the {grain}" for grain, units in sorted(policy.k.items()))
    return [
        (
            "cell_has_private_rows",
            "each published cell is found again among the private rows",
            "counted = 0",
        ),
        (
            "cell_holds_k_units",
            f"at least {least} of a {policy.unit} in a cell",
            "least_units IS NULL OR counted < least_units",
        ),
        ("unit_counts_once", f"one contribution of a {policy.unit} to a cell", "times > 1"),
        (
            "no_unit_dominates",
            f"the largest share at most {policy.max_share_percent} %",
            f"largest * 100 > total * {policy.max_share_percent}",
        ),
        (
            "largest_cannot_be_estimated",
            f"the rest beyond the two largest at least {policy.p_percent} % of the largest",
            f"(total - largest - second) * 100 < largest * {policy.p_percent}",
        ),
        (
            "published_count_is_true",
            "the published number of units is the recounted one",
            f"{identifier(policy.units)} IS DISTINCT FROM counted",
        ),
        (
            "published_sum_is_true",
            "the published sum is the recounted one",
            f"{identifier(policy.measure)} IS DISTINCT FROM total",
        ),
        (
            "contribution_is_capped",
            f"no {policy.unit} gives above {policy.cap.value} {policy.cap.unit} an hour",
            f"largest > {policy.cap.value} * period_hours",
        ),
        (
            "period_is_of_its_grain",
            "a period starts as its grain does, and is of no more hours than it has",
            f"NOT coalesce(CASE period_grain WHEN 'hour' THEN {starts} = date_trunc('hour', {starts}) "
            f"WHEN 'day' THEN {starts} = date_trunc('day', {starts}) "
            f"WHEN 'month' THEN {starts} = date_trunc('month', {starts}) END "
            "AND period_hours BETWEEN 1 AND CASE period_grain WHEN 'hour' THEN 1 WHEN 'day' THEN 24 "
            f"ELSE 24 * day(last_day({starts})) END, false)",
        ),
    ]
