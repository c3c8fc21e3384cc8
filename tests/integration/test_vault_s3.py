"""Pseudonyms, vault, wrapped keys, rotation and erasure where the lake is a real object store."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.erasure.erase import erase
from lakehouse.erasure.search import search
from lakehouse.landing.intake import intake
from lakehouse.landing.rotate import rotate
from lakehouse.privacy.vault import Vault, VaultChanged
from lakehouse.storage.index import clean_files
from tests.object_store.server import ObjectServer
from tests.unit.landing.conftest import READ_AT, USE, House, column

pytestmark = pytest.mark.integration

ROWS = "meter,read_at,use_kwh\nDK-4711,2024-01-01 00:00,1\nDK-4712,2024-01-02 00:00,2\n"


@pytest.fixture
def house(tmp_path: Path, object_server: ObjectServer) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment.items():
            patch.setenv(name, value)
        patch.setenv("MASTER_KEY", base64.b64encode(os.urandom(32)).decode())
        yield House(tmp_path / "house", lake=f"s3://v{uuid.uuid4().hex[:12]}", keys="kms://env/MASTER_KEY")


@pytest.fixture
def contract(house: House) -> Contract:
    return house.contract([column("meter", "string", key=1, classification="identifier"), READ_AT, USE])


def deliver(house: House, contract: Contract, text: str, name: str) -> dict[str, Any]:
    house.exchange.lake.write_bytes("landing-town", f"inbox/readings/{name}", text.encode())
    (receipt,) = intake(house.exchange, contract)
    return receipt


def meters(house: House) -> list[str]:
    keys = [row["key"] for row in house.exchange.index.rows(sa.select(clean_files.c.key))]
    urls = [house.exchange.lake.duckdb_url("clean", key) for key in keys]
    with house.exchange.duckdb() as connection:
        rows = connection.execute(f"SELECT meter FROM read_parquet({urls}, hive_partitioning=false) ORDER BY use_kwh")
        return [meter for (meter,) in rows.fetchall()]


def test_a_person_comes_gets_the_next_key_and_goes(house: House, contract: Contract) -> None:
    assert deliver(house, contract, ROWS, "first.csv")["accepted"] == 2
    before = meters(house)
    assert before == house.people(contract, "meter", ["DK-4711", "DK-4712"])
    assert rotate(house.exchange, "town", dry_run=False).done
    assert not set(before) & set(meters(house))
    assert deliver(house, contract, ROWS + "\n", "again.csv")["duplicates"] == 2
    names = [entry.key for entry in house.exchange.lake.list("vault")]
    assert "keys/town.pseudonym.2.wrapped" in names
    assert not (house.folder / "home" / "keys").exists()
    [pseudonym] = house.people(contract, "meter", ["DK-4711"])
    certificate = erase(house.exchange, contract, subject="DK-4711", reason="asked for it")
    assert certificate["proven_absent"]
    assert house.people(contract, "meter", ["DK-4711"]) == [None]
    assert search(house.exchange, "DK-4711", pseudonym).hits == []
    assert len(meters(house)) == 1


def test_of_many_that_take_people_in_at_once_each_knows_the_same(house: House, contract: Contract) -> None:
    Vault(house.exchange, "town")

    def take_in(number: int) -> list[Any]:
        while True:
            vault = Vault(house.exchange, "town")
            made = vault.pseudonyms(contract.column("meter"), ["DK-1", "DK-2", f"DK-{number}"])
            try:
                vault.keep()
            except VaultChanged:
                continue
            return list(made[:2])

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(take_in, range(10, 22)))
    assert all(one == found[0] for one in found)
    assert None not in house.people(contract, "meter", [f"DK-{number}" for number in range(10, 22)])
