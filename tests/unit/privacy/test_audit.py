"""The audit over releases: it isolates what an attacker could, with the very sum, and nothing of what is safe."""

import numpy as np
import pytest

from lakehouse.privacy.audit import audit
from lakehouse.privacy.combinations import isolated
from tests.unit.privacy.city import K, Record, record


def test_disjoint_cells_of_k_and_more_isolate_nothing() -> None:
    with record(households=60, areas=3, days=4) as city:
        assert city.publish() == 12
        found = audit(city.connection)
    assert found.passed
    # Three areas on four days: no two cells have anything to do with each other.
    assert (found.blocks, found.overlapping) == (12, 0)


def test_a_cell_of_k_minus_1_is_named() -> None:
    with record(households=60, areas=3, days=1) as city:
        city.publish(where=f"area <> 'a1' OR unit < 3 * {K - 1}", rule="true")
        [alone] = audit(city.connection).isolated
    assert alone.units == K - 1
    assert "a1" in alone.cells[0]


def test_a_day_published_again_with_one_late_household_gives_its_use() -> None:
    with record(households=60, areas=3, days=1) as city:
        city.publish(where="unit <> 7")
        city.publish()
        found = audit(city.connection)
        assert found.isolated[0].value in (truth := city.one("SELECT litres FROM use WHERE unit = 7"), -truth)
    assert [group.units for group in found.isolated] == [1]
    assert len(found.isolated[0].cells) == 2


def test_publishing_again_without_two_erased_households_gives_both_together_and_one_gives_it_alone() -> None:
    for erased in ([7], [7, 10]):
        with record(households=60, areas=3, days=1) as city:
            city.publish()
            city.change(f"DELETE FROM use WHERE list_contains({erased}, unit)")
            city.publish()
            [group] = audit(city.connection).isolated
            assert group.units == len(erased)


def test_a_correction_of_one_household_is_told_by_the_difference() -> None:
    with record(households=60, areas=3, days=1) as city:
        city.publish()
        city.change("UPDATE use SET litres = litres + 11 WHERE unit = 7")
        city.publish()
        [group] = audit(city.connection).isolated
    assert group.units == 1
    assert abs(group.value) == 11


def test_the_same_cells_published_again_are_no_new_equations() -> None:
    with record(households=60, areas=3, days=2) as city:
        city.publish()
        city.publish()
        found = audit(city.connection)
    assert found.passed
    assert found.overlapping == 0


def test_geographies_that_overlap_isolate_what_no_pair_of_cells_does() -> None:
    """Three cells of one and two of the other differ by two households; no two cells do."""
    with record(households=60, areas=3, days=1) as city:
        city.publish()
        city.publish(group="(CASE WHEN unit < 28 THEN 'east' ELSE 'west' END)", where="unit >= 2")
        found = audit(city.connection)
    assert any(group.units == 2 and len(group.cells) == 5 for group in found.isolated)
    assert all(group.units == 2 for group in found.isolated)


def test_nested_areas_that_leave_k_between_them_pass_and_fewer_do_not() -> None:
    for without, passes in ((K, True), (K - 1, False)):
        with record(households=60, areas=1, days=1) as city:
            city.publish()
            city.publish(group="(area || ' inner')", where=f"unit >= {without}")
            assert audit(city.connection).passed is passes, without


def test_a_month_beside_its_days_gives_those_whose_days_were_not_all_published() -> None:
    with record(households=40, areas=1, days=5) as city:
        city.publish(where="unit <> 7")
        city.publish(grain="month")
        [group] = audit(city.connection).isolated
        truth = city.one("SELECT sum(litres) FROM use WHERE unit = 7")
    assert group.units == 1
    assert abs(group.value) == truth
    assert len(group.cells) == 6


def test_a_month_beside_all_of_its_days_tells_nothing_more() -> None:
    with record(households=40, areas=2, days=5) as city:
        city.publish()
        city.publish(grain="month")
        found = audit(city.connection)
    assert found.passed
    assert found.overlapping == 2, "one an area"


def test_a_day_keeps_to_its_own_k_beside_hours_of_others() -> None:
    """Days of 20 where K is 15, in the same time as hours of 100 where K is 100."""
    with record(households=140, areas=2, days=3) as city:
        city.publish(where="unit < 40", least=15)
        city.publish(group="('hours of ' || area)", where="unit >= 40", grain="hour", least=50)
        city.publish(group="('more of ' || area)", where="unit < 40 AND unit >= 2", least=15)
        found = audit(city.connection)
    assert {(group.units, group.least) for group in found.isolated} == {(1, 15)}


