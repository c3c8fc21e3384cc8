"""Each attack wins where its protection is turned off, and gets nowhere where it is on."""

from collections.abc import Callable

import duckdb
import numpy as np
import pytest

from lakehouse.privacy.attacks.differencing import differencing
from lakehouse.privacy.attacks.interval import interval
from lakehouse.privacy.attacks.membership_inference import membership_inference
from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.attacks.recount import recount
from lakehouse.privacy.attacks.relinking import relinking
from lakehouse.privacy.attacks.shadow_groups import LEAST_UNITS, bound, play
from lakehouse.privacy.audit import prepare
from lakehouse.privacy.intervals import intervals
from tests.unit.privacy.city import K, Record, record

Attack = Callable[[duckdb.DuckDBPyConnection], Outcome]
LEAK = "UPDATE use SET litres = 40000 WHERE unit = 7"
CANARY = "UPDATE use SET litres = 1000000000 WHERE unit = 7"


def attacked(attack: Attack, city: Record) -> Outcome:
    prepare(city.connection)
    return attack(city.connection)


def protected(city: Record) -> None:
    city.publish(rule=f"count(*) >= {K} AND max(contribution) * 100 <= 15 * sum(contribution)")


def without_k(city: Record) -> None:
    city.publish(where=f"area <> 'a1' OR unit < 3 * {K - 1}", rule="true")


def without_dominance(city: Record) -> None:
    city.change(LEAK)
    city.publish()


def without_aggregation(city: Record) -> None:
    city.publish(group="(area || unit)", rule="true")


def with_a_complement(city: Record) -> None:
    city.publish()
    city.publish(group="('all but four of ' || area)", where="unit >= 12")


@pytest.mark.parametrize(
    ("attack", "unprotected"),
    [
        (recount, without_k),
        (recount, without_dominance),
        (interval, without_dominance),
        (differencing, with_a_complement),
        (differencing, without_k),
        (relinking, without_aggregation),
        (relinking, without_dominance),
    ],
)
def test_an_attack_wins_without_the_protection_and_not_with_it(
    attack: Attack, unprotected: Callable[[Record], None]
) -> None:
    with record(households=90, areas=3, days=3) as city:
        unprotected(city)
        won = attacked(attack, city)
    assert not won.passed
    assert won.success > won.limit
    assert won.cells
    with record(households=90, areas=3, days=3) as city:
        protected(city)
        lost = attacked(attack, city)
    assert (lost.passed, lost.cells) == (True, ())


def test_a_household_of_1_gwh_is_seen_by_recount_interval_and_relinking() -> None:
    with record(households=90, areas=3, days=2) as city:
        city.change(CANARY)
        city.publish()
        outcomes = [attacked(attack, city) for attack in (recount, interval, relinking)]
        assert [outcome.success > 0 for outcome in outcomes] == [True, True, True]
        assert all("a1" in outcome.cells[0] for outcome in outcomes)


def test_a_published_sum_that_is_not_its_members_is_seen() -> None:
    with record(households=90, areas=3, days=2) as city:
        city.publish()
        city.change("UPDATE cells SET value = value // 1000 WHERE cell = 1")
        outcome = recount(city.connection)
    assert (outcome.success, len(outcome.cells)) == (1, 1)


def test_programmes_find_what_a_total_tells_of_two_suppressed_cells() -> None:
    """A row of a table with its total: two cells left out sum to 7 exactly, each between 0 and 7."""
    matrix = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0]])
    sums = np.array([207, 120, 80])
    targets = [frozenset({2, 3}), frozenset({2})]
    bounds = {"least": np.zeros(4, dtype=np.int64), "most": np.full(4, 1000.0)}
    found = list(intervals(matrix=matrix, sums=sums, **bounds, targets=targets))
    assert found == [(targets[0], 7.0, 7.0), (targets[1], 0.0, 7.0)]


def test_bounds_that_are_narrow_but_not_exact_are_found_by_programmes_alone() -> None:
    """Of three overlapping cells the last sums to 5 litres, so that what the first two differ by is nearly the sum
    of four households; no combination isolates them."""
    with record(households=84, areas=1, days=1) as city:
        city.change("UPDATE use SET litres = CASE WHEN unit < 4 THEN 900 WHEN unit < 44 THEN 10 ELSE 0 END")
        city.change("UPDATE use SET litres = 3 WHERE unit = 44; UPDATE use SET litres = 2 WHERE unit = 64")
        for members in ("unit < 44", "unit BETWEEN 4 AND 63", "unit >= 44"):
            city.publish(where=members)
        assert attacked(differencing, city).passed
        outcome = attacked(interval, city)
    assert any(cell.startswith("4 units") for cell in outcome.cells)


def series(units: int, times: int, seed: int = 1) -> np.ndarray:
    """Households that differ in level and in their own pattern."""
    chance = np.random.default_rng(seed)
    return chance.gamma(4, 25, size=(units, 1)) + chance.gamma(2, 20, size=(units, times))


