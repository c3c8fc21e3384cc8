"""Sealing and its safety: nothing lost, nothing doubled, wherever a process dies or another one interferes."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.intake import intake
from lakehouse.landing.seal import seal_inbox, seal_page
from lakehouse.landing.strays import refuse_strays
from lakehouse.storage.index import clean_files, deliveries
from lakehouse.storage.lake import AccessRefused
from tests.dying import Died, dies_everywhere, mortal
from tests.unit.landing.conftest import House

GOOD = "meter,read_at,use_kwh\na,2024-01-01 00:00,1\na,2024-01-02 00:00,2\na,never,3\n"
UNREADABLE = b"\x89PNG\r\n"


def readings(house: House) -> Contract:
    return house.exchange.contract("town/readings")


def take_in(exchange: Exchange, house: House) -> None:
    intake(exchange, readings(house))


def outcome(house: House, contract: Contract) -> dict[str, Any]:
    """All that a run leaves, without what differs from one run to the next."""
    lake, index = house.exchange.lake, house.exchange.index
    keys = [entry.key for entry in lake.list("landing-town")]
    named = {row["key"] for row in index.rows(sa.select(clean_files.c.key))}
    origins = [json.loads(lake.read_bytes("raw", e.key)) for e in lake.list("raw") if e.key.endswith("origin.json")]
    return {
        "rows": house.clean(contract, "meter, read_at, use_kwh, exchange_line"),
        "clean files": len(named),
        "clean files there": all(lake.stat("clean", key) for key in named),
        "deliveries": [
            (row["file"], row["status"], row["receipt_written"], row["receipt"]["delivered"])
            for row in index.rows(sa.select(deliveries).order_by(deliveries.c.file))
        ],
        "raw": sorted((o["file"], o["sha256"], o["bytes"]) for o in origins),
        "raw objects": len(list(lake.list("raw"))),
        "quarantine": len(list(lake.list("quarantine"))),
        "inbox": [key for key in keys if key.startswith("inbox/")],
        "receipts": len([key for key in keys if key.startswith("receipts/")]),
        "refused": sorted(key.rsplit("/", 1)[-1] for key in keys if key.startswith("refused/")),
        "change": index.last_change(),
    }


@pytest.mark.parametrize(
    ("name", "content", "stored"), [("good.csv", GOOD, 2), ("picture.csv", UNREADABLE, 0)], ids=["good", "refused"]
)
def test_dying_at_any_call_and_running_again_ends_the_same(
    tmp_path: Path, name: str, content: str | bytes, stored: int
) -> None:
    def fresh(folder: Path) -> House:
        house = House(folder)
        house.drop(house.contract(), content, name)
        return house

    house = fresh(tmp_path / "undisturbed")
    take_in(house.exchange, house)
    expected = outcome(house, readings(house))
    assert len(expected["rows"]) == stored
    assert (expected["inbox"], expected["receipts"]) == ([], 2)
    assert expected["refused"] == ([] if stored else [name])

    def again(house: House) -> None:
        take_in(house.exchange, house)
        assert outcome(house, readings(house)) == expected

    assert dies_everywhere(tmp_path, fresh, take_in, again) >= 18


def test_two_intakes_at_once_take_each_delivery_once(house: House) -> None:
    contract = house.contract()
    for number in range(6):
        house.drop(contract, f"meter,read_at,use_kwh\na,2024-01-01 0{number}:00,1\n", f"{number}.csv")
    twin = Exchange(house.exchange.settings)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda exchange: intake(exchange, contract), [house.exchange, twin]))
    twin.index.close()
    left = outcome(house, contract)
    assert len(left["rows"]) == len(left["deliveries"]) == left["clean files"] == left["change"] == 6
    assert {status for _, status, *_ in left["deliveries"]} == {"loaded"}
    assert left["clean files there"]


def test_raw_keeps_the_bytes_and_their_origin(house: House) -> None:
    contract = house.contract(simulated=True)
    receipt = house.deliver(contract, GOOD, "näme of (a) file.csv")
    lake = house.exchange.lake
    origin_key, raw_key = sorted(
        (entry.key for entry in lake.list("raw")), key=lambda key: not key.endswith("origin.json")
    )
    assert lake.read_bytes("raw", raw_key) == GOOD.encode()
    assert raw_key.endswith(f"/{receipt['sha256']}/näme of (a) file.csv")
    assert raw_key.startswith(f"town/readings/{receipt['received_at'][:4]}/")
    origin = json.loads(lake.read_bytes("raw", origin_key))
    assert origin | {"received_at": receipt["received_at"]} == {
        "provider": "town",
        "dataset": "readings",
        "delivery": receipt["delivery"],
        "file": "näme of (a) file.csv",
        "sha256": receipt["sha256"],
        "bytes": len(GOOD.encode()),
        "received_at": receipt["received_at"],
        "contract_version": "1.0.0",
        "simulated": True,
        "source": {"kind": "drop", "inbox_key": "inbox/readings/näme of (a) file.csv"},
    }


def test_a_second_try_writes_the_same_bytes_under_the_same_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a load that died has left is overwritten, also where threads have shared the work."""
    written: list[dict[str, str]] = []
    house = House(tmp_path / "house")
    contract = house.contract(forms=[{"format": "parquet"}])
    source = tmp_path / "large.parquet"
    duckdb.execute(
        "COPY (SELECT 'a' AS meter, (TIMESTAMP '2024-01-01' + INTERVAL (n % 200) DAY + INTERVAL (n // 200) SECOND)"
        f"::VARCHAR AS read_at, n AS use_kwh FROM range(400000) AS t (n)) TO '{source}'"
    )
    house.drop(contract, source.read_bytes(), "large.parquet")
    of_index = house.exchange.index.begin

    def before_the_record(*args: Any) -> Any:
        files = {e.key: house.exchange.lake.read_bytes("clean", e.key) for e in house.exchange.lake.list("clean")}
        if files:
            written.append({key: hashlib.sha256(content).hexdigest() for key, content in files.items()})
            raise Died
        return of_index(*args)

    with monkeypatch.context() as patch:
        patch.setattr(house.exchange.index, "begin", before_the_record)
        for _ in range(2):
            with pytest.raises(Died):
                intake(house.exchange, contract)
    assert len(written[0]) == 200
    assert written[0] == written[1]


