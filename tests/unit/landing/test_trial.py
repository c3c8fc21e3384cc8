"""A contract is tried on its sample, offline, and every problem has its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lakehouse.contracts.load import contract_paths, read_contract
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.trial import try_sample
from tests.unit.landing.conftest import PROVIDER, House

CONTRACTS = Path(__file__).resolve().parents[3] / "contracts"
ALL = contract_paths(CONTRACTS)


def place(house: House, contract: Contract, text: str | None, ending: str = "csv") -> Path:
    folder = house.exchange.settings.contracts_path / PROVIDER
    if text is not None:
        (folder / "samples").mkdir(exist_ok=True)
        (folder / "samples" / f"{contract.dataset}.{ending}").write_text(text)
    return folder / f"{contract.dataset}.odcs.yaml"


def test_a_good_sample_has_no_faults_and_leaves_nothing(house: House) -> None:
    contract = house.contract()
    path = place(house, contract, "meter,read_at,use_kwh\na,2024-01-01 00:00,1\n")
    before = sorted(house.folder.rglob("*"))
    assert try_sample(contract, path) == []
    assert sorted(house.folder.rglob("*")) == before


def test_faults_of_a_sample_have_line_and_column(house: House) -> None:
    contract = house.contract()
    path = place(house, contract, "meter,read_at,use_kwh,colour\na,2024-01-01 00:00,1,x\na,never,-1,x\n")
    found = try_sample(contract, path, root=house.folder)
    assert {(f.file, f.line, f.field) for f in found} == {
        ("contracts/town/samples/readings.csv", 3, "read_at"),
        ("contracts/town/samples/readings.csv", 3, "use_kwh"),
        ("contracts/town/samples/readings.csv", 1, "colour"),
    }
    assert any("'never'" in fault.problem for fault in found)


def test_a_sample_that_is_refused_whole_says_why(house: House) -> None:
    contract = house.contract()
    (fault,) = try_sample(contract, place(house, contract, "meter;read_at;use_kwh\na;2024-01-01 00:00;1\n"))
    assert fault.problem.startswith("wrong delimiter: The columns are parted by ';' where the contract says ','.")


def test_a_key_that_does_not_tell_the_sample_s_rows_apart_is_a_fault_of_the_contract(house: House) -> None:
    contract = house.contract()
    path = place(house, contract, "meter,read_at,use_kwh\na,2024-01-01 00:00,1\na,2024-01-01 00:00,2\n")
    (fault,) = try_sample(contract, path)
    assert fault.problem.startswith("the key (meter, read_at) does not tell the sample's rows apart: 1 row")
    assert path.read_text().splitlines()[fault.line - 1].strip() == "properties:"


def test_a_missing_sample_and_one_too_many_are_faults(house: House) -> None:
    contract = house.contract()
    (fault,) = try_sample(contract, place(house, contract, None))
    assert "0 samples" in fault.problem
    place(house, contract, "x")
    (fault,) = try_sample(contract, place(house, contract, "x", "json"))
    assert "2 samples" in fault.problem


def test_a_rule_that_cannot_be_run_is_a_fault_of_the_contract(house: House) -> None:
    rule = {"type": "sql", "name": "r", "mustBe": 0, "query": "SELECT count(*) FROM ${object} WHERE use_kwhh > 1"}
    contract = house.contract(quality=[rule])
    path = place(house, contract, "meter,read_at,use_kwh\na,2024-01-01 00:00,1\n")
    (fault,) = try_sample(contract, path)
    assert fault.field == "schema[0].quality"
    assert path.read_text().splitlines()[fault.line - 1].strip() == "quality:"
    assert "use_kwhh" in fault.problem


def test_there_are_contracts_to_try() -> None:
    assert len(ALL) >= 16


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}/{path.name.split('.')[0]}")
def test_every_contract_s_own_sample_lands_whole(path: Path) -> None:
    contract = read_contract(path)
    began = time.process_time()
    assert try_sample(contract, path) == []
    assert time.process_time() - began < 5
