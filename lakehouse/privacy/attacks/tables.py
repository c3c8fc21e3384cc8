"""Attacks on tables with totals in which cells are withheld, beside all else that is known of the same units.

They read ``cells`` and ``members`` of :func:`lakehouse.privacy.table_record.read_tables` and ``counted`` of
:func:`lakehouse.privacy.table_record.read_counted`. The attacker knows every class there can be, everything that was
published, and that nothing is below zero. The unknowns are the units that are in the same leaves of all releases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np

from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.combinations import Ints
from lakehouse.privacy.intervals import TOLERANCE, Programme
from lakehouse.privacy.smallest_group import smallest_group

# Where sums and counts are all that is published, and somebody knows the second largest contribution as their own.
SENSITIVE = """
    SELECT cells.cell, cells.value IS NULL AS withheld, coalesce(total, 0) AS truth,
           coalesce(units, 0) AS units, cells.k, cells.percent, cells.name
    FROM cells LEFT JOIN (
        SELECT cell, count(*) AS units, sum(contribution) AS total, max(contribution) AS largest,
               coalesce(max(contribution, 2)[2], 0) AS second
        FROM placed GROUP BY cell
    ) USING (cell)
    WHERE mine AND (coalesce(units, 0) < k OR largest * 100 > total * share
                    OR (total - largest - second) * 100 < largest * p)
    ORDER BY units NULLS FIRST, cell
"""
# Which unit is in which cell.
PLACED = """
    CREATE OR REPLACE TEMP TABLE placed AS
    SELECT cell, unit, contribution FROM (SELECT cell, unnest(leaves) AS leaf FROM cells) JOIN members USING (leaf)
"""
# Cells in question for which programmes are solved, the smallest first.
TARGETS = 2_000


@dataclass(frozen=True, kw_only=True)
class _Known:
    """``matrix``: published sums by unknowns. ``sums``: what they are; of the last ``at_least`` of them it is known
    only that they are that much or more. ``units`` and ``leaves`` (of the table in question, -1 for none) of each
    unknown; ``names`` of the sums."""

    matrix: Ints
    sums: Ints
    at_least: int
    units: Ints
    leaves: Ints
    names: list[str]


def table_recount(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: published cells in question that hold too few units, one that dominates, a unit twice, or another
    number than their members add up to."""
    connection.execute(PLACED)
    rows = connection.execute(
        """
        SELECT name, coalesce(held.units, 0), k FROM cells LEFT JOIN (
            SELECT cell, count(*) AS units, sum(given) AS total, max(times) AS times, max(given) AS largest,
                   coalesce(max(given, 2)[2], 0) AS second
            FROM (SELECT cell, unit, sum(contribution) AS given, count(*) AS times FROM placed GROUP BY cell, unit)
            GROUP BY cell
        ) AS held USING (cell)
        WHERE mine AND value IS NOT NULL AND (
            held.units IS NULL OR held.units < k OR times > 1 OR total IS DISTINCT FROM value
            OR largest * 100 > total * share OR (total - largest - second) * 100 < largest * p)
        ORDER BY cell
        """
    ).fetchall()
    [[cells, shown]] = connection.execute("SELECT count(*), count(value) FROM cells WHERE mine").fetchall()
    return Outcome.of_finds(
        "recount",
        len(rows),
        found=f"{len(rows):,} of {shown:,} published cells below k, dominated, or not as published; "
        f"{cells - shown:,} of {cells:,} are withheld",
        cells=(f"{name}: {units} units (k {k})" for name, units, k in rows),
    )


