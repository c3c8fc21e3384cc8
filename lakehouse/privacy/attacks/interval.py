"""Bounds on the sum of a group below K, from all that is published of it and the public cap."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np

from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.audit import Block, overlapping_blocks
from lakehouse.privacy.intervals import intervals

WITHIN = 0.1
# Groups of one partition that programmes are solved for; each takes about a millisecond.
TARGETS = 400
SHOWN = 6


def interval(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: units and groups below K whose use is known to 10 % or better.

    Where no cells share units, all that a cell says of one unit is its own sum: the bound is reckoned for the
    largest, by an outsider and by the second largest. Where they do, signatures below K are targets of two linear
    programmes each, the smallest first, at most ``TARGETS`` of them.
    """
    cells = list(_dominated(connection))
    tried = 0
    for block in overlapping_blocks(connection):
        least = (block.matrix * block.leasts[:, None]).max(axis=0)
        small = sorted((count, column) for column, count in enumerate(block.counts) if count < least[column])
        targets = [column for _, column in small[: TARGETS - tried]]
        tried += len(targets)
        cells += _narrow(connection, block, targets)
    return Outcome.of_finds(
        "interval",
        len(cells),
        found=f"{len(cells):,} units or groups below K known within {WITHIN:.0%}, of {tried:,} groups by programmes",
        cells=cells,
    )


def _dominated(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Cells in question whose sum is within 10 % of the largest contribution, or would be to the second largest."""
    for (name,) in connection.execute(
        """
        SELECT name FROM cells JOIN (
            SELECT cell, sum(contribution) AS total, max(contribution) AS largest,
                   coalesce(max(contribution, 2)[2], 0) AS second
            FROM members GROUP BY cell
        ) USING (cell)
        WHERE mine AND total > 0 AND total - second <= largest * (1 + $within) ORDER BY cell
        """,
        {"within": WITHIN},
    ).fetchall():
        yield f"largest unit of {name}"


def _narrow(connection: duckdb.DuckDBPyConnection, block: Block, targets: list[int]) -> Iterator[str]:
    rows = connection.execute(
        "SELECT cell, cap * hours, name FROM cells WHERE list_contains($cells, cell)", {"cells": block.cells}
    ).fetchall()
    caps, names = {cell: cap for cell, cap, _ in rows}, {cell: name for cell, _, name in rows}
    cap = np.array([caps[cell] for cell in block.cells], dtype=np.float64)
    # A unit gives an unknown at most what the narrowest of its cells allows.
    most = np.where(block.matrix > 0, cap[:, None], np.inf).min(axis=0) * np.array(block.counts)
    # The truth keeps to the bounds, also where a correction makes the rest of a day negative, or a cap was passed over.
    least, most = np.minimum(0, block.given), np.maximum(most, block.given)
    # The members' own sums: that they are the published ones is counted elsewhere.
    sums = block.matrix @ block.given
    groups = [frozenset({column}) for column in targets]
    bounds = intervals(matrix=block.matrix, sums=sums, least=least, most=most, targets=groups)
    for column, (_, low, high) in zip(targets, bounds, strict=True):
        truth = int(block.given[column])
        if max(high - truth, truth - low) <= WITHIN * truth:
            shared = [names[block.cells[row]] for row in np.flatnonzero(block.matrix[:, column])]
            yield f"{block.counts[column]} units in all of: {'; '.join(shared[:SHOWN])}"
