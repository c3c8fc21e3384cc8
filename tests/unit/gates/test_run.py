"""Running a suite: severities, batches, partitions, and candidates that cannot be judged."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.gates.batches import CandidateFile
from lakehouse.gates.report import GateReport, GateResult
from lakehouse.gates.run import run_suite
from lakehouse.gates.suite import SuiteError
from tests.unit.gates.conftest import Gate, WriteCandidate, WriteSuite, expectation

START = datetime(2024, 3, 1, tzinfo=UTC)
AREAS = ("Amager", "Valby", "Vanløse")


def a_day(day: int, *, use: float = 1.0, households: int = 40) -> pa.Table:
    hours = [START + timedelta(days=day, hours=hour) for hour in range(24)]
    return pa.table(
        {
            "observed_hour_utc": pa.array([hour for _ in AREAS for hour in hours], pa.timestamp("us", tz="UTC")),
            "area": [area for area in AREAS for _ in hours],
            "use_m3": pa.array([use] * 72, pa.float64()),
            "household_count": pa.array([households] * 72, pa.int32()),
        }
    )


def spoilt(table: pa.Table, column: str, rows: Sequence[int], value: object) -> pa.Table:
    values = table.column(column).to_pylist()
    for row in rows:
        values[row] = value
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))


SUITE = [
    expectation("expect_compound_columns_to_be_unique", column_list=["observed_hour_utc", "area"]),
    expectation("expect_table_row_count_to_be_between", min_value=1),
    expectation("expect_column_values_to_not_be_null", column="use_m3"),
    expectation("expect_column_values_to_be_between", column="use_m3", min_value=0),
    expectation("expect_column_values_to_be_between", column="use_m3", max_value=50, severity="warning"),
    expectation("expect_cells_to_hold_at_least_k_units", column="household_count", k=15),
    expectation("expect_column_mean_to_be_between", column="use_m3", max_value=10),
    expectation("expect_column_to_exist", column="area"),
]


def result_of(report: GateReport, kind: str, number: int = 0) -> GateResult:
    return [result for result in report.results if result.expectation == kind][number]


def test_a_right_candidate_passes(gate: Gate) -> None:
    report = gate(SUITE, {f"day={day}": a_day(day) for day in range(3)})
    assert (report.verdict, report.blocked) == ("passed", False)
    assert (report.rows_checked, report.partitions_checked, len(report.results)) == (216, 3, len(SUITE))
    assert report.summary["verdict"] == "passed"
    assert len({result.name for result in report.results}) == len(SUITE)


def test_a_failed_warning_warns_and_does_not_block(gate: Gate) -> None:
    report = gate(SUITE, {"day=0": spoilt(a_day(0), "use_m3", [3], 60.0)})
    assert not report.blocked
    assert report.verdict == "passed with warnings"
    assert [warning.severity for warning in report.warnings] == ["warning"]
    assert report.summary["warnings"] == 1


def test_a_failed_critical_check_blocks_and_says_where(gate: Gate) -> None:
    report = gate(SUITE, {"day=0": a_day(0), "day=1": spoilt(a_day(1), "use_m3", [5, 6], -1.0), "day=2": a_day(2)})
    failed = result_of(report, "expect_column_values_to_be_between")
    assert report.blocked
    assert report.blocking == [failed]
    assert (failed.unexpected_count, failed.element_count) == (2, 216)
    assert (failed.partition, failed.partitions) == ("day=1", {"day=1": 2})
    assert failed.reason == ("Expected: use_m3 is at least 0. Found: 2 of 216 rows (0.93 %) fail, in partition day=1.")
    assert failed.examples[0] == {
        "partition": "day=1",
        "observed_hour_utc": "2024-03-02T05:00:00+00:00",
        "area": "Amager",
        "use_m3": "-1",
    }


@pytest.mark.parametrize("batch_rows", [31, 72, 100, 200])
def test_any_batch_size_gives_the_same_results(gate: Gate, batch_rows: int) -> None:
    days = {f"day={day}": a_day(day) for day in range(4)}
    days["day=1"] = spoilt(a_day(1), "use_m3", range(0, 72, 2), -1.0)
    days["day=2"] = spoilt(a_day(2), "household_count", [71], 3)
    whole = gate(SUITE, days)
    pieces = gate(SUITE, days, batch_rows=batch_rows)
    for one, other in zip(whole.results, pieces.results, strict=True):
        assert (one.success, one.reason, one.partitions) == (other.success, other.reason, other.partitions)
    assert whole.blocked
    assert len(whole.blocking) == 2


def test_mostly_is_judged_over_all_batches(gate: Gate) -> None:
    suite = [expectation("expect_column_values_to_be_between", column="use_m3", min_value=0, mostly=0.9)]
    # One partition fails in half of its rows, which is a sixth of one and a twelfth of the other table.
    bad = spoilt(a_day(0), "use_m3", range(36), -1.0)
    three = {"day=0": bad, "day=1": a_day(1), "day=2": a_day(2)}
    six = {**three, "day=3": a_day(3), "day=4": a_day(4), "day=5": a_day(5)}
    assert gate(suite, three, batch_rows=72).blocked
    held = gate(suite, six, batch_rows=72)
    assert not held.blocked
    assert "within what is allowed" in held.results[0].reason


def test_a_key_that_stands_in_two_partitions_is_found(gate: Gate) -> None:
    report = gate(SUITE[:1], {"day=0": a_day(0), "day=1": a_day(0).slice(0, 5)}, batch_rows=72)
    failed = report.results[0]
    assert report.blocked
    assert failed.unexpected_count == 10
    assert failed.partitions == {"day=0": 5, "day=1": 5}
    assert failed.examples[0] == {"observed_hour_utc": "2024-03-01T00:00:00+00:00", "area": "Amager"}


def test_a_condition_limits_a_check_to_its_rows(gate: Gate) -> None:
    condition = {"type": "comparison", "column": {"name": "area"}, "operator": "==", "parameter": "Valby"}
    suite = [expectation("expect_column_values_to_be_between", column="use_m3", min_value=0, row_condition=condition)]
    spared = gate(suite, {"day=0": spoilt(a_day(0), "use_m3", [0], -1.0)})
    assert not spared.blocked
    met = gate(suite, {"day=0": spoilt(a_day(0), "use_m3", [30], -1.0)})
    assert met.blocked
    assert (met.results[0].element_count, met.results[0].examples[0]["area"]) == (24, "Valby")
    assert "where area == Valby" in met.results[0].expected


def test_a_missing_column_blocks_in_words_even_for_a_warning(gate: Gate) -> None:
    suite = [expectation("expect_column_values_to_not_be_null", column="use_kwh", severity="warning"), *SUITE]
    report = gate(suite, {"day=0": a_day(0)})
    assert report.blocking[0].reason == (
        "Expected: use_kwh is never empty. Found: the data has no column use_kwh, in 1 partition (day=0)."
    )
    assert len(report.passed) == len(SUITE)


def test_a_column_missing_in_one_partition_is_named_with_it(gate: Gate) -> None:
    report = gate(SUITE, {"day=0": a_day(0), "day=1": a_day(1).drop_columns(["use_m3"])})
    assert "the data has no column use_m3, in 1 partition (day=1)" in report.blocking[0].reason
    assert result_of(report, "expect_compound_columns_to_be_unique").success


def test_partitions_of_another_schema_are_still_judged(gate: Gate) -> None:
    other = a_day(1).append_column("note", pa.array(["x"] * 72))
    report = gate(SUITE, {"day=0": a_day(0), "day=1": spoilt(other, "household_count", [0], 1)})
    assert result_of(report, "expect_cells_to_hold_at_least_k_units").partitions == {"day=1": 1}
    assert len(report.blocking) == 1


@pytest.mark.parametrize("kind", ["expect_column_values_to_be_between", "expect_column_mean_to_be_between"])
def test_a_check_that_cannot_be_evaluated_blocks_even_as_a_warning(gate: Gate, kind: str) -> None:
    report = gate([expectation(kind, column="area", max_value=3, severity="warning")], {"day=0": a_day(0)})
    assert report.blocked
    assert "could not be evaluated" in report.results[0].reason


def test_a_number_is_no_bound_of_a_moment(gate: Gate) -> None:
    suite = [expectation("expect_column_values_to_be_between", column="observed_hour_utc", min_value=0)]
    assert "0 is not a moment" in gate(suite, {"day=0": a_day(0)}).blocking[0].reason


@pytest.mark.parametrize("partitions", [{}, {"day=0": a_day(0).slice(0, 0)}], ids=["no files", "no rows"])
def test_a_candidate_without_rows_is_blocked(gate: Gate, partitions: dict[str, pa.Table]) -> None:
    report = gate(SUITE, partitions)
    assert report.blocked
    assert "holds no rows" in report.results[0].reason


def test_a_faulty_suite_is_no_verdict_but_an_error(gate: Gate) -> None:
    with pytest.raises(SuiteError, match="expect_column_values_to_be_betwixt"):
        gate([expectation("expect_column_values_to_be_betwixt", column="use_m3")], {"day=0": a_day(0)})


def test_a_large_partition_is_read_by_pieces_of_its_row_groups(
    write_candidate: WriteCandidate, write_suite: WriteSuite
) -> None:
    table = pa.concat_tables([a_day(day) for day in range(30)])
    files = write_candidate({"month=2024-03": spoilt(table, "use_m3", [0, 2_159], -1.0)}, row_group_size=500)
    assert pq.read_metadata(files[0].path).num_row_groups == 5
    report = run_suite(
        mart="m",
        candidate="c",
        suite_path=write_suite(SUITE),
        shared_suites=[],
        files=files,
        private=False,
        batch_rows=400,
    )
    failed = result_of(report, "expect_column_values_to_be_between")
    assert failed.partitions == {"month=2024-03": 2}
    assert [example["observed_hour_utc"][:10] for example in failed.examples] == ["2024-03-01", "2024-03-30"]


def test_an_index_that_pandas_left_in_a_file_does_not_shift_examples(write_suite: WriteSuite, tmp_path: Path) -> None:
    frame = spoilt(a_day(0), "use_m3", [1], -1.0).to_pandas().iloc[::-1]
    path = tmp_path / "part-0.parquet"
    frame.to_parquet(path)
    report = run_suite(
        mart="m",
        candidate="c",
        suite_path=write_suite(SUITE),
        shared_suites=[],
        files=[CandidateFile(path=path, partition="day=0", rows=72)],
        private=False,
    )
    assert report.blocking[0].examples[0]["use_m3"] == "-1"


def test_the_room_is_cheap_to_import() -> None:
    """Great Expectations takes seconds to import: a DAG or the command line must not pay for it."""
    modules = ("run", "report", "page", "physical", "suite")
    imports = "; ".join(f"import lakehouse.gates.{module}" for module in modules)
    code = f"import sys; {imports}; print('great_expectations' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "False"
