"""Plain Parquet over HTTP: ranges, conditions, lists, and clients that we did not write."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import pandas as pd
import polars as pl
import pytest

from lakehouse.release.signing import load_public_key
from lakehouse.sharing.app import create_app
from lakehouse.sharing.ranges import Span, Unsatisfiable, asked_span
from lakehouse.storage.s3 import _httpfs
from tests.doors_server import served
from tests.mini_exchange import TRAFFIC, Mini
from tests.unit.sharing.conftest import House, checksum

MART = f"/marts/{TRAFFIC}/v1"


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-", (10, 90)),
        ("bytes=-7", (93, 7)),
        ("bytes=-700", (0, 100)),
        ("bytes=90-500", (90, 10)),
        ("bytes = 1 - 2", (1, 2)),
        ("bytes=5-4", None),
        ("bytes=0-1,4-5", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("", None),
    ],
)
def test_a_range_is_read_as_the_standard_says(asked: str, span: tuple[int, int] | None) -> None:
    wanted = None if span is None else Span(start=span[0], length=span[1])
    assert asked_span({"range": asked}, size=100, tag='"t"') == wanted


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=500-600", "bytes=-0"])
def test_a_range_behind_the_end_is_none(asked: str) -> None:
    with pytest.raises(Unsatisfiable):
        asked_span({"range": asked}, size=100, tag='"t"')


def test_a_file_has_its_bytes_its_length_and_its_hash_as_tag(house: House) -> None:
    manifest = house.mini.latest(TRAFFIC)
    file = manifest.files[1]
    path = f"{MART}/releases/{manifest.release}/{file.path}"
    whole, head = house.client.get(path), house.client.head(path)
    assert hashlib.sha256(whole.content).hexdigest() == file.sha256
    for answer in (whole, head):
        assert answer.status_code == 200
        assert answer.headers["ETag"] == f'"{file.sha256}"'
        assert answer.headers["Content-Length"] == str(file.bytes)
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Cache-Control"] == "no-cache"
    assert head.content == b""


def test_parts_conditions_and_refusals(house: House) -> None:
    manifest = house.mini.latest(TRAFFIC)
    file = manifest.files[0]
    path, tag = f"{MART}/latest/{file.path}", f'"{file.sha256}"'
    whole = house.client.get(path).content

    def ask(**headers: str) -> httpx.Response:
        return house.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    part = ask(Range="bytes=4-11")
    assert (part.status_code, part.content) == (206, whole[4:12])
    assert part.headers["Content-Range"] == f"bytes 4-11/{file.bytes}"
    assert part.headers["Content-Location"] == f"{MART}/releases/{manifest.release}/{file.path}"
    assert ask(Range="bytes=-8").content == whole[-8:]
    assert ask(Range="bytes=4-11", If_Range=tag).status_code == 206
    assert ask(Range="bytes=4-11", If_Range='"other"').content == whole
    behind = ask(Range=f"bytes={file.bytes}-")
    assert (behind.status_code, behind.headers["Content-Range"]) == (416, f"bytes */{file.bytes}")
    for known in (tag, f'"a", W/{tag}', "*"):
        unchanged = ask(If_None_Match=known)
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert ask(If_None_Match='"other"').status_code == 200
    assert ask(If_Match='"other"').status_code == 412
    assert ask(If_Match=tag).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        f"{MART}/releases/0001/manifest.json",
        f"{MART}/latest/day=2024-10-01/other.parquet",
        f"{MART}/latest/%2e%2e/%2e%2e/latest.json",
        f"/marts/{TRAFFIC}/v2/latest.json",
        "/marts/none/v1/latest.json",
        "/marts/..%2f..%2fraw/v1/latest.json",
    ],
)
def test_what_is_not_published_is_not_there(house: House, path: str) -> None:
    answer = house.client.get(path)
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_who_signed_a_release_can_be_verified_from_the_doors_alone(own_house: House) -> None:
    answer = own_house.client.get(f"{MART}/latest/manifest.json")
    signature = own_house.client.get(f"{MART}/latest/manifest.json.sig").content
    pem = own_house.client.get(f"/marts/keys/{answer.json()['signed_with']}.pem").content
    key = load_public_key(pem, shown="the doors' key")
    key.verify(signature, answer.content)
    assert own_house.client.get("/marts/keys/0000.pem").status_code == 404


def test_a_release_that_is_not_as_it_was_signed_is_not_given(own_house: House) -> None:
    manifest, lake = own_house.mini.latest(TRAFFIC), own_house.mini.exchange.lake
    assert own_house.client.get(f"{MART}/latest/files.txt").status_code == 200
    changed = lake.read_bytes("marts", f"{manifest.prefix}/manifest.json").replace(b'"open"', b'"open" ')
    lake.write_bytes("marts", f"{manifest.prefix}/manifest.json", changed)
    answer = own_house.client.get(f"{MART}/latest/files.txt")
    assert (answer.status_code, "is not what the exchange signed" in answer.json()["message"]) == (503, True)


def test_the_description_is_at_hand_and_no_page_of_it_loads_from_elsewhere(house: House) -> None:
    assert house.client.get("/openapi.json").json()["info"]["title"] == "City Data Exchange"
    assert house.client.get("/docs").status_code == 404


def test_a_large_file_passes_in_bounded_memory(own_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = own_house.mini.latest(TRAFFIC)
    lake, size = own_house.mini.exchange.lake, 48 << 20
    key = f"{manifest.prefix}/{manifest.files[0].path}"
    lake.write_bytes("marts", key, b"\0" * size)
    grown = manifest.files[0].model_copy(update={"bytes": size})
    changed = manifest.model_copy(update={"files": (grown, *manifest.files[1:])})
    app = create_app(own_house.mini.exchange)
    monkeypatch.setattr(app.state.doors.publications, "_manifest", lambda *_: changed)
    with served(app) as address:
        tracemalloc.start()
        try:
            with httpx.stream("GET", f"{address}{MART}/latest/{grown.path}") as answer:
                read = sum(len(piece) for piece in answer.iter_raw(1 << 16))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert read == size
    assert peak < 16 << 20


# Clients that we did not write


@pytest.fixture(scope="module")
def address(released_once: Mini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    mini = released_once.copy(tmp_path_factory.mktemp("clients"))
    with served(create_app(mini.exchange)) as found:
        yield found


def test_duckdb_reads_by_ranges(address: str, truth: tuple[int, str]) -> None:
    urls = httpx.get(f"{address}{MART}/latest/files.txt").text.split()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.load_extension(str(_httpfs()))
        frame = connection.read_parquet(urls, hive_partitioning=False).df()
    assert checksum(frame) == truth


def test_polars_and_pandas_read_the_same(address: str, truth: tuple[int, str]) -> None:
    urls = [file["url"] for file in httpx.get(f"{address}{MART}/latest/files.json").json()["files"]]
    assert checksum(pl.scan_parquet(urls).collect().to_pandas()) == truth
    assert checksum(pd.concat([pd.read_parquet(url) for url in urls])) == truth


def test_curl_goes_on_where_it_was_cut_off(address: str, released_once: Mini, tmp_path: Path) -> None:
    manifest = released_once.latest(TRAFFIC)
    file, target = manifest.files[0], tmp_path / "file.parquet"
    url = f"{address}{MART}/latest/{file.path}"
    target.write_bytes(httpx.get(url).content[:100])
    done = subprocess.run(["curl", "-sS", "-C", "-", "-o", target, url], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(target.read_bytes()).hexdigest() == file.sha256


def test_a_list_gives_the_release_and_not_the_alias(address: str) -> None:
    for line in httpx.get(f"{address}{MART}/latest/files.txt").text.splitlines():
        assert re.fullmatch(rf"{address}{MART}/releases/0001-[0-9a-f]+/day=[0-9-]+/part-0\.parquet", line)
