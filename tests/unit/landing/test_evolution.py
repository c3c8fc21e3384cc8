"""Files whose columns, types or units are no longer the contract's: what the receipt says, and the drafted change."""

from __future__ import annotations

import json

import pytest
import yaml

from lakehouse.landing.plausibility import Usual, _factor
from tests.unit.landing.bad_deliveries import CSV, DAY, HEADER, private, readings
from tests.unit.landing.bad_rows import HISTORY, many
from tests.unit.landing.conftest import METER, READ_AT, House, column, faults


def test_a_renamed_column_is_drafted_as_a_change_that_takes_the_file(house: House) -> None:
    contract = readings(house)
    renamed = CSV.replace("use_kwh", "use_in_kwh").replace("note", "operator")
    receipt = house.deliver(contract, renamed)
    change = receipt["contract_change"]
    assert change["contract_has"] == ["use_kwh"]
    assert change["likely_renames"] == [{"contract": "use_kwh", "file": "use_in_kwh"}]
    added = [line[1:] for line in change["draft"].splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert "version: 1.1.0" in added
    assert '    physicalName: "use_in_kwh"' in added
    # The class of a new column is a person's to state: no contract is valid without.
    assert any(line.strip() == "classification: # a person says which" for line in added)
    kept = house.exchange.lake.read_bytes("quarantine", f"{contract.key}/{receipt['delivery']}/contract-change.diff")
    assert kept.decode() == change["draft"]
    assert b"Likely renamed" in house.published(contract, receipt, "html")

    path = house.exchange.settings.contracts_path / "town" / "readings.odcs.yaml"
    document = yaml.safe_load(path.read_text())
    document["schema"][0]["properties"][2]["physicalName"] = "use_in_kwh"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    house.exchange.__dict__.pop("contracts")
    assert house.deliver(house.exchange.contract("town/readings"), renamed)["accepted"] == 4


def test_a_private_dataset_s_unknown_names_are_told_only_where_they_are_like_the_contract_s(house: House) -> None:
    rows = CSV.replace("use_kwh", "use_in_kwh").replace("note", "Eva Holm")
    receipt = house.deliver(private(house), rows)
    assert receipt["contract_change"]["file_has"] == ["use_in_kwh"]
    assert "Eva Holm" not in str(receipt)


def test_a_type_that_changed_throughout_is_drafted(house: House) -> None:
    receipt = house.deliver(readings(house), many("about {n}"))
    assert receipt["errors"][0]["rule"] == "type_changed"
    assert "+    logicalType: string" in receipt["contract_change"]["draft"]


def test_a_time_that_is_counted_from_now_on_is_told_and_no_change_drafted_that_would_not_take_it(house: House) -> None:
    rows = "".join(f"M001,{1_704_067_200 + 3600 * hour},1,ok\n" for hour in range(40))
    receipt = house.deliver(readings(house), f"{HEADER}\n{rows}")
    change = receipt["contract_change"]
    assert receipt["errors"][0]["rule"] == "type_changed"
    assert (change["file_has"], change["draft"]) == (["read_at: timestamp in another form (seconds since 1970)"], "")


def test_an_optional_column_that_is_dropped_and_one_that_is_added_are_taken(house: House) -> None:
    receipt = house.deliver(readings(house), f"{HEADER.replace('note', 'operator')}\nM001,{DAY},1,x\n")
    assert (receipt["status"], [entry["source_column"] for entry in receipt["warnings"]]) == (
        "accepted", ["operator", "note"],
    )  # fmt: skip
    assert [entry["rule"] for entry in receipt["warnings"]] == ["unknown_column", "dropped_column"]


@pytest.mark.parametrize(
    ("usual", "now", "factor"),
    [
        ((10, 9, 12), 10_100, 1000), ((10, 9, 12), 0.0101, 1 / 1000), ((10, 9, 12), 36.5, 3.6), ((10, 9, 12), 600, 60),
        ((10, 9, 12), 30, None), ((10, 9, 12), 10, None), ((10, 9, 12), -10_000, None), ((0, 0, 0), 5, None),
        # Levels that differ as much by themselves say nothing.
        ((10, 2, 60), 36, None), ((10, 1, 12), 10_000, 1000),
    ],
)  # fmt: skip
def test_a_level_a_factor_between_units_away_is_told_from_a_change_of_values(
    usual: tuple[float, float, float], now: float, factor: float | None
) -> None:
    median, lowest, highest = usual
    found = _factor(Usual(median=median, lowest=lowest, highest=highest), now)
    assert found == (None if factor is None else pytest.approx(factor))


@pytest.mark.parametrize(("choice", "status"), [("refuse", "refused"), ("warn", "accepted"), ("ignore", "accepted")])
def test_a_changed_unit_is_refused_warned_of_or_ignored_as_the_contract_says(
    house: House, choice: str, status: str
) -> None:
    contract = readings(house, thresholds={"unit_change": choice})
    for earlier in HISTORY:
        assert house.deliver(contract, earlier)["levels"] == {"use_kwh": {"median": 120.0, "values": 40}}
    receipt = house.deliver(contract, many("{n}500"))
    assert receipt["status"] == status
    assert [entry["rule"] for entry in receipt["warnings"]] == (["unit_changed"] if choice == "warn" else [])
    assert (("unit_changed", None) in faults(receipt)) == (choice == "refuse")


def test_the_median_of_a_few_private_values_is_on_no_receipt(house: House) -> None:
    assert house.deliver(private(house), CSV)["levels"] == {}


@pytest.mark.parametrize("kind", [{"issuer": "the town"}, {"classification": "identifier"}])
def test_the_median_of_ids_is_on_no_receipt(house: House, kind: dict[str, str]) -> None:
    """Whole numbers outside the key that name something: a customer beside a meter, a row at the publisher."""
    asked = [METER, READ_AT, column("customer", "integer", **kind), column("use_kwh", "number")]
    rows = "".join(f"m{number},2024-01-01 00:00,{70_000 + number},2\n" for number in range(120))
    receipt = house.deliver(house.contract(asked), "meter,read_at,customer,use_kwh\n" + rows)
    assert receipt["accepted"] == 120
    assert receipt["levels"] == {"use_kwh": {"median": 2.0, "values": 120}}


def test_a_cumulative_reading_grows_and_is_not_judged(house: House) -> None:
    contract = readings(house, readings={"kind": "cumulative", "column": "use_kwh"})
    assert house.deliver(contract, CSV)["levels"] == {}


def test_a_date_that_is_none_in_the_contract_s_own_form_is_not_blamed_on_excel(house: House) -> None:
    day = column("day", "date", key=1, parse={"formats": ["%d/%m/%Y"]})
    receipt = house.deliver(house.contract([day]), "day\n31/01/2024\n31/02/2024\n")
    assert faults(receipt) == {("not_a_date", "day"): (1, 3, "31/02/2024")}


def test_a_renamed_field_of_json_is_told_by_the_name_that_json_has(house: House) -> None:
    columns = [
        column("meter", "string", key=1, physicalName="METER", parse={"path": "meter"}),
        column("use_kwh", "number", required=True, physicalName="USE", parse={"path": "reading.use"}),
        column("at", "timestamp", required=True, parse={"path": "$.at", "zone": "UTC"}),
    ]
    contract = house.contract(columns, forms=[{"format": "json", "records": "data"}, {"format": "csv"}])
    records = [{"meter_id": f"M{number}", "reading": {"use": 1}} for number in range(3)]
    receipt = house.deliver(contract, json.dumps({"at": DAY, "data": records}), "r.json")
    assert receipt["contract_change"]["likely_renames"] == [{"contract": "meter", "file": "meter_id"}]
    assert receipt["contract_change"]["contract_has"] == ["meter"]
    receipt = house.deliver(contract, f"METER_ID,USE,at\nM1,1,{DAY}\n")
    assert receipt["contract_change"]["likely_renames"] == [{"contract": "METER", "file": "METER_ID"}]


def test_another_order_of_columns_than_before_is_taken_with_a_warning(house: House) -> None:
    contract = house.contract()
    header, row = "use_kwh,meter,read_at", "2.5,M1,2024-05-0{} 10:00:00"
    first = house.deliver(contract, f"{header}\n{row.format(1)}\n")
    same = house.deliver(contract, f"{header}\n{row.format(2)}\n")
    assert (first["warnings"], same["warnings"]) == ([], [])
    receipt = house.deliver(contract, "meter,use_kwh,read_at\nM1,2.5,2024-05-03 10:00:00\n")
    (entry,) = receipt["warnings"]
    assert (receipt["accepted"], entry["rule"], entry["source_column"]) == (1, "reordered_columns", "meter")
    assert "use_kwh, meter, read_at" in entry["expected"]
