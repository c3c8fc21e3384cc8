"""The doors' front, and that nothing in it comes from elsewhere."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from lakehouse.sharing.app import create_app
from lakehouse.sharing.pages import _span
from tests.doors_server import served
from tests.mini_exchange import TRAFFIC, WATER
from tests.unit.sharing.conftest import House, checksum


class Loads(HTMLParser):
    """What a browser would fetch for the page, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.loaded += [value for name, value in named.items() if name in ("src", "srcset", "background") and value]
        if tag in ("link", "script", "iframe", "object", "embed"):
            self.loaded.append(tag)
        if tag == "a":
            self.links.append(named["href"] or "")


def test_the_front_tells_of_every_mart_and_loads_nothing(house: House) -> None:
    house.set_access("agreement")
    page = house.client.get("/")
    read = Loads()
    read.feed(page.text)
    assert read.loaded == []
    assert not re.search(r"url\(|@import", page.text)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for said in ("Traffic by road", "Water by area", "CC-BY-4.0", "1,440", "read by those who accepted its terms",
                 "2024-10-01 to 2024-10-30", "Vehicles, mean of the sensors."):  # fmt: skip
        assert said in page.text, said
    headers = house.readers.headers("right")
    ours = [link for link in read.links if link.startswith("http://testserver")]
    assert len(ours) == 15
    for link in ours:
        assert house.client.get(link, headers=headers).status_code == 200, link


@pytest.mark.parametrize("level", ["open", "registered"])
def test_the_lines_that_the_front_shows_read_the_mart(own_house: House, truth: tuple[int, str], level: str) -> None:
    own_house.set_access(level)
    with served(create_app(own_house.mini.exchange)) as address:
        shown = [
            html.unescape(found) for found in re.findall(r"<pre><code>(.*?)</code>", httpx.get(address).text, re.S)
        ]
        [code] = [text for text in shown if TRAFFIC in text]
        assert ("token" in code) is (level != "open")
        # Not DuckDB's line: on its own it would fetch its extension from the network.
        code = code.replace("duckdb.read_parquet(files)", "").replace("polars.scan", "lazy = polars.scan")
        code = code.replace("pandas.concat", "frame = pandas.concat")
        names: dict[str, Any] = {}
        exec(code.replace('"…"', repr(own_house.readers.tokens["right"])), names)
        assert checksum(names["frame"]) == checksum(names["lazy"].collect().to_pandas()) == truth


@pytest.mark.parametrize(
    ("hours", "said"), [(0.0, "0 minutes"), (0.5, "30 minutes"), (1.2, "1 hour"), (48, "48 hours"), (1080, "45 days")]
)
def test_a_span_is_said_as_a_reader_would(hours: float, said: str) -> None:
    assert _span(hours) == said


def test_programs_read_the_same(house: House) -> None:
    house.set_access("registered")
    found = {entry["mart"]: entry for entry in house.client.get("/marts.json").json()["marts"]}
    assert sorted(found) == [TRAFFIC, WATER]
    assert (found[TRAFFIC]["access"], found[WATER]["access"]) == ("registered", "open")
    assert found[TRAFFIC]["freshness_hours"] == 48
    assert found[TRAFFIC]["release"] == house.mini.latest(TRAFFIC).release


def test_a_title_is_a_text_and_no_markup(own_house: House) -> None:
    doors = own_house.doors.publications
    manifest = own_house.mini.latest(TRAFFIC).model_copy(update={"title": "<script>x</script>"})
    doors._manifest = lambda *_: manifest  # type: ignore[method-assign]
    assert "&lt;script&gt;x&lt;/script&gt;" in own_house.client.get("/").text
