"""Changes as real sources give them: what changed later is never passed over without a word."""

from collections.abc import Callable
from typing import Any

import pytest

from lakehouse.sources.connector import SourceError
from lakehouse.sources.loopback_server import Answered
from tests.asking import ids, pages
from tests.served import Query, Source, answer, moment

ROWS = [{"id": f"r{hour}", "at": moment(hour)} for hour in range(8)]
SINCE = {"parameter": "since", "value": "at"}
ALL = {
    "connector": "paged_json_api",
    "path": "/rows",
    "paging": "none",
    "parameters": {"sort": "id"},
    "start_parameter": None,
    "end_parameter": None,
}
CHANGED = ALL | {"changes": SINCE}
IN_ORDER = ALL | {"page_size": 4, "changes": SINCE | {"ordered": True}}


def records(part: list[dict[str, Any]], **more: Any) -> Answered:
    return answer({"records": part, **more})


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


def numbered(*numbers: float) -> Callable[[Query], Answered]:
    rows = [{"id": str(number), "at": number} for number in numbers]
    return lambda query: records([row for row in rows if float(row["at"]) >= float(query.get("since", "-inf"))])


@pytest.mark.parametrize("parts", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("ahead", [4_102_444_800, 253_402_214_400])
@pytest.mark.parametrize("kind", [int, float])
def test_a_number_of_a_time_that_is_yet_to_come_hides_no_later_change(
    parts: int, ahead: int, kind: type[float]
) -> None:
    known = [kind(moment * parts) for moment in (1_700_000_000, ahead)]
    with Source(numbered(*known)) as source:
        [first] = pages(source, CHANGED)
    assert (first.rows, (first.watermark or {})["since"]) == (2, known[0])
    new = kind(1_710_000_000 * parts)
    with Source(numbered(*known, new)) as source:
        [second] = pages(source, CHANGED, watermark=first.watermark)
        assert str(new) in ids([second])
        assert pages(source, CHANGED, watermark=second.watermark) == []


@pytest.mark.parametrize(
    "numbers", [(1, 2, 70_000), (5, 2**31, 2**33), (2**40, 2**62), (20240101120000, 20990101120000)]
)
def test_numbers_that_count_changes_move_the_watermark(numbers: tuple[int, ...]) -> None:
    counter = ALL | {"changes": SINCE | {"counter": 2**31 in numbers}}
    with Source(numbered(*numbers)) as source:
        [page] = pages(source, counter)
    assert page.watermark == {"since": numbers[-1], "seen": page.watermark["seen"]}


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), True])
def test_what_is_no_number_moves_no_watermark(number: float) -> None:
    with (
        Source(lambda query: records([{"id": "a", "at": number}])) as source,
        pytest.raises(SourceError, match="where its time of change was due"),
    ):
        pages(source, CHANGED)


def test_a_source_that_is_not_in_the_order_that_the_contract_says_is_refused() -> None:
    def newest_first(query: Query) -> Answered:
        place = int(query["offset"])
        return records(ROWS[::-1][place : place + 4], total=len(ROWS))

    with Source(newest_first) as source, pytest.raises(SourceError, match="came after a newer one"):
        pages(source, IN_ORDER | {"paging": "offset"})


@pytest.mark.parametrize("paging", [{}, {"paging": "next_url", "next": "next"}])
@pytest.mark.parametrize("same", [4, 10])
def test_more_changes_of_one_moment_than_a_page_holds_are_refused(same: int, paging: dict[str, str]) -> None:
    rows = [*ROWS[:3], *({"id": f"s{number}", "at": moment(5)} for number in range(same)), ROWS[7]]

    def page(query: Query) -> Answered:
        return records([row for row in rows if row["at"] >= query.get("since", "")][: int(query["limit"])])

    with Source(page) as source:
        first = pages(source, IN_ORDER | paging)
        assert ids(first) == ["r0", "r1", "r2", "s0"]
        with pytest.raises(SourceError, match=rf"bring the same from '{moment(5)}' on: .*raise page_size"):
            pages(source, IN_ORDER | paging, watermark=first[-1].watermark)
        larger = IN_ORDER | paging | {"page_size": same + 1}
        second = pages(source, larger, watermark=first[-1].watermark)
        assert ids(second) == [row["id"] for row in rows[3:]]


def test_changes_in_order_go_on_answer_by_answer() -> None:
    found, watermark = list[str](), None
    with Source(lambda query: records([row for row in ROWS if row["at"] >= query.get("since", "")][:4])) as source:
        while came := pages(source, IN_ORDER, watermark=watermark):
            found, watermark = [*found, *ids(came)], came[-1].watermark
    assert sorted(set(found)) == [row["id"] for row in ROWS]
