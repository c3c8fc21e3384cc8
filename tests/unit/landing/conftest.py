"""A small exchange of its own for each test: a lake, a home, and the contracts that the test writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa
import yaml

from lakehouse.contracts.load import read_contract
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing import load, pieces, quick, quick_rows
from lakehouse.landing.intake import intake
from lakehouse.landing.quick_rows import Rest
from lakehouse.landing.unpack import PlainFile
from lakehouse.privacy.vault import Vault
from lakehouse.settings import Settings
from lakehouse.storage.index import clean_files

PROVIDER = "town"


def column(name: str, logical: str, *, key: int = 0, required: bool = False, **more: Any) -> dict[str, Any]:
    """One column of a contract; ``parse``, ``unit`` and ``issuer`` go where the standard wants them."""
    custom = [{"property": name, "value": more.pop(name)} for name in ("unit", "parse", "issuer") if name in more]
    if logical in ("integer", "number") and not any(entry["property"] == "unit" for entry in custom):
        custom.append({"property": "unit", "value": "1"})
    made = {
        "name": name,
        "logicalType": logical,
        "required": required or key > 0,
        "classification": more.pop("classification", "public"),
        "description": name,
        **more,
    }
    if logical == "number":
        made.setdefault("physicalType", "DECIMAL(12,3)")
    if key:
        made |= {"primaryKey": True, "primaryKeyPosition": key}
    if custom:
        made["customProperties"] = custom
    return made


METER = column("meter", "string", key=1)
READ_AT = column("read_at", "timestamp", key=2, parse={"zone": "UTC"})
USE = column("use_kwh", "number", logicalTypeOptions={"minimum": 0})
READINGS = [METER, READ_AT, USE]
# Ids of people: a meter's number, and who has it.
NUMBER = column("meter", "integer", key=1, classification="identifier")
CUSTOMER = column("customer", "string", classification="identifier")


class House:
    """One exchange in a folder."""

    def __init__(self, folder: Path, *, lake: str = "", keys: str = "") -> None:
        self.folder = folder
        (folder / "contracts").mkdir(parents=True, exist_ok=True)
        settings = Settings(
            project=folder,
            home=folder / "home",
            lake=lake or (folder / "lake").as_uri(),
            keys=keys,
            database="",
            settle_seconds=0,
            max_unpacked_bytes=1 << 20,
        )
        self.exchange = Exchange(settings)

    def contract(
        self,
        columns: list[dict[str, Any]] | None = None,
        *,
        dataset: str = "readings",
        forms: list[dict[str, Any]] | None = None,
        quality: list[dict[str, Any]] | None = None,
        kind: str = "events",
        delivery: dict[str, Any] | None = None,
        **exchange: Any,
    ) -> Contract:
        """Writes a contract and makes its buckets. Without columns: meter, read_at and use_kwh by the day."""
        chosen = columns or READINGS
        time = next((c["name"] for c in chosen if c["logicalType"] in ("timestamp", "date")), None)
        extension: dict[str, Any] = {
            "delivery": {"kind": kind, "forms": forms or [{"format": "csv"}], **(delivery or {})},
            "licence": {"id": "CC0-1.0", "url": "https://creativecommons.org", "attribution": "Town"},
            "thresholds": {"max_refused_share": 1},
            **({"time": {"column": time}} if kind == "events" else {}),
            **exchange,
        }
        if ids := [c["name"] for c in chosen if c["classification"] == "identifier"]:
            extension.setdefault("subject", ids[0])
        document = {
            "apiVersion": "v3.1.0",
            "kind": "DataContract",
            "id": f"{PROVIDER}.{dataset}",
            "name": "Readings",
            "version": "1.0.0",
            "status": "active",
            "tenant": PROVIDER,
            "description": {"purpose": "A test."},
            "schema": [{"name": dataset, "properties": chosen, "quality": quality or []}],
            "customProperties": [{"property": "exchange", "value": extension}],
        }
        path = self.exchange.settings.contracts_path / PROVIDER / f"{dataset}.odcs.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        contract = read_contract(path)
        self.exchange.__dict__.pop("contracts", None)
        self.exchange.init()
        self.exchange.lake.ensure_bucket(f"landing-{PROVIDER}")
        return contract

    def inbox(self, contract: Contract) -> Path:
        folder = self.folder / "lake" / f"landing-{PROVIDER}" / "inbox" / contract.dataset
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop(self, contract: Contract, content: bytes | str, name: str = "delivery.csv") -> None:
        """Copies a file into the inbox, as a provider may."""
        data = content.encode() if isinstance(content, str) else content
        (self.inbox(contract) / name).write_bytes(data)

    def deliver(self, contract: Contract, content: bytes | str, name: str = "delivery.csv") -> dict[str, Any]:
        """Drops one file, takes it in and returns its receipt."""
        self.drop(contract, content, name)
        (receipt,) = intake(self.exchange, contract)
        assert receipt["delivered"] == receipt["accepted"] + receipt["refused"] + receipt["duplicates"]
        return receipt

    def clean(self, contract: Contract, columns: str = "*", order: str = "ALL") -> list[tuple[Any, ...]]:
        """Rows of all clean files that the index names; ``standing`` ones are the newest of each key."""
        rows = self.exchange.index.rows(
            sa.select(clean_files.c.key).where(clean_files.c.dataset == contract.dataset).distinct()
        )
        if not rows:
            return []
        urls = [self.exchange.lake.duckdb_url("clean", row["key"]) for row in rows]
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(
                f"SELECT {columns} FROM read_parquet({urls}, hive_partitioning=false) ORDER BY {order}"
            ).fetchall()

    def people(self, contract: Contract, column: str, ids: Sequence[str]) -> list[Any]:
        """What stands in ``clean`` for these ids; ``None`` for nobody."""
        vault = Vault(self.exchange, contract.provider)
        return [vault.known(contract.column(column), one) for one in ids]

    def quarantine(self, contract: Contract, receipt: dict[str, Any]) -> list[dict[str, Any]]:
        key = f"{contract.key}/{receipt['delivery']}/faults.parquet"
        if self.exchange.lake.stat("quarantine", key) is None:
            return []
        path = self.exchange.lake.duckdb_url("quarantine", key)
        return duckdb.sql(f"FROM read_parquet('{path}')").to_arrow_table().to_pylist()

    def published(self, contract: Contract, receipt: dict[str, Any], ending: str) -> bytes:
        """The receipt as the provider finds it."""
        key = f"receipts/{contract.dataset}/{receipt['delivery']}.{ending}"
        return self.exchange.lake.read_bytes(f"landing-{PROVIDER}", key)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


@pytest.fixture
def contract(house: House) -> Contract:
    """Readings of people's meters."""
    return house.contract([NUMBER, READ_AT, CUSTOMER, USE])


@pytest.fixture
def register(house: House) -> Contract:
    """Where these meters are."""
    area = column("area", "string", classification="quasi_identifier")
    return house.contract([NUMBER, area], dataset="register", kind="snapshot")


def faults(receipt: dict[str, Any]) -> dict[tuple[str, str | None], tuple[int, int | None, str | None]]:
    """The receipt's errors as (rule, column) → (rows, first line, value)."""
    return {(e["rule"], e["column"]): (e["rows"], e["first_line"], e["value"]) for e in receipt["errors"]}


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[Rest | None]:
    """Small files go the quick way, in many pieces; holds what each file left."""
    left: list[Rest | None] = []

    def watched(*arguments: Any) -> tuple[PlainFile, Rest | None]:
        file, rest = quick.read_quickly(*arguments)
        left.append(rest)
        return file, rest

    monkeypatch.setattr(load, "read_quickly", watched)
    monkeypatch.setattr(quick_rows, "LEAST_BYTES", 0)
    monkeypatch.setattr(quick_rows, "MOST_LEFT", 1)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 20_000)
    return left
