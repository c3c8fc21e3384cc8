"""The whole main job on the real deliveries, with the lake on a real S3 server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lakehouse.storage.lake import open_lake
from tests.integration.conftest import PROJECT, Installation
from tests.object_store.server import ObjectServer

pytestmark = pytest.mark.integration

REAL = PROJECT.parent / "shared" / "data"
# Rows of the files as delivered, counted with other tools (wc, the Parquet footer, the JSON documents).
DELIVERED = {
    "aalborg_heat/heat_meter_readings": 26_256,
    "aalborg_heat/heat_meter_register": 3_127,
    "aarhus/parking": 55_264,
    "aarhus/traffic_segments": 449,
    "aarhus/traffic_sensor": 12_162,
    "copenhagen/buildings_by_year": 2 * 4_088,
    "copenhagen/districts": 10,
    "copenhagen/traffic_counts": 2_294,
    "copenhagen/urban_renewal_areas": 17,
    "daiad/water_meter_readings": 674_019,
    "dmi/station_daily": 31_963,
    "dst/municipalities": 99,
    "dst/population": 495,
    "dst/population_density": 98,
    "energinet/consumption_de35_hour": 62_548,
    "energinet/elspot_prices": 61_488,
    "ewz/gross_load": 35_039,
    "open_meteo/aarhus_hourly": 8_808,
    "oslo_bysykkel/station_information": 260,
    "oslo_bysykkel/station_status": 265 * 69,
    "vbb/gtfs_calendar": 2_052,
    "vbb/gtfs_calendar_dates": 38_184,
    "vbb/gtfs_routes": 6,
    "vbb/gtfs_shapes": 8_328,
    "vbb/gtfs_stop_times": 8_865,
    "vbb/gtfs_stops": 211,
    "vbb/gtfs_trips": 348,
}


@pytest.fixture(scope="module")
def on_s3(tmp_path_factory: pytest.TempPathFactory, object_server: ObjectServer) -> tuple[Installation, dict[str, Any]]:
    if not REAL.is_dir():
        pytest.skip(f"the real deliveries are not at {REAL.name}/ beside the project")
    base = tmp_path_factory.mktemp("real")
    extra = {**object_server.environment, "EXCHANGE_INPUTS": str(REAL)}
    installation = Installation(base / "home", "s3://realrun", extra)
    return installation, installation.json("run")


def test_every_mart_is_released_from_the_real_deliveries(on_s3: tuple[Installation, dict[str, Any]]) -> None:
    _, outcome = on_s3
    assert outcome["failures"] == []
    assert len([mart for mart in outcome["marts"] if mart["status"] == "released"]) >= 6
    assert any("simulated" in note for note in outcome["notes"])


def test_every_delivered_row_is_accounted_for(on_s3: tuple[Installation, dict[str, Any]]) -> None:
    installation, _ = on_s3
    delivered: dict[str, int] = {}
    for receipt in installation.json("receipts"):
        assert receipt["delivered"] == receipt["accepted"] + receipt["refused"] + receipt["duplicates"]
        key = f"{receipt['provider']}/{receipt['dataset']}"
        delivered[key] = delivered.get(key, 0) + receipt["delivered"]
    simulated = delivered.pop("aalborg_heat/heat_meter_readings_simulated")
    assert simulated > 0
    assert delivered == DELIVERED


def test_releases_on_s3_are_fetched_and_read(
    on_s3: tuple[Installation, dict[str, Any]], object_server: ObjectServer, tmp_path: Path
) -> None:
    installation, _ = on_s3
    for release in installation.json("releases"):
        installation.command("get", release["mart"], "--to", str(tmp_path))
        folder = tmp_path / f"{release['mart']}-v{release['major']}-{release['release']}"
        counted = duckdb.sql(f"SELECT count(*) FROM read_parquet('{folder}/**/*.parquet')").fetchone()
        assert counted == (release["rows"],)
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["inputs"]
    water = duckdb.sql(f"FROM read_parquet('{tmp_path}/water_use_by_area_hour-*/**/*.parquet')").df()
    assert water["households"].min() >= 15
    assert set(water["period_grain"]) == {"month"}, "by the day 92 households are told from their sums (decision 0023)"


def test_duckdb_reads_a_release_in_place_on_s3(
    on_s3: tuple[Installation, dict[str, Any]], object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, _ = on_s3
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    lake = open_lake("s3://realrun", endpoint=object_server.endpoint)
    release = installation.json("releases", "parking_occupancy_by_hour")[0]
    with duckdb.connect() as connection:
        lake.configure_duckdb(connection)
        counted = connection.execute(f"SELECT count(*) FROM read_parquet('{release['path']}/**/*.parquet')").fetchone()
    assert counted == (release["rows"],)
