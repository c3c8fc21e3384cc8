"""Contracts: every fault of a file at once, each with its line, and agreement with the standard's own package."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from open_data_contract_standard.model import OpenDataContractStandard

from lakehouse.contracts.load import ContractError, Fault, read_contract, read_contracts

GOOD = """\
apiVersion: v3.1.0
kind: DataContract
id: town.readings
name: Readings
version: 1.0.0
status: active
tenant: town
description: {purpose: Readings of meters.}
schema:
  - name: readings
    properties:
      - name: meter
        logicalType: string
        required: true
        primaryKey: true
        primaryKeyPosition: 1
        classification: identifier
        description: The meter.
      - name: read_at
        logicalType: timestamp
        required: true
        primaryKey: true
        primaryKeyPosition: 2
        classification: public
        description: When it was read.
        customProperties:
          - property: parse
            value: {zone: Europe/Copenhagen}
      - name: use_kwh
        logicalType: number
        physicalType: DECIMAL(12,3)
        logicalTypeOptions: {minimum: 0}
        classification: sensitive
        description: The use.
        customProperties:
          - {property: unit, value: kWh}
    quality:
      - name: plausible
        type: sql
        query: SELECT count(*) FROM ${object} WHERE use_kwh > 100
        mustBe: 0
customProperties:
  - property: exchange
    value:
      delivery:
        forms:
          - {format: csv, delimiter: ";", decimal: ","}
          - {format: parquet}
      time: {column: read_at, partition: day}
      subject: meter
      licence: {id: CC0-1.0, url: "https://creativecommons.org", attribution: Town}
