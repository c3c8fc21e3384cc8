"""What a build hands to dbt before a model runs."""

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from lakehouse.build.inputs import Inputs, prepare_sources
from lakehouse.build.plan import MartPlan
from tests.mini_exchange import METERS, READINGS, TRAFFIC, WATER, Mini, households, readings


def plan_of(mini: Mini, mart: str, *inputs: str) -> MartPlan:
    return MartPlan(
        mart=mini.mart(mart), inputs=inputs, code="", base=None, change=mini.exchange.index.last_change(),
        partitions=("2024-10",), held={}, waiting=(), whole=True, new_code=True, reason="",
    )  # fmt: skip


def test_an_hour_is_there_once_where_a_day_of_one_mart_lies_in_a_month_of_another(tmp_path: Path) -> None:
    mini = Mini.make(tmp_path)
    parts = [(plan_of(mini, TRAFFIC), ["2024-10-02", "2024-11-01"]), (plan_of(mini, WATER), ["2024-10"])]
    database = tmp_path / "build.duckdb"
    prepare_sources(mini.exchange, files=[], parts=parts, database=database, folder=tmp_path / "inputs")
    with duckdb.connect(str(database)) as connection:
        found = connection.execute("SELECT count(*), count(DISTINCT hour_utc) FROM calendar.hours").fetchone()
    assert found == (32 * 24, 32 * 24)


def test_of_the_months_beside_a_built_one_only_the_hours_are_read_that_bear_on_it(tmp_path: Path) -> None:
    mini = Mini.make(tmp_path)
    mini.deliver(METERS, "meters.csv", ["meter_id,area", *(f"{meter},{area}" for meter, area in households())])
    mini.deliver(READINGS, "readings.csv", readings(date(2024, 9, 1), date(2024, 11, 20)))
    plan = plan_of(mini, WATER, READINGS, METERS)
    inputs = Inputs(mini.exchange, [plan])
    files = inputs.of(plan, ["2024-10"])
    assert {file.partition for file in files} == {"2024-09-01", "2024-10-01", "2024-11-01", "undated"}
    database = tmp_path / "build.duckdb"
    prepare_sources(
        mini.exchange, files=files, parts=[(plan, ["2024-10"])], database=database, folder=tmp_path / "inputs"
    )
    with duckdb.connect(str(database)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        [(first, last)] = connection.execute("SELECT min(read_at), max(read_at) FROM utility.meter_readings").fetchall()
        [(read, meters)] = connection.execute(
            "SELECT (SELECT count(*) FROM utility.meter_readings), (SELECT count(*) FROM utility.meters)"
        ).fetchall()
    stated = mini.exchange.contract(READINGS).exchange.readings
    assert stated is not None
    gap = stated.max_gap_hours
    assert datetime(2024, 10, 1, tzinfo=UTC) > first
    assert last >= datetime(2024, 11, 1, tzinfo=UTC)
    assert (datetime(2024, 10, 1, tzinfo=UTC) - first).total_seconds() <= gap * 3600
    assert (last - datetime(2024, 11, 1, tzinfo=UTC)).total_seconds() < gap * 3600
    # By as much a build reckons how many partitions it takes together.
    reckoned = inputs.rows_of(plan, ["2024-10"])
    register = next(file for file in files if file.partition == "undated")
    assert reckoned[register] == meters
    assert abs(sum(reckoned.values()) - meters - read) < read / 20
    assert sum(file.rows for file in files) > 1.5 * read