def test_the_same_name_may_come_again(house: House) -> None:
    contract = house.contract()
    first = house.deliver(contract, GOOD)
    second = house.deliver(contract, GOOD.replace(",2\n", ",5\n"))
    third = house.deliver(contract, GOOD)
    assert len({r["delivery"] for r in (first, second, third)}) == 3
    assert (second["corrections"], third["status"]) == (1, "repeated")


def test_a_file_in_a_folder_of_the_inbox_is_a_delivery_too(house: House) -> None:
    contract = house.contract()
    (house.inbox(contract) / "2024").mkdir()
    house.drop(contract, GOOD, "2024/january.csv")
    (receipt,) = intake(house.exchange, contract)
    assert receipt["file"] == "january.csv"


def test_a_file_that_changes_while_it_is_sealed_is_left_for_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = house.contract()
    house.drop(contract, GOOD)
    inbox, of_lake = house.inbox(contract) / "delivery.csv", house.exchange.lake.download

    def while_written(bucket: str, key: str, target: Path) -> Path:
        found = of_lake(bucket, key, target)
        with inbox.open("a") as file:
            file.write("a,2024-01-03 00:00,3\n")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(house.exchange.lake, "download", while_written)
        assert intake(house.exchange, contract) == []
    assert inbox.exists()
    assert list(house.exchange.lake.list("raw")) == []
    (receipt,) = intake(house.exchange, contract)
    assert receipt["delivered"] == 4


