"""Every mart on the real deliveries, built once and then twice more from `raw`: on one thread, and on two."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.build.rebuild.run import rebuild
from lakehouse.build.run import build
from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange
from lakehouse.landing.intake import intake
from lakehouse.orchestrate.inputs import drop, match_inputs
from lakehouse.orchestrate.main_job import TOP_UP_DAYS, TOP_UP_START
from lakehouse.release.compose import compose
from lakehouse.release.manifest import Manifest, read_candidate
from lakehouse.settings import Settings
from lakehouse.simulate.deliveries import simulate_heat_readings
from tests.integration.conftest import PROJECT
from tests.integration.test_real_deliveries import REAL

pytestmark = pytest.mark.integration

# What the marts are made of; registers and prices of other years are left out.
DATASETS = (
    "aalborg_heat/heat_meter_register", "aarhus/parking", "copenhagen/districts", "copenhagen/traffic_counts",
    "daiad/water_meter_readings", "energinet/consumption_de35_hour", "oslo_bysykkel/station_status",
)  # fmt: skip
HEAT = "aalborg_heat/heat_meter_readings_simulated"
MARTS = (
    "bike_availability_by_station_hour", "electricity_use_by_sector_hour", "heat_use_by_segment_hour",
    "parking_occupancy_by_hour", "traffic_by_road_and_district", "water_use_by_area_hour",
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exchange, list[Manifest]]:
    if not REAL.is_dir():
        pytest.skip(f"the real deliveries are not at {REAL.name}/ beside the project")
    root = tmp_path_factory.mktemp("rebuild")
    exchange = Exchange(
        Settings(project=PROJECT, home=root / "home", lake=(root / "lake").as_uri(), database="", settle_seconds=0)
    )
    exchange.init()
    files = match_inputs(exchange, REAL).files
    [register] = files["aalborg_heat/heat_meter_register"]
    simulated: Path = root / "simulated"
    simulate_heat_readings(
        register=register, out=simulated, start=TOP_UP_START, days=TOP_UP_DAYS, seed=1, file_format="parquet"
    )
    files[HEAT] = [path for path in (simulated / HEAT).iterdir() if path.is_file()]
    for dataset in (*DATASETS, HEAT):
        contract = exchange.contract(dataset)
        drop(exchange, contract, files[dataset])
        assert {receipt["status"] for receipt in intake(exchange, contract)} <= {
            "accepted",
            "partly_accepted",
            "repeated",
        }
    marts = read_marts(exchange.settings.marts_path)
    manifests = []
    for made in build(exchange, marts=MARTS).candidates:
        candidate = read_candidate(exchange, mart=made["mart"], candidate=made["candidate"])
        # As its release would say it; the gates have tests of their own.
        manifests.append(
            compose(marts[made["mart"]], candidate, None, gates={}, number=1, signed_with="", notices=(), changes={})
        )
    return exchange, manifests


@pytest.mark.parametrize("threads", [1, 2])
def test_every_mart_is_rebuilt_to_the_same_bytes(built: tuple[Exchange, list[Manifest]], threads: int) -> None:
    exchange, manifests = built
    assert [manifest.mart for manifest in manifests] == list(MARTS)
    found = rebuild(exchange, manifests, threads=threads)
    assert [entry for entry in found if not entry.equal] == []
    assert len(found) == sum(len(manifest.files) for manifest in manifests)
    # Which cells of heat are published is its policy's to say; all others have some.
    assert {entry.mart for entry in found} >= {*MARTS} - {"heat_use_by_segment_hour"}
