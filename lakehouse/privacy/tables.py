"""A mart's table with its totals, and the units in it, as the build's database holds them.

Cells are the mart's rows of one partition, leaves the finest public classes, both numbered in the order of their
names. The tables ``table_cells``, ``table_leaves`` and ``table_incidence`` (which leaf is in which cell) stand in the
connection for as long as that partition is worked on.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import duckdb
import numpy as np

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import Dimension, SuppressPolicy
from lakehouse.privacy.suppression import Bools, Table
from lakehouse.storage.sql import identifier, literal


class TableNotSound(RuntimeError):
    """Classes or contributions that make no table whose cells add up."""


def number_cells(connection: duckdb.DuckDBPyConnection, mart: Mart, policy: SuppressPolicy, partition: str) -> None:
    """Makes the three tables for one partition (a condition in SQL). Raises :class:`TableNotSound`."""
    dimensions = policy.dimensions
    names = ", ".join(identifier(one.column) for one in dimensions)
    levels = ", ".join(level_columns(policy))
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE table_cells AS
        SELECT (row_number() OVER (ORDER BY {names}) - 1)::INTEGER AS cell, {names}
        FROM marts.{identifier(mart.name)} WHERE {partition} ORDER BY cell;

        CREATE OR REPLACE TEMP TABLE table_leaves AS
        SELECT (row_number() OVER (ORDER BY {levels}) - 1)::INTEGER AS leaf, {levels}
        FROM (SELECT DISTINCT {levels} FROM {relation(policy.classes)} WHERE {partition}) ORDER BY leaf
        """
    )
    for dimension in dimensions:
        _require_hierarchy(connection, mart, dimension)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE table_incidence AS
        SELECT cell, leaf FROM table_cells AS c JOIN table_leaves AS l ON {" AND ".join(map(_holds, dimensions))}
        ORDER BY cell, leaf
        """
    )


def read_table(connection: duckdb.DuckDBPyConnection, mart: Mart, policy: SuppressPolicy, partition: str) -> Table:
    """The partition's table, after :func:`number_cells`. Private: it leaves the build's memory only past what is
    withheld. Size: cells times leaves, both public. Raises :class:`TableNotSound`."""
    _sum_leaves(connection, policy, partition)
    [[cells, leaves]] = connection.execute(
        "SELECT (SELECT count(*) FROM table_cells), (SELECT count(*) FROM table_leaves)"
    ).fetchall()
    incidence = np.zeros((cells, leaves), dtype=bool)
    places = connection.execute("SELECT cell, leaf FROM table_incidence").fetchnumpy()
    incidence[places["cell"], places["leaf"]] = True
    if not incidence.any(axis=1).all():
        raise TableNotSound(f"{mart.name}: a row names a class that {policy.classes} has not")
    sums = connection.execute(
        "SELECT coalesce(units, 0) AS units, coalesce(value, 0) AS value "
        "FROM table_leaves LEFT JOIN table_sums USING (leaf) ORDER BY leaf"
    ).fetchnumpy()
    return Table(
        incidence=incidence,
        units=np.asarray(sums["units"], dtype=np.int64),
        values=np.asarray(sums["value"], dtype=np.int64),
        sensitive=_marked(connection, cells, _sensitive(policy)),
        told=_marked(connection, cells, f"SELECT cell FROM table_cells WHERE {told_beside(policy)}"),
        lines=_lines(connection, policy, cells),
    )


def level_columns(policy: SuppressPolicy) -> list[str]:
    """The columns of all levels, quoted."""
    return [identifier(level) for dimension in policy.dimensions for level in dimension.columns]


def relation(name: str) -> str:
    schema, _, table = name.partition(".")
    return f"{identifier(schema)}.{identifier(table)}"


def _holds(dimension: Dimension) -> str:
    """SQL of whether a cell's class on one side holds a leaf."""
    column = f"c.{identifier(dimension.column)}"
    named = " OR ".join(f"{column} = l.{identifier(level)}" for level in dimension.columns)
    return f"({column} = {literal(dimension.total)} OR {named})"


