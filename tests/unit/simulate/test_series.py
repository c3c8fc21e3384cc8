"""Readings hang together, and the city is a plausible one."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from lakehouse.simulate.city import City
from lakehouse.simulate.deliveries import simulate
from lakehouse.simulate.districts import DISTRICTS, bounds

from .conftest import Delivered, Rows

WATER, HEAT = "daiad/water_meter_readings", "aalborg_heat/heat_meter_readings_simulated"


def test_clean_water_readings_rise_by_their_diffs(clean: Delivered, rows: Rows) -> None:
    """The files' own order is that of time, also where local times repeat."""
    query = """
        SELECT min(reading) > 0, min(reading - before) >= 0, max(abs(reading - before - diff)), count(before)
        FROM (
            SELECT reading, diff, lag(reading) OVER (PARTITION BY key ORDER BY day, n) AS before FROM (
                SELECT "user key" AS key, "meter reading"::BIGINT AS reading, diff::BIGINT AS diff,
                    strptime(datetime, '%d/%m/%Y %H:%M:%S')::DATE AS day, row_number() OVER () AS n FROM d))
    """
    city = clean[0]
    assert rows(clean, WATER, query) == [(True, True, 0, city.households * (city.days * 24 + 1 - 1))]


def test_clean_heat_measures_never_fall(clean: Delivered, rows: Rows) -> None:
    query = """
        UNPIVOT (
            SELECT min(least(e, v, i, b)) > 0 AS start, min(e - e0) >= 0 AS energy,
                min(v - v0) >= 0 AS volume, min(i - i0) >= 0 AS inlet,
                min(b - b0) >= 0 AS back, max(e - e0) > 0 AS used
            FROM (
                SELECT energy_heat_kwh::DOUBLE AS e, volume_flow_m3::DOUBLE AS v,
                    inlet_flow_energy_m3xC::DOUBLE AS i, back_flow_energy_m3xC::DOUBLE AS b,
                    lag(e) OVER w AS e0, lag(v) OVER w AS v0, lag(i) OVER w AS i0, lag(b) OVER w AS b0
                FROM d WINDOW w AS (PARTITION BY meter_id ORDER BY time_rounded)
            )
        ) ON COLUMNS(*)
    """
    names = ("start", "energy", "volume", "inlet", "back", "used")
    assert rows(clean, HEAT, query) == [(name, True) for name in names]


def test_resets_begin_again_near_nothing(quirky: Delivered, rows: Rows) -> None:
    query = 'SELECT count(*) FROM d WHERE try_cast("meter reading" AS BIGINT) < 200'
    assert rows(quirky, WATER, query)[0][0] != 0
    assert rows(quirky, WATER, 'SELECT min(try_cast("meter reading" AS BIGINT)) > 0 FROM d') == [(True,)]


def test_water_has_its_hours_and_its_big_users(quirky: Delivered, rows: Rows) -> None:
    by_hour = "SELECT avg(diff::BIGINT) FROM d WHERE diff::BIGINT BETWEEN 0 AND 3000 AND datetime[12:13] = '{}'"
    night, evening = (rows(quirky, WATER, by_hour.format(hour))[0][0] for hour in ("03", "19"))
    assert isinstance(night, float)
    assert isinstance(evening, float)
    assert evening > 8 * night
    share = """
        SELECT max(litres) / median(litres) FROM (SELECT sum(diff::BIGINT) AS litres FROM d
            WHERE abs(diff::BIGINT) < 3000 AND "user key" IS NOT NULL GROUP BY "user key")
    """
    largest = rows(quirky, WATER, share)[0][0]
    assert isinstance(largest, float)
    assert largest > 5


def test_more_heat_is_used_in_winter(tmp_path: Path, rows: Rows) -> None:
    used = []
    query = """
        SELECT sum(used) FROM (
            SELECT max(energy_heat_kwh::DOUBLE) - min(energy_heat_kwh::DOUBLE) AS used
            FROM d GROUP BY meter_id
        )
    """
    for month in (1, 7):
        city = City(households=50, days=3, start=date(2025, month, 10), quirks=False)
        out = tmp_path / str(month)
        used.append(rows((city, out, simulate(city=city, out=out, datasets=[HEAT])), HEAT, query)[0][0])
    winter, summer = used
    assert isinstance(winter, float)
    assert isinstance(summer, float)
    assert winter > 3 * summer


