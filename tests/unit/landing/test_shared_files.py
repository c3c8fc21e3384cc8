"""Files of clean that several deliveries share, in all that is done with them later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

from lakehouse.build.inputs import CleanFile, prepare_sources
from lakehouse.contracts.odcs import Contract
from lakehouse.erasure.erase import erase
from lakehouse.landing import intake as intaking
from lakehouse.landing.intake import intake
from lakehouse.landing.replay import replay
from lakehouse.landing.rotate import rotate
from lakehouse.release.doctor import rebuild_index
from lakehouse.storage.index import Index, clean_files
from tests.unit.landing.conftest import METER, READ_AT, USE, House
from tests.unit.landing.test_together import COLUMNS, found, good, index_rows, together


def filled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, contents: list[str | bytes], **more: Any
) -> tuple[House, Contract]:
    """An exchange that has loaded these together."""
    house = House(folder)
    contract = house.contract(COLUMNS, **more)
    with monkeypatch.context() as patch:
        patch.setattr(intaking, "LEAST", 2)
        receipts = together(house, contract, contents)
    assert {receipt["batch"] for receipt in receipts} not in ({None}, set())
    return house, contract


def test_a_batch_is_replayed_as_one_and_what_is_odd_by_then_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, contract = filled(tmp_path / "h", monkeypatch, [good(1, 5), good(2, 50), good(3, 6), good(4, 7)])
    [batch] = {row["receipt"]["batch"] for row in found(house)}
    before = house.clean(contract)
    stricter = house.contract([METER, READ_AT, {**USE, "logicalTypeOptions": {"maximum": 40}}, COLUMNS[3]])
    assert {one.file: one.after["refused"] for one in replay(house.exchange, stricter, again=True, dry_run=True)} == {
        "000.csv": 0, "001.csv": 2, "002.csv": 0, "003.csv": 0
    }  # fmt: skip
    assert house.clean(contract) == before
    replay(house.exchange, stricter, again=True)
    batches = [row["receipt"]["batch"] for row in found(house)]
    assert batches[1] is None
    assert batches[2] == batches[3] != batch
    assert len(house.clean(contract)) == 6
    assert {row["receipt"]["generation"] for row in found(house)} == {1}
    assert len(house.quarantine(contract, found(house)[1]["receipt"])) == 2
    index = sorted(map(str, index_rows(house)))
    assert rebuild_index(house.exchange).problems == []
    assert [str(row).partition("change")[0] for row in sorted(map(str, index_rows(house)))] == [
        str(row).partition("change")[0] for row in index
    ]
    replay(house.exchange, contract, again=True)
    assert sorted(map(str, house.clean(contract))) == sorted(map(str, before))


def test_replaying_a_batch_that_comes_out_the_same_leaves_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, contract = filled(tmp_path / "h", monkeypatch, [good(number) for number in range(4)])
    before = index_rows(house)
    outcomes = replay(house.exchange, contract, again=True)
    assert [outcome.partitions for outcome in outcomes] == [()] * 4
    assert index_rows(house) == before


def test_an_index_is_made_again_from_shared_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house, contract = filled(tmp_path / "h", monkeypatch, [good(number) for number in range(4)])
    house.deliver(contract, good(9), "last.csv")
    before, rows_before = index_rows(house), house.clean(contract)
    # What a batch left that was killed before it was recorded.
    [one, *_] = [row["key"] for row in before if "-to-" in row["key"]]
    folder, _, name = one.rpartition("/")
    url = house.exchange.lake.local_path("clean", one)
    assert url is not None
    house.exchange.lake.upload("clean", f"{folder}/{name[:-18]}00000000-part-0.parquet", url)
    assert rebuild_index(house.exchange).problems == []
    assert {(row["key"], row["delivery"], row["rows"]) for row in index_rows(house)} == {
        (row["key"], row["delivery"], row["rows"]) for row in before
    }
    # One whose receipt is lost is loaded again, and with it those that it shares a file with.
    for ending in ("json", "html"):
        lost = found(house)[1]["delivery"]
        house.exchange.lake.delete("landing-town", f"receipts/readings/{lost}.{ending}")
    assert len(rebuild_index(house.exchange).problems) == 3
    assert [receipt["delivery"] for receipt in intake(house.exchange, contract)] == [
        row["delivery"] for row in found(house)[:4]
    ]
    assert house.clean(contract) == rows_before


def test_an_index_of_before_takes_shared_files(tmp_path: Path) -> None:
    index = Index(f"sqlite:///{tmp_path / 'old.db'}")
    with index.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE clean_files (provider VARCHAR, dataset VARCHAR, partition VARCHAR, key VARCHAR, "
                "delivery VARCHAR NOT NULL, rows BIGINT NOT NULL, bytes BIGINT NOT NULL, change BIGINT NOT NULL, "
                "PRIMARY KEY (provider, dataset, partition, key))"
            )
        )
        connection.execute(sa.text("INSERT INTO clean_files VALUES ('p', 'd', '2024-01-01', 'k', 'one', 1, 2, 3)"))
    index.create()
    index.create()
    with index.begin() as connection:
        row = dict(connection.execute(sa.select(clean_files)).mappings().one())
        connection.execute(sa.insert(clean_files).values(**{**row, "delivery": "two"}))
    assert [row["delivery"] for row in index.rows(sa.select(clean_files))] == ["one", "two"]
    index.close()


def test_a_person_is_taken_out_of_a_file_that_deliveries_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intaking, "LEAST", 2)
    house = House(tmp_path / "h")
    contract = house.contract([{**METER, "classification": "identifier"}, READ_AT, USE])
    for number, meter in enumerate(["DK-4711", "DK-47112", "DK-4711"]):
        house.drop(contract, f"meter,read_at,use_kwh\n{meter},2024-01-01 1{number}:00,{number}\n", f"{number}.csv")
    intake(house.exchange, contract)
    assert len({row["key"] for row in index_rows(house)}) == 1
    certificate = erase(house.exchange, contract, subject="DK-4711", reason="asked for it")
    assert certificate["proven_absent"]
    assert certificate["taken_out"]["clean rows"] == 2
    assert house.clean(contract, "use_kwh::INT") == [(1,)]
    assert [row["rows"] for row in index_rows(house)] == [0, 1, 0]
    assert [row["receipt"]["accepted"] for row in found(house)] == [0, 1, 0]
    rotate(house.exchange, "town", dry_run=False)
    assert house.clean(contract, "use_kwh::INT") == [(1,)]
    assert rebuild_index(house.exchange).problems == []


def test_a_build_reads_of_a_shared_file_only_the_deliveries_that_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, contract = filled(tmp_path / "h", monkeypatch, [good(1), good(2), good(3)])
    files = [
        CleanFile(
            **{name: row[name] for name in ("partition", "key", "delivery", "rows")}, dataset=contract.key, sharers=n
        )
        for row in index_rows(house)
        if (n := sum(other["key"] == row["key"] for other in index_rows(house)))
    ]
    one = [file for file in files if file.delivery == files[0].delivery]

    def built(name: str, wanted: list[CleanFile]) -> set[str]:
        database = tmp_path / f"{name}.duckdb"
        prepare_sources(house.exchange, files=wanted, parts=[], database=database, folder=tmp_path / name)
        with duckdb.connect(str(database)) as connection:
            return {meter for (meter,) in connection.execute("SELECT meter FROM town.readings").fetchall()}

    assert built("all", files) == {"m1", "m2", "m3"}
    assert built("one", one) == {"m1"}
