"""dbt's unit tests of the project's models: every one of them is run, and an expectation that is wrong is seen."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakehouse.build.dbt import DATABASE, DbtProject
from lakehouse.build.inputs import prepare_sources
from lakehouse.exchange import Exchange
from lakehouse.settings import Settings

PROJECT = Path(__file__).resolve().parents[3]
WRONG = "a_wrong_expectation"


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    """On a copy of the project, for parsing it writes staging models."""
    for folder in ("contracts", "dbt_project"):
        shutil.copytree(PROJECT / folder, tmp_path / "project" / folder)
    return Exchange(
        Settings(project=tmp_path / "project", home=tmp_path / "home", lake=(tmp_path / "lake").as_uri(), database="")
    )


def stated(models: Path) -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted(models.rglob("*.yml"))]
    return [test for file in files for test in file.get("unit_tests", [])]


def add_wrong(models: Path, right: dict[str, Any]) -> None:
    """Adds a copy of a unit test, and of its model, that expects one more in the last field of its last row. Of the
    same model it would keep dbt from running the right one."""
    *others, last = right["expect"]["rows"].rstrip().split(",")
    rows = ",".join([*others, str(int(last) + 1)])
    wrong = right | {"name": WRONG, "model": "copied", "expect": right["expect"] | {"rows": rows}}
    shutil.copy(models / "marts" / f"{right['model']}.sql", models / "marts" / "copied.sql")
    (models / "wrong.yml").write_text(yaml.safe_dump({"version": 2, "unit_tests": [wrong]}))


def test_every_unit_test_is_green_and_a_wrong_expectation_red(exchange: Exchange, tmp_path: Path) -> None:
    models = exchange.settings.dbt_path / "models"
    tests = {test["name"]: test for test in stated(models)}
    add_wrong(models, tests["observations_are_gathered_by_car_park_and_hour"])
    project = DbtProject(exchange)
    database, target = tmp_path / DATABASE, tmp_path / "target"
    # dbt takes the types of what a test does not give from relations that stand: as a build makes them, of no row.
    prepare_sources(exchange, files=[], parts=[], database=database, folder=tmp_path / "inputs")
    wanted = ["--select", "+test_type:unit", "--exclude-resource-type", "test"]
    ran = project._invoke(["build", "--empty", *wanted], database=database, target=target).result.results
    found = {result.node.name: result for result in ran if str(result.node.resource_type) == "unit_test"}
    told = [found[name].message for name in found if name != WRONG]
    assert {name: str(one.status) for name, one in found.items()} == dict.fromkeys(tests, "pass") | {WRONG: "fail"}, (
        told
    )
