"""Contracts: every fault of a file at once, with its line; and what the standard's own package says of ours."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from open_data_contract_standard.model import OpenDataContractStandard

from lakehouse.contracts.load import ContractError, contract_paths, read_contract, read_contracts

CONTRACTS = Path(__file__).resolve().parents[3] / "contracts"
PARKING = (CONTRACTS / "aarhus" / "parking.odcs.yaml").read_text()


def written(tmp_path: Path, text: str, name: str = "aarhus/parking.odcs.yaml") -> Path:
    path = tmp_path / "contracts" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def line_with(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_all_contracts_are_valid_here_and_under_the_standards_own_schema() -> None:
    contracts = read_contracts(CONTRACTS)
    schema = json.loads(OpenDataContractStandard.json_schema())
    paths = contract_paths(CONTRACTS)
    assert len(contracts) == len(paths) >= 16
    for path in paths:
        OpenDataContractStandard.from_file(str(path))
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_every_fault_of_a_file_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    changes = {
        "zone: Europe/Copenhagen": "zone: Europe/Kobenhavn",
        "correction: newest_wins": "correction: newest_wins",
    }
    text = PARKING.replace("corrections: newest_wins", "correction: newest_wins")
    for old, new in changes.items():
        text = text.replace(old, new)
    text = text.replace("status: active", "status: live").replace('logicalType: "integer"', "logicalType: whole")
    first = text.index("        classification: public\n")
    text = text[:first] + text[first + len("        classification: public\n") :]
    with pytest.raises(ContractError) as caught:
        read_contract(written(tmp_path, text), root=tmp_path)
    faults = {fault.field: fault for fault in caught.value.faults}
    assert {fault.file for fault in faults.values()} == {"contracts/aarhus/parking.odcs.yaml"}
    assert faults["status"].line == line_with(text, "status: live")
    assert faults["exchange.correction"].line == line_with(text, "correction: newest_wins")
    assert faults["exchange.correction"].problem == "is not a known key (check the spelling)"
    assert "privacy class" in faults["schema[0].properties[0].classification"].problem
    zone = next(fault for field, fault in faults.items() if field.endswith("parse.zone"))
    assert zone.line == line_with(text, "Europe/Kobenhavn")
    assert "Europe/Kobenhavn" in zone.problem


@pytest.mark.parametrize(
    ("old", "new", "field", "words"),
    [
        ("tenant: aarhus", "tenant: odense", "tenant", "folder 'aarhus'"),
        ("  - name: parking\n", "  - name: garages\n", "schema[0].name", "garages.odcs.yaml"),
        ("column: observed_at, partition", "column: seen_at, partition", "exchange.time.column", "not a column"),
        ("partition: month", "partition: week", "exchange.time.partition", "week"),
        ("      time: {column: observed_at, partition: month}\n", "", "exchange", "`time` is missing"),
        ("        primaryKey: true\n", "", "schema[0].properties", "no column has primaryKey"),
        ("- {format: csv}", "- {format: csv}\n          - {format: csv}", "exchange.delivery.forms", "2 times"),
        ("- {format: csv}", "- {format: csv, encoding: latin-99}", "encoding", "not a known encoding"),
        ("- {format: csv}", "- {format: dbf}", "exchange.delivery.forms[0]", "dbf"),
        ("- name: vehicles\n", "- name: spaces\n", "schema[0].properties[4].name", "names 2 columns"),
        ('{property: unit, value: "vehicles"}', "{property: unity, value: 1}", "customProperties", "unit"),
    ],
)
def test_each_fault_is_told_in_words(tmp_path: Path, old: str, new: str, field: str, words: str) -> None:
    assert old in PARKING
    with pytest.raises(ContractError) as caught:
        read_contract(written(tmp_path, PARKING.replace(old, new)), root=tmp_path)
    assert any(field in fault.field and words in fault.problem for fault in caught.value.faults), caught.value


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("kind: [DataContract\nid: x\n", 2, "not valid YAML"),
        ("- a\n- b\n", 1, "not a mapping"),
        ("kind: DataContract\nid: a\nkind: DataContract\n", 3, "twice"),
    ],
)
def test_a_file_that_is_no_contract_at_all(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(ContractError) as caught:
        read_contract(written(tmp_path, text))
    (fault,) = caught.value.faults
    assert fault.line == line
    assert words in fault.problem


def test_the_faults_of_all_files_come_together(tmp_path: Path) -> None:
    written(tmp_path, PARKING.replace("status: active", "status: live"))
    written(tmp_path, "a: 1\n", "aarhus/other.odcs.yaml")
    with pytest.raises(ContractError) as caught:
        read_contracts(tmp_path / "contracts")
    assert {fault.file for fault in caught.value.faults} == {
        "contracts/aarhus/parking.odcs.yaml",
        "contracts/aarhus/other.odcs.yaml",
    }
