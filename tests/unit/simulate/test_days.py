"""Local days have 23, 24 and 25 hours, and times are written as each source writes them."""

from __future__ import annotations

from datetime import UTC, date, datetime

from lakehouse.simulate.clock import MADRID, local_days, periods, span_name

from .conftest import Delivered, Rows, quirks

WATER, HEAT = "daiad/water_meter_readings", "aalborg_heat/heat_meter_readings_simulated"


def test_local_days_have_their_hours() -> None:
    autumn, spring = (local_days(start=day, days=1, zone=MADRID)[0] for day in (date(2024, 10, 27), date(2025, 3, 30)))
    assert autumn.wall.tolist()[:5] == [0, 1, 2, 2, 3]
    assert (autumn.hours, autumn.second_pass) == (25, 3)
    assert autumn.utc[0] == datetime(2024, 10, 26, 22, tzinfo=UTC)
    assert spring.wall.tolist()[:4] == [0, 1, 3, 4]
    assert (spring.hours, spring.second_pass) == (23, None)


def test_files_span_months_or_days() -> None:
    days = local_days(start=date(2024, 10, 30), days=4)
    assert [span_name(span) for span in periods(days=days, period="month")] == [
        "2024-10-30_2024-10-31",
        "2024-11-01_2024-11-02",
    ]
    assert [span_name(span) for span in periods(days=days, period="day")][1] == "2024-10-31"


def test_a_household_reads_25_times_in_autumn(clean: Delivered, rows: Rows) -> None:
    query = """
        SELECT n, count(*) FROM (
            SELECT "user key", count(*) AS n, count(DISTINCT datetime) AS different FROM d
            WHERE datetime LIKE '27/10/2024%' GROUP BY 1 HAVING n = different
        ) GROUP BY 1
    """
    assert rows(clean, WATER, query) == [(25, clean[0].households)]


def test_the_second_pass_is_seen_by_the_clock_that_goes_back(clean: Delivered, rows: Rows) -> None:
    query = """
        SELECT count(*) FROM (
            SELECT datetime, lag(datetime) OVER (PARTITION BY "user key" ORDER BY n) AS before
            FROM (SELECT *, row_number() OVER () AS n FROM d) WHERE datetime LIKE '27/10/2024%'
        ) WHERE datetime < before
    """
    assert rows(clean, WATER, query) == [(clean[0].households,)]


def test_some_rows_of_the_repeated_hour_have_one_key(quirky: Delivered, rows: Rows) -> None:
    query = """
        SELECT count(*) FROM (SELECT "user key", datetime FROM d WHERE datetime LIKE '27/10/2024 02%'
            GROUP BY ALL HAVING count(*) = 2 AND count(DISTINCT "meter reading") = 2)
    """
    assert rows(quirky, WATER, query) == [(quirks(quirky, WATER)["repeated_hour_keys"],)]


def test_spring_has_no_hour_from_two_but_by_a_wrong_clock(spring: Delivered, rows: Rows) -> None:
    stated = quirks(spring, WATER)["gap_times"]
    assert stated > 0
    query = "SELECT count(*) FROM d WHERE datetime LIKE '30/03/2025 02%'"
    assert rows(spring, WATER, query) == [(stated,)]
    query = "SELECT count(*) FROM d WHERE updatetime LIKE '2025-03-30 02%'"
    assert rows(spring, "aarhus/parking", query) == [(quirks(spring, "aarhus/parking")["gap_times"],)]


def test_a_meter_reads_23_times_in_spring(spring: Delivered, rows: Rows) -> None:
    query = """
        SELECT mode(n) FROM (
            SELECT count(*) AS n FROM d WHERE datetime LIKE '30/03/2025%' GROUP BY "user key"
        )
    """
    assert rows(spring, WATER, query) == [(23,)]


def test_heat_is_in_utc_and_spans_the_local_days(clean: Delivered, rows: Rows) -> None:
    query = "SELECT min(time_rounded), max(time_rounded), count(DISTINCT time_rounded), count(*) FROM d"
    hours = 8 * 24 + 1
    assert rows(clean, HEAT, query) == [
        ("2024-10-23T22:00:00Z", "2024-10-31T22:00:00Z", hours, hours * clean[0].households)
    ]


def test_prices_have_the_doubled_local_hour(clean: Delivered, rows: Rows) -> None:
    query = "SELECT HourUTC FROM d WHERE HourDK = '2024-10-27 02:00:00' AND PriceArea = 'DK1'"
    assert rows(clean, "energinet/elspot_prices", query) == [
        ("2024-10-27 01:00:00",),
        ("2024-10-27 00:00:00",),
    ]


def test_consumption_is_newest_first_and_complete(clean: Delivered, rows: Rows) -> None:
    dataset = "energinet/consumption_de35_hour"
    query = "SELECT count(*), count(DISTINCT (HourUTC, PriceArea, ConsumerType_DE35)) FROM d"
    assert rows(clean, dataset, query) == [((8 * 24 + 1) * 76,) * 2]
    query = """
        SELECT count(*) FROM (SELECT HourUTC, lag(HourUTC) OVER (ORDER BY n) AS newer
            FROM (SELECT *, row_number() OVER () AS n FROM d)) WHERE HourUTC > newer
    """
    assert rows(clean, dataset, query) == [(0,)]


def test_every_source_covers_the_span(clean: Delivered, rows: Rows) -> None:
    first, last = "2024-10-24", "2024-10-31"
    assert rows(clean, "dmi/station_daily", 'SELECT min("Date"), max("Date") FROM d') == [(first, last)]
    for dataset, column in (("energinet/elspot_prices", "HourDK"), ("aarhus/parking", "updatetime")):
        query = f"SELECT left(min({column}), 10), left(max({column}), 10) FROM d"
        assert rows(clean, dataset, query) == [(first, last)]


def test_parking_times_have_mixed_precision_and_half_hours(clean: Delivered, rows: Rows) -> None:
    query = "SELECT count(DISTINCT length(updatetime)), count(DISTINCT updatetime), count(*) FROM d"
    ((lengths, snapshots, count),) = rows(clean, "aarhus/parking", query)
    assert (snapshots, count) == (2 * (8 * 24 + 1), 2 * (8 * 24 + 1) * clean[0].garages)
    assert isinstance(lengths, int)
    assert lengths >= 3


def test_stations_are_seen_three_times_an_hour_for_two_days(clean: Delivered) -> None:
    snapshots = [one for one in clean[2] if one.dataset == "station_status"]
    assert len(snapshots) == 2 * 24 * 3
    assert {one.rows for one in snapshots} == {clean[0].stations}
