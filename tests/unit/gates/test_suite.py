"""Suite files: every fault of one is named at once, with the file and what to do."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.gates.suite import SuiteError, read_suite, validate_suite
from tests.unit.gates.conftest import Gate, WriteSuite, expectation

COLUMNS = ["observed_hour_utc", "area", "use_m3", "household_count", "day_share"]
SHARED = Path(__file__).parents[3] / "expectations" / "shared"

FAULTS: list[tuple[dict[str, Any], str]] = [
    (
        expectation("expect_column_values_to_be_betwen", column="use_m3"),
        "did you mean expect_column_values_to_be_between",
    ),
    (
        expectation("expect_column_value_z_scores_to_be_less_than", column="use_m3"),
        "not an expectation that a suite may use",
    ),
    (
        expectation("expect_column_values_to_not_be_null", column="use_m"),
        "no column 'use_m'; did you mean 'use_m3'?",
    ),
    (
        expectation("expect_column_values_to_be_between", column="use_m3", min_value=0, max_vale=1),
        "max_vale: extra fields not permitted",
    ),
    (expectation("expect_column_values_to_be_between", column="use_m3"), "cannot both be None"),
    (expectation("expect_table_row_count_to_be_between"), "could never fail"),
    (expectation("expect_column_values_to_be_in_set", column="area", value_set=[]), "could never fail"),
    (
        expectation("expect_cells_to_hold_at_least_k_units", column="household_count", k=15, mostly=0.9),
        "leave mostly out",
    ),
    (
        expectation("expect_cells_to_hold_at_least_k_units", column="household_count", k=1),
        "greater than or equal to 2",
    ),
    (expectation("expect_timestamps_on_grid", column="observed_hour_utc", minutes=7), "do not divide a day"),
    (
        expectation("expect_column_values_to_be_unique", column="area", mostly=0.9),
        "mostly cannot be used here",
    ),
    (
        expectation("expect_column_values_to_not_be_null", column="area", row_condition='area == "x"'),
        "object form",
    ),
    ({**expectation("expect_column_to_exist", column="area"), "severity": "info"}, "'critical' or 'warning'"),
    ({**expectation("expect_column_to_exist", column="area"), "id": "1"}, "Extra inputs are not permitted"),
    ({**expectation("expect_column_to_exist", column="area"), "meta": {}}, "notes: Field required"),
]


@pytest.mark.parametrize(("entry", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_each_fault_names_the_file_and_the_expectation(
    entry: dict[str, Any], words: str, write_suite: WriteSuite
) -> None:
    path = write_suite([expectation("expect_column_to_exist", column="area"), entry])
    [fault] = validate_suite(path=path, columns=COLUMNS)
    assert fault.startswith(f"{path}: expectation 2")
    assert words in fault


def test_all_faults_come_at_once(write_suite: WriteSuite) -> None:
    path = write_suite([entry for entry, _ in FAULTS[:12]])
    assert len(validate_suite(path=path, columns=COLUMNS)) == 12


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{\n "name": "broken",\n "expectations": [,]\n}')
    [fault] = validate_suite(path=path, columns=COLUMNS)
    assert fault.startswith(f"{path}:3: not JSON")


@pytest.mark.parametrize("content", [b"[]", b'{"name": "x"}', b'{"name": "x", "expectations": []}', b"\xff"])
def test_what_is_no_suite_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    assert validate_suite(path=path, columns=COLUMNS)


def test_a_suite_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"no such suite; write one expectations/<mart>\.json"):
        read_suite(path=tmp_path / "gone.json", columns=COLUMNS, shared=False)


def test_a_right_suite_has_no_fault(write_suite: WriteSuite) -> None:
    condition = {"type": "comparison", "column": {"name": "area"}, "operator": "==", "parameter": "Valby"}
    suite = [
        expectation("expect_column_values_to_be_between", column="use_m3", min_value=0, row_condition=condition),
        expectation("expect_column_max_to_be_between", column="observed_hour_utc", max_value="2030-01-01"),
    ]
    assert validate_suite(path=write_suite(suite), columns=COLUMNS) == []


def test_a_condition_on_an_unknown_column_is_a_fault(write_suite: WriteSuite) -> None:
    condition = {"type": "nullity", "column": {"name": "aera"}, "is_null": False}
    suite = [expectation("expect_column_values_to_not_be_null", column="use_m3", row_condition=condition)]
    assert "'aera'" in validate_suite(path=write_suite(suite), columns=COLUMNS)[0]


def test_a_shared_check_applies_to_each_column_that_its_pattern_matches(write_suite: WriteSuite) -> None:
    path = write_suite([expectation("expect_column_values_to_be_between", column="*_count", min_value=0)])
    checks = read_suite(path=path, columns=["area", "car_count", "bicycle_count"], shared=True)
    assert [check.columns for check in checks] == [["car_count"], ["bicycle_count"]]
    assert read_suite(path=path, columns=["area"], shared=True) == []


def test_the_shared_suites_are_right() -> None:
    paths = sorted(SHARED.glob("*.json"))
    assert paths
    assert [fault for path in paths for fault in validate_suite(path=path, columns=[], shared=True)] == []


@pytest.mark.parametrize(
    ("column", "broken"),
    [
        ("car_count", -1),
        ("largest_share", 1.5),
        ("observed_hour_utc", "1970-01-01T00:00:00Z"),
        ("air_celsius", 999.0),
        ("latitude_north", 6_175_000.0),
        ("longitude_east", 724_000.0),
    ],
)
def test_each_shared_check_can_fail(column: str, broken: Any, gate: Gate, write_suite: WriteSuite) -> None:
    right = {"observed_hour_utc": "2024-01-01T00:00:00Z"}.get(column, 1)
    own = [expectation("expect_table_row_count_to_be_between", min_value=1)]
    for value, blocked in ((right, False), (broken, True)):
        values = pa.array([value])
        if isinstance(value, str):
            values = values.cast(pa.timestamp("us", tz="UTC"))
        report = gate(own, {"day=0": pa.table({column: values})}, shared=sorted(SHARED.glob("*.json")))
        assert len(report.results) == 2
        assert report.blocked is blocked


def test_every_suite_of_the_project_is_json_with_notes() -> None:
    for path in SHARED.parent.glob("*.json"):
        held = json.loads(path.read_text(encoding="utf-8"))
        assert all(entry["meta"]["notes"] for entry in held["expectations"]), path
