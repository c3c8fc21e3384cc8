"""Every bad delivery that we could think of, through the whole of intake: docs/bad-deliveries.md is made here."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.intake import intake
from lakehouse.settings import PROJECT
from lakehouse.storage.index import deliveries
from tests.unit.landing.bad_deliveries import CSV, GOOD, Case, readings
from tests.unit.landing.bad_files import FILES
from tests.unit.landing.bad_rows import ROW_CASES
from tests.unit.landing.conftest import House

PAGE = PROJECT / "docs" / "bad-deliveries.md"
CASES = [*FILES, *ROW_CASES]
HEAD = """# Bad deliveries

What becomes of each, in the words of its receipt. The tests generate this page: every delivery goes through the whole of intake (`tests/unit/landing/test_bad_deliveries.py`), which is held to this each time: a receipt is written, delivered = accepted + refused + duplicates, `raw` holds the very bytes, `clean` holds exactly the rows that it should, and no private value is on the receipt. `make docs-tables` writes the page anew.

| delivery | what becomes of it | rule | what the provider is told |
|---|---|---|---|
"""


def test_a_file_that_still_grows_is_left_until_it_rests(house: House) -> None:
    contract = readings(house)
    lake = house.exchange.lake
    house.drop(contract, CSV[:40])
    download = lake.download

    def grows_meanwhile(bucket: str, key: str, path: Path) -> Path:
        fetched = download(bucket, key, path)
        house.drop(contract, CSV)
        return fetched

    lake.download = grows_meanwhile  # type: ignore[method-assign]
    assert intake(house.exchange, contract) == []
    lake.download = download  # type: ignore[method-assign]
    (receipt,) = intake(house.exchange, contract)
    assert (receipt["accepted"], _standing(house, contract)) == (4, GOOD)


def _standing(house: House, contract: Contract) -> dict[str, float]:
    """Meter → value of its newest row that is not withdrawn; of an id of a person what stands for it."""
    value = "use_kwh::DOUBLE" if any(column.name == "use_kwh" for column in contract.columns) else "1"
    time = contract.exchange.time.column if contract.exchange.time else "exchange_delivery[:0]"
    rows = house.clean(
        contract, f"meter, {time}, {value}, exchange_withdrawn", f"{time}, exchange_delivery, exchange_line"
    )
    newest: dict[tuple[str, Any], float] = {}
    for meter, at, found, withdrawn in rows:
        newest.pop((meter, at), None)
        if not withdrawn:
            newest[meter, at] = found
    return {meter: found for (meter, _), found in sorted(newest.items(), key=str)}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """What came of the cases that ran, for the page."""
    found: dict[str, dict[str, Any]] = {}
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_delivery_ends_in_its_receipt(case: Case, house: House, outcomes: dict[str, dict[str, Any]]) -> None:
    contract = case.contract(house)
    for number, earlier in enumerate(case.before):
        assert house.deliver(contract, earlier, f"earlier-{number}.csv")["status"] == "accepted"
    content = case.make()
    data = content.encode() if isinstance(content, str) else content
    for number, other in enumerate(case.beside):
        house.drop(contract, other, f"{number:03}.csv")
    house.drop(contract, data, case.file)
    receipts = {receipt["file"]: receipt for receipt in intake(house.exchange, contract)}
    receipt = receipts.pop(case.file)
    assert receipt["delivered"] == receipt["accepted"] + receipt["refused"] + receipt["duplicates"]
    assert [other["status"] for other in receipts.values()] == ["accepted"] * len(case.beside)
    outcomes[case.name] = receipt

    entries = receipt["errors"] or receipt["warnings"]
    assert (receipt["status"], entries[0]["rule"] if entries else None) == (case.status, case.rule), receipt
    stands = case.stands
    if contract.column("meter").classification == "identifier":
        stands = dict(zip(house.people(contract, "meter", list(stands)), stands.values(), strict=True))
    assert _standing(house, contract) == stands
    assert not list(house.inbox(contract).iterdir())
    row = house.exchange.index.row(sa.select(deliveries).where(deliveries.c.delivery == receipt["delivery"]))
    assert row is not None
    sealed = house.exchange.lake.read_bytes("raw", row["raw_key"])
    assert hashlib.sha256(sealed).digest() == hashlib.sha256(data).digest()
    for ending in ("json", "html"):
        published = house.published(contract, receipt, ending).decode()
        assert not case.hidden or case.hidden not in published
    assert case.told in str(receipt)
    if case.hidden and not contract.private:
        assert case.hidden not in str(house.quarantine(contract, receipt))


def test_the_page_of_bad_deliveries_says_what_becomes_of_each(outcomes: dict[str, dict[str, Any]]) -> None:
    if len(outcomes) < len(CASES):
        pytest.skip("only some of the cases ran")
    page = HEAD + "".join(f"{_line(case, outcomes[case.name])}\n" for case in CASES)
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(page, encoding="utf-8")
    assert len(CASES) >= 55
    assert PAGE.read_text(encoding="utf-8") == page, "write it anew: make docs-tables"


def _line(case: Case, receipt: dict[str, Any]) -> str:
    entries = receipt["errors"] or receipt["warnings"]
    counts = [f"{receipt[kind]:,} {kind}" for kind in ("accepted", "refused", "duplicates") if receipt[kind]]
    became = f"{receipt['status'].replace('_', ' ')}{': ' + ', '.join(counts) if counts else ''}"
    told = receipt["message"]
    if receipt["status"] == "partly_accepted" or (entries and receipt["status"] == "accepted"):
        told += f" {'Found' if case.rule == 'malformed_row' else 'Expected'}: {entries[0]['expected']}. {entries[0]['advice']}"
    else:
        told += f" {receipt['next_step']}"
    told = told.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;").replace(receipt["delivery"], "…")
    for row in receipt["message"].split():
        if row.startswith("2") and row.rstrip(":,").endswith(tuple("0123456789abcdef")) and "Z-" in row:
            told = told.replace(row.rstrip(":,"), "`<delivery>`")
    return f"| {case.name} | {became} | {f'`{case.rule}`' if case.rule else '–'} | {told} |"
