"""What all connectors over HTTP leave to one class: credentials, hosts, transfers, and ways of paging gone wrong."""

import gzip
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import ValidationError

from lakehouse.contracts.extract import PagedJsonApi
from lakehouse.contracts.extract_http import HttpExtract
from lakehouse.sources import paging
from lakehouse.sources.connector import SourceError, connector_for
from lakehouse.sources.http import Answer, HttpSource
from lakehouse.sources.loopback_server import Answered, Fault
from tests.asking import asked
from tests.served import DAY, FIRST, JsonApi, Publisher, Query, answer, file


class Fixed(Publisher):
    """The same answer to everything."""

    def __init__(self, given: Answered) -> None:
        super().__init__()
        self.given = given

    def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
        return file(self.given.body, headers) if self.given.body.startswith(b"file") else self.given


def source(server: Publisher, credential: str | None = None, **arguments: Any) -> HttpSource:
    return HttpSource(
        arguments=HttpExtract(**arguments), address=server.base_url, credential=credential, sleep=lambda _: None
    )


@pytest.mark.parametrize(
    ("credential", "name", "value"),
    [
        ("Bearer abc.def", "authorization", "Bearer abc.def"),
        ("Basic bWU6cHc=", "authorization", "Basic bWU6cHc="),
        ("X-Gravitee-Api-Key: 0000-1111", "x-gravitee-api-key", "0000-1111"),
    ],
)
def test_a_credential_goes_into_the_header_that_it_names(
    credential: str, name: str, value: str, tmp_path: Path
) -> None:
    with Fixed(answer([])) as server, source(server, credential) as http:
        http.fetch(http.url("/x"), tmp_path / "x")
        assert server.exchanged[0].headers[name] == value


def test_a_credential_for_the_query_goes_with_every_request_and_is_shown_nowhere(tmp_path: Path) -> None:
    with Fixed(answer([])) as server, source(server, "?api-key=a/b=c", attempts=1) as http:
        answered = http.fetch(http.url("/x", {"sort": "at"}), tmp_path / "x")
        server.faults.append(Fault(status=302, headers={"Location": f"{server.base_url}/moved?page=2"}))
        http.fetch(http.url("/y"), tmp_path / "y")
        http.fetch(http.follow(answered, "/x?api-key=a%2Fb%3Dc&page=2"), tmp_path / "z")
        server.faults.append(Fault(status=403, body=b"the key a/b=c is none"))
        with pytest.raises(SourceError, match=r"answered 403.*the key \*\*\* is none") as refused:
            http.fetch(http.url("/x"), tmp_path / "x")
        queries = [parse_qs(urlsplit(exchanged.target).query) for exchanged in server.exchanged]
        shown = [http.shown(answered.url), http.shown(http.follow(answered, "/x?api-key=a%2Fb%3Dc"))]
    assert [query["api-key"] for query in queries] == [["a/b=c"]] * 5
    assert (queries[0]["sort"], queries[2]["page"], queries[3]["page"]) == (["at"], ["2"], ["2"])
    assert shown == [f"{server.base_url}/x?sort=at", f"{server.base_url}/x?api-key=***"]
    assert "a/b" not in str(refused.value)
    assert not any("a/b=c" in value for exchanged in server.exchanged for value in exchanged.headers.values())


def test_another_host_is_not_shown_the_credential_of_the_query(tmp_path: Path) -> None:
    with Fixed(answer({"here": True})) as other, Fixed(answer([])) as server:
        there = other.base_url.replace("127.0.0.1", "localhost")
        for query in ("?api-key=secret&page=2", "?api-key=theirs"):
            server.faults.append(Fault(status=302, headers={"Location": f"{there}/file{query}"}))
        with source(server, "?api-key=secret", also_hosts=("localhost",)) as http:
            http.fetch(http.url("/x"), tmp_path / "x")
            http.fetch(http.url("/x"), tmp_path / "y")
        assert [exchanged.target for exchanged in other.exchanged] == ["/file?page=2", "/file?api-key=theirs"]


@pytest.mark.parametrize("credential", ["?api-key", "?=secret", "?api-key=secret&more=x", "?api-key="])
def test_a_credential_for_the_query_is_one_parameter(credential: str) -> None:
    with Fixed(answer([])) as server, pytest.raises(SourceError, match=r"as \?api-key=…: set it again") as refused:
        source(server, credential)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "api-key",
        "apiKey",
        "api_key",
        "access_token",
        "token",
        "Ocp-Apim-Subscription-Key",
        "app_key",
        "appid",
        "sig",
        "X-Amz-Signature",
    ],
)
def test_a_secret_among_the_parameters_is_a_fault_of_the_contract(name: str) -> None:
    with pytest.raises(ValidationError, match=f"parameters {name}: a secret is given in the environment") as refused:
        PagedJsonApi(connector="paged_json_api", path="/x", parameters={"sort": "at", name: "abc"})
    assert "?" + name in str(refused.value)


