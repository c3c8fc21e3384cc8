"""Small deliveries that are loaded together end as they would alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.landing import intake as intaking
from lakehouse.landing.intake import intake
from lakehouse.landing.seal import seal_inbox
from lakehouse.storage.index import clean_files, deliveries
from tests.dying import dies_everywhere
from tests.unit.landing.conftest import METER, READ_AT, USE, House, column
from tests.unit.landing.test_seal import outcome, readings, take_in

HEAD = "meter,read_at,use_kwh,note\n"
COLUMNS = [METER, READ_AT, USE, column("note", "string")]


def rows(*lines: str, head: str = HEAD) -> str:
    return head + "".join(f"{line}\n" for line in lines)


def good(number: int, use: float = 1.0) -> str:
    """Two rows of the meter's own, in two partitions."""
    day = 1 + number % 27
    return rows(f"m{number},2024-01-{day:02} 10:00,{use},", f"m{number},2024-01-{day + 1:02} 11:30,{use + 0.5},ok")


def mix() -> list[str | bytes]:
    """About sixty deliveries: most of them good, the others as deliveries are."""
    odd: dict[int, str | bytes] = {
        3: good(2),  # the very bytes of the one before
        4: rows("m2,2024-01-03 10:00,7,"),  # a correction
        5: rows("m2,2024-01-03 10:00,7,"),  # and once more
        6: rows("m2,2024-01-03 10:00,1.0,"),  # and back
        9: "",
        11: HEAD,
        13: rows("m13,never,1,", "m13,2024-01-02 10:00,1,"),
        15: rows("m15,2024-01-02 10:00,-4,"),
        17: b"\x89PNG\r\n",
        19: rows("m19,2024-01-02 10:00", "m19,2024-01-02 11:00,2,"),
        20: rows('m20,2024-01-02 10:00,3,"said ""so"""'),
        21: good(21).replace("\n", "\r\n"),
        22: good(22).rstrip("\n"),
        23: rows("m23,2024-01-02 10:00,3,æøå").encode("utf-8"),
        24: rows("m24,2024-01-02 10:00,3,æøå").encode("latin-1"),
        26: rows("2024-01-02 10:00,m26,5,", head="read_at,meter,use_kwh,note\n"),
        27: rows("2024-01-02 10:00,m27,5,", head="read_at,meter,use_kwh,note\n"),
        28: rows("m28,2024-01-02 10:00,5,,x", head="meter,read_at,use_kwh,note,more\n"),
        29: rows("m29,2024-01-02 10:00,5,,x", head="meter,read_at,use_kwh,note,more\n"),
        30: rows("m30,5", head="meter,use_kwh\n"),
        31: rows("m31,2024-01-02 10:00,5", head="meter,read_at,use_kwh\n"),
        33: rows("m33,2024-01-02 10:00,5,write to a@b.dk"),
        35: rows("m35,2024-01-02 10:00,5,", "m35,2024-01-02 10:00,6,", "m35,2024-01-02 10:00,5,"),
        37: rows("", "m37,2024-01-02 10:00,5,", "", "m37,2024-01-03 10:00,5,"),
        39: rows(*(f"m39,2024-02-01 {hour:02}:00,1{hour:02}.000," for hour in range(24))),
        41: rows("m5,2024-01-06 10:00,9,", "m41,2024-01-06 10:00,9,"),
        42: rows("m5,2024-01-06 10:00,9,", "m41,2024-01-06 10:00,9,"),
    }
    return [odd.get(number, good(number)) for number in range(58)]