def test_a_file_that_grows_after_it_was_read_is_not_deleted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = house.contract()
    house.drop(contract, GOOD)
    inbox, of_lake = house.inbox(contract) / "delivery.csv", house.exchange.lake.upload

    def while_sealing(bucket: str, key: str, source: Path) -> Any:
        with inbox.open("a") as file:
            file.write("a,2024-01-03 00:00,3\n")
        return of_lake(bucket, key, source)

    with monkeypatch.context() as patch:
        patch.setattr(house.exchange.lake, "upload", while_sealing)
        assert len(seal_inbox(house.exchange, contract)) == 1
    assert inbox.exists()
    receipts = intake(house.exchange, contract)
    assert [(r["delivered"], r["duplicates"]) for r in receipts] == [(3, 0), (4, 2)]


def test_a_file_that_may_not_be_read_holds_up_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = house.contract()
    house.drop(contract, GOOD, "closed.csv")
    house.drop(contract, GOOD.replace("a,", "b,"), "open.csv")
    download = house.exchange.lake.download

    def refused(bucket: str, key: str, path: Path) -> Path:
        if key.endswith("closed.csv"):
            raise AccessRefused("closed.csv: Permission denied")
        return download(bucket, key, path)

    monkeypatch.setattr(house.exchange.lake, "download", refused)
    assert [receipt["file"] for receipt in intake(house.exchange, contract)] == ["open.csv"]
    with pytest.raises(AccessRefused):
        intake(house.exchange, contract)
    monkeypatch.undo()
    assert [receipt["file"] for receipt in intake(house.exchange, contract)] == ["closed.csv"]


def test_a_page_of_files_that_may_not_be_read_holds_up_neither_the_next_nor_what_is_sealed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = house.contract()
    download, lake = house.exchange.lake.download, house.exchange.lake

    def refused(bucket: str, key: str, path: Path) -> Path:
        if "closed" in key:
            raise AccessRefused(f"{key}: Permission denied")
        return download(bucket, key, path)

    monkeypatch.setattr("lakehouse.landing.seal.PAGE_FILES", 1)
    monkeypatch.setattr(lake, "download", refused)
    for name in ("closed.csv", "closed too.csv", "open.csv"):
        house.drop(contract, GOOD, name)
    assert [receipt["file"] for receipt in intake(house.exchange, contract)] == ["open.csv"]
    answer = house.folder / "answer.csv"
    answer.write_text(GOOD.replace("a,", "b,"))
    seal_page(house.exchange, contract, name="answer.csv", path=answer, source={})
    assert [receipt["file"] for receipt in intake(house.exchange, contract)] == ["answer.csv"]
    with pytest.raises(AccessRefused):
        intake(house.exchange, contract)


def test_a_young_file_is_waited_for_and_a_growing_one_left(house: House) -> None:
    contract = house.contract()
    patient = Exchange(house.exchange.settings.model_copy(update={"settle_seconds": 0.6}))
    house.drop(contract, GOOD, "at rest.csv")
    growing = house.inbox(contract) / "growing.csv"
    growing.write_text("meter,read_at,use_kwh\n")
    done = threading.Event()

    def write() -> None:
        while not done.wait(0.1):
            with growing.open("a") as file:
                file.write("a,2024-01-03 00:00,3\n")

    writer = threading.Thread(target=write)
    writer.start()
    receipts = intake(patient, contract)
    done.set()
    writer.join()
    assert [receipt["file"] for receipt in receipts] == ["at rest.csv"]
    time.sleep(0.6)
    assert [receipt["file"] for receipt in intake(patient, contract)] == ["growing.csv"]


