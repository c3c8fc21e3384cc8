"""Each expectation that a suite may use passes on right data and closes the gate on broken data."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.gates.batches import to_frame
from lakehouse.gates.judge import Judge
from lakehouse.gates.suite import Check
from lakehouse.gates.vocabulary import EXPECTATIONS
from tests.unit.gates.conftest import Gate, expectation

HOUR = datetime(2024, 3, 1, 5, tzinfo=UTC)
LATE = datetime(2024, 3, 1, 5, 20, tzinfo=UTC)

# expectation, arguments, a table that holds to it, a table that does not
CASES: list[tuple[str, dict[str, Any], dict[str, list[Any]], dict[str, list[Any]]]] = [
    ("expect_column_values_to_not_be_null", {"column": "a"}, {"a": [1, 2]}, {"a": [1, None]}),
    ("expect_column_values_to_be_null", {"column": "a"}, {"a": [None, None]}, {"a": [None, 1]}),
    ("expect_column_values_to_be_between", {"column": "a", "min_value": 0}, {"a": [0, 3]}, {"a": [0, -1]}),
    ("expect_column_values_to_be_in_set", {"column": "a", "value_set": ["x"]}, {"a": ["x"]}, {"a": ["y"]}),
    (
        "expect_column_values_to_not_be_in_set",
        {"column": "a", "value_set": ["x"]},
        {"a": ["y"]},
        {"a": ["x"]},
    ),
    (
        "expect_column_values_to_match_regex",
        {"column": "a", "regex": "^DK[12]$"},
        {"a": ["DK1"]},
        {"a": ["SE4"]},
    ),
    ("expect_column_values_to_not_match_regex", {"column": "a", "regex": "@"}, {"a": ["ab"]}, {"a": ["a@b"]}),
    (
        "expect_column_value_lengths_to_be_between",
        {"column": "a", "max_value": 2},
        {"a": ["ab"]},
        {"a": ["abc"]},
    ),
    ("expect_column_value_lengths_to_equal", {"column": "a", "value": 2}, {"a": ["ab"]}, {"a": ["a"]}),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "a", "column_B": "b", "or_equal": True},
        {"a": [2, 3], "b": [2, 1]},
        {"a": [1, 3], "b": [2, 1]},
    ),
    (
        "expect_column_pair_values_to_be_equal",
        {"column_A": "a", "column_B": "b"},
        {"a": [1], "b": [1]},
        {"a": [1], "b": [2]},
    ),
    (
        "expect_multicolumn_sum_to_equal",
        {"column_list": ["a", "b"], "sum_total": 100},
        {"a": [40], "b": [60]},
        {"a": [40], "b": [61]},
    ),
    ("expect_cells_to_hold_at_least_k_units", {"column": "a", "k": 15}, {"a": [15, 90]}, {"a": [14, 90]}),
    ("expect_timestamps_on_grid", {"column": "a"}, {"a": [HOUR]}, {"a": [HOUR, LATE]}),
    ("expect_table_row_count_to_be_between", {"min_value": 2}, {"a": [1, 2]}, {"a": [1]}),
    ("expect_table_row_count_to_equal", {"value": 2}, {"a": [1, 2]}, {"a": [1, 2, 3]}),
    ("expect_column_min_to_be_between", {"column": "a", "min_value": 2}, {"a": [2, 9]}, {"a": [1, 9]}),
    ("expect_column_max_to_be_between", {"column": "a", "max_value": 9}, {"a": [2, 9]}, {"a": [1, 10]}),
    ("expect_column_mean_to_be_between", {"column": "a", "max_value": 2}, {"a": [1, 3]}, {"a": [1, 4]}),
    (
        "expect_column_median_to_be_between",
        {"column": "a", "max_value": 2},
        {"a": [1, 2, 9]},
        {"a": [1, 3, 9]},
    ),
    ("expect_column_sum_to_be_between", {"column": "a", "min_value": 5}, {"a": [2, 3]}, {"a": [2, 2]}),
    (
        "expect_column_unique_value_count_to_be_between",
        {"column": "a", "min_value": 2},
        {"a": [1, 2, 2]},
        {"a": [2, 2, 2]},
    ),
    (
        "expect_column_distinct_values_to_be_in_set",
        {"column": "a", "value_set": ["x", "y"]},
        {"a": ["x"]},
        {"a": ["x", "z"]},
    ),
    (
        "expect_column_distinct_values_to_contain_set",
        {"column": "a", "value_set": ["x", "y"]},
        {"a": ["x", "y", "z"]},
        {"a": ["x", "z"]},
    ),
    (
        "expect_column_distinct_values_to_equal_set",
        {"column": "a", "value_set": ["x", "y"]},
        {"a": ["x", "y"]},
        {"a": ["x", "y", "z"]},
    ),
    ("expect_column_values_to_be_unique", {"column": "a"}, {"a": [1, 2, None, None]}, {"a": [1, 2, 1]}),
    (
        "expect_compound_columns_to_be_unique",
        {"column_list": ["a", "b"]},
        {"a": [1, 1, 2], "b": [1, 2, 1]},
        {"a": [1, 1, 2], "b": [1, 1, None]},
    ),
    ("expect_column_to_exist", {"column": "a"}, {"a": [1]}, {"b": [1]}),
    ("expect_table_column_count_to_equal", {"value": 1}, {"a": [1]}, {"a": [1], "b": [1]}),
    ("expect_table_columns_to_match_set", {"column_set": ["b", "a"]}, {"a": [1], "b": [1]}, {"a": [1]}),
    (
        "expect_table_columns_to_match_ordered_list",
        {"column_list": ["a", "b"]},
        {"a": [1], "b": [1]},
        {"b": [1], "a": [1]},
    ),
    # The same, on types that do not compare with JSON's own.
    (
        "expect_column_values_to_be_between",
        {"column": "a", "min_value": "2024-03-01", "max_value": "2024-03-01T05:00:00+00:00"},
        {"a": [HOUR]},
        {"a": [LATE]},
    ),
    (
        "expect_column_values_to_be_between",
        {"column": "a", "max_value": "2024-03-01"},
        {"a": [date(2024, 3, 1)]},
        {"a": [date(2024, 3, 2)]},
    ),
    (
        "expect_column_max_to_be_between",
        {"column": "a", "max_value": "2024-03-01"},
        {"a": [date(2024, 3, 1)]},
        {"a": [date(2024, 3, 2)]},
    ),
    (
        "expect_column_values_to_not_be_in_set",
        {"column": "a", "value_set": ["2024-03-01"]},
        {"a": [date(2024, 3, 2)]},
        {"a": [date(2024, 3, 1)]},
    ),
    (
        "expect_column_values_to_be_between",
        {"column": "a", "max_value": 1.5},
        {"a": [Decimal("1.50"), None]},
        {"a": [Decimal("1.51"), None]},
    ),
    (
        "expect_column_unique_value_count_to_be_between",
        {"column": "a", "min_value": 2},
        {"a": [HOUR, LATE]},
        {"a": [HOUR, HOUR]},
    ),
    ("expect_cells_to_hold_at_least_k_units", {"column": "a", "k": 15}, {"a": [15]}, {"a": [15, None]}),
    (
        "expect_timestamps_on_grid",
        {"column": "a", "minutes": 20},
        {"a": [LATE]},
        {"a": [LATE.replace(second=1)]},
    ),
]


def test_every_expectation_of_the_vocabulary_is_tried() -> None:
    assert {case[0] for case in CASES} == set(EXPECTATIONS)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: f"{CASES[n][0].removeprefix('expect_')}-{n}")
def test_right_data_passes_and_broken_data_closes_the_gate(number: int, gate: Gate) -> None:
    kind, arguments, right, broken = CASES[number]
    held = gate([expectation(kind, **arguments)], {"day=1": pa.table(right)})
    assert held.results[0].success, held.results[0].reason
    assert not held.blocked
    failed = gate([expectation(kind, **arguments)], {"day=1": pa.table(broken)})
    assert failed.blocked
    assert "could not be evaluated" not in failed.results[0].reason
    assert failed.results[0].reason.startswith("Expected: ")


@pytest.mark.parametrize("which", [2, 3], ids=["right", "broken"])
def test_reductions_and_batches_give_the_verdict_of_the_whole_frame(which: int, gate: Gate) -> None:
    judge = Judge()
    for case in CASES:
        table = pa.table(case[which])
        check = Check(suite="s", type=case[0], arguments=case[1], severity="blocking", notes="n")
        [whole] = judge.evaluate(frame=to_frame(table), schema=table.schema, checks=[check])
        rows = [table.slice(row, 1) for row in range(table.num_rows)]
        pieces = gate([expectation(case[0], **case[1])], {f"day={n}": row for n, row in enumerate(rows)}, batch_rows=1)
        assert pieces.results[0].success == whole.success, case[0]


def test_cells_that_never_say_their_units_are_not_vacuously_right(gate: Gate) -> None:
    nothing = pa.table({"households": pa.array([None, None], pa.int64())})
    report = gate([expectation("expect_cells_to_hold_at_least_k_units", column="households", k=15)], {"d=1": nothing})
    assert report.blocked
    assert report.results[0].unexpected_count == 2
