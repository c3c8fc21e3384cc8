"""A source that is asked for whole days only: each comes once it is over, and none is missed."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lakehouse.contracts.extract import PagedJsonApi
from lakehouse.exchange import Exchange
from lakehouse.landing.extract import extract, missed, uncovered
from lakehouse.sources.loopback_server import Fault
from lakehouse.sources.page import SourceError
from tests.served import DAY, FIRST, JsonApi
from tests.unit.landing.conftest import House

HOURS = timedelta(hours=12)


@pytest.mark.parametrize("window_days", [None, 1])
def test_a_day_comes_with_the_interval_in_which_it_ends(tmp_path: Path, window_days: int | None) -> None:
    arguments = PagedJsonApi(
        connector="paged_json_api",
        path="/offset",
        parameters={"sort": "at"},
        time_format="%Y-%m-%d",
        window_days=window_days,
        attempts=1,
    )
    house = House(tmp_path)
    contract = house.contract()
    contract = contract.model_copy(update={"exchange": contract.exchange.model_copy(update={"extract": arguments})})
    with JsonApi() as api:
        exchange = Exchange(house.exchange.settings.model_copy(update={"extract_url": api.base_url}))

        def rows(start: datetime) -> int:
            return extract(exchange, contract, start=start, end=start + HOURS).rows

        assert [rows(FIRST - HOURS), rows(FIRST)] == [0, 0]
        api.faults.append(Fault(status=503))
        with pytest.raises(SourceError, match="answered 503"):
            rows(FIRST + HOURS)
        assert rows(FIRST + DAY) == 0
        assert missed(exchange, contract, before=FIRST + DAY + HOURS) == [(FIRST, FIRST + DAY)]
        assert [rows(FIRST + HOURS), rows(FIRST + DAY + HOURS)] == [4, 4]
        assert missed(exchange, contract, before=FIRST + 2 * DAY + HOURS) == []
        assert uncovered(exchange, contract, start=FIRST, end=FIRST + 2 * DAY + HOURS) == []
        days = [exchanged.target.partition("start=")[2][:25] for exchanged in api.exchanged]
    assert days == [
        "2023-12-31&end=2024-01-01",
        *["2024-01-01&end=2024-01-02"] * 2,
        "2024-01-02&end=2024-01-03",
    ]
