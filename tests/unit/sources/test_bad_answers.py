"""Answers as bad as real sources give them: nothing may be lost without a word, and no secret shown."""

import gzip
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from lakehouse.sources.connector import SourceError
from lakehouse.sources.listed import page_name
from lakehouse.sources.loopback_server import Answered
from tests.asking import ids, pages
from tests.served import Portal, Query, Source, answer, moment

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


@pytest.mark.parametrize(("size", "status"), [(4, 404), (8, 404), (10, 404), (10, 400), (10, 422)])
def test_a_source_that_knows_no_page_behind_its_last_is_read_whole(size: int, status: int) -> None:
    def numbered(query: Query) -> Answered:
        part = ROWS[size * (int(query["page"]) - 1) :][:size]
        return records(part) if part else Answered(status=status, body=b"Invalid page.")

    with Source(numbered) as source:
        assert len(ids(pages(source, UNCOUNTED | {"paging": "page_number", "page_size": size}))) == len(ROWS)


def test_a_place_that_is_too_far_for_the_source_is_not_its_end() -> None:
    def near(query: Query) -> Answered:
        return records(ROWS[:4]) if query["offset"] == "0" else Answered(status=400, body=b"offset + limit above 4")

    with Source(near) as source, pytest.raises(SourceError, match="answered 400"):
        pages(source, UNCOUNTED | {"page_size": 4})


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


ODATA = ALL | {"paging": "next_url", "records": "value", "next": "@odata.nextLink", "limit_parameter": None}


@pytest.mark.parametrize(
    ("key", "of"),
    [
        ("@odata.nextLink", dict),
        ("next.page", lambda link: {"next": {"page": link}}),
        ("a.b.c", lambda link: {"a.b": {"c": link}}),
    ],
)
def test_a_key_with_dots_of_its_own_is_found(key: str, of: Callable[[Any], dict[str, Any]]) -> None:
    def page(query: Query) -> Answered:
        place = int(query.get("skip", 0))
        link = f"/rows?skip={place + 3}"
        named = {key: link} if of is dict else of(link)
        return answer({"value": ROWS[place : place + 3], **(named if place + 3 < len(ROWS) else {})})

    with Source(page) as source:
        assert sum(page.rows or 0 for page in pages(source, ODATA | {"next": key})) == len(ROWS)


def test_a_full_page_that_names_a_next_with_dots_is_the_last_where_it_is_null() -> None:
    arguments = ODATA | {"limit_parameter": "top", "page_size": len(ROWS)}
    with Source(lambda query: answer({"value": ROWS, "@odata.nextLink": None})) as source:
        assert len(pages(source, arguments)) == 1
    with (
        Source(lambda query: answer({"value": ROWS})) as source,
        pytest.raises(SourceError, match="does not say whether"),
    ):
        pages(source, arguments)


@pytest.mark.parametrize("records", ["records", "result.records", ""])
@pytest.mark.parametrize("paging", ["none", "offset", "link_header"])
def test_null_is_no_rows_where_a_list_is_due(records: str, paging: str) -> None:
    empty = {"records": None, "total": 0, "result": {"records": None}} if records else None
    with Source(lambda query: answer(empty)) as source:
        assert pages(source, ALL | {"paging": paging, "records": records, "total": "total" if records else None}) == []


def test_null_is_no_rows_of_a_portal_either() -> None:
    result: dict[str, Any] = {"total": 0, "records": None}
    arguments = {"connector": "ckan", "resource_id": Portal.ID}
    with Source(lambda query: answer({"success": True, "result": result})) as source:
        assert pages(source, arguments) == []
        result["total"] = 1
        with pytest.raises(SourceError, match="gave 0 rows of 1"):
            pages(source, arguments)
        del result["records"]
        with pytest.raises(SourceError, match="has no list at 'result.records'"):
            pages(source, arguments)


