"""What a build would do, without doing it: no dbt here, only the index and the pointer."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from lakehouse.build.dbt import DbtProject
from lakehouse.build.inputs import Inputs
from lakehouse.build.lineage import Lineage
from lakehouse.build.plan import MartPlan, NotBuildable, plan_mart
from lakehouse.contracts.mart import Mart
from lakehouse.release.manifest import latest_manifest
from lakehouse.storage.index import deliveries, mart_state, releases
from tests.mini_exchange import COUNTS, FIRST_DAY, LATER, READINGS, SENSORS, TRAFFIC, WATER, Mini, readings, traffic

DAYS = [f"{FIRST_DAY + timedelta(days=number)}" for number in range(30)]
CODE = {
    name: Lineage(node=f"model.mini.{name}", datasets=datasets, selected=datasets, code="1", ancestors=frozenset())
    for name, datasets in {
        TRAFFIC: frozenset({COUNTS, SENSORS}),
        WATER: frozenset({READINGS, "utility/meters"}),
    }.items()
}


def plan(
    mini: Mini, name: str, *, mart: Mart | None = None, lineage: Lineage | None = None, now: datetime = LATER
) -> MartPlan:
    mart = mart or mini.mart(name)
    base = latest_manifest(mini.exchange, mart=name, major=mart.major)
    lineage = lineage or replace(CODE[name], code=base.code if base else "1")
    change = mini.exchange.index.last_change()
    return plan_mart(mini.exchange, mart=mart, lineage=lineage, base=base, change=change, now=now)


def test_a_mart_that_was_never_released_is_built_whole(filled: Mini) -> None:
    planned = plan(filled, TRAFFIC)
    assert planned.partitions == tuple(DAYS)
    assert planned.reason == "it was never released"
    assert planned.whole


def test_without_a_delivery_there_is_nothing_to_build(tmp_path) -> None:
    planned = plan(Mini.make(tmp_path), TRAFFIC)
    assert (planned.partitions, planned.reason) == ((), "no input has been delivered yet")


def test_a_register_alone_makes_no_period(tmp_path) -> None:
    mini = Mini.make(tmp_path)
    mini.deliver(SENSORS, "sensors.csv", ["sensor_id,road", "s1,Amagerbrogade"])
    planned = plan(mini, TRAFFIC)
    assert (planned.partitions, planned.reason) == ((), "of its inputs only registers have been delivered")


def test_after_a_release_nothing_has_changed(released: Mini) -> None:
    for name in (TRAFFIC, WATER):
        planned = plan(released, name)
        assert planned.partitions == ()
        assert planned.reason == "no input has changed since its last release"


def test_one_late_day_touches_that_day_alone(released: Mini) -> None:
    released.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 7), more=1))
    planned = plan(released, TRAFFIC)
    assert planned.partitions == ("2024-10-07",)
    assert planned.reason == "1 input partition has changed"
    assert not planned.whole
    assert plan(released, WATER).partitions == ()


def test_a_cumulative_reading_touches_the_periods_within_its_margin(released: Mini) -> None:
    # The readings' own partition is December; use between two readings may begin or end a day beyond it.
    released.deliver(READINGS, "december.csv", readings(date(2024, 12, 2), date(2024, 12, 3)))
    planned = plan(released, WATER)
    assert planned.partitions == ("2024-11", "2024-12", "2025-01")


def test_building_a_month_reads_the_readings_beside_it_and_no_others(filled: Mini) -> None:
    november = replace(plan(filled, WATER), partitions=("2024-10",))
    files = Inputs(filled.exchange, [november]).of(november, ["2024-10"])
    assert {(file.dataset, file.partition) for file in files} == {
        ("utility/meters", "undated"),
        (READINGS, "2024-09-01"),
        (READINGS, "2024-10-01"),
        (READINGS, "2024-11-01"),
    }


def test_what_is_delivered_after_the_plan_is_not_read(filled: Mini) -> None:
    planned = plan(filled, TRAFFIC)
    before = Inputs(filled.exchange, [planned]).of(planned, ["2024-10-07"])
    filled.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 7), more=1))
    assert Inputs(filled.exchange, [planned]).of(planned, ["2024-10-07"]) == before


def test_a_register_bears_on_every_period(released: Mini) -> None:
    released.deliver(SENSORS, "moved.csv", ["sensor_id,road", "s3,Amagerbrogade"])
    planned = plan(released, TRAFFIC)
    assert planned.partitions == tuple(DAYS)
    assert planned.reason == "1 input partition has changed"


def test_new_code_builds_the_whole_of_an_open_mart(released: Mini) -> None:
    planned = plan(released, TRAFFIC, lineage=replace(CODE[TRAFFIC], code="new"))
    assert planned.partitions == tuple(DAYS)
    assert (planned.reason, planned.whole, planned.new_code) == ("its code has changed", True, True)


def test_a_published_period_of_a_private_mart_is_not_restated(released: Mini) -> None:
    released.deliver(READINGS, "late.csv", readings(date(2024, 10, 5), date(2024, 10, 6), more=1))
    planned = plan(released, WATER)
    assert planned.held == {
        "2024-09": "published, and its policy allows no restatement",
        "2024-10": "published, and its policy allows no restatement",
    }
    # November was touched by the margin, and nothing of it is published.
    assert planned.partitions == ("2024-11",)


def test_new_code_does_not_restate_a_private_mart(released: Mini) -> None:
    planned = plan(released, WATER, lineage=replace(CODE[WATER], code="new"))
    assert not {"2024-09", "2024-10"} & set(planned.partitions)
    assert not planned.whole


def test_a_private_period_is_held_until_it_is_final(filled: Mini) -> None:
    early = plan(filled, WATER, now=datetime(2024, 11, 7, 23, tzinfo=UTC))
    assert "2024-09" in early.partitions
    assert early.held["2024-10"] == "not final before 2024-11-08"
    assert "2024-10" in early.waiting
    late = plan(filled, WATER, now=datetime(2024, 11, 8, tzinfo=UTC))
    assert "2024-10" in late.partitions


def test_a_period_that_waited_is_built_when_it_is_final_though_nothing_has_changed(
    filled: Mini, parsed: DbtProject
) -> None:
    filled.build([WATER], now=datetime(2024, 11, 3, tzinfo=UTC), project=parsed)
    filled.release()
    assert [file.partition for file in filled.latest(WATER).files] == ["2024-09"]
    lineage = parsed.lineage(WATER)
    waits = plan(filled, WATER, lineage=lineage, now=datetime(2024, 11, 4, tzinfo=UTC))
    assert (waits.partitions, "2024-10" in waits.waiting) == ((), True)
    final = plan(filled, WATER, lineage=lineage, now=datetime(2024, 11, 9, tzinfo=UTC))
    assert final.partitions == ("2024-10",)
    assert final.reason == "partitions have become final"


@pytest.mark.parametrize("lost", [[mart_state], [mart_state, releases]])
def test_the_pointer_is_enough_to_go_on_from(released: Mini, lost: list[sa.Table]) -> None:
    with released.exchange.index.begin() as connection:
        for table in lost:
            connection.execute(sa.delete(table))
    assert plan(released, TRAFFIC).partitions == ()
    released.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 7), more=1))
    assert plan(released, TRAFFIC).partitions == ("2024-10-07",)


def test_after_the_pointer_moved_back_the_changes_since_then_are_taken_in_again(
    released: Mini, parsed: DbtProject
) -> None:
    lake, key = released.exchange.lake, f"{TRAFFIC}/v1/latest.json"
    first = lake.read_bytes("marts", key)
    released.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 7), more=1))
    released.build([TRAFFIC], project=parsed)
    released.release()
    assert plan(released, TRAFFIC).partitions == ()
    lake.write_bytes("marts", key, first)
    assert plan(released, TRAFFIC).partitions == ("2024-10-07",)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("decimal(9, 2)", "decimal(9, 3)", "vehicles_mean was decimal(9, 2) and is decimal(9, 3)"),
        ("name: sensors", "name: sensor_count", "column sensors is gone"),
        ("unit: sensors", "unit: stations", "sensors was in sensors and is in stations"),
        (
            "key: [road, hour_utc]",
            "key: [hour_utc, road]",
            "a row is named by hour_utc, road and no more by road, hour_utc",
        ),
        ("grain: day", "grain: month", "partitions are by month of hour_utc and no more by day of hour_utc"),
    ],
)
def test_a_change_that_breaks_readers_asks_for_a_new_major(released: Mini, old: str, new: str, what: str) -> None:
    released.edit(f"{TRAFFIC}.yml", old, new)
    told = f"these changes would break those who read v1: {what}. Set major to 2 and overlap_days in {TRAFFIC}.yml"
    with pytest.raises(NotBuildable, match=re.escape(told)):
        plan(released, TRAFFIC)
    released.edit(f"{TRAFFIC}.yml", "major: 1", "major: 2\n          overlap_days: 30")
    planned = plan(released, TRAFFIC)
    assert (planned.base, planned.reason) == (None, "it was never released")


def test_a_new_column_breaks_nobody_where_all_is_built_anew(released: Mini) -> None:
    added = '\n      - {name: note, data_type: varchar, description: "Remark.", constraints: [{type: not_null}]}\n'
    for name in (TRAFFIC, WATER):
        path = released.path(f"{name}.yml")
        path.write_text(path.read_text().rstrip() + added)
    # Of a mart of sums a policy covers the key.
    released.edit(f"{WATER}.yml", "key: [area, ", "key: [area, note, ")
    assert plan(released, TRAFFIC, lineage=replace(CODE[TRAFFIC], code="new")).whole
    with pytest.raises(NotBuildable, match="column note is new, which published periods would lack"):
        plan(released, WATER)


def test_a_mart_of_registers_alone_is_the_state_of_the_newest(filled: Mini) -> None:
    lineage = replace(CODE[TRAFFIC], datasets=frozenset({SENSORS}))
    today = datetime.now(UTC).date()
    planned = plan(filled, TRAFFIC, lineage=lineage, now=datetime.now(UTC))
    assert planned.partitions == (str(today),)
    with filled.exchange.index.begin() as connection:
        at = datetime(2023, 5, 17, 23, 59, tzinfo=UTC)
        connection.execute(sa.update(deliveries).where(deliveries.c.dataset == "sensors").values(received_at=at))
    planned = plan(filled, TRAFFIC, lineage=lineage)
    assert planned.partitions == ("2023-05-17",)
    [file] = Inputs(filled.exchange, [planned]).of(planned, planned.partitions)
    assert file.dataset == SENSORS


def test_what_a_register_says_is_final_when_it_arrives_and_stands_for_its_period(filled: Mini) -> None:
    lineage = replace(CODE[WATER], datasets=frozenset({"utility/meters"}))
    now = datetime.now(UTC)
    planned = plan(filled, WATER, lineage=lineage, now=now)
    assert (planned.partitions, planned.held) == ((f"{now:%Y-%m}",), {})
