"""The task that asks a source: what a scheduled run makes good of those before it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lakehouse.contracts.extract import PagedJsonApi
from lakehouse.exchange import Exchange
from lakehouse.landing.extract import uncovered
from lakehouse.sources.loopback_server import Fault
from lakehouse.sources.page import SourceError
from tests.airflow_plugins import exchange_operators
from tests.served import DAY, FIRST, JsonApi
from tests.unit.landing.conftest import House

HOURS = timedelta(hours=12)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A source with a row every six hours of two days, an exchange and a task that asks for them."""
    with JsonApi() as api:
        house = House(tmp_path)
        contract = house.contract()
        arguments = PagedJsonApi(connector="paged_json_api", path="/offset", parameters={"sort": "at"}, attempts=1)
        extension = contract.exchange.model_copy(update={"extract": arguments})
        contract = contract.model_copy(update={"exchange": extension})
        exchange = Exchange(house.exchange.settings.model_copy(update={"extract_url": api.base_url}))
        monkeypatch.setattr(Exchange, "contract", lambda self, key: contract)
        monkeypatch.setattr(Exchange, "from_environment", lambda: exchange)
        yield SimpleNamespace(api=api, exchange=exchange, contract=contract)


def run(start: datetime, *, kind: str = "scheduled") -> dict[str, Any]:
    task = exchange_operators.ExtractOperator(task_id="extract", dataset="town/readings")
    context = {
        "dag_run": SimpleNamespace(start_date=datetime.now(start.tzinfo), run_type=kind),
        "data_interval_start": start,
        "data_interval_end": start + HOURS,
    }
    found: dict[str, Any] = task.execute(context)
    return found


def test_a_source_that_was_away_is_asked_for_what_was_missed(source: Any) -> None:
    assert run(FIRST)["rows"] == 2
    source.api.faults.extend([Fault(status=503)] * 2)
    for missed in (FIRST + HOURS, FIRST + DAY):
        with pytest.raises(SourceError):
            run(missed)
    assert run(FIRST + DAY + HOURS)["rows"] == 6
    assert uncovered(source.exchange, source.contract, start=FIRST, end=FIRST + 2 * DAY) == []
    assert run(FIRST + 2 * DAY)["rows"] == 0


def test_what_is_still_missing_holds_up_nothing(source: Any) -> None:
    run(FIRST)
    source.api.faults.extend([Fault(), Fault(status=503)])
    assert run(FIRST + DAY)["rows"] == 2
    assert uncovered(source.exchange, source.contract, start=FIRST, end=FIRST + DAY) == [(FIRST + HOURS, FIRST + DAY)]


@pytest.mark.parametrize("kind", ["manual", "backfill"])
def test_a_run_for_one_interval_asks_for_no_other(source: Any, kind: str) -> None:
    run(FIRST)
    assert run(FIRST + DAY, kind=kind)["rows"] == 2


def test_what_was_never_begun_is_not_missed(source: Any) -> None:
    assert run(FIRST + DAY)["rows"] == 2
