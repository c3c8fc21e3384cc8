"""A correction that moves a row into another partition, and data that come late: what stands in each partition."""

from __future__ import annotations

from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.history import history
from lakehouse.release.doctor import rebuild_index
from lakehouse.storage.index import clean_files, deliveries
from tests.unit.landing.bad_deliveries import CSV, HEADER, moving, readings
from tests.unit.landing.conftest import House

FIRST, SECOND, THIRD = "2024-01-01", "2024-01-02", "2024-01-03"


def _row(day: str, value: float, meter: str = "M001") -> str:
    return f"{meter},{day}T00:00:00Z,{value},ok"


def _deliver(house: House, contract: Contract, *rows: str) -> dict[str, Any]:
    return house.deliver(contract, "\n".join([HEADER, *rows]) + "\n")


def _standing(house: House, contract: Contract, *partitions: str) -> list[tuple[Any, ...]]:
    """What the macro `newest` finds in these partitions (in all without any): day and value of M001."""
    query = sa.select(clean_files.c.key).where(clean_files.c.dataset == contract.dataset)
    if partitions:
        query = query.where(clean_files.c.partition.in_(partitions))
    urls = [house.exchange.lake.duckdb_url("clean", row["key"]) for row in house.exchange.index.rows(query)]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(
            f"""
            SELECT newest.day::VARCHAR, newest.use_kwh::DOUBLE FROM (
                SELECT arg_max(
                    {{day: read_at::DATE, use_kwh: use_kwh, exchange_withdrawn: exchange_withdrawn}},
                    (exchange_delivery, exchange_line)
                ) AS newest
                FROM read_parquet({urls}, hive_partitioning=false) WHERE meter = 'M001' GROUP BY meter
            ) WHERE NOT coalesce(newest.exchange_withdrawn, false)
            """
        ).fetchall()


def test_a_row_that_is_moved_stands_in_its_new_partition_only(house: House) -> None:
    contract = moving(house)
    _deliver(house, contract, _row(FIRST, 1.5), _row(FIRST, 2.5, "M002"))
    receipt = _deliver(house, contract, _row(SECOND, 1.5))
    assert (receipt["accepted"], receipt["corrections"], receipt["withdrawn"]) == (1, 1, 1)
    assert (receipt["partitions"]["first"], receipt["partitions"]["last"]) == (FIRST, SECOND)
    assert _standing(house, contract, FIRST) == []
    assert _standing(house, contract, SECOND) == [(SECOND, 1.5)]
    assert _standing(house, contract) == [(SECOND, 1.5)]


def test_a_row_that_is_moved_back_stands_where_it_was_first(house: House) -> None:
    contract = moving(house)
    for number, day in enumerate((FIRST, SECOND, FIRST)):
        _deliver(house, contract, _row(day, 1.5), _row(THIRD, number, "M009"))
    assert _standing(house, contract, FIRST) == [(FIRST, 1.5)]
    assert _standing(house, contract, SECOND) == []
    assert _standing(house, contract) == [(FIRST, 1.5)]


def test_a_row_that_one_delivery_moves_twice_stands_where_its_last_line_says(house: House) -> None:
    contract = moving(house)
    _deliver(house, contract, _row(FIRST, 1))
    receipt = _deliver(house, contract, _row(SECOND, 2), _row(THIRD, 3))
    assert receipt["accepted"] == 2
    assert [_standing(house, contract, day) for day in (FIRST, SECOND, THIRD)] == [[], [], [(THIRD, 3)]]
    assert _standing(house, contract) == [(THIRD, 3)]


def test_a_moved_row_that_comes_again_is_a_duplicate_of_the_one_that_stands(house: House) -> None:
    contract = moving(house)
    _deliver(house, contract, _row(FIRST, 1))
    _deliver(house, contract, _row(SECOND, 2))
    receipt = _deliver(house, contract, _row(SECOND, 2), _row(THIRD, 4, "M002"))
    assert (receipt["accepted"], receipt["duplicates"]) == (1, 1)
    assert _standing(house, contract, FIRST) == []
    # What stood on the first day, delivered once more, moves the row back: it is the newest delivery.
    _deliver(house, contract, _row(FIRST, 1), _row(THIRD, 5, "M002"))
    assert [_standing(house, contract, day) for day in (FIRST, SECOND)] == [[(FIRST, 1)], []]


def test_a_partition_that_a_row_has_left_counts_as_changed(house: House) -> None:
    contract = moving(house)
    _deliver(house, contract, _row(FIRST, 1))
    before = house.exchange.index.last_change()
    _deliver(house, contract, _row(SECOND, 2))
    rows = house.exchange.index.rows(sa.select(clean_files.c.partition).where(clean_files.c.change > before))
    assert {row["partition"] for row in rows} == {FIRST, SECOND}


def test_history_tells_of_what_was_delivered_and_of_no_row_that_only_withdraws(house: House) -> None:
    contract = moving(house)
    receipts = [_deliver(house, contract, _row(day, value)) for day, value in ((FIRST, 1.5), (SECOND, 2.5))]
    versions = history(house.exchange, contract, where={"meter": "M001"})
    told = [(version["delivery"], float(version["use_kwh"]), version["stands"]) for version in versions]
    assert told == [(receipts[0]["delivery"], 1.5, False), (receipts[1]["delivery"], 2.5, True)]


def test_the_index_is_made_again_with_what_was_withdrawn(house: House) -> None:
    contract = moving(house)
    _deliver(house, contract, _row(FIRST, 1))
    _deliver(house, contract, _row(SECOND, 2))
    files = sa.select(clean_files.c.key).order_by(clean_files.c.key)
    before = house.exchange.index.rows(files)
    with house.exchange.index.begin() as connection:
        connection.execute(sa.delete(clean_files))
        connection.execute(sa.delete(deliveries))
    assert rebuild_index(house.exchange).problems == []
    assert house.exchange.index.rows(files) == before
    assert len(before) == 3


def test_a_key_that_holds_the_time_withdraws_nothing(house: House) -> None:
    contract = readings(house)
    _deliver(house, contract, _row(FIRST, 1))
    receipt = _deliver(house, contract, _row(SECOND, 1))
    assert (receipt["accepted"], receipt["corrections"]) == (1, 0)
    assert house.clean(contract, "count(*) FILTER (exchange_withdrawn)", "1") == [(0,)]


def test_a_restatement_stands_and_the_older_version_is_kept_with_the_time_it_was_known(house: House) -> None:
    contract = readings(house)
    house.deliver(contract, CSV)
    _deliver(house, contract, _row("2022-01-01", 4.5))
    _deliver(house, contract, _row("2022-01-01", 8.5))
    kept = house.clean(
        contract, "use_kwh::DOUBLE, exchange_known_at > lag(exchange_known_at) OVER (ORDER BY exchange_delivery)",
        "exchange_delivery, exchange_line",
    )[-2:]  # fmt: skip
    assert kept == [(4.5, True), (8.5, True)]
    assert _standing(house, contract, "2022-01-01") == [("2022-01-01", 8.5)]
