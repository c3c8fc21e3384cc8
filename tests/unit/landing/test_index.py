"""The index: what a question costs where very much was delivered, and databases of older versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.batch import between_them, known_levels, loaded_before
from lakehouse.landing.evolution import reordered_columns
from lakehouse.landing.intake import _pending as pending
from lakehouse.landing.intake import intake
from lakehouse.landing.replay import _in_order as in_order
from lakehouse.landing.scorecard import scorecard
from lakehouse.orchestrate.main_job import Outcome, _unfinished, summarise
from lakehouse.storage.index import Index, deliveries, delivery_profiles
from tests.unit.landing.conftest import House

GOOD = "meter,read_at,use_kwh\na,2024-01-01 00:00,1\n"


class Asked:
    """The plans of all that is asked of the deliveries and their profiles."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.plans: list[str] = []
        sa.event.listen(index.engine, "before_cursor_execute", self._explain)

    def _explain(self, _c: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT") and ("FROM deliveries" in statement or "FROM delivery_pro" in statement):
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            self.plans.append(f"{'; '.join(step[-1] for step in plan)} of {' '.join(statement.split())}")


@pytest.fixture
def loaded(house: House) -> tuple[House, Contract, list[dict[str, Any]]]:
    contract = house.contract()
    for day in range(1, 4):
        house.drop(contract, GOOD.replace("2024-01-01", f"2024-01-0{day}"), f"{day}.csv")
    intake(house.exchange, contract)
    rows = house.exchange.index.rows(sa.select(deliveries).order_by(deliveries.c.delivery))
    return house, contract, [dict(row) for row in rows]


def test_what_each_delivery_asks_reads_no_history(loaded: tuple[House, Contract, list[dict[str, Any]]]) -> None:
    house, contract, members = loaded
    exchange = house.exchange
    asked = Asked(exchange.index)
    pending(exchange, contract, after="")
    known_levels(exchange, contract, before=members[-1]["delivery"])
    reordered_columns(exchange, contract, members[-1], ["meter"], 1)
    loaded_before(exchange, contract, [member["sha256"] for member in members], before=members[-1]["delivery"])
    exchange.index.rows(between_them(contract, members))
    list(in_order(exchange, contract))
    _unfinished(exchange, contract)
    summarise(exchange, Outcome(), members[0]["received_at"])
    exchange.index.rows(sa.select(deliveries).where(deliveries.c.raw_key == members[0]["raw_key"]))
    assert scorecard(exchange)[0].deliveries == 3
    house.drop(contract, GOOD.replace(",1\n", ",2\n"), "4.csv")
    intake(exchange, contract)
    assert len(asked.plans) > 12
    for index in (*deliveries.indexes, *delivery_profiles.indexes):
        assert any(str(index.name) in plan for plan in asked.plans), index.name
    for plan in asked.plans:
        # Each is a search by more than whose the dataset is, and none sorts what it found.
        assert "SCAN" not in plan, plan
        assert "TEMP B-TREE" not in plan, plan
        whose = "(provider=? AND dataset=?)"
        assert whose not in plan or "_of_dataset" in plan or "COVERING INDEX delivery_profiles_sums" in plan, plan


def test_a_database_of_an_older_version_gets_the_indexes_that_it_lacks(tmp_path: Path) -> None:
    index = Index(f"sqlite:///{tmp_path / 'index.db'}")
    index.create()
    ours = _names(index)
    with index.engine.begin() as connection:
        for name in ours - {"deliveries_by_hash", "delivery_profiles_of_dataset"}:
            connection.exec_driver_sql(f"DROP INDEX {name}")
        connection.exec_driver_sql("CREATE INDEX deliveries_by_status ON deliveries (provider, dataset, status)")
    index.create()
    index.create()
    assert _names(index) == ours > {"deliveries_by_raw_key", "delivery_profiles_sums"}


def _names(index: Index) -> set[str | None]:
    tables = ("deliveries", "delivery_profiles")
    return {found["name"] for table in tables for found in sa.inspect(index.engine).get_indexes(table)}


def test_the_newest_delivery_of_some_bytes_is_found_among_those_before(
    loaded: tuple[House, Contract, list[dict[str, Any]]],
) -> None:
    house, contract, members = loaded
    house.drop(contract, GOOD, "again.csv")
    intake(house.exchange, contract)
    hashes = [member["sha256"] for member in members]
    found = loaded_before(house.exchange, contract, hashes, before=members[1]["delivery"])
    assert {digest: one.delivery for digest, one in found.items()} == {hashes[0]: members[0]["delivery"]}
    assert len(loaded_before(house.exchange, contract, hashes, before="9")) == 3
