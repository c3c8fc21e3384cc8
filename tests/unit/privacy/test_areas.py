"""Areas are merged by adjacency until each group holds K, whatever the map and the counts."""

import itertools
import random

import pytest

from lakehouse.privacy.areas import group_codes, merge_areas

K = 100
Map = tuple[dict[str, int], list[tuple[str, str]]]


def city(seed: int) -> Map:
    """A grid of areas, of which some borders are rivers and some areas hold nobody."""
    chance = random.Random(seed)
    width, height = chance.randint(1, 9), chance.randint(1, 9)
    places = list(itertools.product(range(width), range(height)))
    names = {place: f"{number:02d}" for number, place in enumerate(chance.sample(places, len(places)))}
    units = {names[place]: chance.choice([0, chance.randint(1, 60), chance.randint(1, 300)]) for place in places}
    borders = [
        (names[x, y], names[x + dx, y + dy])
        for x, y in places
        for dx, dy in ((1, 0), (0, 1))
        if (x + dx, y + dy) in names and chance.random() > 0.2
    ]
    return units, borders


def reached(area: str, within: frozenset[str], borders: list[tuple[str, str]]) -> set[str]:
    found, waiting = {area}, [area]
    while waiting:
        here = waiting.pop()
        for one, other in borders:
            for next_one in ({one, other} - {here}) if here in (one, other) else ():
                if next_one in within and next_one not in found:
                    found.add(next_one)
                    waiting.append(next_one)
    return found


@pytest.mark.parametrize("seeds", [range(0, 150), range(150, 300)])
def test_no_group_with_a_neighbour_left_is_below_k_and_each_is_in_one_piece(seeds: range) -> None:
    small = 0
    for seed in seeds:
        units, borders = city(seed)
        merged = merge_areas(units, borders, K)
        assert merged.keys() == units.keys()
        for area, group in merged.items():
            assert area in group
            assert all(merged[other] == group for other in group)
            assert reached(area, group, borders) == group, "a group is in one piece"
            if sum(units[member] for member in group) < K:
                small += 1
                assert reached(area, frozenset(units), borders) == group, "it has no neighbour left"
    assert small, "some map has an island, or the rule above was never tried"


@pytest.mark.parametrize("seed", range(40))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    units, borders = city(seed)
    chance = random.Random(seed)
    expected = merge_areas(units, borders, K)
    shuffled = dict(chance.sample(list(units.items()), len(units)))
    turned = [pair[:: chance.choice([1, -1])] for pair in chance.sample(borders, len(borders))]
    assert merge_areas(shuffled, [*turned, *borders], K) == expected


def test_a_cut_by_running_sums_leaves_groups_below_k_where_merging_leaves_none() -> None:
    """What PRIVACY.md found of 500 areas, on a row of them."""
    chance = random.Random(1)
    units = {f"{number:03d}": chance.randint(1, 80) for number in range(500)}
    row = list(itertools.pairwise(units))
    groups, held = [0], 0
    for count in units.values():
        if held + count > K:
            groups.append(0)
            held = 0
        held += count
        groups[-1] = held
    assert sum(held < K for held in groups) > 100
    merged = set(merge_areas(units, row, K).values())
    assert min(sum(units[area] for area in group) for group in merged) >= K
    assert len(merged) > 100, "and it merges no more than it must"


def test_small_groups_join_the_smallest_beside_them_and_large_areas_stay_alone() -> None:
    units = {"1": 500, "2": 90, "3": 20, "4": 400, "5": 60}
    borders = [("1", "2"), ("2", "3"), ("3", "4"), ("1", "4")]
    areas = list(units)
    codes = group_codes(areas, list(units.values()), *map(list, zip(*borders, strict=True)), K)
    assert dict(zip(areas, codes, strict=True)) == {"1": "1", "2": "2+3", "3": "2+3", "4": "4", "5": "5"}


def test_codes_are_in_the_order_of_numbers() -> None:
    assert group_codes(["10", "9", "2"], [1, 1, 1], ["10", "9"], ["9", "2"], 3) == ["2+9+10"] * 3
