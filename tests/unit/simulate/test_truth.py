"""What the truth says of a delivery is what a reader finds in the file."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from .conftest import Delivered, Rows, quirks, table

# For each dataset, each kind of quirk and the query that counts it.
NO_NUMBER = "SELECT count(*) FROM d WHERE try_cast({0} AS DOUBLE) IS NULL AND {0} IS NOT NULL"
COPIES = "SELECT (SELECT count(*) FROM d) - (SELECT count(*) FROM (SELECT DISTINCT * FROM d))"
NO_DATE = "SELECT count(*) FROM d WHERE try_strptime({0}, '{1}') IS NULL"
NO_KEY = "SELECT count(*) FROM d WHERE {0} IS NULL"
FOUND = {
    "daiad/water_meter_readings": {
        "duplicate_rows": COPIES,
        "bad_number": NO_NUMBER.format('"meter reading"'),
        "impossible_date": NO_DATE.format("datetime", "%d/%m/%Y %H:%M:%S"),
        "missing_key": NO_KEY.format('"user key"'),
        "jumps": "SELECT count(*) FROM d WHERE diff::BIGINT > 240000",
    },
    "daiad/water_meter_register": {
        "duplicate_rows": COPIES,
        "bad_number": NO_NUMBER.format("household_size"),
        "missing_key": NO_KEY.format('"user key"'),
    },
    "aalborg_heat/heat_meter_readings_simulated": {
        "duplicate_rows": COPIES,
        "bad_number": NO_NUMBER.format("energy_heat_kwh"),
        "impossible_date": NO_DATE.format("time_rounded", "%Y-%m-%dT%H:%M:%SZ"),
        "missing_key": NO_KEY.format("meter_id"),
    },
    "aalborg_heat/heat_meter_register": {
        "duplicate_rows": COPIES,
        "bad_number": NO_NUMBER.format("construction_year"),
        "missing_key": NO_KEY.format("meter_id"),
        "years_unknown": "SELECT count(DISTINCT meter_id) FROM d WHERE construction_year = '0'",
    },
    "aarhus/parking": {
        "duplicate_rows": COPIES,
        "bad_number": NO_NUMBER.format("vehiclecount"),
        "impossible_date": NO_DATE.format("left(updatetime, 19)", "%Y-%m-%d %H:%M:%S"),
        "missing_key": NO_KEY.format("garagecode"),
        "over_capacity": "SELECT count(DISTINCT _id) FROM d WHERE try_cast(vehiclecount AS INT) > totalspaces::INT",
    },
    "city_bikes/trips": {
        "duplicate_rows": COPIES,
        "impossible_date": "SELECT count(*) FROM d WHERE try_cast(started_at AS TIMESTAMPTZ) IS NULL "
        "OR try_cast(ended_at AS TIMESTAMPTZ) IS NULL",
        "missing_key": NO_KEY.format("trip_id"),
    },
    "copenhagen/traffic_counts": {
        "duplicate_rows": COPIES,
        "bad_number": NO_NUMBER.format("aar"),
        "impossible_date": NO_DATE.format("taelle_dato", "%Y%m%d"),
        "missing_key": NO_KEY.format("FID"),
        "repeated_sites": "SELECT count(DISTINCT ogc_fid) - count(DISTINCT t_nr) FROM d",
    },
    "dmi/station_daily": {
        "duplicate_rows": COPIES,
        "bad_number": NO_NUMBER.format("temp_mean_past1h"),
        "impossible_date": NO_DATE.format('"Date"', "%Y-%m-%d"),
        "missing_key": NO_KEY.format("stationID"),
    },
    "dst/population": {
        "duplicate_rows": COPIES,
        "bad_number": NO_NUMBER.format("column3"),
        "impossible_date": "SELECT count(*) FROM d WHERE column0 NOT SIMILAR TO '20[0-9]{2}Q[1-4]'",
        "missing_key": NO_KEY.format("column2"),
    },
    "energinet/elspot_prices": {
        "duplicate_rows": COPIES,
        "bad_number": NO_NUMBER.format("replace(SpotPriceEUR, ',', '.')"),
        "impossible_date": NO_DATE.format("HourUTC", "%Y-%m-%d %H:%M:%S"),
        "missing_key": NO_KEY.format("PriceArea"),
    },
    "energinet/consumption_de35_hour": {
        "duplicate_rows": COPIES,
        "missing_number": "SELECT count(*) FROM d WHERE TotalCon IS NULL",
        "impossible_date": NO_DATE.format("HourUTC", "%Y-%m-%dT%H:%M:%S"),
        "missing_key": NO_KEY.format("PriceArea"),
        "withheld_rows": "SELECT 76 * 24 * 14 + 76 - count(DISTINCT (HourUTC, PriceArea, ConsumerType_DE35)) "
        "FROM d WHERE HourUTC NOT LIKE '%-02-30%' AND PriceArea IS NOT NULL",
    },
    "oslo_bysykkel/station_status": {
        "duplicate_rows": "SELECT count(s) - count(DISTINCT (last_updated, s)) "
        "FROM (SELECT last_updated, unnest(data.stations) AS s FROM d)",
        "bad_number": "SELECT count(*) FROM (SELECT unnest(data.stations) AS s FROM d) "
        "WHERE json_type(to_json(s), '$.num_bikes_available') = 'VARCHAR' AND "
        "try_cast(s.num_bikes_available AS INT) IS NULL",
        "missing_key": "SELECT count(*) FROM (SELECT unnest(data.stations) AS s FROM d) WHERE s.station_id IS NULL",
    },
}
CASES = [(dataset, kind, query) for dataset, kinds in FOUND.items() for kind, query in kinds.items()]


@pytest.mark.parametrize(("dataset", "kind", "query"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_quirks_are_in_the_files_as_often_as_stated(
    quirky: Delivered, clean: Delivered, rows: Rows, dataset: str, kind: str, query: str
) -> None:
    stated = quirks(quirky, dataset)[kind]
    assert stated > 0
    assert rows(quirky, dataset, query) == [(stated,)]
    if kind != "withheld_rows":
        assert rows(clean, dataset, query) == [(0,)]


def test_every_kind_that_is_stated_is_checked(quirky: Delivered) -> None:
    elsewhere = {"late_rows", "missing_rows", "resets", "negative_diffs", "repeated_hour_keys", "gap_rows"}
    for dataset in FOUND:
        assert set(quirks(quirky, dataset)) - elsewhere == set(FOUND[dataset])


def test_every_file_holds_the_rows_stated(quirky: Delivered, clean: Delivered, tmp_path: Path) -> None:
    with duckdb.connect(":memory:") as connection:
        for one in quirky[2] + clean[2]:
            if one.path.suffix == ".json":
                found = len(json.loads(one.path.read_text())["data"]["stations"])
            elif one.path.suffix == ".geojson":
                found = len(json.loads(one.path.read_text())["features"])
            else:
                found = len(table(connection, [one.path], tmp_path))
            assert found == one.rows, one.path.name


def test_a_clean_city_has_no_quirk(clean: Delivered) -> None:
    assert {one.dataset: one.quirks for one in clean[2] if one.quirks} == {}


def test_water_falls_as_often_as_stated(quirky: Delivered, rows: Rows) -> None:
    stated = quirks(quirky, "daiad/water_meter_readings")
    falls = stated["jumps"] + stated["resets"] + stated["negative_diffs"]
    assert falls >= 3
    assert rows(quirky, "daiad/water_meter_readings", "SELECT count(*) FROM d WHERE diff::BIGINT < 0") == [(falls,)]


@pytest.mark.parametrize("dataset", ["daiad/water_meter_readings", "aalborg_heat/heat_meter_readings_simulated"])
def test_good_rows_are_complete_but_for_those_missing(quirky: Delivered, rows: Rows, dataset: str) -> None:
    city, stated = quirky[0], quirks(quirky, dataset)
    extra = ("duplicate_rows", "bad_number", "impossible_date", "missing_key")
    delivered = rows(quirky, dataset, "SELECT count(*) FROM d")[0][0]
    good = city.households * (city.days * 24 + 1) - stated["missing_rows"]
    assert stated["late_rows"] > 0
    assert stated["missing_rows"] > 0
    assert delivered == good + sum(stated[kind] for kind in extra)


def test_late_rows_stand_after_the_next_days(quirky: Delivered, rows: Rows) -> None:
    """A row is late whose day has ended, in the file's order, before it comes."""
    dataset = "aalborg_heat/heat_meter_readings_simulated"
    query = """
        WITH numbered AS (
            SELECT time_rounded::TIMESTAMP AS at_utc, row_number() OVER () AS n FROM d
            WHERE time_rounded NOT LIKE '%-02-30%'
        ) SELECT count(*) FROM (SELECT at_utc, max(at_utc) OVER (ORDER BY n) AS newest FROM numbered)
        WHERE newest - at_utc > INTERVAL 25 HOURS
    """
    stated = quirks(quirky, dataset)["late_rows"]
    assert rows(quirky, dataset, query) == [(stated,)]


def test_truth_is_written_beside_the_deliveries(quirky: Delivered) -> None:
    city, out, written = quirky
    truth = json.loads((out / "truth.json").read_text(encoding="utf-8"))
    assert truth["city"]["households"] == city.households
    assert truth["city"]["start"] == "2024-10-22"
    assert [(out / one["path"], one["rows"], one["quirks"]) for one in truth["deliveries"]] == [
        (one.path, one.rows, one.quirks) for one in written
    ]
