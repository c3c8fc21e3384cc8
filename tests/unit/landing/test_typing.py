"""Values of each type: what is taken, what is refused, and by which rule."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from lakehouse.contracts.odcs import Contract
from tests.unit.landing.conftest import House, column, faults

KEY = column("id", "integer", key=1)
REFUSED = object()


def one_column(house: House, described: dict[str, Any], **form: Any) -> Contract:
    return house.contract([KEY, described], kind="snapshot", forms=[{"format": "csv", "delimiter": ";", **form}])


def outcomes(house: House, contract: Contract, texts: list[str]) -> list[Any]:
    """The stored value of each text, or REFUSED."""
    name = contract.columns[1].name
    lines = [f'{number};"{text}"' for number, text in enumerate(texts)]
    house.deliver(contract, "\n".join([f"id;{name}", *lines]))
    stored = dict(house.clean(contract, f'id, "{name}"'))
    return [stored.get(number, REFUSED) for number in range(len(texts))]


def test_integers(house: House) -> None:
    contract = one_column(house, column("n", "integer"))
    taken = {"5": 5, "-5": -5, "+5": 5, "12.0": 12, "1e3": 1000, "": None, " 7 ": 7, "007": 7}
    taken["9223372036854775807"] = 9223372036854775807
    refused = ["1.5", "1e-1", "1e-12", ".5", "1_000", "0x1F", "9223372036854775808", "n", "1,000", "1 000"]
    found = outcomes(house, contract, [*taken, *refused])
    assert found == [*taken.values(), *[REFUSED] * len(refused)]


def test_a_fraction_is_told_apart_from_what_is_no_number(house: House) -> None:
    contract = one_column(house, column("n", "integer"))
    receipt = house.deliver(contract, "id;n\n1;1.5\n2;x\n")
    assert faults(receipt) == {("not_a_whole_number", "n"): (1, 2, "1.5"), ("not_an_integer", "n"): (1, 3, "x")}


def test_decimals(house: House) -> None:
    contract = one_column(house, column("n", "number"))
    taken = {"1.5": "1.500", "-0.0005": "-0.001", "1e2": "100.000", "5.": "5.000", ".25": "0.250", "12": "12.000"}
    refused = ["nan", "inf", "-inf", "NaN", "1,5", "1_0", "1e400", "1234567890.5", "1.2.3", "--1", "0x10"]
    found = outcomes(house, contract, [*taken, *refused])
    assert found == [*map(Decimal, taken.values()), *[REFUSED] * len(refused)]


def test_doubles_are_finite(house: House) -> None:
    contract = one_column(house, column("n", "number", physicalType="DOUBLE"))
    found = outcomes(house, contract, ["1.5", "1e-300", "nan", "inf", "-Infinity", "1e400", "1_0"])
    assert found == [1.5, 1e-300, *[REFUSED] * 5]


def test_decimal_comma(house: House) -> None:
    contract = one_column(house, column("n", "number"), decimal=",")
    # A point could part thousands: 1.234 must not silently be one and a bit.
    found = outcomes(house, contract, ["1,5", "12", "1.234", "1.234,5"])
    assert found == [Decimal("1.5"), Decimal(12), REFUSED, REFUSED]


@pytest.mark.parametrize("sign", [".", " ", "'"])
def test_thousands(house: House, sign: str) -> None:
    contract = one_column(house, column("n", "number"), decimal=",", thousands=sign)
    texts = ["1#234,5", "1234,5", "1#234#567", "12#5", "1#2345", "#123"]
    found = outcomes(house, contract, [text.replace("#", sign) for text in texts])
    taken = [Decimal("1234.5"), Decimal("1234.5"), Decimal(1234567)]
    assert found[:5] == [*taken, REFUSED, REFUSED]


def test_thousands_in_integers(house: House) -> None:
    contract = one_column(house, column("n", "integer"), decimal=",", thousands=".")
    found = outcomes(house, contract, ["1.234", "1.234.567", "12.5", "1,5", "5"])
    assert found == [1234, 1234567, REFUSED, REFUSED, 5]


def test_booleans(house: House) -> None:
    contract = one_column(house, column("b", "boolean"))
    found = outcomes(house, contract, ["true", "FALSE", "1", "0", "t", "", "maybe", "2"])
    assert found == [True, False, True, False, True, None, REFUSED, REFUSED]


def test_dates_by_format_and_by_iso(house: House) -> None:
    contract = one_column(house, column("d", "date", parse={"formats": ["%d/%m/%Y", "%Y%m%d"]}))
    texts = ["31/01/2024", "20240131", "2024-01-31", "1/2/2024", "31/13/2024", "30/02/2024", "31/01/24"]
    day = date(2024, 1, 31)
    expected = [day, day, day, date(2024, 2, 1), REFUSED, REFUSED, REFUSED]
    assert outcomes(house, contract, [*texts, "infinity", "Epoch", "20240-01-01", "x"]) == [
        *expected,
        *[REFUSED] * 4,
    ]


def test_null_tokens_of_the_form_and_of_the_column(house: House) -> None:
    described = column("n", "integer", parse={"null_values": ["0", "-1"]})
    contract = one_column(house, described, null_values=["NA", "n/a"])
    assert outcomes(house, contract, ["NA", " n/a ", "0", "-1", "na", "3"]) == [None] * 4 + [REFUSED, 3]


def test_a_required_value(house: House) -> None:
    contract = one_column(house, column("s", "string", required=True), null_values=["-"])
    receipt = house.deliver(contract, 'id;s\n1;\n2;" "\n3;-\n4;x\n')
    assert faults(receipt) == {("missing_value", "s"): (3, 2, None)}


def test_lengths_pattern_and_list(house: House) -> None:
    options = {"minLength": 2, "maxLength": 3, "pattern": "[A-Zæ]+"}
    listed = {"metric": "invalidValues", "arguments": {"validValues": ["AB", "ABCD", "ab"]}, "mustBe": 0}
    contract = one_column(house, column("s", "string", logicalTypeOptions=options, quality=[listed]))
    receipt = house.deliver(contract, "id;s\n1;A\n2;ABCD\n3;ab\n4;ÆÆ\n5;AB\n6;ææ\n")
    assert faults(receipt) == {
        ("too_short", "s"): (1, 2, "A"),
        ("too_long", "s"): (1, 3, "ABCD"),
        ("wrong_form", "s"): (2, 4, "ab"),
        ("not_in_list", "s"): (3, 2, "A"),
    }
    assert house.clean(contract, "s") == [("AB",)]


def test_limits_are_inclusive_unless_they_say_exclusive(house: House) -> None:
    contract = one_column(house, column("n", "number", logicalTypeOptions={"minimum": 0, "exclusiveMaximum": 10}))
    assert outcomes(house, contract, ["0", "-0.001", "9.999", "10"]) == [
        Decimal(0),
        REFUSED,
        Decimal("9.999"),
        REFUSED,
    ]


def test_nothing_is_dropped_behind_a_day(house: House) -> None:
    contract = one_column(house, column("d", "date"))
    whole = ["2024-01-31", "2024/1/31", "2024-01-31 00:00:00", "2024-01-31T00:00Z", "2024-01-31+01:00"]
    more = ["2024-01-31 10:30", "2024-01-31T23:30:00Z", "2024-01-31x", "2024-01-31 24:00", "2024-01-31 Wed"]
    assert outcomes(house, contract, [*whole, *more]) == [date(2024, 1, 31)] * len(whole) + [REFUSED] * len(more)


def test_limits_of_dates(house: House) -> None:
    contract = one_column(house, column("d", "date", logicalTypeOptions={"minimum": "2024-01-01"}))
    assert outcomes(house, contract, ["2023-12-31", "2024-01-01"]) == [REFUSED, date(2024, 1, 1)]


def test_a_rule_over_several_columns(house: House) -> None:
    rule = {"type": "sql", "mustBe": 0, "description": "to is not before from"}
    rule |= {"name": "in_order", "query": 'SELECT count(*)\nFROM ${object}\nWHERE "to" < "from"'}
    contract = house.contract([KEY, column("from", "date"), column("to", "date")], kind="snapshot", quality=[rule])
    receipt = house.deliver(contract, "id,from,to\n1,2024-01-02,2024-01-01\n2,2024-01-01,2024-01-02\n3,,2024-01-01\n")
    assert faults(receipt) == {("in_order", None): (1, 2, None)}
    assert receipt["accepted"] == 2


def test_a_rule_that_warns_takes_the_row(house: House) -> None:
    rule = {"type": "sql", "mustBe": 0, "severity": "warning", "name": "odd"}
    rule |= {"query": "SELECT count(*) FROM ${object} WHERE n > 5"}
    contract = house.contract([KEY, column("n", "integer")], kind="snapshot", quality=[rule])
    receipt = house.deliver(contract, "id,n\n1,9\n2,1\nx,9\n")
    assert receipt["accepted"] == 2
    assert [(w["rule"], w["rows"], w["first_line"]) for w in receipt["warnings"]] == [("odd", 1, 2)]


def test_every_fault_of_a_row_is_told(house: House) -> None:
    contract = house.contract([KEY, column("n", "integer"), column("d", "date")], kind="snapshot")
    receipt = house.deliver(contract, "id,n,d\n,x,y\n1,1,2024-01-01\n")
    assert receipt["refused"] == 1
    assert set(faults(receipt)) == {("missing_value", "id"), ("not_an_integer", "n"), ("not_a_date", "d")}


def test_names_that_sql_reserves(house: House) -> None:
    columns = [column("select", "integer", key=1), column("order", "timestamp", required=True, parse={"zone": "UTC"})]
    columns += [column(name, "string") for name in ("rows", "line", "t_x", "x", "record", "bad", "delivery")]
    contract = house.contract(columns, corrections="refuse")
    header = ",".join(c["name"] for c in columns)
    text = f"{header}\n1,2024-01-01 12:00,a,b,c,d,e,f,g\n"
    assert house.deliver(contract, text)["accepted"] == 1
    again = house.deliver(contract, text + "1,2024-01-01 12:00,a,b,c,d,e,f,h\nq,x,,,,,,,\n")
    assert (again["duplicates"], again["refused"]) == (1, 2)
    assert house.clean(contract, '"select", "order", x, bad') == [(1, datetime(2024, 1, 1, 12, tzinfo=UTC), "d", "f")]