@pytest.mark.parametrize("name", ["clean", "quirky"])
def test_every_meter_is_in_its_register(name: str, request: pytest.FixtureRequest, rows: Rows) -> None:
    delivered: Delivered = request.getfixturevalue(name)
    for key, readings, register in (
        ('"user key"', WATER, "daiad/water_meter_register"),
        ("meter_id", HEAT, "aalborg_heat/heat_meter_register"),
    ):
        query = f"SELECT DISTINCT {key} AS k FROM d WHERE {key} IS NOT NULL ORDER BY k"
        assert rows(delivered, readings, query) == rows(delivered, register, query)
        assert len(rows(delivered, register, query)) == delivered[0].households


def test_districts_are_uneven_and_named_as_the_real_ones(quirky: Delivered, rows: Rows) -> None:
    query = 'SELECT area_code::INT, area_name, count(DISTINCT "user key") FROM d GROUP BY ALL'
    districts = rows(quirky, "daiad/water_meter_register", query)
    assert {code: name for code, name, _ in districts} == {code: name for code, (name, _) in DISTRICTS.items()}
    sizes = sorted(count for _, _, count in districts if isinstance(count, int))
    assert sizes[0] < 15 < 40 < sizes[-1]


def test_traffic_is_counted_inside_the_districts(quirky: Delivered, rows: Rows) -> None:
    query = """
        SELECT regexp_extract(wkb_geometry, 'POINT \\((\\S+) (\\S+)\\)', 1)::DOUBLE,
            regexp_extract(wkb_geometry, 'POINT \\((\\S+) (\\S+)\\)', 2)::DOUBLE FROM d
    """
    points = rows(quirky, "copenhagen/traffic_counts", query)
    edges = [bounds(code) for code in DISTRICTS]
    assert len(points) > quirky[0].counting_sites
    for east, north in points:
        assert isinstance(east, float)
        assert isinstance(north, float)
        inside = [west < east < right and south < north < top for west, south, right, top in edges]
        assert sum(inside) == 1


def test_districts_lie_side_by_side(clean: Delivered) -> None:
    path = next(one.path for one in clean[2] if one.dataset == "districts")
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    corners = [tuple(point) for feature in features for point in feature["geometry"]["coordinates"][0][0][:4]]
    assert len(corners) == 40
    assert len(set(corners)) == 18  # six columns of three: every border is shared


def test_some_prices_are_negative_and_kroner_follow_euros(quirky: Delivered, rows: Rows) -> None:
    query = """
        SELECT count(*) FILTER (eur < 0) > 0, max(abs(dkk - eur * 7.46)) < 0.02 FROM (
            SELECT try_cast(replace(SpotPriceEUR, ',', '.') AS DOUBLE) AS eur,
                try_cast(replace(SpotPriceDKK, ',', '.') AS DOUBLE) AS dkk FROM d)
    """
    assert rows(quirky, "energinet/elspot_prices", query) == [(True, True)]


def test_statuses_add_up_to_the_total(clean: Delivered, rows: Rows) -> None:
    query = """
        SELECT DISTINCT sum(CASE column1 WHEN 'Total' THEN -1 ELSE 1 END * column3::BIGINT),
            max(abs(column3::BIGINT - column4::BIGINT - column5::BIGINT)), count(*) FROM d GROUP BY column2
    """
    assert rows(clean, "dst/population", query) == [(0, 0, 5)]


def test_bicycles_and_docks_fill_a_station(clean: Delivered) -> None:
    capacities: dict[str, set[int]] = {}
    for one in clean[2]:
        if one.dataset == "station_status":
            for station in json.loads(one.path.read_text())["data"]["stations"]:
                kinds = sum(kind["count"] for kind in station["vehicle_types_available"])
                assert kinds == station["num_bikes_available"] == station["num_vehicles_available"]
                docks = capacities.setdefault(station["station_id"], set())
                docks.add(station["num_bikes_available"] + station["num_docks_available"])
    assert len(capacities) == clean[0].stations
    assert {len(docks) for docks in capacities.values()} == {1}