"""


def write(folder: Path, text: str, name: str = "readings") -> Path:
    path = folder / "contracts" / "town" / f"{name}.odcs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def faults(folder: Path, text: str) -> list[Fault]:
    with pytest.raises(ContractError) as caught:
        read_contract(write(folder, text), root=folder)
    return caught.value.faults


VALUE_OF_EXCHANGE = "    value:"


def line_with(text: str, part: str) -> int:
    """The first line that holds the part; of a value that spans lines, the line of its key."""
    if part == VALUE_OF_EXCHANGE:
        return text.splitlines().index(part) + 1
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_a_good_contract(tmp_path: Path) -> None:
    contract = read_contract(write(tmp_path, GOOD))
    assert contract.key == "town/readings"
    assert [column.name for column in contract.primary_key] == ["meter", "read_at"]
    assert contract.column("use_kwh").unit == "kWh"
    assert contract.column("read_at").parse.zone == "Europe/Copenhagen"
    assert contract.private


# What is changed in the good contract, what its line then holds, the field, and a part of the problem.
ONE_FAULT: dict[str, tuple[str, str, str, str, str]] = {
    "misspelt key": ("required: true", "requierd: true", "requierd", "properties[0].requierd", "spelling"),
    "no classification": (
        "        classification: sensitive\n", "", "name: use_kwh", "properties[2].classification", "privacy class",
    ),
    "wrong class": ("classification: sensitive", "classification: secret", "secret", "classification", "secret"),
    "wrong type": ("logicalType: number", "logicalType: float", "float", "logicalType", "'float'"),
    "no list": (
        "          - property: parse\n            value: {zone: Europe/Copenhagen}", "          property: parse",
        "customProperties", "properties[1].customProperties", "list",
    ),
    "unit outside customProperties": (
        "        description: The use.", "        unit: kWh", "unit: kWh", "properties[2].unit", "not a known key",
    ),
    "number without a unit": (
        "        customProperties:\n          - {property: unit, value: kWh}\n", "",
        "name: use_kwh", "customProperties", "without a unit",
    ),
    "duplicate column": ("name: use_kwh", "name: read_at", "name: use_kwh", "properties[2].name", "2 columns"),
    "reserved name": ("name: use_kwh", "name: event_date", "event_date", "properties[2].name", "lake uses"),
    "bad name": ("name: use_kwh", "name: Use kWh", "Use kWh", "properties[2].name", "Use kWh"),
    "zone": ("Europe/Copenhagen", "Europe/Kopenhagen", "value: {zone", "parse.zone", "no such time zone"),
    "misspelt in parse": ("{zone: Europe", "{Zone: Europe", "Zone", "parse.Zone", "spelling"),
    "misspelt in the extension": ("      subject: meter", "      subjekt: meter", "subjekt", "exchange.subjekt", "sp"),
    "misspelt in a form": ("decimal:", "desimal:", "desimal", "exchange.delivery.forms[0].desimal", "spelling"),
    "unknown format": ("format: parquet", "format: orc", "orc", "exchange.delivery.forms[1]", "orc"),
    "time is no column": ("column: read_at", "column: at", "time: {", "exchange.time.column", "not a column"),
    "time is no time": ("column: read_at", "column: meter", "time: {", "exchange.time.column", "not a timestamp"),
    "no time": (
        "      time: {column: read_at, partition: day}\n", "", VALUE_OF_EXCHANGE, "exchange", "`time` is missing",
    ),
    "no subject": ("      subject: meter\n", "", VALUE_OF_EXCHANGE, "exchange", "`subject` is missing"),
    "subject": ("subject: meter", "subject: person", "subject:", "exchange.subject", "not a column"),
    "subject that is no id": ("subject: meter", "subject: use_kwh", "subject:", "exchange.subject", "is an identifier"),
    "bad pattern": ("{minimum: 0}", '{pattern: "["}', "pattern", "logicalTypeOptions.pattern", "regular expression"),
    "pattern beyond RE2": ("{minimum: 0}", '{pattern: "(?=a)a"}', "pattern", "logicalTypeOptions.pattern", "RE2"),
    "limit of another type": (
        "{minimum: 0}", "{minimum: 2024-01-01}", "minimum", "logicalTypeOptions.minimum", "no limit for a number",
    ),
    "limits that leave nothing": (
        "{minimum: 0}", "{minimum: 5, maximum: 4}", "minimum", "logicalTypeOptions.minimum", "above the maximum",
    ),
    "limit that is no date": ("{minimum: 0}", "{minimum: 2024-02-31}", "minimum", "logicalTypeOptions.min", "2024"),
    "decimal": ("DECIMAL(12,3)", "DECIMAL(40,3)", "DECIMAL(40", "properties[2].physicalType", "DECIMAL"),
    "integer for a number": ("DECIMAL(12,3)", "BIGINT", "BIGINT", "properties[2].physicalType", "DOUBLE"),
    "format": ("{zone: Eur", '{formats: ["%Q"], zone: Eur', "%Q", "parse.formats[0]", "%Q"),
    "no format": ("{zone: Eur", "{formats: [dd], zone: Eur", "[dd]", "parse.formats[0]", "no directive"),
    "row rule": ("WHERE use_kwh", "HAVING use_kwh", "query", "schema[0].quality[0].query", "a row rule reads"),
    "corrections": ("      subject", "      corrections: maybe\n      subject", "maybe", "exchange.corr", "maybe"),
    "schedule": ("      subject", "      schedule: hourly\n      subject", "hourly", "exchange.schedule", "no cron"),
    "schedule that never comes": (
        "      subject", "      schedule: 0 0 30 2 *\n      subject", "30 2", "exchange.schedule", "no fixed times",
    ),
    "schedule of years that end": (
        "      subject", "      schedule: 0 0 1 1 * 0 2030\n      subject", "2030", "exchange.schedule", "no fixed times",
    ),
    "schedule by lot": (
        "      subject", "      schedule: R 3 * * *\n      subject", "R 3", "exchange.schedule", "no fixed times",
    ),
    "history from the year 1": (
        "      subject", "      history_start: '0001-01-01'\n      subject", "0001", "exchange.history_start", "before",
    ),
    "domain that is no word": ("tenant: town", f"tenant: town\ndomain: {'x' * 101}", "domain", "domain", "100"),
    "rhythm that never comes": (
        "tenant: town", "slaProperties:\n- {property: frequency, value: .inf, unit: h}\ntenant: town",
        "frequency", "slaProperties[0]", "a century",
    ),
    "rhythm that is no number": (
        "tenant: town", "slaProperties:\n- {property: latency, value: .nan, unit: h}\ntenant: town",
        "latency", "slaProperties[0]", "a century",
    ),
    "encoding": ("{format: csv", "{format: csv, encoding: utf-9", "utf-9", "forms[0].encoding", "utf-9"),
    "two forms": ("format: parquet", "format: csv", "forms:", "exchange.delivery.forms", "2 times"),
    "thousands": ('decimal: ","', 'decimal: ",", thousands: ","', "thousands", "forms[0].thousands", "differ"),
    "values that are no list": (
        "        customProperties:\n          - {property: unit",
        "        quality: [{type: library, metric: invalidValues, arguments: {validValues: high}}]\n"
        "        customProperties:\n          - {property: unit",
        "validValues", "quality[0].arguments", "validValues: [",
    ),
    "rule without a metric": (
        "        customProperties:\n          - {property: unit",
        "        quality: [{mustBe: 0}]\n"
        "        customProperties:\n          - {property: unit",
        "quality", "properties[2].quality[0]", "needs a metric",
    ),
    "nulls without a bound": (
        "        customProperties:\n          - {property: unit",
        "        quality: [{metric: nullValues}]\n"
        "        customProperties:\n          - {property: unit",
        "quality", "properties[2].quality[0]", "nullValues needs",
    ),
    "nulls by a bound that nobody looks at": (
        "        customProperties:\n          - {property: unit",
        "        quality: [{metric: nullValues, mustBeGreaterOrEqualTo: 3}]\n"
        "        customProperties:\n          - {property: unit",
        "quality", "properties[2].quality[0]", "no other bound",
    ),
    "share of listed values": (
        "        customProperties:\n          - {property: unit",
        "        quality: [{metric: invalidValues, arguments: {validValues: [1]}, mustBeLessOrEqualTo: 5}]\n"
        "        customProperties:\n          - {property: unit",
        "quality", "properties[2].quality[0]", "each row",
    ),
    "count without a bound": (
        "type: sql\n        query: SELECT count(*) FROM ${object} WHERE use_kwh > 100\n        mustBe: 0",
        "metric: rowCount", "plausible", "schema[0].quality[0]", "rowCount needs",
    ),
    "share of rows": ("mustBe: 0", "mustBe: 5", "plausible", "schema[0].quality[0]", "each row against it"),
    "optional key": (
        "required: true\n        primaryKey: true\n        primaryKeyPosition: 1",
        "primaryKey: true\n        primaryKeyPosition: 1", "name: meter", "properties[0].required", "part of the key",
    ),
    "id": ("id: town.readings", "id: town.reading", "id: town", "id", "town.readings"),
    "version": ("version: 1.0.0", "version: 1", "version: 1", "version", "1"),
    "extension missing": ("property: exchange", "property: other", "property: other", "customProperties", "other"),
    "broken YAML": ("tenant: town", "tenant: [town", "description: {", "(file)", "not valid YAML"),
    "anchor within itself": (
        "tenant: town", "tenant: &a [town, *a]", "apiVersion", "(file)", "an anchor marks holds that anchor itself"
    ),
    "key twice": ("tenant: town", "tenant: town\ntenant: city", "tenant: city", "(file)", "'tenant' twice"),
    "control character": ("name: Readings", "name: Read\x07ings", "apiVersion", "(file)", "not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_FAULT)
def test_a_fault_is_told_with_its_line_and_field(tmp_path: Path, name: str) -> None:
    old, new, marker, field, problem = ONE_FAULT[name]
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    found = faults(tmp_path, text)
    assert [fault for fault in found if field in fault.field and problem in fault.problem], found
    fault = next(fault for fault in found if field in fault.field and problem in fault.problem)
    assert fault.file == "contracts/town/readings.odcs.yaml"
    if name != "duplicate column":
        assert fault.line == line_with(text, marker), fault


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = (
        GOOD.replace("version: 1.0.0", "version: one")
        .replace("classification: identifier", "clasification: identifier")
        .replace("Europe/Copenhagen", "Europe/Nowhere")
        .replace("logicalType: number", "logicalType: float")
        .replace("format: parquet", "format: parket")
    )
    found = faults(tmp_path, text)
    assert {fault.line for fault in found} >= {
        line_with(text, part) for part in ("version", "clasification", "Nowhere", "float", "parket")
    }
    assert found == sorted(found)
    assert len({str(fault) for fault in found}) == len(found)
    assert all(set(fault.to_dict()) == {"file", "line", "field", "problem"} for fault in found)


def test_faults_that_no_single_field_shows_come_together(tmp_path: Path) -> None:
    text = (
        GOOD.replace("DECIMAL(12,3)", "FLOAT")
        .replace("column: read_at", "column: at")
        .replace("{minimum: 0}", "{pattern: '('}")
    )
    assert {fault.field.rsplit(".", 1)[-1] for fault in faults(tmp_path, text)} == {"physicalType", "column", "pattern"}


def test_faults_of_all_files_come_together(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("1.0.0", "one"))
    write(tmp_path, GOOD, name="other")
    with pytest.raises(ContractError) as caught:
        read_contracts(tmp_path / "contracts")
    assert {fault.file for fault in caught.value.faults} == {
        "contracts/town/readings.odcs.yaml",
        "contracts/town/other.odcs.yaml",
    }


def test_two_datasets_whose_dag_would_have_one_name(tmp_path: Path) -> None:
    for provider, dataset in (("town", "east__readings"), ("town__east", "readings")):
        text = GOOD.replace("tenant: town", f"tenant: {provider}").replace("name: readings", f"name: {dataset}")
        path = tmp_path / "contracts" / provider / f"{dataset}.odcs.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text.replace("id: town.readings", f"id: {provider}.{dataset}"), encoding="utf-8")
    with pytest.raises(ContractError, match="are both town__east__readings") as caught:
        read_contracts(tmp_path / "contracts")
    [fault] = caught.value.faults
    assert (fault.file, fault.field) == ("contracts/town__east/readings.odcs.yaml", "tenant")
    assert fault.line == line_with(path.read_text(), "tenant")


def test_a_file_that_is_no_text_or_no_mapping(tmp_path: Path) -> None:
    assert "not a mapping" in faults(tmp_path, "- a\n")[0].problem
    assert "not a mapping" in faults(tmp_path, "")[0].problem
    path = write(tmp_path, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ContractError, match="cannot be read"):
        read_contract(path)


def test_the_standard_s_json_schema_refuses_something() -> None:
    schema = json.loads(OpenDataContractStandard.json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "DataContract", "schema": "none"}, schema)
