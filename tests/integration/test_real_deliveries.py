"""Each real file, landed on a lake in a folder: what is accepted, refused and known already."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.exchange import Exchange
from lakehouse.landing.intake import intake
from lakehouse.orchestrate.inputs import drop, match_inputs
from lakehouse.settings import Settings
from tests.integration.conftest import PROJECT

pytestmark = pytest.mark.integration

REAL = PROJECT.parent / "shared" / "data"
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


def test_each_real_file_has_a_contract_and_lands_as_counted(tmp_path: Path) -> None:
    if not REAL.is_dir():
        pytest.skip(f"the real deliveries are not at {REAL.name}/ beside the project")
    settings = Settings(
        project=PROJECT, home=tmp_path / "home", lake=(tmp_path / "lake").as_uri(), database="", settle_seconds=0
    )
    exchange = Exchange(settings)
    exchange.init()
    matched = match_inputs(exchange, REAL)
    assert matched.unmatched == []
    # What one zip holds is several datasets'.
    assert sum(path.suffix == ".zip" and key.startswith("vbb/") for key, [path, *_] in matched.files.items()) == 7
    landed = {}
    for key in LANDED:
        contract = exchange.contract(key)
        drop(exchange, contract, matched.files[key])
        receipts = intake(exchange, contract)
        assert [warning for receipt in receipts for warning in receipt["warnings"]] == []
        landed[key] = tuple(sum(receipt[n] for receipt in receipts) for n in ("accepted", "refused", "duplicates"))
    assert landed == LANDED