def table_interval(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: sensitive cells whose value is known exactly or to the policy's per cent (to either side)."""
    connection.execute(PLACED)
    known = _known(connection)
    targets = connection.execute(SENSITIVE).fetchall()
    found = list(_recovered(connection, known, targets[:TARGETS])) if targets else []
    exact = sum(is_exact for is_exact, _ in found)
    return Outcome.of_finds(
        "interval",
        len(found),
        found=f"of {len(targets[:TARGETS]):,} cells below k or dominated {exact:,} are known exactly and "
        f"{len(found) - exact:,} nearly, from {len(known.sums):,} published sums",
        cells=(name for _, name in found),
    )


def table_differencing(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: 1 where some combination of all that is published tells of fewer than K units together."""
    connection.execute(PLACED)
    known = _known(connection)
    exact = len(known.sums) - known.at_least
    held = known.units > 0
    [[k]] = connection.execute("SELECT max(k) FROM cells").fetchall()
    matrix, units = known.matrix[:exact][:, held], known.units[held]
    group = smallest_group(matrix, units, k)
    cells: tuple[str, ...] = ()
    if group is not None:
        recipe = " ".join(
            f"{'-' if factor < 0 else '+'}{abs(factor)} x {known.names[row]}"
            for row, factor in sorted(group.coefficients.items())
        )
        cells = (f"{int(units[list(group.signatures)].sum())} of at least {k} units isolated by {recipe}",)
    return Outcome.of_finds(
        "differencing",
        len(cells),
        found=f"{'a group below K is' if cells else 'no group below K is'} isolated by {exact:,} published sums "
        f"over {len(units):,} unknowns",
        cells=cells,
    )


def _recovered(
    connection: duckdb.DuckDBPyConnection, known: _Known, targets: list[tuple[int, bool, int, int, int, int, str]]
) -> Iterator[tuple[bool, str]]:
    programme = Programme(
        matrix=known.matrix,
        sums=known.sums,
        least=np.zeros(known.matrix.shape[1], dtype=np.int64),
        most=np.full(known.matrix.shape[1], np.inf),
    )
    for row in range(len(known.sums) - known.at_least, len(known.sums)):
        programme.allow(row, least=float(known.sums[row]))
    leaves = dict(connection.execute("SELECT cell, leaves FROM cells WHERE mine").fetchall())
    for cell, withheld, truth, units, k, percent, name in targets:
        of_cell = np.flatnonzero(np.isin(known.leaves, leaves[cell]))
        low, high = programme.least(of_cell), programme.most(of_cell)
        least = math.ceil(low - TOLERANCE)
        most = math.inf if math.isinf(high) else math.floor(high + TOLERANCE)
        if not withheld or max(truth - least, most - truth) * 100 <= truth * percent:
            yield not withheld or least == most, f"{name}: {units} units (k {k}), known from {least} to {most}"


def _known(connection: duckdb.DuckDBPyConnection) -> _Known:
    """What is published, over the unknowns. Leaves of the table in question that nobody is in are unknowns too: who
    attacks does not know that they are empty."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE unknowns AS
        WITH mine AS (SELECT DISTINCT unnest(leaves) AS leaf FROM cells WHERE mine),
        units AS (
            SELECT unit, contribution, list(members.leaf ORDER BY members.leaf) AS leaves,
                   coalesce(max(mine.leaf), -1) AS leaf
            FROM members LEFT JOIN mine USING (leaf) GROUP BY unit, contribution
        ),
        together AS (
            SELECT leaves, leaf, count(*) AS units, sum(contribution)::BIGINT AS given FROM units GROUP BY leaves, leaf
            UNION ALL
            SELECT [leaf], leaf, 0, 0 FROM mine ANTI JOIN members USING (leaf)
        )
        SELECT (row_number() OVER (ORDER BY leaves) - 1)::INTEGER AS unknown, leaves, units, given, leaf FROM together
        """
    )
    unknowns = connection.execute("SELECT units, given, leaf FROM unknowns ORDER BY unknown").fetchnumpy()
    sums = connection.execute(
        """
        SELECT (row_number() OVER (ORDER BY every DESC, mine DESC, cell, name) - 1)::INTEGER AS row,
               name, leaves, every, units FROM (
            SELECT name || ' (' || mart || ', ' || release || ')' AS name, leaves, true AS every, mine, cell,
                   NULL AS units FROM cells WHERE value IS NOT NULL
            UNION ALL SELECT name, leaves, every, false, NULL, units FROM counted
        ) ORDER BY row
        """
    ).fetch_arrow_table()
    connection.register("published_sums", sums)
    entries = connection.execute(
        """
        SELECT DISTINCT row, unknown FROM (SELECT row, unnest(leaves) AS leaf FROM published_sums)
        JOIN (SELECT unknown, unnest(leaves) AS leaf FROM unknowns) USING (leaf)
        """
    ).fetchnumpy()
    connection.unregister("published_sums")
    given = np.asarray(unknowns["given"], dtype=np.int64)
    matrix = np.zeros((sums.num_rows, len(given)), dtype=np.int64)
    matrix[entries["row"], entries["unknown"]] = 1
    every = np.asarray(sums["every"].to_pylist(), dtype=bool)
    # The members' own sums: that they are the published ones is counted elsewhere.
    totals = matrix @ given
    totals[~every] = [
        units for units, all_of_them in zip(sums["units"].to_pylist(), every, strict=True) if not all_of_them
    ]
    return _Known(
        matrix=matrix,
        sums=totals,
        at_least=int((~every).sum()),
        units=np.asarray(unknowns["units"], dtype=np.int64),
        leaves=np.asarray(unknowns["leaf"], dtype=np.int64),
        names=sums["name"].to_pylist(),
    )
