"""Whether somebody who knows a household's own series can tell, from the published sums, if it is in them.

It is the game of somebody who knows the target's every reading and, of the other members, nothing
(:mod:`lakehouse.privacy.attacks.shadow_groups`). It is played on the partition in question, at each of its grains on
two series: the one of fewest units, and the one that has the most exposed unit. Targets are units as they come and
those that differ most from the rest; of a series of few units every one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np

from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.attacks.shadow_groups import LEAST_UNITS, UNITS, Advantage, Floats, bound, play

LIMIT, TARGET_LIMIT = 0.60, 0.90
EXPOSED = 40

# How far each unit is from the mean of its cells, each time in standard deviations: one pass over all members.
MOMENTS = """
    CREATE OR REPLACE TEMP TABLE moments AS
    SELECT cell, series, grain, starts, avg(contribution) AS mean, nullif(var_samp(contribution), 0) AS variance
    FROM members JOIN cells USING (cell) WHERE mine GROUP BY cell, series, grain, starts
"""
EXPOSURES = """
    CREATE OR REPLACE TEMP TABLE exposures AS
    SELECT grain, series, unit, coalesce(sum((contribution - mean) ** 2 / variance), 0) AS exposure
    FROM members JOIN moments USING (cell) GROUP BY grain, series, unit
"""
PLAYED = """
    WITH published AS (
        SELECT grain, series, min(units) AS size, count(*) AS times FROM cells WHERE mine GROUP BY grain, series
    ),
    judged AS (
        SELECT grain, series, size, times, max(exposure) / size AS exposure, count(*) AS held
        FROM published JOIN exposures USING (grain, series) GROUP BY grain, series, size, times
    )
    SELECT grain, series, size, times, held FROM judged
    QUALIFY row_number() OVER (PARTITION BY grain ORDER BY size, series) = 1
         OR row_number() OVER (PARTITION BY grain ORDER BY exposure DESC, series) = 1
    ORDER BY grain, series
"""
OTHERS = "SELECT count(DISTINCT unit) FROM exposures WHERE grain = $grain AND series <> $series"
# Units are taken by their pseudonym, which is as good as chance. A series of few units draws on all of its grain: on
# what they gave in proportion to the mean of their own series, for groups differ in their means more than in shape.
POOL = """
    WITH wanted AS (
        SELECT unit, exposed, row_number() OVER (ORDER BY exposed DESC, unit) - 1 AS number FROM (
            SELECT unit, max(series = $series AND place <= $exposed) AS exposed FROM (
                SELECT unit, series, row_number() OVER (PARTITION BY series ORDER BY exposure DESC, unit) AS place
                FROM exposures WHERE grain = $grain AND (series = $series OR $all)
            ) GROUP BY unit
        ) QUALIFY number < $units
    ),
    times AS (
        SELECT starts, mean AS typical, row_number() OVER (ORDER BY starts) - 1 AS time
        FROM moments WHERE grain = $grain AND series = $series
    )
    SELECT number, exposed, time, sum(contribution * coalesce(typical / nullif(mean, 0), 1)) AS amount
    FROM members JOIN wanted USING (unit) JOIN moments USING (cell) JOIN times USING (starts)
    WHERE grain = $grain AND (series = $series OR $all)
    GROUP BY number, exposed, time
"""


@dataclass(frozen=True)
class Series:
    """One group's cells of one grain: ``size`` units in the smallest of its ``times`` cells, ``held`` in any."""

    grain: str
    name: str
    size: int
    times: int
    held: int


def membership_inference(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: the area under the curve over all targets, of the series where it is largest. It passes where
    the upper end of its confidence does, and that of every single target does."""
    connection.execute(MOMENTS)
    connection.execute(EXPOSURES)
    played = [(series, _advantage(connection, series)) for series in _series(connection)]
    connection.execute("DROP TABLE exposures; DROP TABLE moments")
    worst = max((told for _, told in played), key=_beyond, default=Advantage(0.5, 0.5, 0.5, 0.5))
    return Outcome(
        attack="membership_inference",
        success=round(worst.all, 4),
        chance=0.5,
        limit=LIMIT,
        passed=_beyond(worst) <= 0,
        found="; ".join(_words(series, told) for series, told in played) or "no series",
    )


def _series(connection: duckdb.DuckDBPyConnection) -> Iterator[Series]:
    for row in connection.execute(PLAYED).fetchall():
        yield Series(*row)


def _advantage(connection: duckdb.DuckDBPyConnection, series: Series) -> Advantage:
    """Where there are too few units to draw groups from, the bound that holds whoever they are: it is the average
    over all units, so nothing can be said of single ones."""
    few = series.held < LEAST_UNITS + EXPOSED
    [others] = connection.execute(OTHERS, {"series": series.name, "grain": series.grain}).fetchone() or (0,)
    strangers = few and others >= LEAST_UNITS
    units, exposed = _pool(connection, series, few=few, strangers=strangers)
    if len(units) < LEAST_UNITS:
        most = bound(series.times, series.size)
        return Advantage(most, most, most, most)
    return play(units, series.size, exposed=exposed if len(exposed) else None, strangers=strangers)


def _pool(
    connection: duckdb.DuckDBPyConnection, series: Series, *, few: bool, strangers: bool
) -> tuple[Floats, Floats]:
    """Series of the units that groups are drawn from, and of those that are tried beside them: the most exposed ones,
    or where groups are drawn from strangers all whom the series sums. A unit that was not measured at a time takes the
    mean of the time."""
    asked = {
        "series": series.name,
        "grain": series.grain,
        "all": few,
        # No more, for groups without any that differ are more alike than groups are, and give everyone away.
        "exposed": series.held if strangers else min(EXPOSED, max(1, series.held // 20)),
        "units": UNITS + EXPOSED,
    }
    rows = connection.execute(POOL, asked).fetchnumpy()
    numbers, times = (np.asarray(rows[name], dtype=np.int64) for name in ("number", "time"))
    if not len(numbers):
        return np.empty((0, 0)), np.empty((0, 0))
    made = np.full((numbers.max() + 1, series.times), np.nan)
    made[numbers, times] = np.asarray(rows["amount"], dtype=np.float64)
    made = np.where(np.isnan(made), np.nanmean(made, axis=0), made)
    # They are numbered first.
    first = len(np.unique(numbers[np.asarray(rows["exposed"], dtype=bool)]))
    return made[first:], made[:first]


def _beyond(told: Advantage) -> float:
    """How far past the nearer of the two limits."""
    return max(told.all_most - LIMIT, told.worst_most - TARGET_LIMIT)


def _words(series: Series, told: Advantage) -> str:
    return (
        f"{series.grain}, {series.times} sums of {series.size:,} units and more: AUC {told.all:.3f} "
        f"(at most {told.all_most:.3f}), the easiest target {told.worst:.3f} (at most {told.worst_most:.3f})"
    )