def compared(house: House, contract: Contract) -> dict[str, Any]:
    """All that deliveries come to, without what tells one run from the next."""
    found = house.exchange.index.rows(sa.select(deliveries).order_by(deliveries.c.file))
    names = {row["delivery"]: row["file"] for row in found}

    def named(value: Any) -> Any:
        text = json.dumps(value)
        for delivery, file in names.items():
            text = text.replace(delivery, file)
        return json.loads(text)

    receipts = []
    for row in found:
        receipt = json.loads(house.published(contract, row["receipt"], "json"))
        assert receipt == row["receipt"]
        assert house.published(contract, receipt, "html")
        profile = receipt.pop("profile") or {}
        for gone in ("batch", "received_at"):
            receipt.pop(gone)
        for gone in ("hours_since_last", "age_hours", "newest_event"):
            profile.pop(gone, None)
        receipts.append((named(receipt), profile, row["status"], row["raw_key"].rsplit("/", 2)[1]))
    clean = house.clean(contract, "exchange_delivery, exchange_line, * EXCLUDE (exchange_delivery, exchange_known_at)")
    known = house.clean(contract, "exchange_delivery, exchange_known_at")
    arrived = {row["delivery"]: row["received_at"] for row in found}
    assert all(at == arrived[delivery] for delivery, at in known)
    return {
        "receipts": receipts,
        "clean": sorted(((names[delivery], *values) for delivery, *values in clean), key=str),
        "quarantine": [
            [entry["row"] for entry in house.quarantine(contract, row["receipt"])] for row in found if row["receipt"]
        ],
    }


def together(
    house: House, contract: Contract, contents: list[str | bytes], ending: str = "csv"
) -> list[dict[str, Any]]:
    for number, content in enumerate(contents):
        house.drop(contract, content, f"{number:03}.{ending}")
    return intake(house.exchange, contract)


def alone(house: House, contract: Contract, contents: list[str | bytes], ending: str = "csv") -> None:
    for number, content in enumerate(contents):
        house.deliver(contract, content, f"{number:03}.{ending}")


@pytest.mark.parametrize("corrections", ["newest_wins", "refuse"])
def test_a_mix_of_deliveries_comes_to_the_same_together_and_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corrections: str
) -> None:
    monkeypatch.setattr(intaking, "LEAST", 2)
    contents = mix() if corrections == "newest_wins" else [*mix()[:8], *mix()[40:44]]
    ends = []
    for way in (together, alone):
        house = House(tmp_path / way.__name__)
        contract = house.contract(COLUMNS, corrections=corrections)
        way(house, contract, contents)
        ends.append(compared(house, contract))
        shared = {row["key"] for row in index_rows(house)}
        assert (len(index_rows(house)) > len(shared)) == (way is together)
    for (one, *more), (other, *others) in zip(ends[0]["receipts"], ends[1]["receipts"], strict=True):
        assert one == other
        assert more == others, one["file"]
    assert ends[0] == ends[1]
    if corrections == "newest_wins":
        statuses = {receipt["status"] for receipt, *_ in ends[0]["receipts"]}
        assert statuses == {"accepted", "partly_accepted", "refused", "repeated"}


def index_rows(house: House) -> list[Any]:
    return list(house.exchange.index.rows(sa.select(clean_files)))


def found(house: House) -> list[Any]:
    return list(house.exchange.index.rows(sa.select(deliveries).order_by(deliveries.c.delivery)))


