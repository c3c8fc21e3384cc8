"""What the provider and the reviewer are told, and what they are never shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from lakehouse.cli import app
from lakehouse.landing.intake import intake
from lakehouse.landing.receipt import MASK, Sender, build_receipt
from tests.unit.landing.conftest import House, column, faults

PLANTED = "Planted-0101701234"
PRIVATE = [
    column("household", "string", key=1, classification="identifier", logicalTypeOptions={"maxLength": 10}),
    column("read_at", "timestamp", key=2, parse={"zone": "UTC"}, classification="quasi_identifier"),
    column("litres", "integer", classification="sensitive"),
    column("station", "string", logicalTypeOptions={"maxLength": 5}),
]
HEADER = "household,read_at,litres,station\n"


def everything_published(house: House, receipt: dict[str, Any]) -> bytes:
    contract = house.exchange.contracts["town/readings"]
    parts = [house.published(contract, receipt, ending) for ending in ("json", "html")]
    return b"".join([*parts, json.dumps(receipt).encode()])


def test_values_of_private_columns_are_masked(house: House) -> None:
    contract = house.contract(PRIVATE)
    receipt = house.deliver(
        contract,
        f"{HEADER}{PLANTED},2024-01-01 00:00,1,s\nh,{PLANTED},1,s\nh,2024-01-01 00:00,{PLANTED},s\n"
        f"{PLANTED},short\nh,2024-01-01 00:00,1,seven77\n",
    )
    assert PLANTED.encode() not in everything_published(house, receipt)
    found = faults(receipt)
    assert found["too_long", "household"][2] == MASK
    assert found["malformed_row", None][2] == MASK
    # What is public may be shown, and the reviewer sees all of it in quarantine.
    assert found["too_long", "station"][2] == "seven77"
    assert any(PLANTED in (fault["row"] or "") for fault in house.quarantine(contract, receipt))


REFUSED_WHOLE = {
    "no header": f"{PLANTED},2024-01-01 00:00,1,s\n{PLANTED},2024-01-02 00:00,2,s\n",
    "too many refused": f"{HEADER}{PLANTED},{PLANTED},{PLANTED},s\n",
    "open quotes": f'{HEADER}"{PLANTED},2024-01-01 00:00,1,s\n',
}


@pytest.mark.parametrize("name", REFUSED_WHOLE)
def test_also_where_the_whole_delivery_is_refused(house: House, name: str) -> None:
    contract = house.contract(PRIVATE, thresholds={"max_refused_share": 0})
    receipt = house.deliver(contract, REFUSED_WHOLE[name])
    assert receipt["status"] == "refused"
    assert PLANTED.encode() not in everything_published(house, receipt)


def test_the_error_of_a_reader_does_not_show_a_private_value(house: House) -> None:
    contract = house.contract(PRIVATE, forms=[{"format": "parquet"}, {"format": "json"}])
    for content in (b"PAR1" + PLANTED.encode(), b'[{"household": "' + PLANTED.encode()):
        receipt = house.deliver(contract, content, "d.bin")
        assert receipt["status"] == "refused"
        assert PLANTED.encode() not in everything_published(house, receipt)


def test_quarantine_has_line_column_value_and_rule(house: House) -> None:
    contract = house.contract()
    receipt = house.deliver(contract, "meter,read_at,use_kwh\na,2024-01-01 00:00,-1\na,never,\u00bd\n")
    found = house.quarantine(contract, receipt)
    assert [(f["line"], f["column"], f["value"], f["rule"]) for f in found] == [
        (2, "use_kwh", "-1", "below_minimum"),
        (3, "use_kwh", "½", "not_a_number"),
        (3, "read_at", "never", "not_a_timestamp"),
    ]
    assert json.loads(found[1]["row"]) == {"meter": "a", "read_at": "never", "use_kwh": "½"}


def test_the_page_escapes_names_and_values(house: House) -> None:
    evil = "<script>alert(1)</script>"
    contract = house.contract()
    receipt = house.deliver(
        contract, f"meter,read_at,use_kwh,{evil}\na,{evil},1,x\n", f"{evil.replace('/', '&')}'\".csv"
    )
    page = house.published(contract, receipt, "html").decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3
    assert json.loads(house.published(contract, receipt, "json")) == receipt


def test_a_long_value_is_cut_short_on_the_receipt(house: House) -> None:
    contract = house.contract()
    receipt = house.deliver(contract, f"meter,read_at,use_kwh\na,{'9' * 5000},1\n")
    assert len(receipt["errors"][0]["value"]) < 300
    assert len(house.quarantine(contract, receipt)[0]["value"]) == 5000


def test_errors_are_summed_up_with_the_first_of_each_kind(house: House) -> None:
    contract = house.contract()
    lines = [f"a,2024-01-01 00:{minute:02},{-minute}" for minute in range(10)]
    receipt = house.deliver(contract, "\n".join(["meter,read_at,use_kwh", *lines, "a,b", ",x,1"]))
    assert faults(receipt) == {
        ("below_minimum", "use_kwh"): (9, 3, "-1"),
        ("malformed_row", None): (1, 12, "a,b"),
        ("missing_value", "meter"): (1, 13, None),
        ("not_a_timestamp", "read_at"): (1, 13, "x"),
    }
    assert all(error["advice"] for error in receipt["errors"])
    assert (receipt["status"], receipt["refused"]) == ("partly_accepted", 11)


@pytest.mark.parametrize(("limit", "refused"), [(0.29, 29), (0.07, 7), (0.2, 20), (1, 100)])
def test_the_threshold_is_inclusive(house: House, limit: float, refused: int) -> None:
    contract = house.contract(thresholds={"max_refused_share": limit})
    good = [f"a,2024-01-01 {n // 60:02}:{n % 60:02},1" for n in range(100 - refused)]
    receipt = house.deliver(contract, "\n".join(["meter,read_at,use_kwh", *good, *["a,b,c"] * refused]))
    assert (receipt["status"], receipt["refused"]) == ("partly_accepted", refused)
    if good:
        text = "\n".join(["meter,read_at,use_kwh", *good[1:], *["a,b,c"] * (refused + 1)])
        receipt = house.deliver(contract, text)
        assert (receipt["status"], receipt["refused"], receipt["accepted"]) == ("refused", 100, 0)
        assert receipt["errors"][0]["rule"] == "too_many_refused"


def test_expectations_of_the_whole_delivery(house: House) -> None:
    counted = {"metric": "rowCount", "mustBeGreaterOrEqualTo": 2}
    nulls = {"metric": "nullValues", "unit": "percent", "mustBeLessOrEqualTo": 50, "severity": "warning"}
    columns = [column("id", "integer", key=1), column("note", "string", quality=[nulls])]
    contract = house.contract(columns, kind="snapshot", quality=[counted])
    receipt = house.deliver(contract, "id,note\n1,a\n")
    assert (receipt["status"], receipt["errors"][0]["rule"]) == ("refused", "contract_expectation")
    receipt = house.deliver(contract, "id,note\n1,\n2,\n3,x\n")
    assert receipt["accepted"] == 3
    failed = [(check["expectation"], check["severity"]) for check in receipt["checks"] if not check["success"]]
    assert failed == [("expect_column_values_to_not_be_null", "warning")]


def test_a_delivery_of_another_number_of_rows_than_it_must_have_is_refused(house: House) -> None:
    contract = house.contract(
        [column("id", "integer", key=1)], kind="snapshot", quality=[{"metric": "rowCount", "mustBe": 2}]
    )
    assert house.deliver(contract, "id\n1\n2\n")["status"] == "accepted"
    receipt = house.deliver(contract, "id\n3\n4\n5\n")
    assert receipt["status"] == "refused"
    assert "3 rows delivered, expected 2." in receipt["errors"][0]["expected"]


def test_a_receipt_whose_rows_do_not_add_up_cannot_be_made(house: House) -> None:
    contract = house.contract()
    with pytest.raises(AssertionError, match="3 delivered is not 1 accepted"):
        build_receipt(
            sender=Sender.of(contract),
            delivery={"delivery": "d"},
            status="accepted",
            delivered=3,
            accepted=1,
            message="",
            next_step="",
        )


def test_receipts_lie_where_the_provider_looks(house: House) -> None:
    contract = house.contract()
    receipt = house.deliver(contract, "meter,read_at,use_kwh\na,2024-01-01 00:00,1\n")
    keys = [entry.key for entry in house.exchange.lake.list("landing-town")]
    assert keys == [f"receipts/readings/{receipt['delivery']}.{ending}" for ending in ("html", "json")]
    assert intake(house.exchange, contract) == []


def test_the_command_says_what_was_wrong(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = house.contract()
    house.deliver(contract, "meter,read_at,use_kwh\na,never,1\n,2024-01-01 00:00,2\n", "rows.csv")
    house.deliver(contract, "meter;read_at;use_kwh\n", "whole.csv")
    settings = house.exchange.settings
    for name, value in (("PROJECT", settings.project), ("HOME", settings.home), ("LAKE", settings.lake)):
        monkeypatch.setenv(f"EXCHANGE_{name}", str(value))
    assert str(CliRunner().invoke(app, ["receipts", "nobody"]).exception) == "no provider 'nobody'; there are: town"
    told = CliRunner().invoke(app, ["receipts", "town"]).output.splitlines()
    assert told[-3:-1] == [
        "rows.csv: missing_value: 1 rows, first line 3, column 'meter', expected a value",
        "rows.csv: not_a_timestamp: 1 rows, first line 2, column 'read_at': never",
    ]
    assert told[-1].startswith("whole.csv: wrong_delimiter: The columns are parted by ';' where the contract says ','.")
