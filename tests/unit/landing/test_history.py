"""What was known when."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from lakehouse.landing.history import NoSuchValue, history
from lakehouse.storage.index import deliveries
from tests.unit.landing.conftest import House

HEADER = "meter,read_at,use_kwh\n"


def filled(house: House) -> list[str]:
    """Three versions of one row, and another row; returns when the deliveries came."""
    contract = house.contract()
    for number, use in enumerate((5, 6, 7)):
        other = "b,2024-01-02 00:00,1\n" if number == 0 else ""
        house.deliver(contract, f"{HEADER}a,2024-01-01 00:00,{use}\n{other}", f"{number}.csv")
    rows = house.exchange.index.rows(sa.select(deliveries.c.received_at).order_by(deliveries.c.delivery))
    return [row["received_at"] for row in rows]


def test_all_versions_of_a_row_are_told_and_the_newest_stands(house: House) -> None:
    received = filled(house)
    contract = house.exchange.contract("town/readings")
    # The value of one version finds the others too.
    found = history(house.exchange, contract, where={"use_kwh": "6"})
    assert [(float(row["use_kwh"]), row["stands"], row["line"]) for row in found] == [
        (5.0, False, 2), (6.0, False, 2), (7.0, True, 2),
    ]  # fmt: skip
    assert [row["known_at"] for row in found] == received
    assert {row["observed_at"].isoformat() for row in found} == {"2024-01-01T00:00:00+00:00"}
    assert len({row["delivery"] for row in found}) == 3


def test_as_of_a_time_what_came_later_was_not_known(house: House) -> None:
    received = filled(house)
    contract = house.exchange.contract("town/readings")
    found = history(house.exchange, contract, where={"meter": "a"}, as_of=received[1])
    assert [(float(row["use_kwh"]), row["stands"]) for row in found] == [(5.0, False), (6.0, True)]
    assert history(house.exchange, contract, where={"use_kwh": "7"}, as_of=received[1]) == []


def test_a_condition_that_cannot_be_is_told(house: House) -> None:
    filled(house)
    contract = house.exchange.contract("town/readings")
    with pytest.raises(NoSuchValue, match="has no column colour; it has: meter, read_at, use_kwh"):
        history(house.exchange, contract, where={"colour": "red"})
    with pytest.raises(NoSuchValue, match="a value of use_kwh has not the type of its column"):
        history(house.exchange, contract, where={"use_kwh": "much"})
