"""Bodies in a coding of their own: whole, or not taken."""

import gzip
import zlib
from pathlib import Path

import pytest

from lakehouse.contracts.extract_http import HttpExtract
from lakehouse.sources.http import HttpSource
from lakehouse.sources.loopback_server import Answered
from lakehouse.sources.page import SourceError
from tests.served import Publisher, Query

LINES = b"".join(b"%d,%d\n" % (n, n * n) for n in range(3_000))


class Coded(Publisher):
    """The same bytes to everything, in the coding that it names."""

    def __init__(self, body: bytes, coding: str, *, status: int = 200) -> None:
        super().__init__()
        self.given = Answered(status=status, body=body, headers={"Content-Encoding": coding})

    def page(self, path: str, query: Query, headers: object) -> Answered:
        return self.given


def fetched(server: Coded, to: Path, **headers: str) -> bytes:
    arguments = HttpExtract(attempts=1, headers=headers)
    with server, HttpSource(arguments=arguments, address=server.base_url, sleep=lambda _: None) as http:
        return http.fetch(http.url("/x"), to).path.read_bytes()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (zlib.compress(LINES)[:-400], "deflate"),
        (zlib.compress(LINES), "Deflate"),
        (gzip.compress(gzip.compress(LINES)[:-300]), "gzip, gzip"),
        (b"\x0b\x05\x80hello\x03", "br"),
        (LINES, "zstd"),
    ],
)
def test_a_coding_that_was_not_asked_for_is_refused(body: bytes, coding: str, tmp_path: Path) -> None:
    said = rf"DecodingError: it comes as '{coding.lower()}'.*set `headers: {{Accept-Encoding: identity}}`"
    server = Coded(body, coding)
    with pytest.raises(SourceError, match=said):
        fetched(server, tmp_path / "x")
    assert server.exchanged[0].headers["accept-encoding"] == "gzip"


def test_the_coding_that_the_contract_asks_for_is_the_only_one_asked_for(tmp_path: Path) -> None:
    server = Coded(LINES, "identity")
    assert fetched(server, tmp_path / "x", **{"accept-encoding": "identity"}) == LINES
    assert server.exchanged[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["", "identity", "utf-8", "aws-chunked", "none"])
def test_a_body_that_is_not_compressed_is_taken_as_it_is(coding: str, tmp_path: Path) -> None:
    assert fetched(Coded(LINES, coding), tmp_path / "x") == LINES


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_refusal_that_cannot_be_decoded_is_told_by_its_status(coding: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="answered 403"):
        fetched(Coded(b"no", coding, status=403), tmp_path / "x")
