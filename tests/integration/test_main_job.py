"""The main job through the real scheduler: what a newcomer, a provider and a reviewer see of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from lakehouse.exchange import Exchange
from lakehouse.orchestrate.airflow_process import running
from lakehouse.orchestrate.inputs import loopback_datasets, match_inputs
from lakehouse.settings import Settings
from lakehouse.sources.loopback import LoopbackApi
from tests.integration.conftest import Installation, copied_project

pytestmark = pytest.mark.integration

MARTS = {
    "water_use_by_area_hour",
    "heat_use_by_segment_hour",
    "electricity_use_by_sector_hour",
    "traffic_by_road_and_district",
    "bike_availability_by_station_hour",
    "parking_occupancy_by_hour",
    "bike_trips_by_district_hour",
}
WITHHELD = {"heat_households_by_building"}
# All that two of them are made of.
SMALL = ("aarhus/parking", "dmi/station_daily", "energinet/elspot_prices", "energinet/consumption_de35_hour")
SMALL_MARTS = ("electricity_use_by_sector_hour", "parking_occupancy_by_hour")


def _small_inputs(city: Path, target: Path) -> Path:
    for dataset in SMALL:
        shutil.copytree(city / dataset, target / dataset)
    return target


def _files(installation: Installation) -> dict[str, list[tuple[str, str]]]:
    """Of each mart's newest release: its files' paths and hashes, checked against the bytes."""
    found = {}
    for release in installation.json("releases"):
        if release["latest"]:
            manifest = json.loads((Path(release["path"]) / "manifest.json").read_text())
            found[release["mart"]] = sorted((file["path"], file["sha256"]) for file in manifest["files"])
    return found


def test_every_release_is_a_snapshot_of_its_iceberg_table(released: tuple[Installation, dict[str, Any]]) -> None:
    installation, _ = released
    rows = {release["mart"]: release["rows"] for release in installation.json("releases") if release["latest"]}
    found = {table["mart"]: table for table in installation.json("iceberg")}
    assert found.keys() == rows.keys() == MARTS
    for mart, table in found.items():
        # Airflow's task has registered it: nothing was left to do.
        assert (table["added"], table["removed"]) == ([], []), mart
        assert pl.scan_iceberg(table["metadata"]).select(pl.len()).collect().item() == rows[mart]


def test_first_run_releases_every_mart_that_has_enough_in_it(released: tuple[Installation, dict[str, Any]]) -> None:
    _, outcome = released
    assert outcome["failures"] == []
    assert {mart["mart"] for mart in outcome["marts"] if mart["status"] == "released"} == MARTS
    # 300 households are too few for a table by building: some kind and label has fewer than 15 of them.
    assert {mart["mart"] for mart in outcome["marts"] if mart["status"] == "withheld"} == WITHHELD
    for mart in outcome["marts"]:
        if mart["mart"] in WITHHELD:
            continue
        assert mart["rows"] > 0
        assert outcome["gates"][mart["mart"]]["checks"] > 5
    assert outcome["seconds"] > 0


def test_receipts_add_up_and_agree_with_the_simulated_truth(
    released: tuple[Installation, dict[str, Any]], city: Path
) -> None:
    installation, _ = released
    truth: dict[str, int] = defaultdict(int)
    refused: dict[str, int] = defaultdict(int)
    kinds = ("bad_number", "missing_number", "impossible_date", "missing_key", "gap_times")
    for entry in json.loads((city / "truth.json").read_text())["deliveries"]:
        key = f"{entry['provider']}/{entry['dataset']}"
        truth[key] += entry["rows"]
        refused[key] += sum(entry["quirks"].get(kind, 0) for kind in kinds)
    got: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for receipt in installation.json("receipts"):
        assert receipt["delivered"] == receipt["accepted"] + receipt["refused"] + receipt["duplicates"]
        for name in ("delivered", "refused"):
            got[f"{receipt['provider']}/{receipt['dataset']}"][name] += receipt[name]
    extracted = {"energinet/elspot_prices", "energinet/consumption_de35_hour"}
    dropped = truth.keys() - extracted
    assert dropped
    assert {key: got[key]["delivered"] for key in dropped} == {key: truth[key] for key in dropped}
    assert {key: got[key]["refused"] for key in dropped} == {key: refused[key] for key in dropped}
    # What the city's late quirks withhold is not served; all that is served is accepted but the spoilt rows.
    for key in extracted:
        assert got[key]["delivered"] == truth[key]
        assert got[key]["refused"] == refused[key]


def test_marts_open_in_duckdb_pandas_and_polars_with_units(released: tuple[Installation, dict[str, Any]]) -> None:
    installation, _ = released
    for release in installation.json("releases"):
        folder = Path(release["path"])
        paths = sorted(folder.glob("**/*.parquet"))
        counted = duckdb.sql(f"SELECT count(*) FROM read_parquet('{folder}/**/*.parquet')").fetchone()
        assert counted == (release["rows"],)
        assert len(pd.concat(pd.read_parquet(path) for path in paths)) == release["rows"]
        assert pl.scan_parquet(f"{folder}/**/*.parquet").select(pl.len()).collect().item() == release["rows"]
        for field in pq.read_schema(paths[0]):
            assert field.metadata[b"description"], field.name
            if str(field.type).startswith(("int", "decimal", "double")):
                assert field.metadata[b"unit"], field.name


def test_price_and_weather_are_joined_where_they_overlap(released: tuple[Installation, dict[str, Any]]) -> None:
    installation, _ = released
    (release,) = installation.json("releases", "electricity_use_by_sector_hour")
    rows = duckdb.sql(f"FROM read_parquet('{release['path']}/**/*.parquet')").df()
    assert rows["spot_price_eur_per_mwh"].notna().mean() > 0.9
    assert rows["temperature_degc"].notna().mean() > 0.9


def test_a_private_mart_shows_no_meter_and_no_small_cell(released: tuple[Installation, dict[str, Any]]) -> None:
    installation, _ = released
    for release in installation.json("releases", "water_use_by_area_hour"):
        cells = duckdb.sql(f"FROM read_parquet('{release['path']}/**/*.parquet')").df()
        assert not [name for name in cells.columns if "meter" in name]
        assert cells["households"].min() >= 15
        for grain, least in {"hour": 7000, "day": 300}.items():
            assert cells.loc[cells["period_grain"] == grain, "households"].ge(least).all()


@pytest.mark.thorough
def test_killed_at_any_point_and_run_again_ends_in_the_same_releases(
    tmp_path: Path, city: Path, released: tuple[Installation, dict[str, Any]]
) -> None:
    undisturbed, _ = released
    extra = {"EXCHANGE_INPUTS": str(_small_inputs(city, tmp_path / "inputs"))}
    killed = Installation(tmp_path / "home", (tmp_path / "lake").as_uri(), extra)
    # Killed when a source was asked and its answer not taken in yet, then while the candidates are built or gated.
    for moment in (_asked_and_not_taken_in, _building):
        _kill_at(killed, moment)
    killed.command("run")
    files = _files(undisturbed)
    assert _files(killed) == {mart: files[mart] for mart in SMALL_MARTS}
    assert _counts(killed) == [counts for counts in _counts(undisturbed) if f"{counts[0]}/{counts[1]}" in SMALL]
    assert len(killed.json("releases")) == len(SMALL_MARTS)


def _counts(installation: Installation) -> list[tuple[Any, ...]]:
    """Of every delivery that brought something; of a source that is asked by the hour, until when is left out."""
    names = ("delivered", "accepted", "refused", "duplicates")
    return sorted(
        (found["provider"], found["dataset"], found["file"].split("Z_")[0], *(found[name] for name in names))
        for found in installation.json("receipts")
        if found["delivered"]
    )


def _asked_and_not_taken_in(installation: Installation, _said: str) -> bool:
    index = installation.home / "exchange.db"
    if not index.exists():
        return False
    asked = (
        "SELECT count(*) FROM extract_windows JOIN deliveries USING (provider, dataset)"
        " WHERE inbox_key LIKE 'extract/%' AND NOT receipt_written"
    )
    with contextlib.closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True, timeout=10)) as connection:
        try:
            return bool(connection.execute(asked).fetchone()[0])
        except sqlite3.OperationalError:
            return False  # its tables are not made yet


def _building(_installation: Installation, said: str) -> bool:
    return "building" in said


def _kill_at(installation: Installation, moment: Callable[[Installation, str], bool]) -> None:
    """Kills the command and all that it started, as a power cut would, at a moment of its work."""
    said = installation.home.parent / "said"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "exchange"), "run"],
            env=installation.environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd=installation.home.parent,
            start_new_session=True,
        )
    while not moment(installation, said.read_text()):
        assert process.poll() is None, f"the run ended before the moment: {said.read_text()}"
        time.sleep(0.02)
    if moment is _building:
        time.sleep(1.5)
    components = json.loads((installation.home / "airflow" / "running.json").read_text())["components"]
    for pid in components.values():
        os.killpg(pid, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


@dataclass(frozen=True)
class Standing:
    """A copy of the finished installation with a project of its own, on which Airflow runs."""

    installation: Installation
    project: Path


@pytest.fixture(scope="module")
def standing(
    tmp_path_factory: pytest.TempPathFactory, released: tuple[Installation, dict[str, Any]], city: Path
) -> Iterator[Standing]:
    finished, _ = released
    base = tmp_path_factory.mktemp("standing")
    project = copied_project(base / "project")
    shutil.copytree(finished.home, base / "home")
    shutil.copytree(finished.home.parent / "lake", base / "lake")
    extra = {**finished.extra, "EXCHANGE_PROJECT": str(project)}
    installation = Installation(base / "home", (base / "lake").as_uri(), extra)
    settings = Settings(project=project, home=installation.home, lake=installation.lake, database="")
    exchange = Exchange(settings)
    sources = LoopbackApi(datasets=loopback_datasets(exchange, match_inputs(exchange, city)))
    with sources as api, running(settings, schedules=False, extract_url=api.base_url):
        yield Standing(installation, project)


def test_again_nothing_is_new_and_it_says_why(standing: Standing) -> None:
    installation = standing.installation
    before, landed = installation.json("releases"), installation.json("receipts")
    done = installation.command("run")
    assert "Airflow is running already" in done.stderr
    assert "Nothing new was released" in done.stdout
    # A source is asked for each hour that is over: where one has ended since, it had nothing in it.
    fresh = installation.json("receipts")[len(landed) :]
    assert [receipt["delivered"] for receipt in fresh] == [0] * len(fresh)
    assert ("No delivery was new" in done.stdout) is not bool(fresh)
    assert installation.json("releases") == before


def test_a_blocked_candidate_publishes_nothing_and_the_former_release_reads(standing: Standing) -> None:
    installation, project = standing.installation, standing.project
    before = _files(installation)
    assert before.keys() == MARTS

    suite = project / "expectations" / "parking_occupancy_by_hour.json"
    content = json.loads(suite.read_text())
    content["expectations"].append(
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "spaces", "min_value": 10_000_000},
            "severity": "critical",
            "meta": {"notes": "made to fail"},
        }
    )
    suite.write_text(json.dumps(content))
    sql = project / "dbt_project" / "models" / "marts" / "parking_occupancy_by_hour.sql"
    sql.write_text(sql.read_text() + "\n-- a change of code: the mart is built anew\n")
    done = installation.command("run", check=False)
    assert done.returncode == 1
    assert "spaces" in done.stdout
    assert "blocked" in done.stdout
    assert _files(installation) == before
    reports = installation.home.parent / "lake" / "reports" / "parking_occupancy_by_hour"
    assert any("10000000" in page.read_text().replace(",", "") for page in reports.glob("c*/index.html"))
    release = installation.json("releases", "parking_occupancy_by_hour")[0]
    assert duckdb.sql(f"SELECT count(*) FROM read_parquet('{release['path']}/**/*.parquet')").fetchone() == (
        release["rows"],
    )
