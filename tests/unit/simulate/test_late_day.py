"""A second delivery of one day corrects rows of the first and brings others."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pytest

from lakehouse.simulate.city import City, Written
from lakehouse.simulate.deliveries import simulate, simulate_late_day

from .conftest import table

DAY = date(2024, 10, 27)
CITY = City(households=200, days=5, start=date(2024, 10, 25), seed=5)
DATASETS = ("daiad/water_meter_readings", "energinet/consumption_de35_hour")
WATER_KEY, CONSUMPTION_KEY = '"user key", datetime', "HourUTC, PriceArea, ConsumerType_DE35"


def both(tmp_path: Path, city: City) -> tuple[dict[str, Written], dict[str, Written]]:
    first = simulate(city=city, out=tmp_path, datasets=DATASETS)
    late = simulate_late_day(city=city, day=DAY, out=tmp_path)
    return {one.dataset: one for one in first}, {one.dataset: one for one in late}


def counts(tmp_path: Path, first: Written, late: Written, key: str, value: str) -> tuple[int, int]:
    """Late rows whose key the first delivery has with another value, and those whose key it lacks."""
    with duckdb.connect(":memory:") as connection:
        table(connection, [first.path], tmp_path / "first").create("f")
        table(connection, [late.path], tmp_path / "late").create("l")
        changed = connection.execute(
            f"SELECT count(*) FROM l JOIN (SELECT DISTINCT {key}, {value} FROM f) AS f USING ({key}) "
            f"WHERE l.{value} <> f.{value}"
        ).fetchone()
        added = connection.execute(f"SELECT count(*) FROM l ANTI JOIN f USING ({key})").fetchone()
    assert changed
    assert added
    return changed[0], added[0]


@pytest.mark.parametrize("quirks", [True, False])
@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_late_water_is_as_stated(tmp_path: Path, quirks: bool, file_format: str) -> None:
    city = City(households=200, days=5, start=CITY.start, seed=5, quirks=quirks, file_format=file_format)  # type: ignore[arg-type]
    first = simulate(city=city, out=tmp_path, datasets=DATASETS[:1])
    (late, _) = simulate_late_day(city=city, day=DAY, out=tmp_path)
    assert late.rows == late.quirks["corrections"] + late.quirks["late_rows"]
    assert late.quirks["corrections"] > 3
    assert late.quirks["late_rows"] > 2
    found = counts(tmp_path, first[0], late, WATER_KEY, '"meter reading"')
    assert found == (late.quirks["corrections"], late.quirks["late_rows"])


def test_water_still_never_falls(tmp_path: Path) -> None:
    first, late = both(tmp_path, City(households=200, days=5, start=CITY.start, seed=5, quirks=False))
    name = "water_meter_readings"
    query = """
        WITH merged AS (
            SELECT * FROM f ANTI JOIN l USING ("user key", datetime) UNION ALL SELECT * FROM l
        ), readings AS (
            SELECT "user key" AS key, "meter reading"::BIGINT AS reading,
                strptime(datetime, '%d/%m/%Y %H:%M:%S') AS taken
            FROM merged WHERE datetime NOT LIKE '27/10/2024 02%'
        ), steps AS (
            SELECT reading - lag(reading) OVER (PARTITION BY key ORDER BY taken) AS step FROM readings
        ) SELECT min(step) FROM steps
    """
    with duckdb.connect(":memory:") as connection:
        table(connection, [first[name].path], tmp_path / "first").create("f")
        table(connection, [late[name].path], tmp_path / "late").create("l")
        assert connection.execute(query).fetchall() == [(0,)]


def test_late_consumption_brings_what_was_withheld(tmp_path: Path) -> None:
    first, late = both(tmp_path, CITY)
    name = "consumption_de35_hour"
    assert late[name].quirks == {"corrections": 10, "late_rows": 3}
    assert counts(tmp_path, first[name], late[name], CONSUMPTION_KEY, "TotalCon") == (10, 3)


def test_a_clean_city_withholds_nothing(tmp_path: Path) -> None:
    first, late = both(tmp_path, City(households=50, days=5, start=CITY.start, quirks=False))
    name = "consumption_de35_hour"
    assert late[name].quirks == {"corrections": 10}
    assert counts(tmp_path, first[name], late[name], CONSUMPTION_KEY, "TotalCon") == (10, 0)


def test_late_rows_are_of_the_day_alone(tmp_path: Path) -> None:
    _, late = both(tmp_path, CITY)
    with duckdb.connect(":memory:") as connection:
        water = table(connection, [late["water_meter_readings"].path], tmp_path)
        assert water.query("d", "SELECT DISTINCT left(datetime, 10) FROM d").fetchall() == [("27/10/2024",)]
        consumption = table(connection, [late["consumption_de35_hour"].path], tmp_path)
        assert consumption.query("d", "SELECT DISTINCT left(HourDK, 10) FROM d").fetchall() == [("2024-10-27",)]


@pytest.mark.parametrize("day", [date(2024, 10, 24), date(2024, 10, 30)])
def test_a_day_of_another_span_is_refused(tmp_path: Path, day: date) -> None:
    with pytest.raises(ValueError, match=f"{day} is not one of the city's 5 days"):
        simulate_late_day(city=CITY, day=day, out=tmp_path)
