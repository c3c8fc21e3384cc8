"""The game of shadow groups: whether the sums of a group tell if a household whose series is known is in it.

Groups of as many units as the published series has are drawn from the units that it sums, with the target and without
it. The attacker knows every reading of the target, and mean and covariance of half of the other units, and tells the
two apart by the likelihood ratio of a normal model (Homer et al. 2008, Sankararaman et al. 2009; for series of sums
Pyrgelis et al. 2018). Nothing is known of the members that are drawn: they are of the other half.

Of T numbers the squared distances of all units from their mean, in units of their covariance, are T on average, and
the ratio's separation is that distance over the root of the group's size n. So on average no attacker of this kind
gets past ``Φ(√(T / 2n))``, however many units are known: 0.60 at n = 7.8 T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Half of them are known to the attacker, and members are drawn from the rest.
UNITS = 6_000
LEAST_UNITS = 40
TARGETS, GROUPS = 300, 1_000
# Shares of the mean variance that are added to each direction's; the attacker takes the one that serves best.
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
SEED = 20_240_601
# One in a hundred games says less than the truth.
CONFIDENCE = 2.326


@dataclass(frozen=True)
class Advantage:
    """Areas under the ROC curve, each with the upper end of its confidence: ``all`` over targets as they come,
    ``worst`` of the one that is easiest to tell among them and those that were named."""

    all: float
    all_most: float
    worst: float
    worst_most: float


def play(units: Floats, size: int, *, exposed: Floats | None = None, strangers: bool = False) -> Advantage:
    """``units``: their series, units by times. ``exposed``: series of further units that are tried as targets, of
    whom nothing goes into what the attacker knows. ``strangers``: the units are of other groups, scaled to this one;
    they say what such groups come to, but none of them is in this one, and the easiest target is one of the exposed.
    Raises ``ValueError`` for fewer than ``LEAST_UNITS``."""
    if len(units) < LEAST_UNITS:
        raise ValueError(f"{len(units)} units are too few for shadow groups: it takes {LEAST_UNITS}")
    chance = np.random.default_rng(SEED)
    order = chance.permutation(len(units))
    known, drawn = units[order[: len(units) // 2]], units[order[len(units) // 2 :]]
    mean, scale = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-9)
    weights = _weights((known - mean) / scale)
    points = (drawn - mean) / scale
    first = min(TARGETS, len(points) // 2)
    chosen, rest = points[:first], points[first:]
    each = _told(chosen, rest, size, weights, chance)
    named = each
    if exposed is not None:
        tried = _told((exposed - mean) / scale, rest, size, weights, chance)
        named = tried if strangers else np.concatenate([each, tried])
    worst = float(named.max())
    return Advantage(
        all=float(each.mean()),
        all_most=float(each.mean() + CONFIDENCE * each.std() / math.sqrt(len(each))),
        worst=worst,
        worst_most=worst + _deviations(len(named)) * _error(worst),
    )


def bound(times: int, size: int) -> float:
    """What no attacker of this kind gets past on average, of a series of ``times`` sums over ``size`` units."""
    return 0.5 * (1 + math.erf(math.sqrt(times / size) / 2))


def _told(targets: Floats, rest: Floats, size: int, weights: Floats, chance: np.random.Generator) -> Floats:
    """Of each target the area under the curve. Members are drawn with repetition: as of a city, not of a sample."""
    even = np.full(len(rest), 1 / len(rest))
    directions = targets @ weights
    without = directions @ (chance.multinomial(size, even, GROUPS) @ rest).T
    within = directions @ (chance.multinomial(size - 1, even, GROUPS) @ rest).T
    within += (directions * targets).sum(axis=1)[:, None]
    return np.array([area_under_curve(yes, no) for yes, no in zip(within, without, strict=True)])


def _weights(known: Floats) -> Floats:
    """A ridged inverse of the covariance. The ridge is the one by which one half of the known tells most of the
    other half."""
    half = len(known) // 2
    values, directions = _spectrum(known[:half])
    tried = known[half:] @ directions
    squared = tried**2
    spread = squared.mean(axis=0) - tried.mean(axis=0) ** 2

    def separation(ridge: float) -> float:
        scaled = 1 / (values + ridge * values.mean())
        noise = np.sqrt(np.maximum(squared @ (scaled**2 * spread), 1e-18))
        return float(((squared @ scaled) / noise).mean())

    ridge = max(RIDGES, key=separation)
    values, directions = _spectrum(known)
    weights: Floats = (directions / (values + ridge * values.mean())) @ directions.T
    return weights


def _spectrum(points: Floats) -> tuple[Floats, Floats]:
    left = points - points.mean(axis=0)
    values, directions = np.linalg.eigh(left.T @ left / len(left))
    return np.maximum(values, 1e-12), directions


def area_under_curve(positive: Floats, negative: Floats) -> float:
    """Chance that a positive is above a negative; ties count half (Mann and Whitney)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.mean() / (2 * len(negative)))


def _error(area: float) -> float:
    """Standard error of an area that was counted on ``GROUPS`` groups of each kind (Hanley and McNeil 1982)."""
    above, both = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (GROUPS - 1) * (above + both - 2 * area**2)
    return math.sqrt(max(variance, 0.0)) / GROUPS


def _deviations(tries: int) -> float:
    """How many standard errors the luckiest of so many tries is off, in one game of a hundred at most."""
    low, high = 0.0, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / math.sqrt(2)) / 2 > 0.01 / tries else (low, middle)
    return high
