"""What every connector promises, held to by each against a real server; a new one joins by a case in `cases.py`."""

import hashlib
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import TypeAdapter

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.exchange import Exchange
from lakehouse.landing.extract import Extracted, ExtractNotPossible, extract
from lakehouse.sources.connector import Connector, Page, SourceError, Watermark, connector_for
from lakehouse.sources.loopback_server import Fault
from lakehouse.storage.index import deliveries
from tests.asking import asked
from tests.served import DAY, FIRST
from tests.unit.landing.conftest import House
from tests.unit.sources.cases import CASES, SECRET, Case

THIRD_DAY = FIRST + 2 * DAY
HTTP = [case for case in CASES if case.http]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_http_case = pytest.mark.parametrize("case", HTTP, ids=lambda case: case.name)


def arguments(case: Case, **changes: Any) -> ExtractArguments:
    return TypeAdapter[ExtractArguments](ExtractArguments).validate_python(case.arguments | changes)


def connect(case: Case, source: Any, sleeps: list[float] | None = None, **changes: Any) -> Connector:
    pauses = [] if sleeps is None else sleeps
    return connector_for(
        arguments(case, **changes), address=source.base_url, credential=case.credential, sleep=pauses.append
    )


def pages(
    connector: Connector, start: datetime = FIRST, end: datetime = THIRD_DAY, watermark: Watermark | None = None
) -> list[Page]:
    return list(connector.pages(asked(start, end, watermark)))


def ids(case: Case, found: list[Page]) -> list[str]:
    return [row for page in found for row in case.ids(page.path.read_bytes())]


def whole(source: Any) -> list[str]:
    return [row["id"] for row in source.rows]


class Lander:
    """Extracts of a case into an exchange of its own, as Airflow asks for them."""

    def __init__(self, case: Case, house: House, source: Any, **changes: Any) -> None:
        contract = house.contract()
        extension = contract.exchange.model_copy(update={"extract": arguments(case, **changes)})
        self._case = case
        self._contract = contract.model_copy(update={"exchange": extension})
        self.exchange = Exchange(house.exchange.settings.model_copy(update={"extract_url": source.base_url}))

    def extract(self, start: datetime = FIRST, end: datetime = THIRD_DAY, **more: Any) -> Extracted:
        return extract(self.exchange, self._contract, start=start, end=end, **more)

    def sealed(self) -> list[bytes]:
        rows = self.exchange.index.rows(sa.select(deliveries.c.raw_key).order_by(deliveries.c.delivery))
        return [self.exchange.lake.read_bytes("raw", row["raw_key"]) for row in rows]

    def ids(self) -> set[str]:
        return {row for content in self.sealed() for row in self._case.ids(content)}


# What is read


@every_case
def test_the_source_comes_whole_each_row_once(case: Case) -> None:
    with case.source() as source:
        found = pages(connect(case, source))
        assert ids(case, found) == whole(source)
        assert all(page.rows is None or page.rows == len(ids(case, [page])) for page in found)


@every_http_case
def test_a_page_is_what_the_server_sent(case: Case) -> None:
    with case.source() as source:
        found = pages(connect(case, source))
        sent = {exchanged.sha256: source.base_url + exchanged.target for exchanged in source.exchanged}
    assert found
    for page in found:
        assert sent[hashlib.sha256(page.path.read_bytes()).hexdigest()] == page.url


