"""XML by declared paths, with Green Button as the worked case."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from lakehouse.contracts.load import ContractError
from lakehouse.landing import read_xml
from tests.unit.landing.conftest import House, column, faults

FORM = {
    "format": "xml",
    "records": "atom:feed/atom:entry/atom:content/espi:IntervalBlock/espi:IntervalReading",
    "namespaces": {"atom": "http://www.w3.org/2005/Atom", "espi": "http://naesb.org/espi"},
}
CONTENT = "/atom:feed/atom:entry/atom:content"
COLUMNS = [
    column("meter", "string", key=1, parse={"path": f"{CONTENT}/espi:MeterReading/espi:mRID"}),
    column("start", "timestamp", key=2, parse={"epoch": "seconds", "path": "espi:timePeriod/espi:start"}),
    column("seconds", "integer", parse={"path": "espi:timePeriod/espi:duration"}),
    column("value", "integer", required=True, parse={"path": "espi:value"}),
    column("ten", "integer", parse={"path": f"{CONTENT}/espi:ReadingType/espi:powerOfTenMultiplier"}),
    column("block_start", "integer", parse={"path": "../espi:interval/espi:start"}),
    column("link", "string", parse={"path": "../../../atom:link[@rel='up']/@href"}),
]


def entry(content: str, link: str = "x") -> str:
    return f'<entry><link rel="self" href="s"/><link rel="up" href="{link}"/><content>{content}</content></entry>\n'


def espi(name: str, content: str) -> str:
    return f'<{name} xmlns="http://naesb.org/espi">{content}</{name}>'


def reading(start: int, value: object) -> str:
    return (
        f"\n<IntervalReading><timePeriod><duration>3600</duration><start>{start}</start></timePeriod>"
        f"<value>{value}</value></IntervalReading>"
    )


def block(*readings: str, start: int = 7) -> str:
    return entry(
        espi("IntervalBlock", f"<interval><start>{start}</start></interval>{''.join(readings)}"), f"up/{start}"
    )


def feed(*entries: str) -> str:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!-- of a utility -->\n'
    return f'{head}<feed xmlns="http://www.w3.org/2005/Atom"><title>t</title>{"".join(entries)}</feed>'


def meter(mrid: str, ten: int) -> str:
    return entry(espi("MeterReading", f"<mRID>{mrid}</mRID>")) + entry(
        espi("ReadingType", f"<powerOfTenMultiplier>{ten}</powerOfTenMultiplier>")
    )


def test_green_button_rows_have_the_fields_of_what_stands_around_them(house: House) -> None:
    contract = house.contract(COLUMNS, forms=[FORM])
    document = feed(
        meter("æ1", -3), block(reading(3600, 5), reading(7200, "x"), start=1), block(reading(10800, 6), start=2),
        meter("b2", 0), block(reading(3600, 7), start=3),
    )  # fmt: skip
    receipt = house.deliver(contract, document, "usage.xml")
    assert faults(receipt) == {("not_an_integer", "value"): (1, 7, "x")}
    assert house.clean(contract, "meter, start, seconds, value, ten, block_start, link, exchange_line") == [
        ("b2", datetime(1970, 1, 1, 1, tzinfo=UTC), 3600, 7, 0, 3, "up/3", 13),
        ("æ1", datetime(1970, 1, 1, 1, tzinfo=UTC), 3600, 5, -3, 1, "up/1", 6),
        ("æ1", datetime(1970, 1, 1, 3, tzinfo=UTC), 3600, 6, -3, 2, "up/2", 9),
    ]


def test_two_meters_before_their_readings_are_refused_and_not_guessed_at(house: House) -> None:
    contract = house.contract(COLUMNS, forms=[FORM])
    receipt = house.deliver(contract, feed(meter("a", 0), meter("b", 0), block(reading(3600, 5))), "usage.xml")
    assert list(faults(receipt)) == [("ambiguous_path", None)]
    assert "feed/entry/content/MeterReading/mRID" in receipt["message"]


def test_a_large_document_is_read_in_bounded_memory(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = []
    events = read_xml._events

    def counted(path: Path) -> Any:
        for number, (event, element) in enumerate(events(path)):
            if number % 5_000 == 0:
                alive.append(sum(1 for _ in element.getroottree().getroot().iter(etree.Element)))
            yield event, element

    monkeypatch.setattr(read_xml, "_events", counted)
    contract = house.contract(COLUMNS, forms=[FORM])
    blocks = [block(*(reading(3600 * (20 * n + m), m) for m in range(20)), start=n) for n in range(200)]
    assert house.deliver(contract, feed(meter("a", 0), *blocks), "usage.xml")["accepted"] == 4_000
    # No more than what one chunk of the parser holds.
    assert max(alive) < 2_000


@pytest.mark.parametrize(
    ("document", "rule"),
    [
        ('<!DOCTYPE r [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;">]><r><v><meter>&c;</meter></v></r>', "document_type"),
        ('<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r><v><meter>&a;</meter></v></r>', "document_type"),
        ('<!DOCTYPE r SYSTEM "http://127.0.0.1/r.dtd"><r><v><meter>a</meter></v></r>', "document_type"),
        ("<r><v><meter>a</meter></v><v>", "not_xml"),
        ("<r><w/></r>", "no_records"),
        ("<r><v><metre>a</metre></v></r>", "missing_columns"),
    ],
)
def test_xml_that_is_refused_whole(house: House, document: str, rule: str) -> None:
    columns = [column("meter", "string", key=1)]
    contract = house.contract(columns, forms=[{"format": "xml", "records": "r/v"}], kind="snapshot")
    receipt = house.deliver(contract, document, "d.xml")
    assert (receipt["status"], [rule for rule, _ in faults(receipt)]) == ("refused", [rule])


@pytest.mark.parametrize(
    ("document", "line", "told"),
    [
        ('<?xml version="1.0" encoding="nonsense"?>\n<r/>', 1, "names an encoding that is none"),
        ("<r><v>\n<meter>a&nbsp;b</meter></v></r>", 2, "nbsp"),
        ("<r><v>\n<meter>" + "x" * 10_100_000 + "</meter></v></r>", 2, "10 MB"),
        ("<r><v><meter>a</meter></v></r>\n<r/>", 2, "one outermost element"),
        ("<r><v>\n<meter>", 2, "may have been cut off"),
        ('\n<?xml version="1.0"?>\n<r/>', 2, "something stands before its first line"),
    ],
)
def test_what_is_wrong_with_xml_is_said_with_its_line(house: House, document: str, line: int, told: str) -> None:
    columns = [column("meter", "string", key=1)]
    contract = house.contract(columns, forms=[{"format": "xml", "records": "r/v"}], kind="snapshot")
    receipt = house.deliver(contract, document, "d.xml")
    assert faults(receipt) == {("not_xml", None): (0, line, None)}
    assert told in receipt["message"]
    assert ("cut off" in receipt["message"]) == ("cut off" in told)


@pytest.mark.parametrize("path", ["a[", "x:a", "ancestor::a", "//a", "/a[1]/b", "/x:a", "/r/v/a", "string(../a)"])
def test_a_path_that_cannot_be_followed_is_a_fault_of_the_contract(house: House, path: str) -> None:
    columns = [column("meter", "string", key=1, parse={"path": path})]
    with pytest.raises(ContractError, match="path"):
        house.contract(columns, forms=[{"format": "xml", "records": "r/v"}], kind="snapshot")


@pytest.mark.parametrize("padding", [0, 100_000])
def test_only_what_stands_before_a_record_counts_however_large_the_document(house: House, padding: int) -> None:
    columns = [
        column("meter", "string", key=1, parse={"path": "@n"}),
        column("unit", "string", parse={"path": "../unit"}),
        column("code", "string", parse={"path": "../unit/@code"}),
        column("site", "string", parse={"path": "/r/site/name"}),
        column("owner", "string", parse={"path": "/r/site/@owner"}),
    ]
    contract = house.contract(columns, forms=[{"format": "xml", "records": "r/site/v"}], kind="snapshot")
    late = f'<v n="1"/><v n="2">{" " * padding}</v><unit code="k">kWh</unit><v n="3"/>'
    document = f'<r><site owner="o"><name>A</name>{late}</site><site><v n="4"/></site></r>'
    assert house.deliver(contract, document, "d.xml")["accepted"] == 4
    assert house.clean(contract, "meter, unit, code, site, owner") == [
        ("1", None, None, "A", "o"), ("2", None, None, "A", "o"), ("3", "kWh", "k", "A", "o"), ("4", None, None, None, None),
    ]  # fmt: skip
