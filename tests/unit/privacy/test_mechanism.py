"""The attacks on noise: exact samplers pass, and planted bugs are caught."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import opendp.prelude as dp
import pytest

from lakehouse.privacy.attacks.mechanism import black_box_epsilon, support

dp.enable_features("contrib")
EPSILON, DRAWS = 1.0, 20_000
Numbers = npt.NDArray[Any]


@dataclass
class Drawn:
    """A mechanism out of a function of counts."""

    function: Callable[[npt.NDArray[np.int64]], Numbers]

    def draw(self, counts: npt.NDArray[np.int64]) -> Numbers:
        return self.function(counts)


def laplace(scale: float) -> Drawn:
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    mechanism = dp.m.make_laplace(*space, scale=scale)
    return Drawn(lambda counts: np.array(mechanism(counts.tolist())))


def gaussian(scale: float) -> Drawn:
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="float")
    mechanism = dp.m.make_gaussian(*space, scale=scale)
    return Drawn(lambda counts: np.array(mechanism(counts.tolist())))


def float_laplace(scale: float) -> Drawn:
    return Drawn(
        lambda counts: counts + np.random.default_rng(len(counts) + int(counts[0])).laplace(0, scale, len(counts))
    )


def even(scale: float) -> Drawn:
    """A rounding that keeps the count's parity: the neighbour has the other one."""
    return Drawn(lambda counts: counts + 2 * (laplace(scale / 2).draw(np.zeros_like(counts))))


def test_an_exact_discrete_laplace_keeps_to_its_epsilon() -> None:
    outcome = black_box_epsilon(laplace(1 / EPSILON), epsilon=EPSILON, draws=DRAWS)
    assert outcome.passed
    assert outcome.success > 0.7 * EPSILON, "a bound that is far off would catch nothing"
    assert support(laplace(1 / EPSILON), epsilon=EPSILON, draws=DRAWS).passed


def test_an_exact_discrete_gaussian_keeps_to_its_epsilon_at_delta() -> None:
    rho, delta = 0.1, 1e-6
    claimed = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    noise = gaussian(math.sqrt(1 / (2 * rho)))
    assert black_box_epsilon(noise, epsilon=claimed, delta=delta, draws=DRAWS).passed
    assert support(noise, epsilon=claimed, draws=DRAWS).passed


def test_noise_of_half_the_scale_is_caught() -> None:
    outcome = black_box_epsilon(laplace(0.5 / EPSILON), epsilon=EPSILON, draws=DRAWS)
    assert not outcome.passed
    assert outcome.success > 1.2 * EPSILON


def test_a_unit_that_counts_twice_is_caught() -> None:
    assert not black_box_epsilon(laplace(1 / EPSILON), epsilon=EPSILON, sensitivity=2, draws=DRAWS).passed


@pytest.mark.parametrize("planted", [float_laplace, even])
def test_noise_whose_outputs_rule_a_neighbour_out_is_caught(planted: Callable[[float], Drawn]) -> None:
    outcome = support(planted(1 / EPSILON), epsilon=EPSILON, draws=DRAWS)
    assert not outcome.passed
    assert outcome.success > 0.5


def test_no_noise_at_all_is_caught_by_both() -> None:
    bare = Drawn(lambda counts: counts)
    assert not black_box_epsilon(bare, epsilon=EPSILON, draws=DRAWS).passed
    assert support(bare, epsilon=EPSILON, draws=DRAWS).success == 1
