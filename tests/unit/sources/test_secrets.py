"""What a source repeats of the credential stands in no error, no traceback and no log."""

import logging
import socketserver
import threading
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import TypeAdapter

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.contracts.extract_http import HttpExtract
from lakehouse.sources.connector import SourceError, connector_for
from lakehouse.sources.http import HttpSource
from lakehouse.sources.http_credential import HttpCredential
from lakehouse.sources.loopback_server import Answered, LoopbackServer
from tests.asking import asked
from tests.served import DAY, FIRST, answer

SECRET = "k3y+S/7wq=42"
PARTS = ("k3y", "7wq")


@contextmanager
def raw(words: bytes) -> Iterator[str]:
    """The address of a server that answers these bytes to everything."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(words)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Saying(LoopbackServer):
    """The same answer to everything."""

    def __init__(self, given: Answered) -> None:
        super().__init__()
        self.given = given

    def answer(self, target: str, headers: object) -> Answered:
        return self.given


def told(error: BaseException, log: str) -> str:
    return "".join(traceback.format_exception(error)) + log


@pytest.mark.parametrize(
    "words",
    [
        f"HTTP/1.1 GET /x?api-key={SECRET}\r\n\r\n",
        f"{SECRET} x\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nX {SECRET}: x\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n",
        f"HTTP/1.1 500 the key {SECRET}\r\nContent-Length: 0\r\n\r\n",
        f"HTTP/1.1 302 Found\r\nLocation: http://host:{SECRET}/\r\nContent-Length: 0\r\n\r\n",
        f"HTTP/1.1 302 Found\r\nLocation: http://[{SECRET}\r\nContent-Length: 0\r\n\r\n",
        f"HTTP/1.1 302 Found\r\nLocation: /x?api-key={quote(SECRET)}\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_the_protocol_does_not_show_the_credential(
    words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with raw(words.encode()) as address:
        source = HttpSource(
            arguments=HttpExtract(attempts=2), address=address, credential=f"?api-key={SECRET}", sleep=lambda _: None
        )
        with source as http, pytest.raises(SourceError, match="attempts|redirect") as refused:
            http.fetch(http.url("/x"), tmp_path / "x")
    shown = told(refused.value, caplog.text)
    assert not [part for part in PARTS if part in shown]
    assert "attempt 1 failed, the next one in" in caplog.text or "redirect" in str(refused.value)


@pytest.mark.parametrize("location", ["mailto:data@example.org", "https:elsewhere", "http://host:port/"])
def test_a_redirect_that_leads_nowhere_is_told(location: str, tmp_path: Path) -> None:
    given = Answered(status=302, headers={"Location": location})
    with Saying(given) as server:
        source = HttpSource(arguments=HttpExtract(attempts=1), address=server.base_url, sleep=lambda _: None)
        with source as http, pytest.raises(SourceError, match=r"was redirected to .*, which is no address"):
            http.fetch(http.url("/x"), tmp_path / "x")


ALL = {
    "connector": "paged_json_api",
    "path": "/rows",
    "parameters": {},
    "start_parameter": None,
    "end_parameter": None,
    "paging": "next_url",
    "next": "next",
}


@pytest.mark.parametrize(
    ("document", "arguments", "says"),
    [
        (
            {"records": [{"at": f"x {SECRET}"}]},
            {"changes": {"parameter": "since", "value": "at"}},
            r"a record has 'x \*\*\*'",
        ),
        ({"records": [{"at": 1}], "next": f"http://h:{SECRET}/"}, {}, r"links to 'http://h:\*\*\*/', which is no URL"),
        ({"records": [{"at": 1}], "next": f"http://{SECRET}/"}, {}, r"links to 'http://\*\*\*/': not followed"),
    ],
)
def test_what_a_source_writes_into_its_records_and_links_is_masked(
    document: Any, arguments: dict[str, Any], says: str
) -> None:
    given = TypeAdapter[ExtractArguments](ExtractArguments).validate_python(ALL | arguments)
    with Saying(answer(document)) as server:
        connector = connector_for(given, address=server.base_url, credential=f"?api-key={SECRET}", sleep=lambda _: None)
        with pytest.raises(SourceError, match=says) as refused:
            list(connector.pages(asked(FIRST, FIRST + DAY)))
    assert not [part for part in PARTS if part in told(refused.value, "")]


def basic(login: str) -> str:
    return f"Basic {b64encode(login.encode()).decode()}"


@pytest.mark.parametrize(
    ("credential", "shown"),
    [
        (basic("city:hunter222"), "city:hunter222"),
        (basic("city:hunter222"), "no user city with hunter222"),
        (f"X-Login: {basic('city:hunter222')}", "hunter222"),
        (basic("hunter222:"), "hunter222"),
    ],
)
def test_what_a_basic_credential_encodes_is_masked(credential: str, shown: str, tmp_path: Path) -> None:
    with Saying(Answered(status=401, body=shown.encode())) as server:
        source = HttpSource(
            arguments=HttpExtract(), address=server.base_url, credential=credential, sleep=lambda _: None
        )
        with source as http, pytest.raises(SourceError, match=r"answered 401.*\*\*\*") as refused:
            http.fetch(http.url("/x"), tmp_path / "x")
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("credential", ["Basic no base64", "Basic /////w==", "Basic"])
def test_a_basic_credential_that_encodes_no_text_is_sent_as_it_stands(credential: str) -> None:
    assert HttpCredential.of(credential).value == credential
    assert credential in HttpCredential.of(credential).words
