"""The steps of the main job on the real deliveries, with the lake on a real S3 server; what was released is built again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lakehouse.build.rebuild.run import rebuild
from lakehouse.exchange import Exchange
from lakehouse.orchestrate.main_job import Outcome
from lakehouse.privacy.membership import BUCKET, prefix
from lakehouse.release.listing import find_release
from lakehouse.settings import Settings
from lakehouse.storage.lake import Lake, open_lake
from tests.anonymity_by_pycanon import Records, agree, ours, theirs
from tests.in_process import main_job
from tests.integration.conftest import PROJECT, Installation
from tests.object_store.server import ObjectServer

pytestmark = [pytest.mark.integration, pytest.mark.thorough]

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
# Rows counted in the files with other tools: accepted, refused, duplicates.
LANDED = {
    "aarhus/traffic_segments": (449, 0, 0),
    "aarhus/traffic_sensor": (12_162, 0, 0),
    "copenhagen/buildings_by_year": (2 * 4_088, 0, 0),
    "copenhagen/urban_renewal_areas": (17, 0, 0),
    "open_meteo/aarhus_hourly": (8_808, 0, 0),
    "oslo_bysykkel/station_information": (260, 0, 0),
    "vbb/gtfs_calendar": (2_052, 0, 0),
    "vbb/gtfs_calendar_dates": (38_184, 0, 0),
    "vbb/gtfs_routes": (6, 0, 0),
    "vbb/gtfs_shapes": (8_328, 0, 0),
    "vbb/gtfs_stop_times": (8_865, 0, 0),
    "vbb/gtfs_stops": (211, 0, 0),
    "vbb/gtfs_trips": (348, 0, 0),
}
# Built again to the same bytes; what a noisy mart drew is no input.
REBUILT = (
    "bike_availability_by_station_hour", "electricity_use_by_sector_hour", "heat_use_by_segment_hour",
    "parking_occupancy_by_hour", "traffic_by_road_and_district", "water_use_by_area_hour",
)  # fmt: skip
# Of released marts with households: records behind them, the quasi-identifier, the sensitive column, whether that has
# an order. A table's households all contribute 1: sensitive is which of the finest classes one is in, and of the whole
# register, classes that are withheld among it, the label.
MEMBERS = {
    "water_use_by_area_hour": [
        ("SELECT name, contribution FROM cells JOIN members USING (partition, cell)", ["name"], "contribution", True)
    ],
    "heat_households_by_building": [
        (
            "SELECT name, 'class ' || leaf AS class FROM (SELECT partition, name, unnest(leaves) AS leaf FROM cells "
            "WHERE value IS NOT NULL) JOIN members USING (partition, leaf)",
            ["name"], "class", False,
        ),
        (
            "SELECT regexp_replace(name, ', energy_label_band=.*', '') AS house, "
            "regexp_extract(name, 'energy_label_band=([^,]*)', 1) AS label FROM (SELECT partition, name, "
            "leaves[1] AS leaf FROM cells WHERE len(leaves) = 1) JOIN members USING (partition, leaf)",
            ["house"], "label", False,
        ),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def on_s3(
    tmp_path_factory: pytest.TempPathFactory, object_server: ObjectServer
) -> Iterator[tuple[Installation, Outcome]]:
    if not REAL.is_dir():
        pytest.skip(f"the real deliveries are not at {REAL.name}/ beside the project")
    base = tmp_path_factory.mktemp("real")
    extra = {**object_server.environment, "EXCHANGE_INPUTS": str(REAL)}
    installation = Installation(base / "home", "s3://realrun", extra)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment.items():
            patch.setenv(name, value)
        yield installation, main_job(settings_of(installation, object_server), REAL)


def settings_of(installation: Installation, server: ObjectServer) -> Settings:
    return Settings(
        project=PROJECT, home=installation.home, lake=installation.lake, s3_endpoint=server.endpoint, database=""
    )


def test_every_mart_is_released_from_the_real_deliveries(on_s3: tuple[Installation, Outcome]) -> None:
    _, outcome = on_s3
    assert outcome.failures == []
    assert len([mart for mart in outcome.marts if mart["status"] == "released"]) >= 6
    assert any("simulated" in note for note in outcome.notes)
    assert [note for note in outcome.notes if "no contract takes it" in note] == []


def test_every_delivered_row_is_accounted_for(on_s3: tuple[Installation, Outcome]) -> None:
    installation, _ = on_s3
    delivered: dict[str, int] = {}
    landed: dict[str, tuple[int, ...]] = {}
    for receipt in installation.json("receipts"):
        assert receipt["delivered"] == receipt["accepted"] + receipt["refused"] + receipt["duplicates"]
        key = f"{receipt['provider']}/{receipt['dataset']}"
        delivered[key] = delivered.get(key, 0) + receipt["delivered"]
        if key in LANDED:
            assert receipt["warnings"] == [], key
            counts = (receipt[name] for name in ("accepted", "refused", "duplicates"))
            landed[key] = tuple(map(sum, zip(landed.get(key, (0, 0, 0)), counts, strict=True)))
    simulated = delivered.pop("aalborg_heat/heat_meter_readings_simulated")
    assert simulated > 0
    assert delivered == DELIVERED
    assert landed == LANDED


def test_releases_on_s3_are_fetched_and_read(
    on_s3: tuple[Installation, Outcome], object_server: ObjectServer, tmp_path: Path
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
    on_s3: tuple[Installation, Outcome], object_server: ObjectServer
) -> None:
    installation, _ = on_s3
    lake = open_lake("s3://realrun", endpoint=object_server.endpoint)
    release = installation.json("releases", "parking_occupancy_by_hour")[0]
    with duckdb.connect() as connection:
        lake.configure_duckdb(connection)
        counted = connection.execute(f"SELECT count(*) FROM read_parquet('{release['path']}/**/*.parquet')").fetchone()
    assert counted == (release["rows"],)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_mart_is_rebuilt_from_raw_to_the_same_bytes(
    on_s3: tuple[Installation, Outcome],
    object_server: ObjectServer,
    threads: int,
) -> None:
    installation, _ = on_s3
    exchange = Exchange(settings_of(installation, object_server))
    manifests = [find_release(exchange, mart) for mart in REBUILT]
    found = rebuild(exchange, manifests, threads=threads, code="current")
    assert [entry for entry in found if not entry.equal] == []
    assert len(found) == sum(len(manifest.files) for manifest in manifests)
    assert {entry.mart for entry in found} == {*REBUILT}


@contextmanager
def recorded(lake: Lake, manifest: dict[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The membership records of a release: its ``cells`` and their ``members``, each with its ``partition``."""
    mart, grain = manifest["mart"], manifest["partition"]["grain"]
    with duckdb.connect() as connection:
        lake.configure_duckdb(connection)
        for name in ("cells", "members"):
            parts = [
                f"SELECT *, '{file['partition']}' AS partition FROM read_parquet('{lake.duckdb_url(BUCKET, key)}', "
                "hive_partitioning=false)"
                for file in manifest["files"]
                for key in [f"{prefix(mart, file['candidate'], grain, file['partition'])}/{name}.parquet"]
            ]
            connection.execute(f"CREATE TABLE {name} AS {' UNION ALL '.join(parts)}")
        yield connection


