"""Whether somebody who knows a household's own series can tell, from the published sums, if it is in them.

A game of shadow groups: groups of as many units as the smallest published series has are drawn from the mart's own
units, with the target and without it, and the attacker tells the two apart by the likelihood ratio of a normal
model, whose mean and covariance are those of other households, never of those drawn. Method: Homer et al. (2008) and
Sankararaman et al. (2009) for the ratio, Pyrgelis et al. (2018) for series of sums.

It is the game of somebody who knows the target's every reading and nothing of the other members.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt

from lakehouse.privacy.attacks.outcome import Outcome

Floats = npt.NDArray[np.float64]

LIMIT, TARGET_LIMIT = 0.60, 0.90
UNITS, TARGETS, DRAWS = 1_500, 100, 200
# A quarter of them are those that groups are drawn from.
LEAST_UNITS = 40
SEED = 20_240_601


@dataclass(frozen=True)
class Advantage:
    """Areas under the ROC curve: over all targets, and of the one that is easiest to tell."""

    all: float
    worst: float


def play(series: Floats, size: int, *, max_share: float = 1.0, draws: int = DRAWS) -> Advantage:
    """``series``: units by times. ``size``: members of a group. Whoever would have more than ``max_share`` of
    an average group at any time is no target: such a group is not published. Raises
    ``ValueError`` for fewer than ``LEAST_UNITS``."""
    units = len(series)
    if units < LEAST_UNITS:
        raise ValueError(f"{units} units are too few for shadow groups: it takes {LEAST_UNITS}")
    chance = np.random.default_rng(SEED)
    order = chance.permutation(units)
    known, drawn = series[order[: units // 2]], series[order[units // 2 :]]
    directions = _whitening(known)
    mean = known.mean(axis=0)
    points = (drawn - mean) @ directions
    publishable = (drawn <= max_share * size * mean).all(axis=1)
    first = min(TARGETS, len(points) // 2)
    chosen = points[:first][publishable[:first]]
    if not len(chosen):
        return Advantage(0.5, 0.5)
    # A group has the target in it, or one more of those who are no targets.
    rest = np.arange(first, len(points))
    # With repetition: else groups that are most of the pool would be nearly the same.
    groups = rest[chance.integers(len(rest), size=(2 * draws, size))]
    sums = points[groups].sum(axis=1)
    without = chosen @ sums[:draws].T
    others = points[groups[draws:, 0]]
    within = chosen @ (sums[draws:] - others).T + (chosen**2).sum(axis=1)[:, None]
    each = np.array([_auc(yes, no) for yes, no in zip(within, without, strict=True)])
    return Advantage(all=_auc(_centred(within, chosen), _centred(without, chosen)), worst=float(each.max()))


def membership_inference(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: the area under the curve over all targets, of the grain where it is largest. Of fewer units
    than ``LEAST_UNITS`` no groups can be drawn, which the outcome says."""
    worst, seen = Advantage(0.5, 0.5), []
    sizes = connection.execute(
        "SELECT grain, min(units), arg_min(series, units), min(share) / 100 FROM cells "
        "WHERE mine GROUP BY grain ORDER BY grain"
    ).fetchall()
    for grain, size, smallest, max_share in sizes:
        series = _series(connection, grain, smallest)
        if len(series) < LEAST_UNITS:
            seen.append(f"{grain}: no game, {len(series):,} units")
            continue
        advantage = play(series, size, max_share=max_share)
        seen.append(f"{grain}: AUC {advantage.all:.2f}, the easiest target {advantage.worst:.2f}, groups of {size}")
        worst = max(worst, advantage, key=lambda one: (one.all > LIMIT or one.worst > TARGET_LIMIT, one.all))
    return Outcome(
        attack="membership_inference",
        success=round(worst.all, 4),
        chance=0.5,
        limit=LIMIT,
        passed=worst.all <= LIMIT and worst.worst <= TARGET_LIMIT,
        found="; ".join(seen) or "no series",
    )


def _series(connection: duckdb.DuckDBPyConnection, grain: str, smallest: str) -> Floats:
    """Contributions of at most ``UNITS`` units at the times of the smallest series; one that was not measured then
    takes the mean of the time."""
    rows = connection.execute(
        """
        WITH times AS (
            SELECT starts, row_number() OVER (ORDER BY starts) - 1 AS place FROM cells WHERE mine AND series = $series
        ),
        given AS (
            SELECT unit, place, sum(contribution) AS amount FROM members
            JOIN cells USING (cell) JOIN times USING (starts) WHERE mine AND grain = $grain GROUP BY unit, place
        ),
        chosen AS (SELECT unit, row_number() OVER (ORDER BY unit) - 1 AS number FROM (SELECT DISTINCT unit FROM given))
        SELECT number, place, amount FROM given JOIN chosen USING (unit) WHERE number < $units
        """,
        {"series": smallest, "grain": grain, "units": UNITS},
    ).fetchnumpy()
    numbers, places = (np.asarray(rows[name], dtype=np.int64) for name in ("number", "place"))
    if not len(numbers):
        return np.empty((0, 0))
    made = np.full((numbers.max() + 1, places.max() + 1), np.nan)
    made[numbers, places] = np.asarray(rows["amount"], dtype=np.float64)
    means = np.nanmean(made, axis=0)
    return np.where(np.isnan(made), means, made)


def _whitening(known: Floats) -> Floats:
    """Directions in which the known households differ, each scaled to 1: half of a ridged inverse covariance."""
    left = known - known.mean(axis=0)
    _, scales, directions = np.linalg.svd(left, full_matrices=False)
    variances = scales**2 / (len(known) - 1)
    ridged = np.maximum(variances + variances.mean(), np.finfo(np.float64).tiny)
    whitening: Floats = (directions / np.sqrt(ridged)[:, None]).T
    return whitening


def _centred(scores: Floats, chosen: Floats) -> Floats:
    """Scores of all targets on one scale: the log-likelihood ratio takes half of the target's own norm away."""
    norms = (chosen**2).sum(axis=1)[:, None]
    centred: Floats = (scores - norms / 2) / np.sqrt(np.maximum(norms, 1e-12))
    return centred.ravel()


def _auc(positive: Floats, negative: Floats) -> float:
    """Chance that a positive is above a negative; ties count half (Mann and Whitney)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.mean() / (2 * len(negative)))
