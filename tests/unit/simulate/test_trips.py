"""Trips on shared bicycles: when and where people ride, and who rides more than a privacy cap allows."""

from __future__ import annotations

import json

from lakehouse.simulate.clock import local_days

from .conftest import Delivered, Rows

TRIPS, STATIONS = "city_bikes/trips", "city_bikes/stations"
# Centre of the city, to which most ride to work.
CENTRE = "(SELECT 'cb' || lpad(n::VARCHAR, 3, '0') FROM range(2, 41, 10) AS s(n))"


def test_people_ride_to_the_centre_in_the_morning_and_back_in_the_afternoon(clean: Delivered, rows: Rows) -> None:
    query = f"""
        SELECT sum((end_station_id IN {CENTRE})::INT) / count(*), sum((start_station_id IN {CENTRE})::INT) / count(*)
        FROM d WHERE started_at LIKE '2024-10-24T{{}}%'
    """
    ((to_it, from_it),) = rows(clean, TRIPS, query.format("06"))
    assert isinstance(to_it, float)
    assert isinstance(from_it, float)
    assert to_it > 0.25 > 0.12 > from_it
    ((to_it, from_it),) = rows(clean, TRIPS, query.format("14"))
    assert isinstance(to_it, float)
    assert isinstance(from_it, float)
    assert from_it > 0.25 > 0.12 > to_it


def test_most_ride_at_most_three_times_a_day_and_couriers_twenty(clean: Delivered, rows: Rows) -> None:
    query = """
        SELECT quantile_disc(n, 0.99), max(n), count(*) FILTER (WHERE n >= 20)
        FROM (SELECT rider_id, count(*) AS n FROM d WHERE trip_id LIKE '20241025-%' GROUP BY 1)
    """
    assert rows(clean, TRIPS, query)[0][0] == 3
    assert rows(clean, TRIPS, query)[0][2] == clean[0].riders // 500


def test_every_trip_joins_two_stations_of_the_register_and_ends_after_it_began(clean: Delivered, rows: Rows) -> None:
    query = "SELECT count(*) FROM d WHERE ended_at <= started_at OR start_station_id IS NULL OR end_station_id IS NULL"
    assert rows(clean, TRIPS, query) == [(0,)]
    ids = {row[0] for row in rows(clean, TRIPS, "SELECT start_station_id FROM d UNION SELECT end_station_id FROM d")}
    assert ids <= {row[0] for row in rows(clean, STATIONS, "SELECT station_id FROM d")}
    assert rows(clean, STATIONS, "SELECT count(*), count(DISTINCT district) FROM d") == [(clean[0].stations, 10)]


def test_trips_begin_within_the_citys_local_days(clean: Delivered, rows: Rows) -> None:
    days = local_days(start=clean[0].start, days=clean[0].days)
    first, last = days[0].utc[0], days[-1].utc[-1]
    ((begin, end),) = rows(clean, TRIPS, "SELECT min(started_at), max(started_at) FROM d")
    assert f"{first:%Y-%m-%dT%H}" <= str(begin)
    assert str(end) <= f"{last:%Y-%m-%dT%H}:59:59Z"
    # The hour that autumn repeats has its trips, too.
    query = "SELECT count(DISTINCT left(started_at, 13)) FROM d WHERE left(started_at, 13) IN ('2024-10-27T00', '2024-10-27T01')"
    assert rows(clean, TRIPS, query) == [(2,)]


def test_the_truth_names_the_riders(clean: Delivered) -> None:
    truth = json.loads((clean[1] / "truth.json").read_text(encoding="utf-8"))
    assert truth["city"]["riders"] == 8000
