"""Personal data in columns that the contract calls public."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.contracts.odcs import Contract
from tests.unit.landing.conftest import House, column, faults

KEY = column("id", "integer", key=1)
BORN = [f"{day:02d}0160{1000 + day}" for day in range(1, 25)]
NOT_BORN = [f"{day:02d}9960{1000 + day}" for day in range(1, 25)]


def _register(house: House, *columns: dict[str, Any], **more: Any) -> Contract:
    return house.contract([KEY, *columns], kind="snapshot", **more)


def _deliver(house: House, contract: Contract, values: list[str]) -> dict[str, Any]:
    rows = (f'{number},"{value}"' for number, value in enumerate(values))
    return house.deliver(contract, "\n".join(["id,note", *rows]) + "\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("eva.holm@example.dk", "eva.holm"),
        ("ask Eva (eva+x@mail.example.co.uk) first", "eva+x"),
        ("010160-1234", "010160-1234"),
        ("born 010160-1234.", "010160-1234"),
        ("+45 33 66 33 66", "33 66 33 66"),
        ("call 33 66 33 66 now", "33 66 33 66"),
        ("+47 22 34 56 78", "22 34 56 78"),
    ],
)
def test_personal_data_in_a_public_column_is_refused_and_masked(house: House, text: str, found: str) -> None:
    contract = _register(house, column("note", "string"))
    receipt = _deliver(house, contract, ["fine", text])
    assert (receipt["accepted"], receipt["refused"]) == (1, 1)
    [(rows, line, value)] = [entry for (rule, _), entry in faults(receipt).items() if rule == "personal_data"]
    assert (rows, line) == (1, 3)
    assert "(masked)" in value
    kept = house.quarantine(contract, receipt)
    assert found not in str(receipt) + str(kept)
    assert '"id":"1"' in kept[0]["row"]


@pytest.mark.parametrize(
    "text",
    [
        "33663366", "a@b", "2024-01-01T10:00:00+02:00", "POINT (12.56 55.67)", "350160-1234", "1010160-1234",
        "12.50 13.50 14.50", "01 02 03 04", "+1", "0101601234", "12,34 56 78 90",
    ],
)  # fmt: skip
def test_what_only_looks_like_personal_data_is_taken(house: House, text: str) -> None:
    assert _deliver(house, _register(house, column("note", "string")), [text])["refused"] == 0


@pytest.mark.parametrize(("numbers", "refused"), [(BORN, 24), (NOT_BORN, 0), (BORN[:12] + NOT_BORN, 0), (BORN[:19], 0)])
def test_numbers_of_ten_digits_are_cpr_numbers_where_most_are_dates(
    house: House, numbers: list[str], refused: int
) -> None:
    assert _deliver(house, _register(house, column("note", "string")), numbers)["refused"] == refused


def test_cpr_numbers_are_found_among_whole_numbers_without_their_first_zero(house: House) -> None:
    contract = _register(house, column("note", "integer"))
    receipt = _deliver(house, contract, [*(number.lstrip("0") for number in BORN), "77"])
    assert (receipt["accepted"], receipt["refused"]) == (1, 24)
    assert BORN[0].lstrip("0") not in str(receipt) + str(house.quarantine(contract, receipt))


def test_a_published_contact_and_a_private_column_are_not_searched(house: House) -> None:
    published = column("note", "string")
    published["customProperties"] = [{"property": "published_contact", "value": True}]
    assert _deliver(house, _register(house, published), ["post@example.dk"])["refused"] == 0
    secret = column("note", "string", classification="free_text")
    contract = _register(house, secret, dataset="secret")
    assert _deliver(house, contract, ["post@example.dk"])["refused"] == 0


def test_other_faults_of_a_row_show_no_personal_data_either(house: House) -> None:
    contract = _register(house, column("use", "integer"), column("note", "string"))
    rows = ["id,use,note", "1,x,eva.holm@example.dk", "2,eva.holm@example.dk,ok", "3,4,ok,eva.holm@example.dk"]
    receipt = house.deliver(contract, "\n".join(rows) + "\n")
    assert (receipt["delivered"], receipt["refused"]) == (3, 3)
    assert "eva.holm" not in str(receipt) + str(house.quarantine(contract, receipt))


@pytest.mark.parametrize("format_", ["xml", "json", "wide"])
def test_of_rows_of_one_line_only_those_with_personal_data_are_refused(house: House, format_: str) -> None:
    allowed = {"type": "library", "metric": "invalidValues", "arguments": {"validValues": [1, 2, 3]}}
    state = column("state", "integer", quality=[{**allowed, "severity": "warning"}])
    notes = ["a", "eva.holm@example.dk", "c"]
    form: dict[str, Any]
    if format_ == "xml":
        form = {"format": "xml", "records": "m/r"}
        rows = (f"<r><id>1</id><name>{n}</name><note>{note}</note><state>9</state></r>" for n, note in enumerate(notes))
        content = f"<m>{''.join(rows)}</m>"
    elif format_ == "json":
        form = {"format": "json", "unnest": "of"}
        content = json.dumps([{"of": [{"id": 1, "name": n, "note": note, "state": 9} for n, note in enumerate(notes)]}])
    else:
        form = {"format": "csv", "unpivot": {"columns": "n_(.)", "name": "name", "value": "note"}}
        content = f"id,n_0,n_1,n_2,state\n1,{','.join(notes)},9\n"
    contract = _register(house, column("name", "string", key=2), column("note", "string"), state, forms=[form])
    receipt = house.deliver(contract, content, f"d.{format_}")
    assert (receipt["delivered"], receipt["accepted"], receipt["refused"]) == (3, 2, 1)
    assert faults(receipt) == {("personal_data", "note"): (1, 2 if format_ == "wide" else 1, "(masked)")}
    # What is said of the others is said still.
    assert [(entry["rule"], entry["rows"]) for entry in receipt["warnings"]] == [("not_in_list", 2)]
    assert house.clean(contract, "name, note") == [("0", "a"), ("2", "c")]
