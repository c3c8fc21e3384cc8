"""Differencing: what all cells ever published of the same units tell together, releases and marts alike.

The unknowns are what a unit contributed to a period. Cells of one period are equations in the same unknowns; an hour
in a day in a month makes one block of them, of groups that share units: others have no unknown in common. A unit whose
contribution was corrected between two releases is two unknowns, for the difference of the two sums would tell of the
correction.

Work is bounded by the block: hours of a group are blocks of their own unless a day or a month over them is published of
the same units as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np

from lakehouse.privacy.combinations import Combination, Ints, isolated


@dataclass(frozen=True, kw_only=True)
class Block:
    """Cells whose periods overlap, over signatures. ``units`` of a signature are listed where they are fewer than
    the largest of ``leasts`` (each cell's K), else only counted. ``given``: what its units contributed."""

    starts: datetime
    leasts: Ints
    cells: list[int]
    matrix: Ints
    counts: list[int]
    units: list[frozenset[int]]
    given: Ints

    def is_small(self, signatures: frozenset[int], cells: Sequence[int]) -> bool:
        """Whether the units of ``signatures`` are fewer than the largest K of the ``cells`` that tell of them."""
        return self.held(signatures) < int(self.leasts[cells].max())

    def held(self, signatures: frozenset[int]) -> int:
        """Units in any of the signatures; a number of at least the largest K where one alone holds as many."""
        large = [self.counts[column] for column in signatures if not self.units[column]]
        return max(large, default=0) or len(frozenset[int]().union(*(self.units[column] for column in signatures)))


@dataclass(frozen=True, kw_only=True)
class Isolated:
    """A group of ``units`` (fewer than ``least``) whose sum is ``value``, by adding ``cells``, each with its factor.

    For reviewers alone: cells are named.
    """

    units: int
    least: int
    value: float
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """``overlapping``: blocks in which cells share units, so that there was something to subtract."""

    isolated: list[Isolated]
    unproven: int
    blocks: int
    overlapping: int

    @property
    def passed(self) -> bool:
        return not self.isolated and not self.unproven


def audit(connection: duckdb.DuckDBPyConnection) -> Audit:
    """Reads the tables ``cells`` and ``members`` (see :func:`lakehouse.privacy.membership.read_membership`), of one
    population, and leaves the table ``signatures``."""
    prepare(connection)
    return examine(connection)


def examine(connection: duckdb.DuckDBPyConnection) -> Audit:
    """The audit, once :func:`prepare` has made the signatures."""
    [[blocks, overlapping]] = connection.execute(
        "SELECT count(DISTINCT block), count(DISTINCT block) FILTER (WHERE len(cells) > 1) FROM signatures"
    ).fetchall()
    found, unproven = list(_alone(connection)), 0
    for block in overlapping_blocks(connection):
        large = np.array(block.counts) >= block.leasts.max()
        result = isolated(block.matrix, large, block.is_small)
        unproven += result.unproven
        found += [_named(connection, block, combination) for combination in result.isolated]
    return Audit(isolated=found, unproven=unproven, blocks=blocks, overlapping=overlapping)


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """The table ``signatures``: of each block, the sets of cells that units are in, and how many are in each set."""
    _find_kin(connection)
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE placed AS
        SELECT cell, starts, ends, least,
               sum(begins) OVER (ORDER BY kin, starts, ends DESC, cell ROWS UNBOUNDED PRECEDING) AS block
        FROM (
            SELECT *, coalesce(starts >= max(ends) OVER (
                PARTITION BY kin ORDER BY starts, ends DESC, cell ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), true)::INTEGER AS begins FROM cells JOIN kin_of_cells USING (cell)
        )
        """
    )
    # A cell published again with the same units and contributions is no new equation.
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE equations AS
        SELECT placed.*, (min(starts) OVER same, max(ends) OVER same) <> (max(starts) OVER same, min(ends) OVER same)
                        AS nested, count(*) OVER same = 1 AS alone
        FROM placed WHERE cell IN (
            SELECT min(cell) FROM placed JOIN (
                SELECT cell, count(*) AS units, sum(hash(unit, contribution)) AS print FROM members GROUP BY cell
            ) USING (cell)
            GROUP BY starts, ends, units, print
        )
        WINDOW same AS (PARTITION BY block)
        """
    )
    _split_nested(connection)
    # A block of one cell has one signature: no unit is to be followed through it. They are nearly all of a release.
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE signatures AS
        WITH unknowns AS (
            SELECT block, unit, contribution, list(cell ORDER BY cell) AS cells
            FROM ({UNKNOWNS}) GROUP BY block, unit, leaf, contribution
        ),
        units AS (
            SELECT block, cells, unit, sum(contribution) AS given FROM unknowns GROUP BY block, cells, unit
        ),
        blocks AS (
            SELECT block, min(starts) AS starts, max(least) AS least
            FROM equations GROUP BY block
        ),
        alone AS (
            SELECT cell, count(*) AS held, sum(contribution)::BIGINT AS given
            FROM members SEMI JOIN (FROM equations WHERE alone) USING (cell) GROUP BY cell
        ),
        few AS (
            SELECT cell, list(unit) AS units FROM members SEMI JOIN (
                SELECT cell FROM alone JOIN equations USING (cell) WHERE held < least
            ) USING (cell) GROUP BY cell
        )
        SELECT block, any_value(starts) AS starts, any_value(least) AS least, cells,
               count(*) AS held, sum(given)::BIGINT AS given,
               CASE WHEN count(*) < any_value(least) THEN list(unit) ELSE [] END AS units
        FROM units JOIN blocks USING (block) GROUP BY block, cells
        UNION ALL
        SELECT block, starts, least, [cell], held, given, coalesce(units, [])
        FROM alone JOIN equations USING (cell) LEFT JOIN few USING (cell)
        """
    )


def _find_kin(connection: duckdb.DuckDBPyConnection) -> None:
    """The table ``kin_of_cells``: cells of one number are of series that share units, directly or through others.
    Cells of others have no unit in common, so nothing is told by taking them together."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE kin_of_cells AS
        SELECT cell, dense_rank() OVER (ORDER BY mart, release, series) - 1 AS kin FROM cells
        """
    )
    shared = connection.execute(
        """
        SELECT DISTINCT list(kin ORDER BY kin) FROM (
            SELECT DISTINCT unit, kin FROM members JOIN kin_of_cells USING (cell)
        ) GROUP BY unit HAVING count(*) > 1
        """
    ).fetchall()
    label: dict[int, int] = {}

    def found(kin: int) -> int:
        while label.get(kin, kin) != kin:
            kin = label[kin]
        return kin

    # Series are few: groups of units by releases.
    for (together,) in shared:
        first = found(together[0])
        label |= {found(other): first for other in together[1:]}
    connection.execute(
        "UPDATE kin_of_cells SET kin = given.label FROM (SELECT unnest($kin) AS kin, unnest($label) AS label) AS given "
        "WHERE given.kin = kin_of_cells.kin",
        {"kin": sorted(label), "label": [found(kin) for kin in sorted(label)]},
    )


# SQL of which unknowns a cell of a block sums. Where periods lie in one another, a unit's day is the hours of it
# that are published, and the rest of it, if there is any, an unknown of its own; so a month.
UNKNOWNS = """
    SELECT block, cell, unit, 0::UBIGINT AS leaf, contribution
    FROM members JOIN equations USING (cell) WHERE NOT nested AND NOT alone
    UNION ALL
    SELECT block, cell, unit, leaf, rest FROM nested_own WHERE bare OR rest <> 0
    UNION ALL
    SELECT block, cell, unit, inner_leaf, inner_rest
    FROM nested_own JOIN inside USING (block, unit, starts, ends)
    WHERE inner_bare OR inner_rest <> 0
