"""A private mart's report holds no value of its data, however a check fails."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.gates import judge
from lakehouse.gates.page import render_report
from lakehouse.gates.report import GateResult
from tests.unit.gates.conftest import Gate, expectation

PLANTED_TEXT = "planted-Holmegade-17"
PLANTED_NUMBER = 98_765.4375
PLANTED = [b"planted-Holmegade", b"98765", b"98,765", b"98_765"]

FAILING: list[dict[str, Any]] = [
    expectation("expect_column_values_to_be_between", column="use_m3", max_value=100),
    expectation("expect_column_values_to_be_in_set", column="area", value_set=["Valby"]),
    expectation("expect_column_values_to_match_regex", column="area", regex="^V"),
    expectation("expect_column_value_lengths_to_be_between", column="area", max_value=5),
    expectation("expect_column_pair_values_a_to_be_greater_than_b", column_A="household_count", column_B="use_m3"),
    expectation("expect_compound_columns_to_be_unique", column_list=["area", "use_m3"]),
    expectation("expect_column_values_to_be_unique", column="area"),
    expectation("expect_column_max_to_be_between", column="use_m3", max_value=100),
    expectation("expect_column_sum_to_be_between", column="use_m3", max_value=100, severity="warning"),
    expectation("expect_column_max_to_be_between", column="area", max_value=100),
    expectation("expect_column_distinct_values_to_be_in_set", column="area", value_set=["Valby"]),
    expectation("expect_column_distinct_values_to_equal_set", column="area", value_set=["Valby"]),
    # Not to be evaluated, whose messages might quote what they met.
    expectation("expect_column_values_to_be_between", column="area", max_value=100),
    expectation("expect_column_mean_to_be_between", column="area", max_value=100),
    expectation("expect_timestamps_on_grid", column="area"),
]


@pytest.fixture
def candidate() -> dict[str, pa.Table]:
    return {
        "day=0": pa.table(
            {
                "area": ["Valby", PLANTED_TEXT, PLANTED_TEXT],
                "use_m3": [1.0, PLANTED_NUMBER, PLANTED_NUMBER],
                "household_count": [40, 40, 40],
            }
        )
    }


def test_no_value_of_a_private_mart_leaves_the_gate(
    gate: Gate,
    candidate: dict[str, pa.Table],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    report = gate(FAILING, candidate, private=True)
    assert len(report.passed) == 0
    leaky = GateResult(
        name="other",
        expectation="other",
        severity="warning",
        success=False,
        reason="",
        examples=[{"area": PLANTED_TEXT}],
    )
    pages = render_report(report=report, extra_results=[leaky])
    printed = capfd.readouterr()
    everything = [
        *pages.values(),
        json.dumps(report.to_dict()).encode(),
        json.dumps(report.summary).encode(),
        (printed.out + printed.err + caplog.text).encode(),
    ]
    for planted in PLANTED:
        assert not any(planted in written for written in everything)
    assert all(result.examples == [] for result in report.results)
    assert "no values are shown" in pages["index.html"].decode()


def test_row_wise_results_of_great_expectations_itself_hold_no_value(
    gate: Gate, candidate: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even in memory: what is not in a result cannot be logged, pickled or printed by accident."""
    seen: list[str] = []
    outcome_of = judge._outcome

    def watched(result: Any) -> judge.Outcome:
        seen.append(str(result.to_json_dict()))
        return outcome_of(result)

    monkeypatch.setattr(judge, "_outcome", watched)
    gate(FAILING[:5], candidate, private=True)
    assert len(seen) == 5
    assert not any(planted.decode() in result for planted in PLANTED for result in seen)


def test_the_same_failures_of_an_open_mart_do_show_rows(gate: Gate, candidate: dict[str, pa.Table]) -> None:
    report = gate(FAILING, candidate, private=False)
    page = render_report(report=report)["index.html"]
    assert PLANTED_TEXT.encode() in page
    assert b"98765.4375" in page


def test_private_counts_are_those_of_an_open_run(gate: Gate, candidate: dict[str, pa.Table], tmp_path: Path) -> None:
    private = gate(FAILING, candidate, private=True)
    opened = gate(FAILING, candidate, private=False)
    for one, other in zip(private.results, opened.results, strict=True):
        assert (one.success, one.unexpected_count, one.partitions) == (
            other.success,
            other.unexpected_count,
            other.partitions,
        )