@pytest.mark.parametrize("seed", range(4))
def test_ranks_agree_with_an_exhaustive_search(seed: int) -> None:
    """Small systems: each set of columns is tried over the rationals (numpy's rank of the rest)."""
    chance, limit = np.random.default_rng(seed), 6
    for _ in range(25):
        matrix = chance.integers(0, 2, size=(4, 6))
        sizes = chance.integers(1, 8, size=6)

        def small(columns: frozenset[int], rows: object = None, sizes: np.ndarray = sizes) -> bool:
            return int(sizes[list(columns)].sum()) < limit

        found = isolated(matrix.astype(np.int64), sizes >= limit, small)
        rank = np.linalg.matrix_rank(matrix)
        truth = {
            columns
            for bits in range(1, 64)
            if small(columns := frozenset(column for column in range(6) if bits >> column & 1))
            and np.linalg.matrix_rank(np.delete(matrix, list(columns), axis=1)) < rank
        }
        assert bool(truth) <= bool(found.isolated or found.unproven)
        assert all(combination.signatures in truth for combination in found.isolated)


ERASED = 24


def _five_releases(city: Record, *, naive: bool) -> None:
    """Five daily releases. 1 in 97 households is late by one or two days, one is erased after the third release and
    one restated after the fourth. The naive pipeline publishes at each all days that it has; ours each day once, when
    it is final."""
    city.change("ALTER TABLE use ADD COLUMN day_number BIGINT")
    city.change("UPDATE use SET day_number = date_diff('day', TIMESTAMPTZ '2024-03-01 00:00:00+00', starts)")
    for day in range(5):
        today = day if naive else day + 2
        arrived = f"(day_number + CASE WHEN unit % 97 = 5 THEN 1 + unit % 2 ELSE 0 END <= {today})"
        city.publish(where=f"{arrived} AND day_number {'<=' if naive else '='} {day}")
        if day == 2:
            city.change(f"DELETE FROM use WHERE unit = {ERASED}")
        if day == 3:
            city.change("UPDATE use SET litres = litres + 40 WHERE unit = 11 AND day_number <= 1")


OVERLAPPING = "(CASE WHEN unit < 300 AND unit % 5 < 2 THEN 'shore' WHEN unit % 5 < 4 THEN 'middle' ELSE 'hills' END)"


def test_five_daily_releases_isolate_nobody_and_the_naive_pipeline_isolates_some() -> None:
    with record(households=600, areas=5, days=8) as city:
        _five_releases(city, naive=True)
        units = [group.units for group in audit(city.connection).isolated]
    assert len(units) > 5
    assert min(units) == 1
    with record(households=600, areas=5, days=8) as city:
        _five_releases(city, naive=False)
        assert audit(city.connection).passed
        # The new geography takes the days that were published after the erasure and not corrected since.
        city.publish(group=OVERLAPPING, where="day_number BETWEEN 3 AND 4")
        found = audit(city.connection)
        assert (found.passed, found.overlapping) == (True, 2)
    for day, told in ((1, 2), (2, 1)):
        with record(households=600, areas=5, days=8) as city:
            used = city.one(f"SELECT litres FROM use WHERE unit = {ERASED} AND date_part('day', starts) = {day + 1}")
            _five_releases(city, naive=False)
            city.publish(group=OVERLAPPING, where=f"day_number = {day}")
            refused = audit(city.connection)
        assert len(refused.isolated) == told, "of the erased one, and on the day that was corrected of that one"
        assert all(group.units == 1 for group in refused.isolated)
        assert used in {abs(group.value) for group in refused.isolated}


def test_a_new_geography_that_cuts_off_a_few_households_is_found() -> None:
    with record(households=600, areas=5, days=2) as city:
        city.publish()
        city.publish(group="(CASE WHEN unit % 5 < 2 AND unit > 12 THEN 'north' ELSE 'south' END)")
        found = audit(city.connection)
    assert not found.passed
    assert {group.units for group in found.isolated} == {6}


def test_a_month_of_one_group_and_days_of_another_are_apart() -> None:
    """By the clock the month holds the days; without a unit in common that says nothing, and costs nothing."""
    with record(households=40, areas=2, days=5) as city:
        city.publish(where="area = 'a0'")
        city.publish(where="area = 'a1'", grain="month")
        found = audit(city.connection)
    assert found.passed
    assert (found.blocks, found.overlapping) == (6, 0)