"""


def _split_nested(connection: duckdb.DuckDBPyConnection) -> None:
    """The tables ``nested_own`` and ``inside``: each unit's published periods without those within them, and which
    lie in which. Of a period that was published more than once the first is the one that wider cells hold."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE nested_members AS
        SELECT block, cell, unit, starts, ends, contribution FROM members JOIN equations USING (cell) WHERE nested;

        CREATE OR REPLACE TEMP TABLE periods AS
        SELECT block, unit, starts, ends, arg_min(contribution, cell) AS contribution
        FROM nested_members GROUP BY block, unit, starts, ends;

        CREATE OR REPLACE TEMP TABLE pairs AS
        SELECT wide.block, wide.unit, wide.starts, wide.ends,
               narrow.starts AS inner_starts, narrow.ends AS inner_ends, narrow.contribution
        FROM (
            FROM periods QUALIFY ends - starts > min(ends - starts) OVER (PARTITION BY block, unit)
        ) AS wide JOIN periods AS narrow
          ON wide.block = narrow.block AND wide.unit = narrow.unit
         AND narrow.starts >= wide.starts AND narrow.ends <= wide.ends
         AND (narrow.starts, narrow.ends) <> (wide.starts, wide.ends);

        CREATE OR REPLACE TEMP TABLE held AS
        SELECT block, unit, starts, ends, sum(contribution)::BIGINT AS within
        FROM pairs ANTI JOIN (
            SELECT DISTINCT outermost.block, outermost.unit, outermost.starts, outermost.ends,
                            innermost.inner_starts, innermost.inner_ends
            FROM pairs AS outermost JOIN pairs AS innermost
              ON outermost.block = innermost.block AND outermost.unit = innermost.unit
             AND outermost.inner_starts = innermost.starts AND outermost.inner_ends = innermost.ends
        ) AS deeper USING (block, unit, starts, ends, inner_starts, inner_ends)
        GROUP BY block, unit, starts, ends;

        CREATE OR REPLACE TEMP TABLE nested_own AS
        SELECT block, cell, unit, starts, ends, hash(starts, ends) AS leaf,
               contribution - coalesce(within, 0) AS rest, within IS NULL AS bare
        FROM nested_members LEFT JOIN held USING (block, unit, starts, ends);

        CREATE OR REPLACE TEMP TABLE inside AS
        SELECT pairs.block, pairs.unit, pairs.starts, pairs.ends, hash(inner_starts, inner_ends) AS inner_leaf,
               pairs.contribution - coalesce(within, 0) AS inner_rest, within IS NULL AS inner_bare
        FROM pairs LEFT JOIN held
          ON held.block = pairs.block AND held.unit = pairs.unit
         AND held.starts = inner_starts AND held.ends = inner_ends
        """
    )


def _alone(connection: duckdb.DuckDBPyConnection) -> Iterator[Isolated]:
    """Cells of too few units in blocks where no two cells share any: nothing is to be subtracted there."""
    for units, least, value, name in connection.execute(
        """
        SELECT held, cells.least, value, name || ' (' || mart || ', ' || release || ')'
        FROM signatures JOIN cells ON signatures.cells[1] = cells.cell
        WHERE held < cells.least
          AND block NOT IN (SELECT block FROM signatures WHERE len(signatures.cells) > 1)
        ORDER BY cell
        """
    ).fetchall():
        yield Isolated(units=units, least=least, value=float(value), cells=(f"+1 x {name}",))


def overlapping_blocks(connection: duckdb.DuckDBPyConnection) -> Iterator[Block]:
    """The blocks in which some unknown is in two cells, one at a time."""
    numbers = connection.execute("SELECT DISTINCT block FROM signatures WHERE len(cells) > 1 ORDER BY block").fetchall()
    for (number,) in numbers:
        rows = connection.execute(
            "SELECT starts, cells, held, units, given FROM signatures WHERE block = ? ORDER BY cells", [number]
        ).fetchall()
        cells = sorted({cell for row in rows for cell in row[1]})
        place = {cell: row for row, cell in enumerate(cells)}
        matrix = np.zeros((len(cells), len(rows)), dtype=np.int64)
        for column, row in enumerate(rows):
            matrix[[place[cell] for cell in row[1]], column] = 1
        leasts = connection.execute(
            "SELECT least FROM cells WHERE list_contains($cells, cell) ORDER BY cell", {"cells": cells}
        ).fetchall()
        yield Block(
            starts=rows[0][0], leasts=np.array(leasts, dtype=np.int64).ravel(), cells=cells, matrix=matrix,
            counts=[row[2] for row in rows], units=[frozenset(row[3]) for row in rows],
            given=np.array([row[4] for row in rows], dtype=np.int64),
        )  # fmt: skip


def _named(connection: duckdb.DuckDBPyConnection, block: Block, combination: Combination) -> Isolated:
    factors = {block.cells[row]: factor for row, factor in combination.coefficients.items()}
    rows = connection.execute(
        "SELECT cell, value, name || ' (' || mart || ', ' || release || ')' FROM cells "
        "WHERE list_contains($cells, cell) ORDER BY cell", {"cells": list(factors)}
    ).fetchall()  # fmt: skip
    return Isolated(
        units=block.held(combination.signatures),
        least=int(block.leasts[list(combination.coefficients)].max()),
        value=float(sum(factors[cell] * int(value) for cell, value, _ in rows)),
        cells=tuple(f"{'-' if factors[cell] < 0 else '+'}{abs(factors[cell])} x {name}" for cell, _, name in rows),
    )
