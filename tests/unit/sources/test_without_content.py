"""Answers that are a success by their status and hold nothing of what was asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pydantic import TypeAdapter

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.sources.connector import Page, SourceError, connector_for
from lakehouse.sources.loopback_server import Fault
from tests.asking import asked
from tests.served import DAY, FIRST, Files, JsonApi, Publisher

FILE = {"connector": "http_file", "path": "/all.csv"}
DAYS = {"connector": "http_file", "path": "/days/{start:%Y-%m-%d}.csv", "every": "day"}
ALL = {"connector": "paged_json_api", "path": "/rows", "parameters": {"sort": "at"}, "page_size": 4}
UNCOUNTED = ALL | {"total": None}
CURSOR = ALL | {"path": "/cursor", "paging": "cursor", "records": "data", "next": "meta.next_cursor"}
NOT_READY = Fault(status=202, body=b'{"status": "Pending"}', headers={"Retry-After": "5"})
NOTHING = Fault(status=204, body=b"")


def pages(server: Publisher, arguments: Mapping[str, Any], *faults: Fault, sleeps: list[float]) -> Sequence[Page]:
    given = TypeAdapter[ExtractArguments](ExtractArguments).validate_python({"attempts": 3, **arguments})
    connector = connector_for(given, address=server.base_url, sleep=sleeps.append)
    with server:
        server.faults.extend(faults)
        return list(connector.pages(asked(FIRST, FIRST + 2 * DAY)))


def test_what_is_not_ready_yet_is_asked_for_again_after_its_time(sleeps: list[float]) -> None:
    [page] = pages(Files(), FILE, NOT_READY, sleeps=sleeps)
    assert page.path.read_bytes().startswith(b"id,at,count\n")
    assert len(sleeps) == 1
    assert sleeps[0] >= 5


@pytest.mark.parametrize("arguments", [FILE, DAYS, ALL])
def test_what_does_not_become_ready_is_an_error(arguments: dict[str, Any], sleeps: list[float]) -> None:
    said = r"answered 202, asking to wait 5 s \(3 attempts\): .*Pending.*; the source has not made it ready yet"
    with pytest.raises(SourceError, match=said):
        pages(JsonApi() if arguments is ALL else Files(), arguments, *[NOT_READY] * 3, sleeps=sleeps)


@pytest.mark.parametrize("status", [408, 423, 425])
def test_a_refusal_that_passes_is_waited_out(status: int, sleeps: list[float]) -> None:
    assert len(pages(Files(), FILE, Fault(status=status), sleeps=sleeps)) == 1
    with pytest.raises(SourceError, match=rf"answered {status} \(3 attempts\).*; the source cannot answer now: run"):
        pages(Files(), FILE, *[Fault(status=status)] * 3, sleeps=sleeps)


@pytest.mark.parametrize(("status", "says"), [(204, "nothing is there"), (205, "check"), (410, "it is there no more")])
def test_no_content_is_no_file(status: int, says: str, sleeps: list[float]) -> None:
    with pytest.raises(SourceError, match=rf"answered {status} .*; {says}"):
        pages(Files(), FILE, Fault(status=status, body=b""), sleeps=sleeps)


@pytest.mark.parametrize("arguments", [ALL, UNCOUNTED, CURSOR, ALL | {"paging": "none"}])
def test_no_content_where_rows_were_due_is_no_rows(arguments: dict[str, Any], sleeps: list[float]) -> None:
    assert pages(JsonApi(), arguments, NOTHING, sleeps=sleeps) == []


@pytest.mark.parametrize("arguments", [UNCOUNTED, CURSOR])
def test_no_content_behind_a_page_ends_the_set(arguments: dict[str, Any], sleeps: list[float]) -> None:
    assert [page.rows for page in pages(JsonApi(), arguments, Fault(), NOTHING, sleeps=sleeps)] == [4]


def test_no_content_before_the_last_of_the_rows_that_were_counted_is_an_error(sleeps: list[float]) -> None:
    with pytest.raises(SourceError, match="offset=4&limit=4 answered 204"):
        pages(JsonApi(), ALL, Fault(), NOTHING, sleeps=sleeps)


def test_a_part_of_a_page_is_no_file(sleeps: list[float]) -> None:
    page = Fault(body=b"<h1>Log in</h1>", headers={"Content-Type": "text/html"})
    with pytest.raises(SourceError, match="answered a web page where a file was due"):
        pages(Files(), FILE, page, sleeps=sleeps)
