"""k, l and t of a table of records, by SQL, as pyCANON defines them.

A class is all records with the same quasi-identifiers. k: records of the smallest class (Samarati and Sweeney, 1998).
l: distinct sensitive values of the class with the fewest, and e to the least entropy (Machanavajjhala et al., 2007).
t: the largest distance between a class's distribution of the sensitive value and that of all (Li et al., 2007): the
earth mover's distance where values are ordered, half of the sum of differences where they are not.

A mart of sums publishes no records. What these mean of it: its members are the records, the cell that counts them is
the quasi-identifier, for that is what is known of somebody who is looked for, and the contribution is sensitive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.storage.sql import identifier

# Cells of a grain, the smallest, whose l and t are taken at the gate: t takes each of them times each value.
CELLS = 50
LEAST_VALUES = 2


@dataclass(frozen=True, kw_only=True)
class Anonymity:
    """``entropy_l`` is not rounded down, as pyCANON's is."""

    k: int
    l: int  # noqa: E741
    entropy_l: float
    t: float


def anonymity(
    connection: duckdb.DuckDBPyConnection, records: str, *, quasi: Sequence[str], sensitive: str, ordered: bool
) -> Anonymity:
    """Of a query's rows. ``ordered``: whether the sensitive value has an order. Work: classes times values where it
    has, else rows. Raises ``ValueError`` where there is no row."""
    columns, value = ", ".join(identifier(name) for name in quasi), identifier(sensitive)
    counts = f"SELECT {columns}, {value} AS value, count(*) AS times FROM ({records}) GROUP BY ALL"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE class_counts AS
        SELECT dense_rank() OVER (ORDER BY {columns}) AS class, value, times FROM ({counts});
        CREATE OR REPLACE TEMP TABLE class_sizes AS
        SELECT class, sum(times)::BIGINT AS size, count(*) AS l,
               ln(sum(times)) - sum(times * ln(times)) / sum(times) AS entropy
        FROM class_counts GROUP BY class;
        CREATE OR REPLACE TEMP TABLE value_shares AS
        SELECT value, sum(times) / sum(sum(times)) OVER () AS share FROM class_counts GROUP BY value
        """
    )
    k, l, entropy = connection.execute("SELECT min(size), min(l), min(entropy) FROM class_sizes").fetchone() or (0,) * 3  # noqa: E741
    if k is None:
        raise ValueError("there is no record")
    [[t]] = connection.execute(_ORDERED if ordered else _EQUAL).fetchall()
    return Anonymity(
        k=int(k), l=int(l), entropy_l=float(connection.execute("SELECT exp(?)", [entropy]).fetchall()[0][0]), t=float(t)
    )


_ORDERED = """
    WITH grid AS (
        SELECT class, value, coalesce(times / size, 0) - share AS apart
        FROM class_sizes CROSS JOIN value_shares LEFT JOIN class_counts USING (class, value)
    ),
    moved AS (SELECT class, abs(sum(apart) OVER (PARTITION BY class ORDER BY value)) AS earth FROM grid)
    SELECT coalesce(max(work), 0) FROM (
        SELECT sum(earth) / greatest((SELECT count(*) FROM value_shares) - 1, 1) AS work FROM moved GROUP BY class
    )
"""
_EQUAL = """
    SELECT max(distance) FROM (
        SELECT (sum(abs(times / size - share)) + 1 - sum(share)) / 2 AS distance
        FROM class_counts JOIN class_sizes USING (class) JOIN value_shares USING (value) GROUP BY class
    )
"""


def k_l_t(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: cells in question with fewer units than their K, or whose units all gave the same. Of the smallest
    ``CELLS`` of each grain l and t are told, against the members of these."""
    rows = connection.execute(
        """
        SELECT name, held, least, l FROM cells JOIN (
            SELECT cell, count(DISTINCT unit) AS held,
                   CASE WHEN min(contribution) < max(contribution) THEN 2 ELSE 1 END AS l
            FROM members SEMI JOIN (FROM cells WHERE mine ORDER BY units, cell LIMIT $cells) USING (cell) GROUP BY cell
        ) USING (cell) WHERE mine AND (held < least OR l < $values) ORDER BY cell
        """,
        {"cells": CELLS, "values": LEAST_VALUES},
    ).fetchall()
    told = []
    for (grain,) in connection.execute("SELECT DISTINCT grain FROM cells WHERE mine ORDER BY grain").fetchall():
        smallest = f"SELECT cell FROM cells WHERE mine AND grain = '{grain}' ORDER BY units, cell LIMIT {CELLS}"
        records = f"SELECT cell, contribution FROM members SEMI JOIN ({smallest}) USING (cell)"
        of = anonymity(connection, records, quasi=["cell"], sensitive="contribution", ordered=True)
        told.append(f"{grain}: k {of.k}, l {of.l} (by entropy {of.entropy_l:.1f}), t {of.t:.2f}")
    return Outcome.of_finds(
        "k_l_t",
        len(rows),
        found=f"{'; '.join(told) or 'no cell'}; {len(rows):,} of the smallest cells below k or with one value",
        cells=(f"{name}: k {held} of {least}, l {values}" for name, held, least, values in rows),
    )