def test_a_credential_that_is_no_header_is_refused_and_not_shown() -> None:
    with Fixed(answer([])) as server, pytest.raises(SourceError, match="characters that no header may") as refused:
        source(server, "Bearer abc\r\nHost: elsewhere")
    assert "abc" not in str(refused.value)


def test_a_host_that_the_contract_names_is_followed_without_the_credential(tmp_path: Path) -> None:
    with Fixed(answer({"here": True})) as other, Fixed(answer([])) as server:
        there = other.base_url.replace("127.0.0.1", "localhost")
        server.faults.append(Fault(status=302, headers={"Location": f"{there}/file"}))
        with source(server, "X-Key: secret", also_hosts=("localhost",)) as http:
            found = http.fetch(http.url("/x"), tmp_path / "x")
            assert http.document(found) == {"here": True}
            http.fetch(http.follow(found, f"{there}/again"), tmp_path / "y")
        assert [exchanged.target for exchanged in other.exchanged] == ["/file", "/again"]
        assert not any("x-key" in exchanged.headers for exchanged in other.exchanged)
        assert server.exchanged[0].headers["x-key"] == "secret"


def test_another_port_of_the_host_is_followed_without_the_credential(tmp_path: Path) -> None:
    with Fixed(answer({"here": True})) as other, Fixed(answer([])) as server:
        server.faults.append(Fault(status=302, headers={"Location": f"{other.base_url}/file"}))
        with source(server, "Bearer secret") as http:
            http.fetch(http.url("/x"), tmp_path / "x")
        assert "authorization" not in other.exchanged[0].headers


def test_a_link_that_repeats_the_credential_is_recorded_without_it() -> None:
    with Fixed(answer([])) as server, source(server, "X-Key: se/cr=et") as http:
        link = http.url("/x", {"api-key": "se/cr=et"})
        assert http.shown(link) == f"{server.base_url}/x?api-key=***"


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("http://elsewhere.example/x", "links to http://elsewhere.example: not followed"),
        ("file:///etc/passwd", "links to file://: not followed"),
        ("http://me:pw@127.0.0.1/x", "with credentials in the URL"),
        ("http://127.0.0.1:port/x", "which is no URL"),
    ],
)
def test_a_link_that_leads_away_is_refused(link: str, says: str) -> None:
    with JsonApi() as server:
        body = json.dumps({"results": [{"id": "r00"}], "links": {"next": link}}).encode()
        server.faults.append(Fault(body=body))
        with pytest.raises(SourceError, match=says) as refused:
            list(pages(server, paging="next_url", path="/url", records="results", next="links.next"))
        assert len(server.exchanged) == 1
    assert "pw@" not in str(refused.value)


def test_a_link_by_http_to_the_same_host_is_followed_over_https(tmp_path: Path) -> None:
    arguments = PagedJsonApi(connector="paged_json_api", path="/x", parameters={"sort": "at"})
    http = HttpSource(arguments=arguments, address="https://api.example.org")
    came = Answer(
        url=http.url("/x"), came_from=http.url("/x"), path=tmp_path, headers=httpx.Headers(), links={}, fetched_at=FIRST, changed=True
    )  # fmt: skip
    assert str(http.follow(came, "http://api.example.org/x?page=2")) == "https://api.example.org/x?page=2"
    with pytest.raises(SourceError, match="links to http://api.example.org: not followed"):
        http.follow(came, "http://api.example.org:8080/x?page=2")


def pages(server: Publisher, **changes: Any) -> Any:
    given: dict[str, Any] = {"connector": "paged_json_api", "page_size": 3, "parameters": {"sort": "at"}}
    arguments = PagedJsonApi.model_validate(given | changes)
    connector = connector_for(arguments, address=server.base_url, sleep=lambda _: None)
    return connector.pages(asked(FIRST, FIRST + 2 * DAY))


def test_paging_that_runs_in_a_circle_is_refused() -> None:
    with JsonApi() as server:
        body = json.dumps({"data": [{"id": "r00"}], "meta": {"next_cursor": "7"}}).encode()
        server.faults.extend([Fault(body=body)] * 9)
        with pytest.raises(SourceError, match=r"cursor=7, a page that came before: the paging has no end"):
            list(pages(server, paging="cursor", path="/cursor", records="data", next="meta.next_cursor"))
        assert len(server.exchanged) == 2