@every_case
def test_the_same_request_gives_the_same_names_and_bytes(case: Case) -> None:
    with case.source() as source:
        runs = [[(page.name, page.path.read_bytes()) for page in pages(connect(case, source))] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len({name for name, _ in runs[0]}) == len(runs[0])


@every_case
def test_where_nothing_is_new_nothing_is_sealed(case: Case, house: House) -> None:
    with case.source() as source:
        lander = Lander(case, house, source)
        lander.extract()
        sealed = lander.sealed()
        lander.extract()
        assert lander.sealed() == sealed
        assert lander.ids() == set(whole(source))


@every_case
def test_an_extract_goes_on_behind_the_one_before(case: Case, house: House) -> None:
    with case.source() as source:
        lander = Lander(case, house, source)
        lander.extract()
        before = len(lander.sealed())
        source.grow()
        lander.extract(THIRD_DAY, THIRD_DAY + DAY)
        new = {row for content in lander.sealed()[before:] for row in case.ids(content)}
        assert set(whole(source)[-4:]) <= new
        assert lander.ids() == set(whole(source))
    if case.again == "only":
        # The source says no more than the moment where the two meet, which some hold to be in both.
        assert len(new) <= 5


@pytest.mark.parametrize(
    ("name", "asked_otherwise", "another"),
    [
        ("changes in order", {"page_size": 4, "attempts": 2}, {"parameters": {"area": "all"}}),
        ("ckan datastore that only grows", {"page_size": 4}, {"filters": {"area": "all"}}),
        ("file", {"max_bytes": 1_000_000}, {"headers": {"Accept": "text/csv"}}),
    ],
)
def test_a_watermark_holds_for_what_it_was_read_by(
    name: str, asked_otherwise: dict[str, Any], another: dict[str, Any], house: House
) -> None:
    [case] = [case for case in CASES if case.name == name]
    with case.source() as source:
        pages_of_all = Lander(case, house, source).extract().pages
        assert Lander(case, house, source, **asked_otherwise).extract().pages == 0
        assert Lander(case, house, source, **another).extract().pages == pages_of_all > 0
    for other in (case for case in CASES if not arguments(case).by_interval and case.name != name):
        with other.source() as source:
            assert Lander(other, house, source).extract().pages > 0


@every_case
def test_only_a_source_that_is_asked_by_interval_needs_one(case: Case, house: House) -> None:
    with case.source() as source:
        lander = Lander(case, house, source)
        if arguments(case).by_interval:
            with pytest.raises(ExtractNotPossible, match="is asked for a data interval; start its DAG with one"):
                lander.extract(FIRST, FIRST)
        else:
            assert lander.extract(FIRST, FIRST).sealed > 0


# Patience


@every_http_case
def test_an_unavailable_source_is_asked_again_after_the_wait_it_names(case: Case) -> None:
    sleeps: list[float] = []
    with case.source() as source:
        source.faults.extend([Fault(status=503), Fault(status=429, headers={"Retry-After": "90"})])
        assert ids(case, pages(connect(case, source, sleeps))) == whole(source)
    assert len(sleeps) == 2
    assert 1 <= sleeps[0] <= 2
    assert 90 <= sleeps[1] <= 93


@every_http_case
def test_giving_up_names_the_request_what_came_and_the_next_step_but_no_credential(case: Case) -> None:
    with case.source() as source:
        source.faults.extend([Fault(status=500, body=f"broken, {SECRET}".encode())] * 2)
        says = rf"GET {source.base_url}/\S+ answered 500 \(2 attempts\): 'broken, .*run the extract again later"
        with pytest.raises(SourceError, match=says) as refused:
            pages(connect(case, source, attempts=2))
        assert all(exchanged.headers["authorization"] == SECRET for exchanged in source.exchanged)
    assert "not-for-any-eyes" not in str(refused.value)


@every_http_case
def test_no_more_requests_are_made_than_the_rate_allows(case: Case) -> None:
    sleeps: list[float] = []
    with case.source() as source:
        pages(connect(case, source, sleeps, max_requests_per_second=0.1))
        assert len(sleeps) == len(source.exchanged) - 1
    assert all(9 < pause <= 10 for pause in sleeps)


@every_http_case
def test_an_interrupted_extract_goes_on_and_loses_nothing(case: Case, house: House) -> None:
    with case.source() as source:
        lander = Lander(case, house, source, attempts=1)
        answers_before = {"page": 1, "window": 2, "transfer": 0, "start": 1}[case.resumes]
        source.faults.extend([*[Fault()] * answers_before, Fault(status=500)])
        with pytest.raises(SourceError, match="answered 500"):
            lander.extract()
        kept = len(lander.sealed())
        assert (kept > 0) == (case.resumes in ("page", "window"))
        lander.extract()
        assert lander.ids() == set(whole(source))
        assert len(lander.sealed()) == len(set(lander.sealed()))


@pytest.mark.parametrize("case", [c for c in HTTP if c.resumes == "transfer"], ids=lambda case: case.name)
def test_a_transfer_that_breaks_off_goes_on_where_it_was(case: Case) -> None:
    sleeps: list[float] = []
    with case.source() as source:
        connector = connect(case, source, sleeps)
        pages(connector)
        requests = len(source.exchanged)
        source.exchanged.clear()
        source.faults.extend([*[Fault()] * (requests - 1), Fault(truncate=True)])
        [page] = pages(connector)
        last = source.exchanged[-1]
        assert last.status == 206
        assert last.headers["range"] == f"bytes={page.path.stat().st_size // 2}-"
        assert ids(case, [page]) == whole(source)
    assert len(sleeps) == 1


# Bounds


@every_http_case
def test_nobody_is_followed_to_another_host(case: Case) -> None:
    with case.source() as source, case.source() as other:
        away = other.base_url.replace("127.0.0.1", "localhost")
        source.faults.append(Fault(status=307, headers={"Location": away}))
        with pytest.raises(SourceError, match="redirected to http://localhost: not followed"):
            pages(connect(case, source))
        assert not other.exchanged


@every_http_case
def test_an_answer_without_end_is_refused_before_it_fills_memory(case: Case) -> None:
    endless = b" " * 32_000_000
    with case.source() as source:
        source.faults.append(Fault(body=endless))
        connector = connect(case, source, max_bytes=1_000_000)
        tracemalloc.start()
        try:
            with pytest.raises(SourceError, match="answers more than 1,000,000 bytes: raise max_bytes"):
                pages(connector)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4_000_000


def test_a_large_file_passes_through_little_memory(tmp_path: Path) -> None:
    [case] = [case for case in CASES if case.name == "file"]
    large = b"0123456789abcdef" * 2_000_000
    with case.source() as source:
        source.faults.append(Fault(body=large))
        tracemalloc.start()
        try:
            [page] = pages(connect(case, source))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert page.path.stat().st_size == len(large)
    assert peak < 4_000_000
