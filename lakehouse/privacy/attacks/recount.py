"""k, l and dominance of every cell, counted from who is in it, and whether what is published agrees."""

from __future__ import annotations

import duckdb

from lakehouse.privacy.attacks.outcome import Outcome

# Where all units gave the same, the sum and the count tell what each one gave.
LEAST_VALUES = 2


def recount(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: cells in question that hold too few units or values, or one that dominates, or say otherwise
    than their members. Each member counts once."""
    rows = connection.execute(
        """
        SELECT coalesce(held.units, 0), coalesce(spread, 0), least, name
        FROM cells LEFT JOIN (
            SELECT cell, count(*) AS units, CASE WHEN min(given) < max(given) THEN 2 ELSE 1 END AS spread,
                   sum(given) AS total, max(times) AS times, max(given) AS largest,
                   coalesce(max(given, 2)[2], 0) AS second
            FROM (SELECT cell, unit, sum(contribution) AS given, count(*) AS times FROM members GROUP BY cell, unit)
            GROUP BY cell
        ) AS held USING (cell)
        WHERE mine AND (held.units IS NULL OR held.units < least OR spread < $values OR times > 1
                        OR largest * 100 > total * share OR (total - largest - second) * 100 < largest * p
                        OR held.units IS DISTINCT FROM cells.units OR total IS DISTINCT FROM value)
        ORDER BY cell
        """,
        {"values": LEAST_VALUES},
    ).fetchall()
    [[cells, least]] = connection.execute("SELECT count(*), min(units - least) FROM cells WHERE mine").fetchall()
    return Outcome.of_finds(
        "recount",
        len(rows),
        found=f"{len(rows):,} of {cells:,} cells below k or l, dominated, or not as published; "
        f"the smallest published is {least or 0:+} from k",
        cells=(f"{name}: {units} units (k {k}), l {values}" for units, values, k, name in rows),
    )
