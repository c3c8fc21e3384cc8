"""The doors' front, and that nothing in it comes from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tests.mini_exchange import TRAFFIC, WATER
from tests.unit.sharing.conftest import House


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