def test_ndjson_comes_to_the_same_together_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intaking, "LEAST", 2)
    line = '{{"meter": "m{0}", "read_at": "2024-01-0{0}T10:00:00Z", "use_kwh": {1}{2}}}\n'.format
    contents: list[str | bytes] = [
        line(1, 1, ""),
        line(2, "2.50", ', "note": "x"') + "\n" + line(3, 1, ""),
        line(4, 1, ', "colour": "red"'),
        line(5, 1, "").rstrip(),
        '{"meter": "m6"}\n' + line(6, 1, ""),
        line(7, '"many"', ""),
        line(1, 3, ""),
        line(8, 1, ""),
        line(1, 3, ""),
    ]
    ends = []
    for way in (together, alone):
        house = House(tmp_path / way.__name__)
        contract = house.contract(COLUMNS, forms=[{"format": "ndjson"}])
        way(house, contract, contents, "ndjson")
        ends.append(compared(house, contract))
        assert any(row["receipt"]["batch"] for row in found(house)) == (way is together)
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("records", "document", "unnest"),
    [
        pytest.param(
            "data.readings", '{{"at": "2024-01-0{1}T10:00:00Z", "data": {{"readings": [{0}]}}}}', None, id="list"
        ),
        pytest.param("", "[{0}]", None, id="the list itself"),
        pytest.param(
            "days", '{{"at": "2024-01-0{1}T10:00:00Z", "days": [{{"readings": [{0}]}}]}}', "readings", id="inner list"
        ),
    ],
)
def test_json_documents_come_to_the_same_together_and_alone(
    records: str, document: str, unnest: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intaking, "LEAST", 2)
    own = records == ""
    columns = [COLUMNS[0], column("read_at", "timestamp", key=2, parse={} if own else {"path": "$.at"}), *COLUMNS[2:]]

    def of(day: int, *readings: str) -> str:
        each = [f'{{"read_at": "2024-01-0{day}T10:00:00Z", {one}}}' if own else f"{{{one}}}" for one in readings]
        return document.format(", ".join(each), day)

    good = ['"meter": "m1", "use_kwh": 1', '"meter": "m2", "use_kwh": "2.50", "note": "a, b"']
    contents: list[str | bytes] = [
        of(1, *good),
        of(2, *good).replace(",", ",\n").replace("{", "{\r\n\t"),
        of(3, *good) + "\n\n",
        of(4, '"meter": "m1", "use_kwh": 1, "colour": "red"'),
        of(5, *good)[:-3],
        of(5, *good),
        of(6, '"meter": "m1", "use_kwh": 1, "note": "broken\nline"'),
        of(6, '"meter": "m1", "use_kwh": "many"', good[1]),
        of(7),
        '{"other": [1]}',
        '"text"',
        of(7, *good),
        of(1, '"meter": "m1", "use_kwh": 3'),
        of(8, '"meter": "m1"'),
        of(8, *good, good[0]),
        of(9, *good).replace("2.50", "2.5\u00f8"),
        of(9, *good),
        of(1, *good),
        of(1, *good),
    ]
    ends = []
    for way in (together, alone):
        house = House(tmp_path / way.__name__)
        form = {"format": "json", "records": records, **({"unnest": unnest} if unnest else {})}
        contract = house.contract(columns, forms=[form])
        way(house, contract, contents, "json")
        ends.append(compared(house, contract))
        assert any(row["receipt"]["batch"] for row in found(house)) == (way is together)
    assert ends[0] == ends[1]
    statuses = [receipt["status"] for receipt, *_ in ends[0]["receipts"]]
    assert {"accepted", "partly_accepted", "refused", "repeated"} >= set(statuses)
    assert statuses.count("accepted") >= 6 <= statuses.count("refused")


@pytest.mark.thorough
def test_dying_at_any_call_and_running_again_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intaking, "LEAST", 2)

    def fresh(folder: Path) -> House:
        house = House(folder)
        contract = house.contract(COLUMNS)
        for number, content in enumerate([good(1), good(2), rows("m1,2024-01-02 10:00,9,")]):
            house.drop(contract, content, f"{number}.csv")
        return house

    house = fresh(tmp_path / "undisturbed")
    take_in(house.exchange, house)
    expected = outcome(house, readings(house))
    assert len(expected["rows"]) == 5

    def again(house: House) -> None:
        take_in(house.exchange, house)
        assert outcome(house, readings(house)) == expected

    # Calls of several threads come in any order: each is died at all the same.
    assert dies_everywhere(tmp_path, fresh, take_in, again, step=3) > 18


def test_deliveries_between_are_judged_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the middle was loaded before the others, by another process."""
    monkeypatch.setattr(intaking, "LEAST", 2)
    house = House(tmp_path / "h")
    contract = house.contract(COLUMNS)
    for number in range(5):
        house.drop(contract, rows(f"m,2024-01-01 10:00,{number}.000,"), f"{number}.csv")
    names = seal_inbox(house.exchange, contract)
    with house.exchange.index.begin() as connection:
        connection.execute(sa.update(deliveries).where(deliveries.c.delivery != names[2]).values(status="claimed"))
    intake(house.exchange, contract)
    with house.exchange.index.begin() as connection:
        connection.execute(sa.update(deliveries).where(deliveries.c.status == "claimed").values(status="sealed"))
    receipts = intake(house.exchange, contract)
    assert [receipt["corrections"] for receipt in receipts] == [0, 1, 1, 1]
    assert [receipt["batch"] is None for receipt in receipts] == [False, False, False, False]
    assert receipts[0]["batch"] == receipts[1]["batch"] != receipts[2]["batch"]
