"""The gate's own recount of a private mart's cells, from the private rows of the build.

It is written apart from the dbt macro that made the cells (window functions here, a pre-aggregate there), so
that one mistake does not pass both. It returns counts of violations, never a value.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from lakehouse.contracts.mart import AggregatePolicy, Mart
from lakehouse.storage.sql import identifier, literal


@dataclass(frozen=True, kw_only=True)
class Violation:
    rule: str
    cells: int
    expected: str


def recount(*, connection: duckdb.DuckDBPyConnection, mart: Mart, policy: AggregatePolicy) -> list[Violation]:
    """Every rule of the policy with the number of published cells that break it (0 where it holds).

    ``policy.contributions`` names a relation with the mart's key columns, ``unit`` and ``contribution`` (the
    unit's capped share of the cell, a whole number): one row a unit and cell.
    """
    keys = ", ".join(identifier(name) for name in mart.exchange.key)
    same = " AND ".join(
        f"m.{identifier(name)} IS NOT DISTINCT FROM c.{identifier(name)}" for name in mart.exchange.key
    )
    k = " ".join(f"WHEN {literal(grain)} THEN {least}" for grain, least in sorted(policy.k.items()))
    schema, _, relation = policy.contributions.partition(".")
    row = connection.execute(
        f"""
        WITH ranked AS (
            SELECT {keys}, unit, contribution,
                   row_number() OVER (PARTITION BY {keys} ORDER BY contribution DESC) AS place,
                   row_number() OVER (PARTITION BY {keys}, unit ORDER BY contribution) AS turn
            FROM {identifier(schema)}.{identifier(relation)}
        ),
        cells AS (
            SELECT {keys}, count(*) FILTER (WHERE turn = 1) AS units, count(*) AS contributions,
                   sum(contribution) AS total,
                   coalesce(sum(contribution) FILTER (WHERE place = 1), 0) AS largest,
                   coalesce(sum(contribution) FILTER (WHERE place = 2), 0) AS second,
                   max(contribution) AS highest
            FROM ranked GROUP BY {keys}
        ),
        published AS (
            SELECT m.*, c.units, c.contributions, c.total, c.largest, c.second, c.highest,
                   CASE m.period_grain {k} END AS least_units
            FROM marts.{identifier(mart.name)} AS m LEFT JOIN cells AS c ON {same}
        )
        SELECT
            count(*) FILTER (WHERE units IS NULL),
            count(*) FILTER (WHERE least_units IS NULL OR units < least_units),
            count(*) FILTER (WHERE contributions <> units),
            count(*) FILTER (WHERE largest * 100 > total * {policy.max_share_percent}),
            count(*) FILTER (WHERE (total - largest - second) * 100 < largest * {policy.p_percent}),
            count(*) FILTER (WHERE households <> units),
            count(*) FILTER (WHERE {identifier(policy.measure)} <> total),
            count(*) FILTER (WHERE highest > {policy.cap.value} * period_hours)
        FROM published
        """
    ).fetchone()
    names = (
        ("cell_has_private_rows", "each published cell is found again among the private rows"),
        ("cell_holds_k_units", f"at least {policy.k} {policy.unit}s in a cell"),
        ("unit_counts_once", f"one contribution of a {policy.unit} to a cell"),
        ("no_unit_dominates", f"the largest share at most {policy.max_share_percent} %"),
        (
            "largest_cannot_be_estimated",
            f"the rest beyond the two largest at least {policy.p_percent} % of the largest",
        ),
        ("published_count_is_true", "the published number of units is the recounted one"),
        ("published_sum_is_true", "the published sum is the recounted one"),
        ("contribution_is_capped", f"no contribution above {policy.cap.value} {policy.cap.unit} an hour"),
    )
    counts = row or (0,) * len(names)
    return [
        Violation(rule=rule, cells=int(cells), expected=expected)
        for (rule, expected), cells in zip(names, counts, strict=True)
    ]