def test_pages_of_an_extract_are_sealed_once(house: House) -> None:
    contract = house.contract()
    page, source = house.folder / "page", {"kind": "extract", "url": "http://localhost/x"}
    page.write_text(GOOD)
    first = seal_page(house.exchange, contract, name="page.csv", path=page, source=source)
    again = seal_page(house.exchange, contract, name="page.csv", path=page, source=source)
    assert first == again is not None
    (receipt,) = intake(house.exchange, contract)
    assert receipt["accepted"] == 2
    assert seal_page(house.exchange, contract, name="page.csv", path=page, source=source) is None
    assert intake(house.exchange, contract) == []


def test_an_answer_that_comes_back_is_taken_as_the_newest(house: House) -> None:
    contract = house.contract()
    for value in (1, 2, 1):
        page = house.folder / "page"
        page.write_text(f"meter,read_at,use_kwh\na,2024-01-01 00:00,{value}\nb,2024-01-01 00:00,5\n")
        for _ in range(2):
            seal_page(house.exchange, contract, name="page.csv", path=page, source={})
    receipts = intake(house.exchange, contract)
    assert [(r["accepted"], r["duplicates"], r["corrections"]) for r in receipts] == [(2, 0, 0), (1, 1, 1), (1, 1, 1)]


def test_files_of_no_dataset_are_kept_and_answered(house: House) -> None:
    contract = house.contract()
    house.contract(dataset="other")
    house.drop(contract, GOOD)
    inbox = house.inbox(contract).parent
    (inbox / "unknwon").mkdir()
    (inbox / "unknwon" / "<b>.csv").write_text(GOOD)
    (inbox / "loose.csv").write_bytes(UNREADABLE)
    dying, _ = mortal(house.exchange, 16)
    with pytest.raises(Died):
        refuse_strays(dying, "town")
    receipts = refuse_strays(house.exchange, "town")
    assert sorted(receipt["file"] for receipt in receipts) == ["<b>.csv", "loose.csv"]
    for receipt in receipts:
        assert (receipt["status"], receipt["delivered"]) == ("refused", 0)
        assert "inbox/other/, inbox/readings/" in receipt["next_step"]
    lake = house.exchange.lake
    keys = [entry.key for entry in lake.list("landing-town")]
    assert sum(key.startswith("refused/_unknown/") for key in keys) == 2
    assert sum(key.startswith("receipts/_unknown/") for key in keys) == 4
    assert [key for key in keys if key.startswith("inbox/")] == ["inbox/readings/delivery.csv"]
    raw = [entry.key for entry in lake.list("raw", "town/_unknown/") if not entry.key.endswith("origin.json")]
    assert sorted(lake.read_bytes("raw", key) for key in raw) == sorted([GOOD.encode(), UNREADABLE])
    page = next(key for key in keys if key.endswith(".html"))
    assert b"<b>.csv" not in lake.read_bytes("landing-town", page)
    assert refuse_strays(house.exchange, "town") == []
    assert len(intake(house.exchange, contract)) == 1


def test_a_file_that_an_old_client_named_is_taken_in_under_the_name_that_was_meant(house: House) -> None:
    contract = house.contract()
    path = house.inbox(contract) / os.fsdecode(b"m\xe5linger.csv")
    path.write_text(GOOD)
    os.utime(path, (1e9, 1e9))
    (receipt,) = intake(house.exchange, contract)
    assert (receipt["file"], receipt["accepted"], receipt["refused"]) == ("målinger.csv", 2, 1)
    assert list(house.inbox(contract).iterdir()) == []


@pytest.mark.parametrize("name", [".profile", "upload.csv.tmp", "x.PART", "..", "origin.json"])
def test_what_a_source_calls_a_file_keeps_none_from_being_sealed(name: str, tmp_path: Path) -> None:
    house = House(tmp_path)
    contract = house.contract()
    path = tmp_path / "page"
    path.write_text(GOOD)
    assert seal_page(house.exchange, contract, name=name, path=path, source={"kind": "extract"})
    [receipt] = intake(house.exchange, contract)
    assert (receipt["file"], receipt["accepted"]) == (name, 2)
