"""Tables with totals: what is withheld protects, is the same each time, and stands for its period."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from lakehouse.contracts.load import ContractError
from lakehouse.privacy import withheld
from lakehouse.privacy.filled import MeasureNotEmpty
from lakehouse.privacy.intervals import Programme
from lakehouse.privacy.smallest_group import smallest_group
from lakehouse.privacy.suppression import Table, Unprotectable, margin, suppress, unprotected
from lakehouse.privacy.table_recount import recount_table
from lakehouse.privacy.tables import TableNotSound, number_cells, read_table
from lakehouse.privacy.withheld import PatternBroken
from tests.table_mart import (
    ERAS,
    KINDS,
    LEAVES,
    TABLE,
    build_database,
    filled,
    some_counts,
    suppress_policy,
    table_mart,
)

K, PERCENT = 5, 10
SEEDS = range(6)


@pytest.fixture
def mart(tmp_path: Path):
    return table_mart(tmp_path)


def table_of(mart, seed: int, *, mean: float = 12.0) -> Table:
    policy = suppress_policy(mart)
    with build_database({2024: some_counts(seed, mean=mean)}) as connection:
        number_cells(connection, mart, policy, "as_of = 2024")
        return read_table(connection, mart, policy, "as_of = 2024")


def test_a_table_is_read_with_every_total(mart) -> None:
    counts = some_counts(1)
    table = table_of(mart, 1)
    # Two kinds and all; four decades, two eras beside the one that is a decade's own, and all; three labels and all.
    assert table.incidence.shape == (3 * 7 * 4, 2 * 4 * 3)
    assert sorted(table.cell_values)[-1] == sum(counts.values())
    by_kind = [sum(n for leaf, n in counts.items() if leaf[0] == kind) for kind in KINDS]
    assert set(by_kind) <= set(table.cell_values.tolist())
    assert (table.sensitive == (table.cell_units < K)).all()
    # A line adds up: its total is half of the sum of its cells.
    assert all(2 * table.cell_values[line].max() == table.cell_values[line].sum() for line in table.lines)
    assert len(table.lines) == 7 * 4 + 3 * 4 * 3 + 3 * 7


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_withheld_protects_and_without_complements_nothing_is_protected(mart, seed: int) -> None:
    table = table_of(mart, seed)
    pattern = suppress(table, k=K, percent=PERCENT)
    assert unprotected(table, pattern, k=K, percent=PERCENT) == 0
    assert unprotected(table, table.sensitive, k=K, percent=PERCENT) > 0
    assert table.sensitive.sum() < pattern.sum() < len(pattern)
    assert (suppress(table, k=K, percent=PERCENT) == pattern).all()
    # Nor is it much more than it takes: of what was added some is needed for each cell that is published again.
    added = np.flatnonzero(pattern & ~table.sensitive)
    needed = sum(
        unprotected(table, np.where(np.arange(len(pattern)) == cell, False, pattern), k=K, percent=PERCENT) > 0
        for cell in added
    )
    assert needed > len(added) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_bounds_are_those_of_every_table_that_could_be(seed: int) -> None:
    """Two rows of three cells with totals, small enough to try each table of whole numbers."""
    chance = np.random.default_rng(seed)
    values = chance.integers(0, 5, size=(2, 3))
    rows = [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 1]]
    matrix = np.array(rows)[chance.permutation(5)[:4]]
    sums = matrix @ values.ravel()
    programme = Programme(matrix=matrix, sums=sums, least=np.zeros(6, dtype=np.int64), most=np.full(6, 15.0))
    # A cell is at most the least sum that it is in; one in none has no limit but the one that is given.
    most = [
        min((int(total) for row, total in zip(matrix, sums, strict=True) if row[cell]), default=15) for cell in range(6)
    ]
    tables = np.array(list(itertools.product(*(range(one + 1) for one in most))))
    fitting = tables[(tables @ matrix.T == sums).all(axis=1)]
    for cell in range(6):
        assert round(programme.least([cell]), 6) == fitting[:, cell].min()
        assert round(programme.most([cell]), 6) == fitting[:, cell].max()


@pytest.mark.parametrize("seed", range(8))
def test_the_smallest_group_is_found_or_proven_not_to_be(seed: int) -> None:
    """Against every combination of six sums with factors from -3 to 3."""
    chance = np.random.default_rng(seed)
    matrix = (chance.random((6, 8)) < 0.5).astype(np.int64)
    units = chance.integers(1, 9, size=8)
    factors = np.array(list(itertools.product(range(-3, 4), repeat=len(matrix))))
    told = (factors @ matrix != 0) @ units
    fewest = int(told[told > 0].min())
    found = smallest_group(matrix, units, fewest + 1)
    assert found is not None
    assert units[list(found.signatures)].sum() == fewest
    combined = sum(factor * matrix[row] for row, factor in found.coefficients.items())
    assert set(np.flatnonzero(combined)) == set(found.signatures)
    assert smallest_group(matrix, units, fewest) is None


def test_a_group_that_rounding_could_hide_is_decided_in_whole_numbers() -> None:
    """Three sums of two: each alone is told by halves, so the programme's bound is no proof by itself."""
    matrix = np.array([[1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, 1]])
    units = np.array([3, 3, 3, 50])
    assert smallest_group(matrix, units, 6) is None
    found = smallest_group(matrix, units, 7)
    assert found is not None
    assert units[list(found.signatures)].sum() == 6


