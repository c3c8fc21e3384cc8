"""The attacks on noise: exact samplers pass, and planted bugs are caught."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import opendp.prelude as dp
import pytest

from lakehouse.contracts.policy import DpPolicy
from lakehouse.privacy.attacks import noise as noise_module
from lakehouse.privacy.attacks.doubled_draw import doubled_draw
from lakehouse.privacy.attacks.mechanism import Claim, Mechanism, black_box_epsilon, draw_neighbours, support
from lakehouse.privacy.attacks.noise import attack_noise, attack_policy
from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.dp import noise_of
from lakehouse.release.noise_gate import beyond_paid
from tests.mini_exchange import Mini
from tests.noisy_mart import dp_policy, noisy_mart

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


def bound(mechanism: Mechanism, *, sensitivity: int = 1, delta: float = 0.0, epsilon: float = EPSILON) -> Outcome:
    drawn = draw_neighbours(mechanism, sensitivity=sensitivity, draws=DRAWS)
    return black_box_epsilon(drawn, [Claim(epsilon=epsilon, delta=delta)])


def ruling_out(mechanism: Mechanism, epsilon: float = EPSILON) -> Outcome:
    return support(draw_neighbours(mechanism, draws=DRAWS), epsilon=epsilon)


def test_an_exact_discrete_laplace_keeps_to_its_epsilon() -> None:
    outcome = bound(laplace(1 / EPSILON))
    assert outcome.passed
    assert outcome.success > 0.7 * EPSILON, "a bound that is far off would catch nothing"
    assert ruling_out(laplace(1 / EPSILON)).passed


def test_an_exact_discrete_gaussian_keeps_to_its_epsilon_at_delta() -> None:
    rho, delta = 0.1, 1e-6
    claimed = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    noise = gaussian(math.sqrt(1 / (2 * rho)))
    assert bound(noise, epsilon=claimed, delta=delta).passed
    assert ruling_out(noise, claimed).passed


def test_noise_of_half_the_scale_is_caught() -> None:
    outcome = bound(laplace(0.5 / EPSILON))
    assert not outcome.passed
    assert outcome.success > 1.2 * EPSILON


def test_a_unit_that_counts_twice_is_caught() -> None:
    assert not bound(laplace(1 / EPSILON), sensitivity=2).passed


@pytest.mark.parametrize("planted", [float_laplace, even])
def test_noise_whose_outputs_rule_a_neighbour_out_is_caught(planted: Callable[[float], Drawn]) -> None:
    outcome = ruling_out(planted(1 / EPSILON))
    assert not outcome.passed
    assert outcome.success > 0.5


def test_no_noise_at_all_is_caught_by_both() -> None:
    bare = Drawn(lambda counts: counts)
    assert not bound(bare).passed
    assert ruling_out(bare).success == 1


def stated(folder: Path, rho: str = "0.5") -> DpPolicy:
    policy = dp_policy(noisy_mart(folder))
    budget = policy.budget.model_copy(update={"rho": Decimal(rho)})
    return policy.model_copy(update={"budget": budget, "cap": policy.cap.model_copy(update={"value": 2})})


def test_a_policys_own_noise_keeps_to_what_its_rho_promises(tmp_path: Path) -> None:
    policy = stated(tmp_path)
    epsilon, ruled_out = attack_noise(noise_of(policy), policy)
    assert (epsilon.attack, epsilon.passed) == ("black_box_epsilon", True)
    assert (ruled_out.attack, ruled_out.passed) == ("noise_support", True)


def test_noise_that_is_too_small_for_its_rho_is_caught_also_where_rho_is_small(tmp_path: Path) -> None:
    """A third of the scale: rho is nine times what is stated. At the delta of the policy no attack would see it."""
    policy = stated(tmp_path, "0.01")
    smaller = noise_of(stated(tmp_path, "0.09"))
    epsilon, _ = attack_noise(smaller, policy)
    assert not epsilon.passed
    assert epsilon.success > epsilon.limit


def test_what_was_found_of_a_policy_is_kept_and_a_failure_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = Mini.make(tmp_path / "mini")
    policy = stated(tmp_path)
    monkeypatch.setattr(
        noise_module, "noise_of", lambda _: replace(noise_of(policy), scale=0.5, _measurement=lambda c: c)
    )
    assert not any(outcome.passed for outcome in attack_policy(mini.exchange, policy))
    monkeypatch.undo()
    found = attack_policy(mini.exchange, policy)
    monkeypatch.setattr(noise_module, "attack_noise", lambda *_: pytest.fail("it is looked up"))
    assert attack_policy(mini.exchange, policy) == found
    other = policy.model_copy(update={"cap": policy.cap.model_copy(update={"value": 3})})
    with pytest.raises(pytest.fail.Exception, match="looked up"):
        attack_policy(mini.exchange, other)


def test_one_draw_in_two_partitions_is_seen_and_two_draws_are_not_taken_for_one(tmp_path: Path) -> None:
    noise, chance = noise_of(stated(tmp_path, "0.01")), np.random.default_rng(1)
    monday, tuesday = (chance.poisson(1.5, 2400).astype(np.int64) for _ in range(2))
    drawn = noise.draw(np.zeros(2400, dtype=np.int64))
    twice = {"monday": monday + drawn, "tuesday": tuesday + drawn}
    outcome = doubled_draw(twice, {}, standard_error=noise.standard_error)
    assert (outcome.success, outcome.cells) == (1, ("monday and tuesday have one draw",))
    assert not doubled_draw({"monday": twice["monday"]}, {"a": twice["tuesday"]}, standard_error=noise.scale).passed
    apart = {str(day): noise.draw(monday) for day in range(12)}
    assert doubled_draw(apart, {}, standard_error=noise.standard_error).passed


def test_two_draws_of_one_partition_are_paid_for_twice() -> None:
    visible = {("2024-10", "a"), ("2024-10", "b"), ("2024-11", "c")}
    assert beyond_paid(visible, {"2024-10": 1, "2024-11": 1}) == ["2024-10"]
    assert beyond_paid(visible, {"2024-10": 2, "2024-11": 1}) == []
    assert beyond_paid(visible, {"2024-10": 2}) == ["2024-11"]