@pytest.mark.parametrize("paging", ["cursor", "next_url"])
@pytest.mark.parametrize("found", [{"id": 5}, ["a", "b"], True])
def test_what_is_no_text_leads_to_no_next_page(paging: str, found: Any) -> None:
    with (
        Source(lambda query: records(ROWS[:3], next=found)) as source,
        pytest.raises(SourceError, match=r"at 'next', where a text or a number was due: correct `next`"),
    ):
        pages(source, ALL | {"paging": paging, "next": "next"})


@pytest.mark.parametrize(
    "header",
    [
        '</rows?limit=3&offset=3>; REL="next"',
        '</rows?limit=3&offset=3>; rel="Next last"',
        "</rows?limit=3&offset=3>; rel='next'",
        r'</rows?limit=3&offset=3>; title="a; rel=\"first\""; rel="next"',
        "</rows?limit=3&offset=3>; rel='last next'",
        '</rows?limit=3&offset=3>;;rel="next"; ',
        "</rows?offset=0>; ; rel=first;, </rows?limit=3&offset=3>; title; rel=next",
        '</rows?offset=0>; rel=first, </rows?limit=3&offset=3>; title="a=b; c, d"; rel=next',
    ],
)
def test_a_link_to_the_next_page_is_found_however_it_is_written(header: str) -> None:
    def page(query: Query) -> Answered:
        return answer(ROWS[3:6]) if "offset" in query else answer(ROWS[:3], Link=header)

    with Source(page) as source:
        assert len(pages(source, ALL | {"paging": "link_header", "records": ""})) == 2


@pytest.mark.parametrize(("links", "says"), [(None, None), ({"next": "/"}, "no list at 'links'"), (["x"], None)])
def test_links_of_features_may_be_of_any_shape(links: Any, says: str | None) -> None:
    feature = {"type": "Feature", "geometry": None, "properties": {}}
    collection = {"type": "FeatureCollection", "features": [feature], "links": links}
    refused = pytest.raises(SourceError, match=says) if says else nullcontext()
    with Source(lambda query: answer(collection)) as source, refused:
        assert len(pages(source, {"connector": "ogc_features", "collection": "all"})) == 1


def test_the_next_page_of_features_is_the_one_in_json() -> None:
    feature = {"type": "Feature", "geometry": None, "properties": {}}
    kinds = ["text/html", "application/geo+json", None]

    def page(query: Query) -> Answered:
        links = [{"rel": "next", "href": f"?f={kind}", "type": kind} for kind in kinds] if "f" not in query else []
        return answer({"type": "FeatureCollection", "features": [feature], "links": links})

    with Source(page) as source:
        for _ in range(2):
            assert len(pages(source, {"connector": "ogc_features", "collection": "all"})) == 2
            assert "html" not in source.exchanged[-1].target
            del kinds[1]


def test_a_table_of_which_rows_were_deleted_is_read_from_its_beginning() -> None:
    arguments = {"connector": "ckan", "resource_id": Portal.ID, "page_size": 3, "append_only": True}
    with Portal() as server:
        watermark = pages(server, arguments)[-1].watermark
        server.grow()
        del server.rows[2]
        found = pages(server, arguments, watermark=watermark)
        rows = [row for page in found for row in json.loads(page.path.read_bytes())["result"]["records"]]
    assert rows == server.rows


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


# Files

FILE = {"connector": "http_file", "path": "/all.csv", "attempts": 2}