def test_cells_told_elsewhere_are_never_withheld(mart, tmp_path: Path) -> None:
    beside = table_mart(
        tmp_path, k__5="5, beside: [{mart: other, dimensions: [kind]}]".replace("5, ", "5\n            ")
    )
    table = table_of(beside, 3)
    assert table.told.sum() == 3
    pattern = suppress(table, k=K, percent=PERCENT)
    assert not (pattern & table.told).any()
    assert unprotected(table, pattern, k=K, percent=PERCENT) == 0
    with pytest.raises(Unprotectable, match="told elsewhere hold too few units"):
        suppress(table_of(beside, 3, mean=1.01), k=K, percent=PERCENT)


def test_a_table_that_cannot_be_protected_is_not_published(mart) -> None:
    with build_database({2024: dict.fromkeys(LEAVES, 0) | {LEAVES[0]: 3}}) as connection:
        filled(connection, mart)
        assert connection.execute(f"SELECT count(*) FROM marts.{TABLE}").fetchone() == (0,)


def test_the_mart_is_filled_but_for_what_is_withheld(mart) -> None:
    counts = some_counts(2)
    with build_database({2024: counts}) as connection:
        pattern = filled(connection, mart)
        rows = connection.execute(f"SELECT kind, period, label, homes FROM marts.{TABLE}").fetchall()
    assert {row[:3] for row in rows if row[3] is None} == pattern
    for kind, period, label, homes in rows:
        held = sum(
            count
            for (of_kind, decade, of_label), count in counts.items()
            if kind in (of_kind, "all kinds") and label in (of_label, "all labels")
            and period in (decade, ERAS[decade], "all periods")
        )  # fmt: skip
        assert homes in (None, held)
        assert homes is not None or held < K or (kind, period, label) in pattern
        assert homes is None or homes >= K


def test_a_measure_that_the_sql_fills_is_refused(mart) -> None:
    with build_database({2024: some_counts(1)}) as connection:
        connection.execute(f"UPDATE marts.{TABLE} SET homes = 7 WHERE kind = 'flat'")
        with pytest.raises(MeasureNotEmpty, match=f"{TABLE}.sql fills homes itself"):
            filled(connection, mart)


def test_the_years_of_one_period_share_a_pattern_and_a_standing_one_is_kept_to_the_cell(mart) -> None:
    with build_database({2024: some_counts(2)}) as connection:
        first = filled(connection, mart)
    with build_database({2024: some_counts(2) | {LEAVES[0]: 40}}) as connection:
        assert filled(connection, mart, standing={"2024": first}) == first
    emptied = {leaf: 0 if leaf[0] == "house" else count for leaf, count in some_counts(2).items()}
    with build_database({2024: emptied}) as connection, pytest.raises(PatternBroken, match="cells of 2024 are not"):
        filled(connection, mart, standing={"2024": first})


def test_months_that_are_built_together_withhold_the_same(tmp_path: Path) -> None:
    """By hand, for the mart's partitions are years: one pattern over two tables, each protected by it."""
    mart = table_mart(tmp_path)
    tables = {}
    for seed in (1, 2):
        with build_database({2024: some_counts(seed)}) as connection:
            number_cells(connection, mart, suppress_policy(mart), "as_of = 2024")
            table = read_table(connection, mart, suppress_policy(mart), "as_of = 2024")
            tables[str(seed)] = (table, withheld._names(connection, suppress_policy(mart)))
    pattern = withheld._pattern(mart, suppress_policy(mart), "2024", tables, None)
    for table, cells in tables.values():
        assert unprotected(table, withheld._mask(cells, pattern), k=K, percent=PERCENT) == 0


