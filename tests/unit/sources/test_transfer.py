"""A transfer that broke off: it goes on with the rest of the same version, or is begun anew."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lakehouse.contracts.extract_http import HttpExtract
from lakehouse.sources.http import HttpSource
from lakehouse.sources.loopback_server import Answered, Fault, LoopbackServer

OLD, NEW = b"one one one one one one", b"two two two two two two"
MONDAY, TUESDAY = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"


class Ranged(LoopbackServer):
    """Has a new version after the first request, and gives ranges of it whatever If-Range says."""

    def __init__(self, *, versions: tuple[bytes, bytes], headers: tuple[Mapping[str, str], Mapping[str, str]]) -> None:
        super().__init__(faults=[Fault(truncate=True)])
        self.versions: Iterator[tuple[bytes, Mapping[str, str]]] = zip(versions, headers, strict=True)
        self.now = next(self.versions)

    def answer(self, target: str, headers: Mapping[str, str]) -> Answered:
        self.now = next(self.versions, self.now) if self.exchanged else self.now
        body, named = self.now
        if "range" not in headers:
            return Answered(body=body, headers={"Accept-Ranges": "bytes", **named})
        first = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
        part = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}", **named}
        return Answered(status=206, body=body[first:], headers=part)


def fetched(server: Ranged, to: Path) -> tuple[bytes, list[str | None]]:
    """The file, and the ranges that were asked for."""
    with (
        server,
        HttpSource(arguments=HttpExtract(), address=server.base_url, sleep=lambda _: None) as http,
    ):
        found = http.fetch(http.url("/x"), to)
        return found.path.read_bytes(), [exchanged.headers.get("range") for exchanged in server.exchanged]


@pytest.mark.parametrize(
    ("first", "then", "new"),
    [
        ({"ETag": '"1"'}, {"ETag": '"2"'}, NEW),
        ({"ETag": '"1"'}, {"ETag": 'W/"1"'}, NEW),
        ({"ETag": '"1"', "Last-Modified": MONDAY}, {"Last-Modified": MONDAY}, NEW),
        ({"Last-Modified": MONDAY}, {"Last-Modified": TUESDAY}, NEW),
        ({"Last-Modified": MONDAY, "ETag": 'W/"1"'}, {"Last-Modified": MONDAY, "ETag": 'W/"2"'}, NEW),
        ({"ETag": '"1"'}, {"ETag": '"1"'}, NEW + b" and a bit"),
        ({"ETag": '"1"'}, {"ETag": '"1"', "Content-Encoding": "gzip"}, NEW),
    ],
    ids=["tag", "weak tag", "no tag", "date", "weak tag beside a date", "length", "encoding"],
)
def test_the_rest_of_another_version_is_not_joined_to_what_came(
    first: dict[str, str], then: dict[str, str], new: bytes, tmp_path: Path
) -> None:
    server = Ranged(versions=(OLD, new), headers=(first, then))
    if "Content-Encoding" in then:
        server.faults.extend([Fault(), Fault(headers={"Content-Encoding": "identity"})])
    body, ranges = fetched(server, tmp_path / "x")
    assert body == new
    assert ranges == [None, f"bytes={len(OLD) // 2}-", None]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"ETag": '"1"', "Last-Modified": MONDAY}, {"ETag": '"1"'}),
        ({"ETag": '"1"', "Last-Modified": MONDAY}, {"ETag": '"1"', "Last-Modified": TUESDAY}),
        ({"Last-Modified": MONDAY}, {"Last-Modified": MONDAY}),
        ({"Last-Modified": MONDAY}, {}),
        ({"Last-Modified": MONDAY}, {"Content-Range": f"bytes {len(OLD) // 2}-{len(OLD) - 1}/*"}),
    ],
)
def test_the_rest_of_the_same_version_is_joined_to_what_came(
    first: dict[str, str], then: dict[str, str], tmp_path: Path
) -> None:
    body, ranges = fetched(Ranged(versions=(OLD, OLD), headers=(first, then)), tmp_path / "x")
    assert body == OLD
    assert ranges == [None, f"bytes={len(OLD) // 2}-"]


def test_a_rest_that_ends_too_soon_is_no_rest_though_it_does_not_say_of_how_much(tmp_path: Path) -> None:
    middle = len(OLD) // 2
    server = Ranged(versions=(OLD, OLD), headers=({"ETag": '"1"'}, {"ETag": '"1"'}))
    server.faults.append(Fault(body=OLD[middle:-3], headers={"Content-Range": f"bytes {middle}-{len(OLD) - 4}/*"}))
    body, ranges = fetched(server, tmp_path / "x")
    assert body == OLD
    assert ranges == [None, f"bytes={middle}-", f"bytes={len(OLD) - 3}-"]
