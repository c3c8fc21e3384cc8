"""What starts the DAGs: arrivals and the clock where schedules are on, nothing where they are off."""

from __future__ import annotations

import runpy
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lakehouse.contracts.derive import dag_id, is_asked
from lakehouse.contracts.load import ContractError, read_contracts
from lakehouse.settings import PROJECT
from tests.airflow_plugins import DAG, AssetOrTimeSchedule


def dags(name: str, *, schedules: bool, monkeypatch: pytest.MonkeyPatch, project: Path = PROJECT) -> dict[str, Any]:
    monkeypatch.setenv("EXCHANGE_SCHEDULES", str(schedules).lower())
    monkeypatch.setenv("EXCHANGE_PROJECT", str(project))
    found = runpy.run_path(str(PROJECT / "dags" / name)).values()
    return {dag.dag_id: dag for dag in found if isinstance(dag, DAG)}


@pytest.mark.parametrize("name", ["datasets.py", "strays.py", "retention.py"])
def test_with_schedules_off_nothing_is_watched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = dags(name, schedules=False, monkeypatch=monkeypatch)
    assert made
    assert all(dag.schedule is None for dag in made.values())


def test_each_dataset_whose_source_is_not_asked_has_a_watcher_of_its_own_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dags("datasets.py", schedules=True, monkeypatch=monkeypatch)
    watched = {key: dag.schedule for key, dag in made.items() if isinstance(dag.schedule, AssetOrTimeSchedule)}
    asked = {dag_id(c) for c in read_contracts(PROJECT / "contracts").values() if is_asked(c, live=False)}
    assert watched.keys() == made.keys() - asked
    assert "oslo_bysykkel__station_status" in watched
    assert asked
    [watcher] = [w for asset in watched["aarhus__parking"].asset_condition.objects for w in asset.watchers]
    assert watcher.trigger.serialize()[1] == {
        "provider": "aarhus",
        "folders": ["inbox/parking/"],
        "outside": False,
    }
    assert "extract" in made["energinet__elspot_prices"].tags


def test_the_strays_of_each_provider_are_what_lies_outside_all_its_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    [dag] = dags("strays.py", schedules=True, monkeypatch=monkeypatch).values()
    watchers = [w.trigger.serialize()[1] for a in dag.schedule.asset_condition.objects for w in a.watchers]
    aarhus = next(found for found in watchers if found["provider"] == "aarhus")
    assert aarhus["outside"]
    assert {"inbox/parking/", "inbox/traffic/"} & set(aarhus["folders"])


def test_what_a_failed_extract_sealed_is_taken_in_and_the_run_stays_red(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dags("datasets.py", schedules=True, monkeypatch=monkeypatch)
    tasks = {task.task_id: task for task in made["energinet__elspot_prices"].tasks}
    assert tasks["intake"].trigger_rule == "all_done"
    assert tasks["intake"].upstream_task_ids == tasks["answered"].upstream_task_ids == {"extract"}
    # An end of the run that a failed extract fails too; a skipped one does not.
    assert (tasks["answered"].trigger_rule, tasks["answered"].downstream_task_ids) == ("none_failed", set())


def test_no_source_keeps_a_slot_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dags("datasets.py", schedules=True, monkeypatch=monkeypatch)
    tasks = [task for dag in made.values() for task in dag.tasks if task.task_id == "extract"]
    assert tasks
    assert {task.execution_timeout for task in tasks} == {timedelta(days=1)}


def test_a_contract_with_a_fault_takes_away_its_own_dag_alone_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / "tests" / "mini" / "contracts", tmp_path / "contracts")

    def made(name: str) -> dict[str, Any]:
        return dags(name, schedules=True, monkeypatch=monkeypatch, project=tmp_path)

    whole = {name: made(name) for name in ("datasets.py", "strays.py", "contract_faults.py")}
    awaited = runpy.run_path(str(PROJECT / "dags" / "build.py"))["assets"]
    assert whole["contract_faults.py"] == {}
    broken = tmp_path / "contracts" / "city" / "sensors.odcs.yaml"
    broken.write_text("tenant: [city\n")
    assert made("datasets.py").keys() == whole["datasets.py"].keys() - {"city__sensors"}
    assert runpy.run_path(str(PROJECT / "dags" / "build.py"))["assets"] == awaited
    assert _folders(made("strays.py")["strays"]) == _folders(whole["strays.py"]["strays"])
    with pytest.raises(ContractError, match=r"contracts/city/sensors.odcs.yaml:"):
        made("contract_faults.py")
    # What is no name of a dataset brings no DAG down either.
    broken.rename(broken.with_name("Sensors (old).odcs.yaml"))
    assert made("strays.py").keys() == {"strays"}


def _folders(dag: Any) -> list[Any]:
    return [watcher.trigger.serialize()[1] for a in dag.schedule.asset_condition.objects for watcher in a.watchers]
