"""The task that asks a source: what a scheduled run makes good of those before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lakehouse.contracts.extract import HttpFile, PagedJsonApi
from lakehouse.contracts.odcs import Server, SlaProperty
from lakehouse.exchange import Exchange
from lakehouse.landing.extract import uncovered
from lakehouse.sources.loopback_server import Answered, Fault, LoopbackServer
from lakehouse.sources.page import NotThere, SourceError
from tests.airflow_plugins import exchange_operators
from tests.served import DAY, FIRST, JsonApi
from tests.unit.landing.conftest import House

HOURS = timedelta(hours=12)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A source with a row every six hours of two days, an exchange and a task that asks for them."""
    with JsonApi() as api:
        arguments = PagedJsonApi(connector="paged_json_api", path="/offset", parameters={"sort": "at"}, attempts=1)
        yield asked_from(api, arguments, tmp_path, monkeypatch)


def asked_from(api: LoopbackServer, arguments: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An exchange whose one dataset is asked from this server."""
    house = House(folder)
    contract = house.contract()
    extension = contract.exchange.model_copy(
        update={"extract": arguments, "history_start": f"{TODAY - 8 * DAY:%Y-%m-%d}"}
    )
    server = Server(server="publisher", type="api", location=api.base_url)
    contract = contract.model_copy(update={"exchange": extension, "servers": [server]})
    exchange = Exchange(house.exchange.settings.model_copy(update={"extracts": "live"}))
    found = SimpleNamespace(api=api, exchange=exchange, contract=contract)
    monkeypatch.setattr(Exchange, "contract", lambda self, key: found.contract)
    monkeypatch.setattr(Exchange, "from_environment", lambda: exchange)
    return found


class Days(LoopbackServer):
    """A file for each day, of those that are `there`."""

    def __init__(self) -> None:
        super().__init__()
        self.there: set[datetime] = set()
        self.absent = 404

    def answer(self, target: str, headers: Mapping[str, str]) -> Answered:
        day = datetime.strptime(target, "/%Y-%m-%d.csv").replace(tzinfo=UTC)
        return Answered(body=f"{day}\n".encode()) if day in self.there else Answered(status=self.absent)


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with Days() as api:
        given = {"connector": "http_file", "path": "/{start:%Y-%m-%d}.csv", "every": "day", "attempts": 1}
        yield asked_from(api, HttpFile.model_validate(given), tmp_path, monkeypatch)


def run(start: datetime, *, kind: str = "scheduled", length: timedelta = HOURS) -> dict[str, Any]:
    task = exchange_operators.ExtractOperator(task_id="extract", dataset="town/readings")
    context = {
        "dag_run": SimpleNamespace(start_date=datetime.now(start.tzinfo), run_type=kind),
        "data_interval_start": start,
        "data_interval_end": start + length,
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


def test_files_that_are_published_late_all_come(days: Any) -> None:
    """Each is there two days after its day has ended: the run of its own day never finds it."""
    first = TODAY - 8 * DAY
    for day in range(6):
        start = first + day * DAY
        days.api.there = {first + earlier * DAY for earlier in range(day - 1)}
        with pytest.raises(NotThere, match=f"{start:%Y-%m-%d}.csv answered 404"):
            run(start, length=DAY)
    gap = (first + 4 * DAY, first + 6 * DAY)
    assert uncovered(days.exchange, days.contract, start=first, end=first + 6 * DAY) == [gap]
    names = {entry.key.rsplit("/", 1)[-1] for entry in days.exchange.lake.list("raw")}
    assert names == {"origin.json", *(f"{first + day * DAY:%Y-%m-%d}.csv" for day in range(4))}


@pytest.mark.parametrize("absent", [204, 404, 410])
def test_of_a_span_with_a_day_without_a_file_only_that_day_is_asked_for_again(days: Any, absent: int) -> None:
    days.api.absent = absent
    first = TODAY - 5 * DAY
    days.api.there = {first, first + 2 * DAY}
    with pytest.raises(NotThere, match=f"{first + DAY:%Y-%m-%d}.csv answered {absent}"):
        run(first, kind="backfill", length=3 * DAY)
    gap = (first + DAY, first + 2 * DAY)
    assert uncovered(days.exchange, days.contract, start=first, end=first + 3 * DAY) == [gap]
    days.api.there = {first + DAY, first + 3 * DAY}
    assert run(first + 3 * DAY, length=DAY)["pages"] == 2
    assert uncovered(days.exchange, days.contract, start=first, end=first + 4 * DAY) == []


def test_a_file_that_is_not_there_after_a_month_is_given_up_where_others_came(days: Any) -> None:
    with pytest.raises(NotThere, match="2024-01-01.csv answered 404"):
        run(FIRST, kind="manual", length=3 * DAY)
    assert uncovered(days.exchange, days.contract, start=FIRST, end=FIRST + 3 * DAY) == [(FIRST, FIRST + 3 * DAY)]
    days.api.there = {FIRST, FIRST + 2 * DAY}
    assert run(FIRST, kind="manual", length=3 * DAY)["pages"] == 2
    assert uncovered(days.exchange, days.contract, start=FIRST, end=FIRST + 3 * DAY) == []
    days.api.there.add(FIRST + DAY)
    assert run(FIRST + DAY, kind="backfill", length=DAY)["pages"] == 1


def test_what_is_not_due_is_no_failure(days: Any) -> None:
    assert run(TODAY, kind="backfill", length=HOURS)["pages"] == 0
    yesterday = TODAY - DAY
    with pytest.raises(NotThere):
        run(yesterday, kind="backfill", length=DAY)
    promise = SlaProperty(property="latency", value=30, unit="h")
    days.contract = days.contract.model_copy(update={"slaProperties": [promise]})
    assert run(yesterday, kind="backfill", length=DAY)["pages"] == 0
    assert uncovered(days.exchange, days.contract, start=yesterday, end=TODAY) == [(yesterday, TODAY)]
