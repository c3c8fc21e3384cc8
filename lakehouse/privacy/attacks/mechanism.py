"""Attacks on a noisy mechanism by its outputs alone: how much they tell two neighbours apart, and whether some
output rules one of them out.

Lower bounds on epsilon: Ding et al., Detecting violations of differential privacy (2018). Support: Mironov, On
significance of the least significant bits (2012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lakehouse.privacy.attacks.outcome import Outcome

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# A bound above the true epsilon is as rare as this.
ERROR = 1e-6
DRAWS = 100_000
COUNT = 1_000
# An output that is expected so often from the neighbour, and never came, does not come from it: of e^-30.
EXPECTED = 30


class Mechanism(Protocol):
    """Draws each count once, with noise of its own."""

    def draw(self, counts: Ints) -> npt.NDArray[Any]: ...


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a mechanism promises: that it is (``epsilon``, ``delta``)-differentially private."""

    epsilon: float
    delta: float = 0.0


@dataclass(frozen=True)
class Neighbours:
    """Draws of two counts that one unit sets apart."""

    one: Floats
    other: Floats

    @property
    def draws(self) -> int:
        return len(self.one)


def draw_neighbours(mechanism: Mechanism, *, sensitivity: int = 1, draws: int = DRAWS) -> Neighbours:
    """``sensitivity``: by how much one unit changes the count."""
    counts = (np.full(draws, COUNT, dtype=np.int64), np.full(draws, COUNT + sensitivity, dtype=np.int64))
    one, other = (np.asarray(mechanism.draw(count), dtype=np.float64) for count in counts)
    return Neighbours(one, other)


def black_box_epsilon(drawn: Neighbours, claims: Sequence[Claim]) -> Outcome:
    """``success``: a lower bound on epsilon, at the delta of the claim that it gets furthest past; ``limit``: the
    epsilon that is claimed there. The event is chosen on half of the draws and counted on the other."""
    bounds = [(_bound(drawn, claim.delta), claim) for claim in claims]
    bound, claim = max(bounds, key=lambda one: one[0] - one[1].epsilon)
    words = [f"at least {found:.3f} at delta {one.delta:.2g}, claimed {one.epsilon:.3g}" for found, one in bounds]
    return Outcome(
        attack="black_box_epsilon",
        success=round(bound, 4),
        chance=0.0,
        limit=claim.epsilon,
        passed=all(found <= one.epsilon for found, one in bounds),
        found=f"epsilon is {'; '.join(words)}; of {drawn.draws:,} draws each",
    )


def support(drawn: Neighbours, *, epsilon: float) -> Outcome:
    """``success``: the share of outputs that rule a neighbour out: those that are no whole numbers, and those that
    come often from one and never from the other, though ``epsilon`` would have them come from both."""
    ruled_out = 0
    for outputs, neighbours in ((drawn.one, drawn.other), (drawn.other, drawn.one)):
        values, times = np.unique(outputs, return_counts=True)
        never = ~np.isin(values, neighbours) & (times * math.exp(-epsilon) >= EXPECTED)
        ruled_out += int(times[never | (values != np.floor(values))].sum())
    share = ruled_out / (2 * drawn.draws)
    return Outcome(
        attack="noise_support",
        success=round(share, 6),
        chance=0.0,
        limit=0.0,
        passed=share == 0,
        found=f"{share:.2%} of {2 * drawn.draws:,} outputs rule a neighbour out or are no whole numbers",
    )


def _bound(drawn: Neighbours, delta: float) -> float:
    half, bound = drawn.draws // 2, 0.0
    # Either neighbour may be the likelier, in either tail.
    for likely, unlikely in ((drawn.one, drawn.other), (drawn.other, drawn.one)):
        for sign in (1, -1):
            event = _best_event(sign * likely[:half], sign * unlikely[:half], delta)
            hits = int((sign * likely[half:] >= event).sum())
            false = int((sign * unlikely[half:] >= event).sum())
            bound = max(bound, _log_ratio(hits, false, drawn.draws - half, delta))
    return bound


def _best_event(likely: Floats, unlikely: Floats, delta: float) -> float:
    """The limit from which on outputs tell the most, of limits that are met often enough to be counted."""
    ordered, others = np.sort(likely), np.sort(unlikely)
    limits = np.unique(ordered[:: max(len(ordered) // 200, 1)])
    hits = len(ordered) - np.searchsorted(ordered, limits)
    false = len(others) - np.searchsorted(others, limits)
    scores = [_log_ratio(int(hit), int(miss), len(ordered), delta) for hit, miss in zip(hits, false, strict=True)]
    return float(limits[int(np.argmax(scores))])


def _log_ratio(hits: int, false: int, draws: int, delta: float) -> float:
    """What the two frequencies say of epsilon when each is off as far as it can be."""
    least, most = _furthest(hits / draws, draws, 0.0), _furthest(false / draws, draws, 1.0)
    return math.log((least - delta) / most) if least > delta else 0.0


def _furthest(seen: float, draws: int, end: float) -> float:
    """The chance furthest towards ``end`` of which ``seen`` is no rarer than ``ERROR`` (Chernoff's bound)."""
    allowed = math.log(2 / ERROR) / draws
    near, far = seen, end
    for _ in range(30):
        middle = (near + far) / 2
        near, far = (middle, far) if _divergence(seen, middle) <= allowed else (near, middle)
    # The outer end, so that the bound errs towards a smaller epsilon.
    return far


def _divergence(seen: float, chance: float) -> float:
    """Kullback and Leibler's, of two chances."""
    terms = ((seen, chance), (1 - seen, 1 - chance))
    return sum(math.inf if of == 0 else one * math.log(one / of) for one, of in terms if one > 0)