def without_one(given: Records) -> Records:
    """The records without one of the smallest class."""
    [quasi] = given.quasi
    smallest = given.frame[quasi].value_counts().idxmin()
    return replace(given, frame=given.frame.drop(index=given.frame.index[given.frame[quasi] == smallest][0]))


def test_k_l_and_t_of_the_real_households_are_those_of_pycanon(
    on_s3: tuple[Installation, Outcome],
    object_server: ObjectServer,
    tmp_path: Path,
) -> None:
    installation, _ = on_s3
    lake = open_lake("s3://realrun", endpoint=object_server.endpoint)
    given, fewest = [], []
    for mart, tables in MEMBERS.items():
        installation.command("get", mart, "--to", str(tmp_path))
        [folder] = tmp_path.glob(f"{mart}-v*")
        with recorded(lake, json.loads((folder / "manifest.json").read_text())) as connection:
            given += [Records(connection.execute(query).df(), *of) for query, *of in tables]
        fewest += duckdb.sql(f"SELECT min(households) FROM read_parquet('{folder}/**/*.parquet')").fetchall()
    found, answers = [ours(one) for one in given], theirs(given)
    assert [agree(*pair) for pair in zip(found, answers, strict=True)] == [True] * len(given)
    assert [agree(ours(without_one(one)), answer) for one, answer in zip(given, answers, strict=True)] == [False] * 3
    months, shown, register = found
    # What is published holds as many as it says, and K; the register itself does not.
    assert [(months.k,), (shown.k,)] == fewest
    assert register.k < 15 <= min(months.k, shown.k)
