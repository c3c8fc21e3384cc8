"""Airflow on the project with its schedules on: assets start the build and the release, backfill works."""

from __future__ import annotations

import contextlib
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
from tests.integration.conftest import PROJECT, Installation

pytestmark = pytest.mark.integration


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


def _until(ask: Callable[[], Any], *, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(1)
    return answer


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    base = tmp_path_factory.mktemp("airflow")
    simulate(
        city=City(households=20, days=3), out=base / "inputs", datasets=["energinet/elspot_prices", "aarhus/parking"]
    )
    made = Installation(base / "home", (base / "lake").as_uri(), {"EXCHANGE_INPUTS": str(base / "inputs")})
    made.command("init")
    return made


def test_dags_are_there_and_a_drop_is_released_by_assets_and_backfill_works(installation: Installation) -> None:
    contracts = list((PROJECT / "contracts").glob("*/*.odcs.yaml"))
    with _airflow(installation) as client:
        wanted = [f"{path.parent.name}__{path.name.split('.')[0]}" for path in contracts]
        client.wait_for_dags([*wanted, "build", "release"])
        dags = {dag["dag_id"]: dag for dag in client._ask("GET", "/dags", params={"limit": 1000})["dags"]}
        assert len(dags) == len(contracts) + 3
        parking, prices = dags["aarhus__parking"], dags["energinet__elspot_prices"]
        assert {tag["name"] for tag in parking["tags"]} >= {"dataset", "drop", "public", "aarhus"}
        assert {tag["name"] for tag in prices["tags"]} >= {"extract"}
        assert parking["owners"] == ["City of Aarhus"]
        assert client._ask("GET", "/dags/aarhus__parking/details")["doc_md"]

        # A drop: intake updates its asset, that starts the build, and the candidate starts the release.
        file = next((installation.home.parent / "inputs" / "aarhus" / "parking").glob("*"))
        installation.command("drop", "aarhus/parking", str(file))
        run = client.trigger("aarhus__parking")
        client.follow([run], on_end=lambda *_: None, seconds=180)
        _until(lambda: installation.json("releases", "parking_occupancy_by_hour"), seconds=240)

        # Backfill: one run for each data interval of a past span, each asking for its own interval.
        client._ask(
            "POST",
            "/backfills",
            json={
                "dag_id": "energinet__elspot_prices",
                "from_date": "2024-10-10T13:15:00Z",
                "to_date": "2024-10-11T13:15:00Z",
                "max_active_runs": 1,
            },
        )
        receipts = _until(lambda: [r for r in installation.json("receipts", "energinet") if r["accepted"]], seconds=240)
        assert all("2024101" in receipt["file"] for receipt in receipts)