def test_one_who_has_too_much_makes_a_sum_sensitive(tmp_path: Path) -> None:
    mart = table_mart(
        tmp_path, k__5="5\n            dominance: {max_share_percent: 50, p_percent: 10}", value__1="1000000"
    )
    with build_database({2024: dict.fromkeys(LEAVES, 10)}) as connection:
        connection.execute("UPDATE anonymised.building_contributions SET contribution = 100")
        assert filled(connection, mart) == frozenset()
        connection.execute(f"UPDATE marts.{TABLE} SET homes = NULL")
        largest = "unit = 'flat/1950s/A/0'"
        connection.execute(f"UPDATE anonymised.building_contributions SET contribution = 901 WHERE {largest}")
        pattern = filled(connection, mart)
        # More than half of 1,801, and more than of any wider cell.
        assert ("flat", "1950s", "A") in pattern
        assert ("flat", "old", "A") not in pattern
        assert len(pattern) > 3
        found = recount_table(connection=connection, mart=mart, policy=suppress_policy(mart))
        assert {one.rule for one in found if one.cells} == set()
        connection.execute(
            f"UPDATE marts.{TABLE} SET homes = 1801 WHERE kind = 'flat' AND period = '1950s' AND label = 'A'"
        )
        found = recount_table(connection=connection, mart=mart, policy=suppress_policy(mart))
        assert {one.rule for one in found if one.cells} == {"no_unit_dominates"}


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (f"DELETE FROM marts.{TABLE} WHERE kind = 'flat' AND period = 'old'", "every_public_cell_is_there"),
        (f"INSERT INTO marts.{TABLE} VALUES ('castle', 'old', 'A', 2024, NULL)", "no_cell_beyond_the_public_ones"),
        (f"INSERT INTO marts.{TABLE} FROM (FROM marts.{TABLE} LIMIT 1)", "each_cell_once"),
        ("INSERT INTO anonymised.building_contributions SELECT * REPLACE ('A' AS label) FROM anonymised.building_contributions WHERE unit = 'flat/1950s/B/0'", "unit_counts_once"),
        ("UPDATE anonymised.building_contributions SET label = 'X' WHERE unit = 'flat/1950s/B/0'", "unit_has_a_public_class"),
        ("UPDATE anonymised.building_contributions SET contribution = 2 WHERE unit = 'flat/1950s/B/0'", "contribution_is_capped"),
        (f"UPDATE marts.{TABLE} SET homes = 4 WHERE homes IS NULL", "cell_holds_k_units"),
        (f"UPDATE marts.{TABLE} SET homes = homes + 1", "published_value_is_true"),
        (f"UPDATE marts.{TABLE} SET as_of = 2023 WHERE false; INSERT INTO marts.{TABLE} SELECT * REPLACE (50 AS homes) FROM marts.{TABLE} WHERE homes IS NULL", "one_pattern_a_period"),
    ],
)  # fmt: skip
def test_each_rule_of_the_recount_can_go_red(mart, statement: str, rule: str) -> None:
    counts = some_counts(2) | {("flat", "1950s", "B"): 6}
    with build_database({2024: counts}) as connection:
        filled(connection, mart)
        assert not any(
            one.cells for one in recount_table(connection=connection, mart=mart, policy=suppress_policy(mart))
        )
        connection.execute(statement)
        found = recount_table(connection=connection, mart=mart, policy=suppress_policy(mart))
    assert rule in {one.rule for one in found if one.cells}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE conformed.building_classes SET era = 'old' WHERE decade = '1990s' AND label = 'A'",
        "UPDATE conformed.building_classes SET era = '1950s' WHERE decade = '1960s'",
        "UPDATE conformed.building_classes SET label = 'all labels' WHERE label = 'A'",
    ],
)
def test_classes_that_make_no_hierarchy_are_refused(mart, change: str) -> None:
    with build_database({2024: some_counts(1)}) as connection:
        connection.execute(change)
        with pytest.raises(TableNotSound, match="are no hierarchy"):
            filled(connection, mart)


def test_a_row_of_no_public_class_is_refused(mart) -> None:
    with build_database({2024: some_counts(1)}) as connection:
        connection.execute(f"INSERT INTO marts.{TABLE} VALUES ('castle', 'old', 'A', 2024, NULL)")
        with pytest.raises(TableNotSound, match="names a class that conformed.building_classes has not"):
            filled(connection, mart)


def test_margins_are_whole_numbers_and_at_least_one() -> None:
    assert [margin(value, 10) for value in (0, 1, 10, 11, 2459)] == [1, 1, 1, 2, 246]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"key__[kind, period, label, as_of]": "[kind, label, as_of]"}, "must be the dimensions and the partition's column"),
        ({"measure__homes": "houses"}, "the policy needs the column 'houses'"),
        ({"k__5": "1"}, "Input should be greater than or equal to 2"),
        ({"cap__{value: 1,": "{value: 2,"}, "the table is one of sums: state its dominance"),
        ({"column__label": "kind"}, "two dimensions share a column"),
        ({"k__5": "5\n            period: day"}, "shorter than the partition"),
        ({"k__5": "5\n            beside: [{mart: other, dimensions: [size]}]"}, "other is beside in size, which is no dimension"),
        ({"data_type__bigint, description: Homes": "double, description: Homes"}, "'homes' must be a whole number"),
        ({"description__Homes,": "Homes, constraints: [{type: not_null}],"}, "'homes' is empty where a cell is withheld"),
    ],
)  # fmt: skip
def test_a_policy_that_could_not_be_kept_is_a_fault(tmp_path: Path, change: dict[str, str], problem: str) -> None:
    with pytest.raises(ContractError) as refused:
        table_mart(tmp_path, **change)
    assert any(problem in fault.problem for fault in refused.value.faults), refused.value.faults
