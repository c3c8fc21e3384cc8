"""A contract is mended after a person was erased: the others are read again, and that person does not come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.erasure.erase import erase
from lakehouse.landing.intake import intake
from lakehouse.landing.replay import replay
from lakehouse.release.doctor import rebuild_index
from lakehouse.storage.index import deliveries
from tests.unit.landing.conftest import READ_AT, USE, House, column

PERSON, OTHER = "DK-47111111", "DK-47122222"
METER = column("meter", "string", key=1, classification="identifier")
FROM_TWO = column("use_kwh", "number", logicalTypeOptions={"minimum": 2})


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


def mended(house: House, columns: list[dict[str, Any]], **more: Any) -> Contract:
    contract = house.contract(columns, **more)
    path = house.exchange.settings.contracts_path / "town" / "readings.odcs.yaml"
    path.write_text(path.read_text().replace("version: 1.0.0", "version: 1.1.0"))
    house.exchange.__dict__.pop("contracts", None)
    return house.exchange.contract(contract.key)


def receipts(house: House) -> dict[str, dict[str, Any]]:
    rows = house.exchange.index.rows(sa.select(deliveries).order_by(deliveries.c.delivery))
    return {row["file"]: row["receipt"] for row in rows}


def test_the_receipt_still_counts_the_person_s_rows_and_none_of_them_left_quarantine(house: House) -> None:
    contract = house.contract([METER, READ_AT, USE])
    rows = [f"{PERSON},2024-01-01 00:00,1", f"{OTHER},2024-01-01 00:00,3", f"{OTHER},2024-01-02 00:00,-1"]
    house.deliver(contract, "\n".join(["meter,read_at,use_kwh", *rows[:2], ""]), "one.csv")
    house.deliver(
        contract, "\n".join(["meter,read_at,use_kwh", rows[0].replace("-01 ", "-03 "), rows[2], ""]), "two.csv"
    )
    erase(house.exchange, contract, subject=PERSON, reason="asked for it")
    replay(house.exchange, mended(house, [METER, READ_AT, column("use_kwh", "number")]))
    found = receipts(house)
    numbers = ("delivered", "accepted", "refused", "duplicates", "released_from_quarantine")
    assert [found["one.csv"][name] for name in numbers] == [2, 1, 1, 0, 0]
    assert [found["two.csv"][name] for name in numbers] == [2, 1, 1, 0, 1]
    assert [entry["rule"] for entry in found["two.csv"]["errors"]] == ["erased_subject"]
    assert house.people(contract, "meter", [PERSON]) == [None]


def test_rows_of_the_person_in_a_file_that_nobody_could_read_do_not_come_in_by_a_replay(house: House) -> None:
    contract = house.contract([METER, READ_AT, USE])
    house.deliver(contract, f"meter,read_at,use_kwh\n{PERSON},2024-01-01 00:00,1\n", "one.csv")
    erase(house.exchange, contract, subject=PERSON, reason="asked for it")
    renamed = f"maaler,read_at,use_kwh\n{PERSON},2024-01-02 00:00,1\n{OTHER},2024-01-02 00:00,1\n"
    # Twice the same bytes, of which one object is sealed.
    for name in ("two.csv", "three.csv"):
        assert house.deliver(contract, renamed, name)["status"] == "refused"
    contract = mended(house, [{**METER, "physicalName": "maaler"}, READ_AT, USE])
    replay(house.exchange, contract)
    two = receipts(house)["two.csv"]
    assert (two["delivered"], two["accepted"], two["refused"]) == (2, 1, 1)
    assert receipts(house)["three.csv"]["status"] == "repeated"
    assert house.clean(contract, "meter") == [tuple(house.people(contract, "meter", [OTHER]))]
    assert house.people(contract, "meter", [PERSON]) == [None]
    raw = [house.exchange.lake.read_bytes("raw", entry.key) for entry in house.exchange.lake.list("raw")]
    assert not any(PERSON.encode() in data for data in raw)


def test_of_files_loaded_together_one_that_went_whole_keeps_its_rows_and_the_others_are_read_again(
    house: House,
) -> None:
    forms = [{"format": "json"}]
    contract = house.contract([METER, READ_AT, USE], forms=forms)
    for hour in range(10):
        rows = [{"meter": OTHER, "read_at": f"2024-01-01 0{hour}:00", "use_kwh": 1 + hour % 2}]
        if hour == 4:
            rows.append({"meter": PERSON, "read_at": "2024-01-01 04:00", "use_kwh": 3})
        house.drop(contract, json.dumps(rows), f"{hour}.json")
    assert len({receipt["batch"] for receipt in intake(house.exchange, contract)}) == 1
    erase(house.exchange, contract, subject=PERSON, reason="asked for it")
    contract = mended(house, [METER, READ_AT, FROM_TWO], forms=forms)
    assert len(replay(house.exchange, contract)) == 10
    # What was below two is refused now, but for the one that cannot be read again.
    stands = house.clean(contract, "hour(read_at), use_kwh::INT")
    assert stands == [(1, 2), (3, 2), (4, 1), (5, 2), (7, 2), (9, 2)]
    assert receipts(house)["4.json"]["replayed_at"] is None
    assert replay(house.exchange, contract) == []
    rebuild_index(house.exchange)
    assert house.clean(contract, "hour(read_at), use_kwh::INT") == stands