FULL = [{"id": f"r{number:02}"} for number in range(3)]
CURSOR = {"paging": "cursor", "path": "/cursor", "records": "data", "next": "meta.next_cursor"}
LINK = {"paging": "link_header", "path": "/link", "records": ""}


@pytest.mark.parametrize(
    ("body", "headers", "ways"),
    [
        ({"data": FULL, "meta": {"cursor": "7"}}, {}, CURSOR),
        ({"data": FULL}, {}, CURSOR),
        ({"data": FULL, "meta": None}, {}, CURSOR),
        (
            {"data": FULL, "links": {"following": "/url?offset=3"}},
            {},
            CURSOR | {"paging": "next_url", "next": "links.next"},
        ),
        (FULL, {}, LINK),
    ],
)
def test_a_full_page_that_says_nothing_of_a_next_is_refused(
    body: Any, headers: dict[str, str], ways: dict[str, Any]
) -> None:
    said = r"gave 3 rows, as many as were asked for.*check `paging` and `next`"
    with Fixed(answer(body, **headers)) as server, pytest.raises(SourceError, match=said):
        list(pages(server, **ways))


@pytest.mark.parametrize(
    ("body", "headers", "ways"),
    [
        ({"data": FULL, "meta": {"next_cursor": None}}, {}, CURSOR),
        ({"data": FULL, "meta": {"next_cursor": ""}}, {}, CURSOR),
        ({"data": FULL[:2]}, {}, CURSOR),
        ({"data": FULL}, {}, CURSOR | {"page_size": 4}),
        ({"data": FULL}, {}, CURSOR | {"limit_parameter": None}),
        (FULL, {"Link": '</link>; rel="first"'}, LINK),
        (FULL[:2], {}, LINK),
    ],
)
def test_a_page_that_is_all_there_is_is_taken(body: Any, headers: dict[str, str], ways: dict[str, Any]) -> None:
    with Fixed(answer(body, **headers)) as server:
        assert len(list(pages(server, **ways))) == 1
        assert len(server.exchanged) == 1


def test_cursors_for_ever_without_rows_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MOST_EMPTY_PAGES", 4)
    with JsonApi() as server:
        rows = {2: [{"id": "r00"}]}
        for number in range(20):
            page = {"data": rows.get(number, []), "meta": {"next_cursor": str(number)}}
            server.faults.append(Fault(body=json.dumps(page).encode()))
        with pytest.raises(SourceError, match=r"cursor=5 is page 4 in a row without rows, and links to another"):
            list(pages(server, paging="cursor", path="/cursor", records="data", next="meta.next_cursor"))
        assert len(server.exchanged) == 7


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_that_drips_is_given_up_and_asked_for_again(
    status: int, headers: dict[str, str], tmp_path: Path
) -> None:
    text = bytes(range(200))
    drip = Fault(
        status=status, body=gzip.compress(text, mtime=0) if headers else text, headers=headers, byte_seconds=0.02
    )
    with Fixed(answer({"here": True})) as server:
        server.faults.append(drip)
        with source(server, timeout_seconds=0.3, attempts=2) as http:
            assert http.document(http.fetch(http.url("/x"), tmp_path / "x")) == {"here": True}
            server.faults.extend([drip] * 2)
            began = time.monotonic()
            with pytest.raises(SourceError, match=r"\d+ bytes in 0 s, fewer than 100 a second; check"):
                http.fetch(http.url("/x"), tmp_path / "y")
            assert time.monotonic() - began < 3


def test_an_answer_that_comes_slowly_but_steadily_is_taken(tmp_path: Path) -> None:
    text = b"file " + b"x" * 300
    with Fixed(Answered(body=text)) as server:
        server.faults.append(Fault(body=text, byte_seconds=0.002))
        with source(server, timeout_seconds=0.2, attempts=1) as http:
            assert http.fetch(http.url("/x"), tmp_path / "x").path.read_bytes() == text


def test_a_transfer_is_begun_anew_where_the_file_has_changed_meanwhile(tmp_path: Path) -> None:
    with Fixed(Answered(body=b"file of yesterday")) as server:

        class Changing(Fixed):
            def take_fault(self) -> Fault:
                fault = super().take_fault()
                self.given = Answered(body=b"file of today, longer") if len(self.exchanged) else self.given
                return fault

        changing = Changing(server.given)
    with changing as server, source(server) as http:
        server.faults.append(Fault(truncate=True))
        found = http.fetch(http.url("/x"), tmp_path / "x")
        assert [exchanged.status for exchanged in server.exchanged] == [200, 200]
        assert server.exchanged[1].headers["range"] == "bytes=8-"
    assert found.path.read_bytes() == b"file of today, longer"