@pytest.mark.parametrize("named", [{"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {"ETag": '"1"'}])
def test_a_file_that_changed_without_its_date_or_tag_is_not_missed(named: dict[str, str]) -> None:
    bodies = [b"id\n1\n", b"id\n1\n2\n"]
    with Source(lambda query: Answered(body=bodies.pop(0), headers=named)) as source:
        [first] = pages(source, FILE)
        [second] = pages(source, FILE, watermark=first.watermark)
    assert second.path.read_bytes() == b"id\n1\n2\n"


def test_a_web_page_is_no_file() -> None:
    with (
        Source(lambda query: Answered(body=b"\n<!DOCTYPE html><title>Maintenance</title>")) as source,
        pytest.raises(SourceError, match=r"answered a web page where a file was due, .*Maintenance.*run the extract"),
    ):
        pages(source, FILE)


def test_gzip_of_several_members_is_read_whole_and_one_that_ends_in_the_middle_not_at_all() -> None:
    lines = b"".join(b"%d,%d\n" % (n, n * n) for n in range(30_000))
    zipped = {"Content-Encoding": "gzip"}
    with Source(lambda query: Answered(body=gzip.compress(lines) + gzip.compress(lines), headers=zipped)) as source:
        [page] = pages(source, FILE)
        assert page.path.read_bytes() == lines * 2
    with (
        Source(lambda query: Answered(body=gzip.compress(lines)[:-9], headers=zipped)) as source,
        pytest.raises(SourceError, match=r"2 attempts.*ends in the middle"),
    ):
        pages(source, FILE)
    with (
        Source(lambda query: Answered(body=lines, headers=zipped)) as source,
        pytest.raises(SourceError, match="no gzip, though it says so"),
    ):
        pages(source, FILE)


def test_a_feed_whose_clock_is_ahead_is_asked_again_after_its_time_to_live() -> None:
    with Source(lambda query: answer({"last_updated": int(time.time()) + 86_400, "ttl": 60, "data": {}})) as source:
        discovery = {"data": {"feeds": [{"name": "status", "url": f"{source.base_url}/status"}]}}
        source.answer = lambda target, headers: (  # type: ignore[method-assign]
            answer(discovery) if target == "/gbfs.json" else source._page({})
        )
        [page] = pages(source, {"connector": "gbfs", "feed": "status"})
    assert page.watermark is not None
    assert datetime.fromisoformat(page.watermark["next_at"]) <= datetime.now(UTC) + timedelta(seconds=60)


def test_a_feed_whose_time_stands_still_is_not_missed() -> None:
    stations = [[{"id": "a"}], [{"id": "a"}, {"id": "b"}], [{"id": "a"}, {"id": "b"}]]
    with Source(lambda query: answer({"last_updated": 1, "ttl": 0, "data": stations.pop(0)})) as source:
        discovery = {"data": {"feeds": [{"name": "status", "url": f"{source.base_url}/status"}]}}
        source.answer = lambda target, headers: (  # type: ignore[method-assign]
            answer(discovery) if target == "/gbfs.json" else source._page({})
        )
        [first] = pages(source, {"connector": "gbfs", "feed": "status"})
        [second] = pages(source, {"connector": "gbfs", "feed": "status"}, watermark=first.watermark)
        assert b'"b"' in second.path.read_bytes()
        assert pages(source, {"connector": "gbfs", "feed": "status"}, watermark=second.watermark) == []


# Secrets


@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize("before", ["", "x" * 290])
@pytest.mark.parametrize(
    "write", [str, json.dumps, lambda text: quote(text, safe=""), lambda text: quote(text).lower()]
)
def test_no_message_holds_a_credential_nor_a_part_of_it(status: int, before: str, write: Callable[[str], str]) -> None:
    body = (before + write("Bearer s3cr3t'\\\"+/=tail")).encode()
    with Source(lambda query: Answered(status=status, body=body)) as source, pytest.raises(SourceError) as refused:
        pages(source, ALL, credential="Bearer s3cr3t'\\\"+/=tail")
    assert "s3c" not in str(refused.value)
    assert "tail" not in str(refused.value)


def test_a_key_that_is_longer_than_a_file_name_may_be_gets_a_name_of_its_own() -> None:
    keys = [f"{year}/{'måler' * 60}/{name}.csv" for year in (2024, 2025) for name in ("a", "b")]
    names = [page_name(key) for key in keys]
    assert len(set(names)) == len(keys)
    assert all(
        len(name.encode()) <= 200 and name.endswith(key[-6:].replace("/", "_"))
        for key, name in zip(keys, names, strict=True)
    )
    assert page_name("2024/a.csv") == "2024_a.csv"
