"""The build's own recount of a table with totals, from the private rows: written apart from what filled it. It returns
counts of violations, never a value. Whether what is withheld can be reckoned is the attacks' to say."""

from __future__ import annotations

import duckdb

from lakehouse.contracts.mart import INTEGERS, Mart
from lakehouse.contracts.policy import SuppressPolicy
from lakehouse.privacy.thresholds import Violation
from lakehouse.storage.sql import identifier, literal


def recount_table(
    *, connection: duckdb.DuckDBPyConnection, mart: Mart, policy: SuppressPolicy, published: str = "true"
) -> list[Violation]:
    """Every rule of the policy, on the rows of ``marts.<mart>`` for which the SQL condition ``published`` holds."""
    named = ", ".join(identifier(one.column) for one in policy.dimensions)
    time = identifier(mart.exchange.partition.column)
    measure = identifier(policy.measure)
    rows = f"(SELECT * FROM marts.{identifier(mart.name)} WHERE {published})"
    private = f"(SELECT * FROM {_relation(policy.contributions)} WHERE {published})"
    classes = f"(SELECT * FROM {_relation(policy.classes)} WHERE {published})"
    levels = ", ".join(identifier(level) for one in policy.dimensions for level in one.columns)
    counted = f"""(
        SELECT {named}, {time}, count(*) AS units, sum(given) AS total, max(given) AS largest,
               coalesce(max(given, 2)[2], 0) AS second
        FROM (
            SELECT {named}, {time}, unit, sum(contribution) AS given
            FROM {_in_each_cell(policy, private, f"given.{time}, unit, contribution")}
            GROUP BY {named}, {time}, unit
        ) GROUP BY {named}, {time}
    )"""
    shown = f"{rows} AS shown LEFT JOIN {counted} AS counted USING ({named}, {time}) WHERE {measure} IS NOT NULL"
    rules = [
        (
            "every_public_cell_is_there",
            "each class and total has its row, withheld or not",
            f"SELECT 1 FROM {_product(policy, classes, rows, time)} ANTI JOIN {rows} USING ({named}, {time})",
        ),
        (
            "no_cell_beyond_the_public_ones",
            "each cell is of public classes",
            f"SELECT 1 FROM {rows} ANTI JOIN {_product(policy, classes, rows, time)} USING ({named}, {time})",
        ),
        ("each_cell_once", "one row a cell", f"SELECT 1 FROM {rows} GROUP BY {named}, {time} HAVING count(*) > 1"),
        (
            "unit_counts_once",
            f"a {policy.unit} counts in one finest class",
            f"SELECT 1 FROM {private} GROUP BY unit, {time} HAVING count(*) > 1",
        ),
        (
            "unit_has_a_public_class",
            f"each {policy.unit} is in the totals",
            f"SELECT 1 FROM {private} ANTI JOIN {classes} USING ({levels}, {time})",
        ),
        (
            "contribution_is_capped",
            f"no {policy.unit} gives above {policy.cap.value} {policy.cap.unit} or below 0",
            f"SELECT 1 FROM {private} WHERE contribution > {policy.cap.value} OR contribution < 0",
        ),
        (
            "cell_holds_k_units",
            f"at least {policy.k} of a {policy.unit} in a published cell",
            f"SELECT 1 FROM {shown} AND coalesce(units, 0) < {policy.k}",
        ),
        (
            "published_value_is_true",
            "the published number is the recounted one",
            f"SELECT 1 FROM {shown} AND total IS DISTINCT FROM {measure}",
        ),
        (
            "one_pattern_a_period",
            f"a cell is withheld in all of a {policy.period} or in none of it",
            f"SELECT 1 FROM {rows} GROUP BY {named}, {_period(mart, policy)} "
            f"HAVING count({measure}) NOT IN (0, count(*))",
        ),
    ]
    if policy.dominance is not None:
        share, p = policy.dominance.max_share_percent, policy.dominance.p_percent
        rules.append(
            (
                "no_unit_dominates",
                f"the largest share at most {share} %, and the rest beyond the two largest at least {p} % of it",
                f"SELECT 1 FROM {shown} AND (largest * 100 > total * {share} "
                f"OR (total - largest - second) * 100 < largest * {p})",
            )
        )
    return [
        Violation(rule=rule, expected=expected, cells=_count(connection, broken)) for rule, expected, broken in rules
    ]


def _count(connection: duckdb.DuckDBPyConnection, broken: str) -> int:
    [[cells]] = connection.execute(f"SELECT count(*) FROM ({broken})").fetchall()
    return int(cells)


def _relation(name: str) -> str:
    schema, _, relation = name.partition(".")
    return f"{identifier(schema)}.{identifier(relation)}"


def _in_each_cell(policy: SuppressPolicy, source: str, columns: str) -> str:
    """SQL of a relation's rows, each once for every cell that it is in: its own classes, wider ones, the totals."""
    sides, names = [], []
    for number, one in enumerate(policy.dimensions):
        listed = ", ".join([*(f"given.{identifier(level)}" for level in one.columns), literal(one.total)])
        sides.append(f"unnest(list_distinct([{listed}])) AS side_{number}(class)")
        names.append(f"side_{number}.class AS {identifier(one.column)}")
    return f"(SELECT {', '.join(names)}, {columns} FROM {source} AS given, {', '.join(sides)})"


def _product(policy: SuppressPolicy, classes: str, rows: str, time: str) -> str:
    """SQL of every combination of classes and totals, at each time of the mart's rows."""
    cells = _in_each_cell(policy, classes, f"given.{time}")
    sides = [f"(SELECT DISTINCT {identifier(one.column)} FROM {cells})" for one in policy.dimensions]
    return f"(SELECT * FROM {' CROSS JOIN '.join(sides)} CROSS JOIN (SELECT DISTINCT {time} FROM {rows}))"


def _period(mart: Mart, policy: SuppressPolicy) -> str:
    partition = mart.exchange.partition
    column = next(column for column in mart.columns if column.name == partition.column)
    name = identifier(partition.column)
    return name if column.kind in INTEGERS else f"date_trunc({literal(policy.period)}, {name})"
