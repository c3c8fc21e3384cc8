"""Airflow on the project with its schedules on: assets start the build and the release, backfill works."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lakehouse.orchestrate.airflow_client import AirflowClient
from lakehouse.orchestrate.airflow_process import find_running
from lakehouse.settings import Settings
from lakehouse.simulate.city import City
from lakehouse.simulate.deliveries import simulate
from tests.integration.conftest import PROJECT, Installation, copied_project

pytestmark = pytest.mark.integration

CONTRACTS = (PROJECT / "contracts").glob("*/*.odcs.yaml")
DAGS = {
    *(f"{path.parent.name}__{path.name.split('.')[0]}" for path in CONTRACTS),
    *("build", "release", "approval", "strays", "retention"),
}
BUSY = ("aarhus/parking", "energinet/elspot_prices")


@contextlib.contextmanager
def _airflow(installation: Installation) -> Iterator[AirflowClient]:
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "exchange"), "airflow", "--port", "0"],
        env=installation.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=installation.home.parent,
    )
    try:
        settings = Settings(home=installation.home)
        running = _until(lambda: find_running(settings), seconds=240)
        with AirflowClient(running.url) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def _until(ask: Callable[[], Any], *, seconds: float, pause: float = 1) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(pause)
    return answer


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Every dataset's clock is set, but those of two alone have begun: thirty runs say no more than two."""
    base = tmp_path_factory.mktemp("airflow")
    simulate(city=City(households=20, days=3), out=base / "inputs", datasets=BUSY)
    project = copied_project(base / "project")
    for contract in (project / "contracts").glob("*/*.odcs.yaml"):
        if f"{contract.parent.name}/{contract.name.split('.')[0]}" not in BUSY:
            text = re.sub("^      history_start: .*\n", "", contract.read_text(), flags=re.MULTILINE)
            held, value = "  - property: exchange\n    value:\n", '      history_start: "2999-01-01"\n'
            assert held in text
            contract.write_text(text.replace(held, held + value))
    extra = {"EXCHANGE_INPUTS": str(base / "inputs"), "EXCHANGE_PROJECT": str(project)}
    made = Installation(base / "home", (base / "lake").as_uri(), extra)
    made.command("init")
    return made


@pytest.fixture(scope="module")
def client(installation: Installation) -> Iterator[AirflowClient]:
    with _airflow(installation) as client:
        client.wait_for_dags(DAGS)
        yield client


def _tasks(client: AirflowClient, dag_id: str) -> list[dict[str, Any]]:
    return list(client._ask("GET", f"/dags/{dag_id}/dagRuns/~/taskInstances")["task_instances"])


def _going_on(client: AirflowClient) -> list[dict[str, Any]]:
    runs = client._ask("GET", "/dags/~/dagRuns", params={"limit": 1000})["dag_runs"]
    return [run for run in runs if run["state"] in ("queued", "running")]


def test_every_contract_is_a_dag_with_its_tags_owner_and_columns(client: AirflowClient) -> None:
    dags = {dag["dag_id"]: dag for dag in client._ask("GET", "/dags", params={"limit": 1000})["dags"]}
    assert dags.keys() == DAGS
    parking, prices = dags["aarhus__parking"], dags["energinet__elspot_prices"]
    assert {tag["name"] for tag in parking["tags"]} >= {"dataset", "drop", "public", "aarhus"}
    assert {tag["name"] for tag in prices["tags"]} >= {"extract"}
    assert parking["owners"] == ["City of Aarhus"]
    assert client._ask("GET", "/dags/aarhus__parking/details")["doc_md"]


def test_a_drop_has_its_receipt_within_seconds_no_slot_is_held_before_and_assets_release_it(
    installation: Installation, client: AirflowClient
) -> None:
    landing = installation.home.parent / "lake" / "landing-aarhus"
    file = next((installation.home.parent / "inputs" / "aarhus" / "parking").glob("*"))
    # Whatever the clock began is over, of all datasets; until something is dropped nothing runs, waits or is deferred.
    _until(lambda: _tasks(client, "aarhus__parking") and not _going_on(client), seconds=300)
    assert all(task["state"] in ("success", "skipped") for task in _tasks(client, "aarhus__parking"))
    before = len(_tasks(client, "aarhus__parking"))

    (landing / "inbox" / "parking").mkdir(parents=True, exist_ok=True)
    shutil.copy(file, landing / "inbox" / "parking" / file.name)
    began = time.monotonic()
    # It takes 11 to 14 seconds where nothing else runs; a busy machine is no fault.
    _until(lambda: list(landing.glob("receipts/parking/*.json")), seconds=120, pause=0.1)
    print(f"a drop had its receipt after {time.monotonic() - began:.1f} s")
    assert len(_tasks(client, "aarhus__parking")) > before
    _until(lambda: installation.json("releases", "parking_occupancy_by_hour"), seconds=240)
    # The file was taken in, so nothing of it starts the DAG again.
    runs = client._ask("GET", "/dags/aarhus__parking/dagRuns")["dag_runs"]
    assert [run["run_type"] for run in runs].count("asset_triggered") == 1


def test_a_stray_file_has_its_answer_within_seconds(installation: Installation, client: AirflowClient) -> None:
    landing = installation.home.parent / "lake" / "landing-aarhus"
    (landing / "inbox").mkdir(parents=True, exist_ok=True)
    (landing / "inbox" / "where-to.csv").write_text("a\n1\n")
    _until(lambda: list(landing.glob("receipts/_unknown/*.json")), seconds=120, pause=0.1)


@pytest.mark.thorough
def test_airflows_own_backfill_asks_for_each_interval_once(installation: Installation, client: AirflowClient) -> None:
    span = ("--from-date", "2024-10-10T13:15:00+00:00", "--to-date", "2024-10-11T13:15:00+00:00")
    installation.command(
        "airflow", "--", "backfill", "create", "--dag-id", "energinet__elspot_prices", *span, "--max-active-runs", "1"
    )  # fmt: skip

    def finished() -> list[dict[str, Any]]:
        answer = client._ask("GET", "/dags/energinet__elspot_prices/dagRuns", params={"limit": 100})
        runs = [run for run in answer["dag_runs"] if run["run_type"] == "backfill"]
        return runs if runs and all(run["state"] in ("success", "failed") for run in runs) else []

    runs = _until(finished, seconds=240)
    intervals = [("20241010T1315Z", "20241011T1315Z"), ("20241011T1315Z", "20241012T1315Z")]
    assert [run["state"] for run in runs] == ["success"] * len(intervals)
    receipts = installation.json("receipts", "energinet")
    names = [receipt["file"] for receipt in receipts if receipt["file"].startswith("Elspotprices_2024")]
    assert sorted(names) == [f"Elspotprices_{start}_{end}_000000.json" for start, end in intervals]
    assert all(receipt["accepted"] for receipt in receipts)
