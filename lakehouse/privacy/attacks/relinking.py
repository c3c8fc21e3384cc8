"""Following one household from one release to the next by its curve: it needs rows that are about one unit."""

from __future__ import annotations

import duckdb

from lakehouse.privacy.attacks.outcome import NAMED, Outcome

# A cell of which one unit has so much follows that unit's curve.
CURVE = 0.5


def relinking(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: the share of cells in question that are about one unit, or are mostly its curve."""
    rows = connection.execute(
        """
        SELECT name FROM cells JOIN (
            SELECT cell, count(*) AS held, max(contribution) AS largest, sum(contribution) AS total
            FROM members GROUP BY cell
        ) USING (cell)
        WHERE mine AND (held = 1 OR largest > total * $curve) ORDER BY cell
        """,
        {"curve": CURVE},
    ).fetchall()
    [[cells]] = connection.execute("SELECT count(*) FROM cells WHERE mine").fetchall()
    return Outcome(
        attack="relinking",
        success=len(rows) / max(cells, 1),
        chance=0.0,
        limit=0.0,
        passed=not rows,
        found=f"{len(rows):,} of {cells:,} cells follow one unit's curve",
        cells=tuple(name for (name,) in rows[:NAMED]),
    )
