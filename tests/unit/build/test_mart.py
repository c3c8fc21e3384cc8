"""A mart's yml: every fault of the file at once, each with its line."""

from pathlib import Path

import pytest

from lakehouse.contracts.load import ContractError, Fault
from lakehouse.contracts.mart import read_mart, read_marts
from tests.mini_exchange import TRAFFIC, WATER, Mini


def faults(mini: Mini, name: str) -> list[Fault]:
    with pytest.raises(ContractError) as refused:
        read_mart(mini.path(f"{name}.yml"), root=mini.root / "project")
    return refused.value.faults


def line_of(mini: Mini, name: str, text: str) -> int:
    lines = mini.path(f"{name}.yml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    return Mini.make(tmp_path)


def test_a_mart_is_read(mini: Mini) -> None:
    marts = read_marts(mini.exchange.settings.marts_path)
    assert list(marts) == [TRAFFIC, WATER]
    assert (marts[TRAFFIC].private, marts[WATER].private) == (False, True)
    assert marts[WATER].folder == f"{WATER}/v1"


def test_every_fault_is_told_at_once_with_file_and_line(mini: Mini) -> None:
    mini.edit(f"{TRAFFIC}.yml", "theme: TRAN", "theme: ROADS")
    mini.edit(f"{TRAFFIC}.yml", "freshness_hours: 48", "freshness_hours: -1")
    mini.edit(f"{TRAFFIC}.yml", "access: open", "access: open\n          acess: open")
    mini.edit(f"{TRAFFIC}.yml", "          major: 1\n", "")
    found = {fault.field.removeprefix("models[0].config.meta.exchange."): fault for fault in faults(mini, TRAFFIC)}
    assert set(found) == {"theme", "freshness_hours", "acess", "major"}
    assert {fault.file for fault in found.values()} == {f"dbt_project/models/marts/{TRAFFIC}.yml"}
    assert found["theme"].line == line_of(mini, TRAFFIC, "theme: ROADS")
    assert found["freshness_hours"].line == line_of(mini, TRAFFIC, "freshness_hours")
    assert found["acess"].line == line_of(mini, TRAFFIC, "acess")
    assert found["acess"].problem == "is not a known key (check the spelling)"
    assert found["major"].problem == "is missing"


def test_faults_between_the_parts_of_a_mart_are_told_at_once_too(mini: Mini) -> None:
    mini.edit(f"{TRAFFIC}.yml", "key: [road, hour_utc]", "key: [street, hour_utc]")
    mini.edit(f"{TRAFFIC}.yml", "column: hour_utc, grain: day", "column: vehicles, grain: day")
    mini.edit(f"{TRAFFIC}.yml", "config: {meta: {unit: sensors}}", "config: {}")
    found = [(fault.line, fault.problem) for fault in faults(mini, TRAFFIC)]
    assert found == [
        (line_of(mini, TRAFFIC, "key: [street"), "'street' is not a column of the mart"),
        (line_of(mini, TRAFFIC, "column: vehicles"), "'vehicles' is bigint; it must be a timestamp or a date"),
        (
            line_of(mini, TRAFFIC, "- name: sensors"),
            "'sensors' is a number without config.meta.unit ('1' for a pure number)",
        ),
        (
            line_of(mini, TRAFFIC, "- name: vehicles"),
            "'vehicles' of the key or the partition needs the constraint not_null, or its rows could be lost",
        ),
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("- name: sensors", "- name: day", "the folders of the release are named day=…, so no column may have that name"),
        ("column: hour_utc, grain: day", "column: nowhere, grain: day", "'nowhere' is not a column of the mart"),
        ("column: hour_utc, grain: day", "column: road, grain: year",
         "'road' is varchar; it must be a timestamp, a date or a whole number"),
        ("name: traffic_by_road_hour", "name: traffic", f"is 'traffic', but the file is {TRAFFIC}.yml"),
        ('description: "Road."\n        constraints: [{type: not_null}]', 'description: "Road."',
         "'road' of the key or the partition needs the constraint not_null, or its rows could be lost"),
        ("enforced: true", "enforced: false", "Input should be True; found False"),
    ],
)  # fmt: skip
def test_what_a_release_could_not_keep_is_a_fault(mini: Mini, old: str, new: str, problem: str) -> None:
    mini.edit(f"{TRAFFIC}.yml", old, new)
    assert problem in [fault.problem for fault in faults(mini, TRAFFIC)]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name: households", "name: homes", "the policy needs the column 'households'"),
        ("measure: water_use_l", "measure: water_l", "the policy needs the column 'water_l'"),
        ("name: period_hours\n        data_type: bigint", "name: period_hours\n        data_type: double",
         "the column 'period_hours' must be a whole number, so that thresholds are exact"),
        ("k: {day: 3}", "k: {}", "Dictionary should have at least 1 item after validation, not 0"),
        ("k: {day: 3}", "k: {day: 0}", "Input should be greater than 0"),
        ("restatements: 0", "restatements: 1", "Input should be 0; found 1"),
        ("    columns:\n", '    columns:\n      - {name: largest_l, data_type: bigint, description: "Most of one household.", '
         'config: {meta: {unit: L}}}\n',
         "'largest_l' is covered by no policy; a mart of sums has area, households, period_grain, period_hours, "
         "period_start_utc, water_use_l alone"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_recounted_is_a_fault(mini: Mini, old: str, new: str, problem: str) -> None:
    mini.edit(f"{WATER}.yml", old, new)
    assert problem in [fault.problem for fault in faults(mini, WATER)]


def test_the_relation_of_the_contributions_is_a_schema_and_a_name(mini: Mini) -> None:
    mini.edit(f"{WATER}.yml", "anonymised.water_contributions", "water_contributions; drop table x")
    [fault] = faults(mini, WATER)
    assert (fault.line, fault.field.rsplit(".")[-1]) == (line_of(mini, WATER, "contributions:"), "contributions")


def test_all_marts_are_read_before_their_faults_are_told(mini: Mini) -> None:
    for name in (TRAFFIC, WATER):
        mini.edit(f"{name}.yml", "major: 1", "major: 0")
    mini.path(f"{WATER}.sql").rename(mini.path(f"{WATER}.sql").with_name("stray.sql"))
    with pytest.raises(ContractError) as refused:
        read_marts(mini.exchange.settings.marts_path)
    assert [(Path(fault.file).name, fault.problem) for fault in refused.value.faults] == [
        (f"{TRAFFIC}.yml", "Input should be greater than or equal to 1; found 0"),
        (f"{WATER}.yml", "Input should be greater than or equal to 1; found 0"),
        ("stray.sql", "has no stray.yml beside it: a mart states its contract"),
    ]


def test_a_mart_without_its_sql_is_a_fault(mini: Mini) -> None:
    mini.path(f"{TRAFFIC}.sql").unlink()
    [fault] = faults(mini, TRAFFIC)
    assert (fault.line, fault.problem) == (
        line_of(mini, TRAFFIC, "- name: traffic_by_road_hour"),
        f"has no {TRAFFIC}.sql beside its yml",
    )


def test_a_yml_of_two_models_is_a_fault(mini: Mini) -> None:
    path = mini.path(f"{TRAFFIC}.yml")
    path.write_text("models: []\n")
    [fault] = faults(mini, TRAFFIC)
    assert (fault.line, fault.problem) == (1, "must describe exactly one model, the mart")