def test_a_member_of_a_small_group_is_told_from_its_series_and_of_a_large_one_is_not() -> None:
    every = series(2000, 30)
    assert play(every, 5).all > 0.8
    large = play(every, 2000)
    assert 0.45 < large.all < 0.56
    assert large.worst_most < 0.75


def test_the_attacker_gets_near_the_bound_and_not_past_it() -> None:
    """Of 20 numbers that are independent, so that little is lost by not knowing their covariance."""
    every = np.random.default_rng(2).normal(100, 20, size=(4000, 20))
    for size in (40, 160, 640):
        told = play(every, size)
        assert bound(20, size) - 0.02 < told.all < told.all_most < bound(20, size) + 0.02
    assert bound(20, 7.8 * 20) == pytest.approx(0.6, abs=0.001)


def test_one_that_differs_from_all_is_told_though_the_others_are_not() -> None:
    every = series(2000, 30)
    told = play(every, 2000, exposed=np.vstack([every[0] + 10_000, every[1]]))
    assert told.all_most < 0.6
    assert told.worst > 0.95


def test_a_lucky_target_is_not_taken_for_an_exposed_one() -> None:
    """Three hundred targets of whom none can be told at all: the luckiest stays within its confidence."""
    told = play(np.random.default_rng(3).normal(size=(4000, 1)), 100_000)
    assert told.worst < 0.55 < told.worst_most < 0.62


def test_too_few_units_are_no_pool() -> None:
    with pytest.raises(ValueError, match="it takes 40"):
        play(series(LEAST_UNITS - 1, 3), 15)


def test_membership_is_inferred_from_small_cells_and_not_from_large_ones() -> None:
    with record(households=1600, areas=100, days=30) as city:
        city.publish(rule="true")
        small = membership_inference(city.connection)
    assert not small.passed
    assert small.success > 0.75
    with record(households=1600, areas=2, days=30) as city:
        city.publish()
        assert membership_inference(city.connection).passed


def few_among_others(outliers: str) -> Outcome:
    """A month of one area of 20 households beside one of 400; some of one of them stand far out."""
    with record(households=420, areas=1, days=30) as city:
        city.change("UPDATE use SET area = 'few' WHERE unit < 20")
        # What a household of the large area uses is far above what anybody of the small one does.
        city.change("UPDATE use SET litres = litres * 9 WHERE area <> 'few'")
        city.change(f"UPDATE use SET litres = litres * 2 WHERE unit IN ({outliers})")
        city.publish(grain="month")
        return membership_inference(city.connection)


def test_of_a_group_of_few_its_own_households_are_the_targets_and_all_of_them() -> None:
    """Groups are drawn from strangers, scaled: what gives a stranger away in a group of its own is nothing to it."""
    stranger = few_among_others("100, 200, 300, 400")
    assert stranger.passed, stranger.found
    own = few_among_others("7")
    assert not own.passed
    assert "month, 1 sums of 20 units and more" in own.found


def test_a_household_without_a_ceiling_is_told_from_the_sums_of_its_area() -> None:
    """Ten times what the others use, below 15 % of each sum: every threshold passes, and the attack names nobody."""
    with record(households=1600, areas=2, days=30) as city:
        city.change("UPDATE use SET litres = litres * 10 WHERE unit = 7")
        city.publish(rule=f"count(*) >= {K} AND max(contribution) * 100 <= 15 * sum(contribution)")
        assert attacked(recount, city).passed
        outcome = membership_inference(city.connection)
    assert not outcome.passed
    assert outcome.success < outcome.limit, "it is the one target, not the average"
    assert "the easiest target 0.9" in outcome.found or "the easiest target 1.0" in outcome.found


def test_the_smallest_group_is_attacked_though_the_others_are_large() -> None:
    with record(households=1600, areas=2, days=30) as city:
        city.publish(where="area = 'a0'")
        city.publish(group="'small'", where="area = 'a1' AND unit < 80", rule="true")
        city.change("UPDATE cells SET mine = true")
        outcome = membership_inference(city.connection)
    assert not outcome.passed
    assert "30 sums of 40 units" in outcome.found


def test_fewer_units_than_groups_can_be_drawn_from_are_held_to_the_bound() -> None:
    with record(households=30, areas=1, days=30) as city:
        city.publish()
        assert membership_inference(city.connection).success == pytest.approx(bound(30, 30), abs=1e-4)
    with record(households=30, areas=1, days=1) as city:
        city.publish()
        assert membership_inference(city.connection).passed


def test_what_an_outcome_tells_everyone_names_no_cell() -> None:
    with record(households=90, areas=3, days=2) as city:
        without_k(city)
        outcome = recount(city.connection).of("water", "0001-abc", "2024-03")
    assert "a1" in str(outcome.cells)
    assert "a1" not in str(outcome.public) + outcome.found
