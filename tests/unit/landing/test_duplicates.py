"""What a delivery repeats and what it corrects, within itself and against what stands."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.intake import intake
from tests.unit.landing.conftest import READINGS, House, column, faults

HEADER = "meter,read_at,use_kwh\n"
COUNTS = ("delivered", "accepted", "refused", "duplicates", "corrections")


def counts(receipt: dict[str, Any]) -> tuple[int, ...]:
    return tuple(receipt[name] for name in COUNTS)


def row(value: object, *, meter: str = "a", day: int = 1) -> str:
    return f"{meter},2024-01-{day:02} 00:00,{value}\n"


def valid(house: House, contract: Contract) -> dict[str, Any]:
    """The newest version of each key: what a build takes."""
    newest: dict[str, Any] = {}
    for meter, value in house.clean(
        contract, "meter || ' ' || day(read_at), use_kwh::DOUBLE", "exchange_delivery, exchange_line"
    ):
        newest[meter] = value
    return newest


def test_within_a_delivery(house: House) -> None:
    contract = house.contract()
    receipt = house.deliver(contract, HEADER + row(1) + row(1) + row(2) + row(1) + row(1) + row(5, meter="b"))
    assert counts(receipt) == (6, 4, 0, 2, 2)
    assert valid(house, contract) == {"a 1": 1.0, "b 1": 5.0}


def test_across_deliveries_there_and_back(house: House) -> None:
    contract = house.contract()
    assert counts(house.deliver(contract, HEADER + row(1) + row(9, day=2))) == (2, 2, 0, 0, 0)
    assert counts(house.deliver(contract, HEADER + row(2) + row(9, day=2))) == (2, 1, 0, 1, 1)
    assert valid(house, contract) == {"a 1": 2.0, "a 2": 9.0}
    # Back to the first value, in another file: a correction again, held against the newest version only.
    assert counts(house.deliver(contract, HEADER + row(1))) == (1, 1, 0, 0, 1)
    assert valid(house, contract) == {"a 1": 1.0, "a 2": 9.0}
    assert counts(house.deliver(contract, HEADER + row("1.000"))) == (1, 0, 0, 1, 0)


def test_a_value_withdrawn_is_a_correction(house: House) -> None:
    contract = house.contract()
    house.deliver(contract, HEADER + row(1))
    assert counts(house.deliver(contract, HEADER + row(""))) == (1, 1, 0, 0, 1)
    assert counts(house.deliver(contract, HEADER + row("") + row(""))) == (2, 0, 0, 2, 0)


def test_the_first_of_several_versions_is_held_against_what_stands(house: House) -> None:
    contract = house.contract()
    house.deliver(contract, HEADER + row(1))
    assert counts(house.deliver(contract, HEADER + row(1) + row(2))) == (2, 1, 0, 1, 1)
    assert counts(house.deliver(contract, HEADER + row(1) + row(2))) == (2, 0, 0, 2, 0)  # the same bytes


def test_where_corrections_are_refused(house: House) -> None:
    contract = house.contract(corrections="refuse")
    # The third version says what the first said, which stands: a duplicate and no correction.
    receipt = house.deliver(contract, HEADER + row(1) + row(2) + row(1) + row(7, meter="b"))
    assert counts(receipt) == (4, 2, 1, 1, 0)
    assert faults(receipt) == {("differs_from_earlier", None): (1, 3, None)}
    receipt = house.deliver(contract, HEADER + row(3) + row(1) + row(4))
    assert counts(receipt) == (3, 0, 2, 1, 0)
    assert valid(house, contract) == {"a 1": 1.0, "b 1": 7.0}
    assert [fault["line"] for fault in house.quarantine(contract, receipt)] == [2, 4]


def test_keys_of_other_partitions_are_not_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = house.contract()
    house.deliver(contract, HEADER + "".join(row(1, day=day) for day in range(1, 29)))
    read: list[str] = []
    of_lake = house.exchange.lake.duckdb_url
    monkeypatch.setattr(house.exchange.lake, "duckdb_url", lambda bucket, key: read.append(key) or of_lake(bucket, key))
    house.deliver(contract, HEADER + row(2, day=3))
    assert len(read) == 1
    assert "event_date=2024-01-03" in read[0]


def test_snapshots(house: House) -> None:
    columns = [column("code", "integer", key=1), column("name", "string")]
    contract = house.contract(columns, kind="snapshot")
    assert counts(house.deliver(contract, "code,name\n1,a\n2,b\n")) == (2, 2, 0, 0, 0)
    receipt = house.deliver(contract, "code,name\n1,a\n2,c\n3,d\n")
    assert counts(receipt) == (3, 2, 0, 1, 1)
    assert receipt["partitions"] == {"count": 1, "first": "undated", "last": "undated"}


def test_the_same_bytes_twice_change_nothing_and_say_so(house: House) -> None:
    contract = house.contract()
    first = house.deliver(contract, HEADER + row(1) + "broken,x,1\n")
    change, rows = house.exchange.index.last_change(), house.clean(contract)
    again = house.deliver(contract, HEADER + row(1) + "broken,x,1\n", "another name.csv")
    assert again["status"] == "repeated"
    assert counts(again) == (2, 0, 0, 2, 0)
    assert first["delivery"] in again["message"]
    assert house.exchange.index.last_change() == change
    assert house.clean(contract) == rows
    assert again["delivery"] != first["delivery"]


def test_other_bytes_with_the_same_rows_change_nothing_either(house: House) -> None:
    contract = house.contract()
    house.deliver(contract, HEADER + row(1))
    change = house.exchange.index.last_change()
    receipt = house.deliver(contract, "use_kwh,meter,read_at\n1.0,a,2024-01-01T00:00:00Z\n")
    assert counts(receipt) == (1, 0, 0, 1, 0)
    assert house.exchange.index.last_change() == change


def test_the_same_bytes_after_a_refusal_are_read_again(house: House) -> None:
    contract = house.contract(thresholds={"max_refused_share": 0.1})
    assert house.deliver(contract, HEADER + row("x"))["status"] == "refused"
    assert house.deliver(contract, HEADER + row("x"))["status"] == "refused"


def test_the_same_bytes_under_a_new_contract_are_read_again(house: House) -> None:
    house.contract()
    contract = house.contract([*READINGS_WITHOUT_LIMIT])
    content = HEADER + row(1) + row(-1, day=2)
    assert counts(house.deliver(house.contract(), content)) == (2, 1, 1, 0, 0)
    wider = contract.model_copy(update={"version": "1.1.0"})
    assert counts(house.deliver(wider, content)) == (2, 1, 0, 1, 0)


READINGS_WITHOUT_LIMIT = [
    column("meter", "string", key=1),
    column("read_at", "timestamp", key=2, parse={"zone": "UTC"}),
    column("use_kwh", "number"),
]


def test_clean_files_of_an_older_contract_are_compared_with_its_new_columns(house: House) -> None:
    house.deliver(house.contract(READINGS_WITHOUT_LIMIT), HEADER + row(1) + row(2, day=2))
    wider = house.contract([*READINGS_WITHOUT_LIMIT, column("note", "string")])
    receipt = house.deliver(wider, "meter,read_at,use_kwh,note\n" + row("1,") + row("2,new", day=2))
    assert counts(receipt) == (2, 1, 0, 1, 1)
    narrower = house.contract(READINGS_WITHOUT_LIMIT[:2])
    assert counts(house.deliver(narrower, "meter,read_at\na,2024-01-01 00:00\n")) == (1, 0, 0, 1, 0)


@pytest.mark.parametrize("corrections", ["newest_wins", "refuse"])
@pytest.mark.parametrize("seed", range(4))
def test_any_mixture_adds_up_and_ends_in_the_right_rows(house: House, seed: int, corrections: str) -> None:
    """Against a model that holds one value a key and takes rows one by one."""
    chance = random.Random(seed)
    contract = house.contract(corrections=corrections)
    standing: dict[str, float] = {}
    for number in range(4):
        expected = dict.fromkeys(COUNTS, 0)
        text = HEADER
        for _ in range(chance.randrange(1, 40)):
            meter, day = chance.choice("abc"), chance.randrange(1, 5)
            value = chance.choice([1, 2, 3, -1, "x", None])
            expected["delivered"] += 1
            if value is None:
                text += "short\n"
                expected["refused"] += 1
                continue
            text += row(value, meter=meter, day=day)
            known = standing.get(f"{meter} {day}")
            if value in (-1, "x"):
                expected["refused"] += 1
            elif known == value:
                expected["duplicates"] += 1
            elif known is not None and corrections == "refuse":
                expected["refused"] += 1
            else:
                expected["accepted"] += 1
                expected["corrections"] += known is not None
                standing[f"{meter} {day}"] = float(value)
        receipt = house.deliver(contract, text, f"{number}.csv")
        assert {name: receipt[name] for name in COUNTS} == expected
        assert sum(e["rows"] for e in receipt["errors"]) == expected["refused"]
    assert valid(house, contract) == standing


def test_several_files_at_once_are_taken_in_order_of_their_names(house: House) -> None:
    contract = house.contract()
    for number in (2, 1, 3):
        house.drop(contract, HEADER + row(number), f"{number}.csv")
    receipts = intake(house.exchange, contract)
    assert [receipt["file"] for receipt in receipts] == ["1.csv", "2.csv", "3.csv"]
    assert valid(house, contract) == {"a 1": 3.0}
    assert intake(house.exchange, contract) == []


@pytest.mark.parametrize("cells", ["2,1", "1,2"])
def test_rows_of_one_line_with_one_key_stand_in_their_order(house: House, cells: str) -> None:
    unpivot = {"columns": r"(use)_\d", "name": "what", "value": "use_kwh"}
    form = {"format": "csv", "unpivot": unpivot}
    contract = house.contract([*READINGS, column("what", "string")], forms=[form], corrections="refuse")
    receipt = house.deliver(contract, f"meter,read_at,use_1,use_2\na,2024-01-01 00:00,{cells}\n")
    assert counts(receipt) == (2, 1, 1, 0, 0)
    assert valid(house, contract) == {"a 1": float(cells[0])}