@pytest.mark.parametrize(
    ("then", "asked_from"),
    [
        (Fault(status=206, headers={"Content-Range": "bytes 10-12/20"}, body=b"abc"), ["10-", "13-"]),
        (Fault(status=206, headers={"Content-Range": "bytes 8-19/20"}, body=b"89abcdefghij"), ["10-", None]),
        (Fault(status=416), ["10-", None]),
    ],
    ids=["a part of the rest", "another part", "no rest"],
)
def test_what_is_not_the_rest_of_a_transfer_does_not_end_it(
    tmp_path: Path, then: Fault, asked_from: list[str | None]
) -> None:
    whole = b"file567890abcdefghij"
    with Fixed(Answered(body=whole)) as server, source(server) as http:
        server.faults.extend([Fault(truncate=True), then])
        found = http.fetch(http.url("/x"), tmp_path / "x")
        ranges = [exchanged.headers.get("range") for exchanged in server.exchanged]
    assert found.path.read_bytes() == whole
    assert ranges[1:] == [first and f"bytes={first}" for first in asked_from]


def test_not_changed_is_no_answer_to_who_knows_nothing(tmp_path: Path) -> None:
    with Fixed(answer([])) as server, source(server) as http:
        server.faults.append(Fault(status=304))
        with pytest.raises(SourceError, match="answered 304"):
            http.fetch(http.url("/x"), tmp_path / "x")


def test_a_part_of_what_was_asked_for_is_no_answer(tmp_path: Path) -> None:
    part = Answered(
        status=206, body=b"[]", headers={"Content-Range": "date-time 2024-01-01T00:00:00Z-2024-01-01T06:00:00Z/*"}
    )
    with (
        Fixed(part) as server,
        source(server) as http,
        pytest.raises(SourceError, match=r"with a part .*206, date-time .*window_days"),
    ):
        http.fetch(http.url("/x"), tmp_path / "x")


class Moved(Publisher):
    """Two pages, of which the first is asked for by an old address; `names` says where the second one is named."""

    def __init__(self, names: str) -> None:
        super().__init__()
        self.names = names

    def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
        if path == "/data":
            return Answered(status=302, headers={"Location": "/v2/items/list?sort=at"})
        if path == "/v2/items/page2":
            return answer({"records": [self.row(6)], "next": None})
        if path != "/v2/items/list":
            return Answered(status=404)
        if self.names == "header":
            return answer({"records": [self.row(0)]}, Link='<page2>; rel="next"')
        return answer({"records": [self.row(0)], "next": "page2"})


@pytest.mark.parametrize(
    ("names", "ways"), [("header", {"paging": "link_header"}), ("body", {"paging": "next_url", "next": "next"})]
)
def test_a_relative_link_is_relative_to_where_the_answer_came_from(names: str, ways: dict[str, str]) -> None:
    with Moved(names) as server:
        came = list(pages(server, path="/data", page_size=3, **ways))
        asked_for = [urlsplit(exchanged.target).path for exchanged in server.exchanged]
    assert [page.rows for page in came] == [1, 1]
    assert asked_for == ["/data", "/v2/items/list", "/v2/items/page2"]
    assert urlsplit(came[0].url).path == "/data"


def test_where_an_answer_came_from_does_not_hold_the_credential(tmp_path: Path) -> None:
    with Fixed(answer([])) as server, source(server, "?api-key=secret") as http:
        server.faults.append(Fault(status=302, headers={"Location": "/moved?page=2&api-key=secret"}))
        found = http.fetch(http.url("/x"), tmp_path / "x")
        assert str(found.came_from) == f"{server.base_url}/moved?page=2"


def test_the_next_page_by_place_is_asked_for_where_the_first_one_was(tmp_path: Path) -> None:
    with JsonApi() as server:
        server.faults.append(Fault(status=302, headers={"Location": "/moved?offset=0&limit=3&start=0"}))
        assert sum(page.rows for page in pages(server, path="/rows")) == len(server.rows)
        paths = [urlsplit(exchanged.target).path for exchanged in server.exchanged]
    assert paths == ["/rows", "/moved", "/rows", "/rows"]


@pytest.mark.parametrize("behind", ["?tenant=5", "/?token=secret", "#data"])
def test_an_address_with_a_query_is_refused_and_the_query_not_shown(behind: str) -> None:
    with pytest.raises(
        SourceError, match=r"^base URL https://api.example.org/: take out what stands behind"
    ) as refused:
        HttpSource(arguments=HttpExtract(), address=f"https://api.example.org{behind}")
    assert "secret" not in str(refused.value)
