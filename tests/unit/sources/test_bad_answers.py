"""Answers as bad as real sources give them: nothing of a set may be lost without a word."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import TypeAdapter

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.sources.connector import Page, SourceError, Watermark, connector_for
from lakehouse.sources.loopback_server import Answered, LoopbackServer
from tests.asking import asked
from tests.served import DAY, FIRST, Query, answer, moment

ROWS = [{"id": f"r{hour}", "at": moment(hour)} for hour in range(8)]
ALL = {
    "connector": "paged_json_api",
    "path": "/rows",
    "parameters": {"sort": "id"},
    "start_parameter": None,
    "end_parameter": None,
    "attempts": 2,
}
UNCOUNTED = ALL | {"total": None}
CHANGED = ALL | {"paging": "none", "changes": {"parameter": "since", "value": "at"}}


class Source(LoopbackServer):
    """Answers each query as a function says."""

    def __init__(self, page: Callable[[Query], Answered]) -> None:
        super().__init__()
        self._page = page

    def answer(self, target: str, headers: Mapping[str, str]) -> Answered:
        return self._page(dict(parse_qsl(urlsplit(target).query)))


def pages(source: LoopbackServer, arguments: dict[str, Any], *, watermark: Watermark | None = None) -> list[Page]:
    given = TypeAdapter[ExtractArguments](ExtractArguments).validate_python(arguments)
    connector = connector_for(given, address=source.base_url, sleep=lambda _: None)
    return list(connector.pages(asked(FIRST, FIRST + DAY, watermark)))


def ids(found: list[Page]) -> list[str]:
    return [row["id"] for page in found for row in json.loads(page.path.read_bytes())["records"]]


def records(part: list[dict[str, Any]], **more: Any) -> Answered:
    return answer({"records": part, **more})


# Pages


@pytest.mark.parametrize("paging", ["offset", "page_number"])
def test_a_source_that_caps_its_pages_and_does_not_count_is_found_out(paging: str) -> None:
    def capped(query: Query) -> Answered:
        place = int(query["offset"]) if "offset" in query else 3 * (int(query["page"]) - 1)
        return records(ROWS[place : place + 3])

    with Source(capped) as source, pytest.raises(SourceError, match="caps its pages; set page_size to its cap"):
        pages(source, UNCOUNTED | {"paging": paging, "page_size": 10})


@pytest.mark.parametrize("size", [4, 8, 10])
def test_a_source_that_knows_no_page_behind_its_last_is_read_whole(size: int) -> None:
    def numbered(query: Query) -> Answered:
        part = ROWS[size * (int(query["page"]) - 1) :][:size]
        return records(part) if part else Answered(status=404, body=b"Invalid page.")

    with Source(numbered) as source:
        assert len(ids(pages(source, UNCOUNTED | {"paging": "page_number", "page_size": size}))) == len(ROWS)


@pytest.mark.parametrize("total", [6, None])
def test_a_source_that_does_not_know_the_parameter_of_the_place_is_refused(total: int | None) -> None:
    with (
        Source(lambda query: records(ROWS[:3], total=total)) as source,
        pytest.raises(SourceError, match="the rows of the page before once more"),
    ):
        pages(source, ALL | {"page_size": 3, "total": "total" if total else None})


@pytest.mark.parametrize(("more", "says"), [({}, "so there may be more"), ({"total": 8}, "says 8 at 'total'")])
def test_one_answer_that_may_be_cut_off_is_refused(more: dict[str, int], says: str) -> None:
    with (
        Source(lambda query: records(ROWS[: int(query["limit"])], **more)) as source,
        pytest.raises(SourceError, match=says),
    ):
        pages(source, ALL | {"paging": "none", "page_size": 3})


def test_a_cursor_that_repeats_behind_the_last_row_ends_the_set() -> None:
    def page(query: Query) -> Answered:
        place = int(query.get("cursor", 0))
        return records(ROWS[place : place + 3], next=str(min(place + 3, len(ROWS))))

    with Source(page) as source:
        assert len(ids(pages(source, ALL | {"paging": "cursor", "next": "next", "page_size": 3}))) == len(ROWS)


# Changes


def test_a_time_of_change_that_is_yet_to_come_hides_no_later_change() -> None:
    rows = [*ROWS, {"id": "ahead", "at": "2999-01-01T00:00:00Z"}]
    with Source(lambda query: records([row for row in rows if row["at"] >= query.get("since", "")])) as source:
        first = pages(source, CHANGED)
        assert len(ids(first)) == len(rows)
        assert pages(source, CHANGED, watermark=first[-1].watermark) == []
        rows.append({"id": "new", "at": moment(20)})
        second = pages(source, CHANGED, watermark=first[-1].watermark)
        assert "new" in ids(second)
        assert pages(source, CHANGED, watermark=second[-1].watermark) == []


def test_a_source_that_is_not_in_the_order_that_the_contract_says_is_refused() -> None:
    def newest_first(query: Query) -> Answered:
        place = int(query["offset"])
        return records(ROWS[::-1][place : place + 4], total=len(ROWS))

    changes = {"parameter": "since", "value": "at", "ordered": True}
    with Source(newest_first) as source, pytest.raises(SourceError, match="came after a newer one"):
        pages(source, ALL | {"page_size": 4, "changes": changes})


# Texts


def test_an_answer_in_the_charset_that_it_states_is_read() -> None:
    body = json.dumps({"records": [{"id": "Sjællør"}]}, ensure_ascii=False).encode("latin-1")
    stated = {"Content-Type": "application/json; charset=ISO-8859-1"}
    with Source(lambda query: Answered(body=body, headers=stated)) as source:
        [page] = pages(source, ALL | {"paging": "none"})
    assert (page.rows, page.path.read_bytes()) == (1, body)


def test_json_that_nests_without_end_is_refused() -> None:
    with (
        Source(lambda query: Answered(body=b"[" * 100_000)) as source,
        pytest.raises(SourceError, match="did not answer JSON"),
    ):
        pages(source, ALL | {"paging": "none"})