def _require_hierarchy(connection: duckdb.DuckDBPyConnection, mart: Mart, dimension: Dimension) -> None:
    """A name means one set of leaves, and a class lies in one class of the next level."""
    levels = [identifier(level) for level in dimension.columns]
    checks = [f"SELECT 1 FROM table_leaves WHERE {level} = {literal(dimension.total)}" for level in levels]
    checks += [
        f"SELECT 1 FROM table_leaves GROUP BY {fine} HAVING count(DISTINCT {wide}) > 1"
        for fine, wide in pairwise(levels)
    ]
    checks += [
        f"SELECT 1 FROM table_leaves AS x JOIN table_leaves AS y ON x.{fine} = y.{wide} "
        f"WHERE x.{fine} <> x.{wide} OR y.{fine} <> y.{wide}"
        for place, fine in enumerate(levels)
        for wide in levels[place + 1 :]
    ]
    for check in checks:
        if connection.execute(f"{check} LIMIT 1").fetchone():
            raise TableNotSound(
                f"{mart.name}: the levels of {dimension.column!r} are no hierarchy: a name stands for two classes, a "
                "class lies in two, or one is called as the total is"
            )


def _sum_leaves(connection: duckdb.DuckDBPyConnection, policy: SuppressPolicy, partition: str) -> None:
    """``table_sums``: of each leaf its units, their sum, and the two largest contributions: all cells are made of it,
    so that the private rows are read once."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE table_sums AS
        SELECT leaf, count(*) AS units, sum(contribution)::BIGINT AS value, max(contribution, 2) AS largest
        FROM {relation(policy.contributions)} JOIN table_leaves USING ({", ".join(level_columns(policy))})
        WHERE {partition} GROUP BY leaf
        """
    )


def told_beside(policy: SuppressPolicy) -> str:
    """SQL of whether a cell, by its classes, is told by a mart beside: it is about that mart's dimensions alone."""
    margins = []
    for sibling in policy.beside:
        others = [one for one in policy.dimensions if one.column not in sibling.dimensions]
        margins.append(" AND ".join(["true", *(f"{identifier(o.column)} = {literal(o.total)}" for o in others)]))
    return " OR ".join(f"({margin})" for margin in margins) or "false"


def _marked(connection: duckdb.DuckDBPyConnection, cells: int, query: str) -> Bools:
    marked = np.zeros(cells, dtype=bool)
    marked[connection.execute(query).fetchnumpy()["cell"]] = True
    return marked


def _sensitive(policy: SuppressPolicy) -> str:
    """SQL of the cells of few units, or of which one has too much."""
    rule = f"coalesce(units, 0) < {policy.k}"
    if policy.dominance is not None:
        rule += (
            f" OR largest[1] * 100 > value * {policy.dominance.max_share_percent}"
            f" OR (value - largest[1] - coalesce(largest[2], 0)) * 100 < largest[1] * {policy.dominance.p_percent}"
        )
    return f"""
        SELECT cell FROM table_cells LEFT JOIN (
            SELECT cell, sum(units) AS units, sum(value) AS value,
                   list_reverse_sort(flatten(list(largest)))[:2] AS largest
            FROM table_incidence JOIN table_sums USING (leaf) GROUP BY cell
        ) USING (cell) WHERE {rule}"""


def _lines(connection: duckdb.DuckDBPyConnection, policy: SuppressPolicy, cells: int) -> Bools:
    """Lines by cells: each a cell with those that it is the sum of on one side."""
    rows = connection.execute(" UNION ALL ".join(_line_parts(policy))).fetchnumpy()
    _, line = np.unique(np.stack([rows["side"], rows["whole"]]), axis=1, return_inverse=True)
    lines = np.zeros((int(line.max(initial=-1)) + 1, cells), dtype=bool)
    lines[line.ravel(), rows["whole"]] = True
    lines[line.ravel(), rows["part"]] = True
    return lines


def _line_parts(policy: SuppressPolicy) -> Iterator[str]:
    for side, dimension in enumerate(policy.dimensions):
        column = identifier(dimension.column)
        others = [identifier(other.column) for other in policy.dimensions if other is not dimension]
        same = "".join(f" AND w.{other} = p.{other}" for other in others)
        steps = [*(identifier(level) for level in dimension.columns), literal(dimension.total)]
        # A class that is all of its parent under the same name is the same cell.
        pairs = " UNION ".join(
            f"SELECT {wide} AS wide, {fine} AS fine FROM table_leaves WHERE {wide} <> {fine}"
            for fine, wide in pairwise(steps)
        )
        yield (
            f"SELECT {side} AS side, w.cell AS whole, p.cell AS part FROM ({pairs}) "
            f"JOIN table_cells AS w ON w.{column} = wide JOIN table_cells AS p ON p.{column} = fine{same}"
        )
