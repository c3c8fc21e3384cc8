"""A person is taken out of everything, provably, and nobody else is."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.erasure.certificate import verify_certificate
from lakehouse.erasure.erase import NoSubject, erase, preview
from lakehouse.erasure.search import search
from lakehouse.landing.intake import intake
from lakehouse.landing.strays import refuse_strays
from lakehouse.privacy.keys import KeyFault
from lakehouse.release.doctor import rebuild_index
from lakehouse.storage.index import deliveries, erasures
from tests.dying import Died, mortal
from tests.unit.landing.conftest import READ_AT, USE, House, column

PERSON = "DK-4711"
HEADER = "meter,read_at,use_kwh\n"
ROWS = f"{PERSON},2024-01-01 00:00,1\nDK-4712,2024-01-01 00:00,2\n{PERSON},2024-01-02 00:00,3\nDK-47112,2024-01-02 00:00,4\n"
KEPT = {"DK-47112": 4, "DK-4712": 2}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


@pytest.fixture
def contract(house: House) -> Contract:
    meter = column("meter", "string", key=1, classification="identifier")
    forms = [{"format": "csv"}, {"format": "ndjson"}, {"format": "parquet"}, {"format": "json"}]
    return house.contract([meter, READ_AT, USE], forms=forms)


def erased(house: House, contract: Contract) -> dict[str, Any]:
    return erase(house.exchange, contract, subject=PERSON, reason="asked for it")


def kept(house: House, contract: Contract) -> dict[str, int]:
    """Use by the provider's ids; of a person who is not among those of ``KEPT``, by what stands for them."""
    names = dict(zip(house.people(contract, "meter", list(KEPT)), KEPT, strict=True))
    return {names.get(meter, meter): use for meter, use in house.clean(contract, "meter, use_kwh::INT")}


def zipped(text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("readings.csv", text)
        archive.writestr("more.csv", HEADER + "DK-1,2024-01-03 00:00,5\n")
    return packed.getvalue()


def parquet(folder: Path) -> bytes:
    path = folder / "rows.parquet"
    values = ", ".join(f"('{m}', '{t}', {u})" for m, t, u in (line.split(",") for line in ROWS.splitlines()))
    # With a column that has a name of DuckDB's own.
    rows = f"SELECT *, 7 AS file_row_number FROM (VALUES {values}) AS t(meter, read_at, use_kwh)"
    duckdb.sql(rows).write_parquet(str(path))
    return path.read_bytes()


def as_lines() -> str:
    records = [dict(zip(("meter", "read_at", "use_kwh"), line.split(","), strict=True)) for line in ROWS.splitlines()]
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize("kind", ["csv", "crlf", "gz", "zip", "ndjson", "parquet", "json"])
def test_no_byte_of_the_person_is_left_and_all_others_stand(
    house: House, contract: Contract, tmp_path: Path, kind: str
) -> None:
    content: bytes | str = {
        "csv": lambda: HEADER + ROWS,
        "crlf": lambda: (HEADER + ROWS).replace("\n", "\r\n"),
        "gz": lambda: gzip.compress((HEADER + ROWS).encode()),
        "zip": lambda: zipped(HEADER + ROWS),
        "ndjson": as_lines,
        "parquet": lambda: parquet(tmp_path),
        "json": lambda: "[" + as_lines().replace("\n", ",")[:-1] + "]",
    }[kind]()
    house.deliver(contract, content, name=f"delivery.{kind}")
    assert search(house.exchange, PERSON).hits
    certificate = erased(house, contract)
    assert certificate["taken_out"]["clean rows"] == 2
    assert certificate["taken_out"]["raw rows"] == 2
    assert certificate["proven_absent"]
    assert search(house.exchange, PERSON).hits == []
    assert {meter: use for meter, use in kept(house, contract).items() if use < 5} == KEPT
    for path in (house.folder / "lake").rglob("*"):
        assert not path.is_file() or PERSON.encode() + b"," not in path.read_bytes()


def test_every_other_line_of_raw_is_as_it_was_delivered(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS)
    erased(house, contract)
    [entry] = [e for e in house.exchange.lake.list("raw") if e.key.endswith(".csv")]
    expected = HEADER + "\nDK-4712,2024-01-01 00:00,2\n\nDK-47112,2024-01-02 00:00,4\n"
    assert house.exchange.lake.read_bytes("raw", entry.key).decode() == expected
    names = sorted(Path(e.key).name for e in house.exchange.lake.list("raw"))
    assert names == ["delivery.csv", "origin.json", "tombstone.json"]


def test_quarantined_and_malformed_rows_go_too(house: House, contract: Contract) -> None:
    bad = f"{PERSON},2024-01-01 00:00,-1\n{PERSON},no time,2\n{PERSON},2024-01-01 00:00,1,too many\nDK-2,2024-01-01 00:00,-5\n"
    receipt = house.deliver(contract, HEADER + bad)
    assert receipt["refused"] == 4
    certificate = erased(house, contract)
    assert certificate["proven_absent"]
    [left] = house.quarantine(contract, receipt)
    assert "DK-2" in left["row"]


def test_what_is_delivered_later_is_refused_and_sealed_without_the_person(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS)
    erased(house, contract)
    receipt = house.deliver(
        contract, HEADER + f"{PERSON},2024-02-01 00:00,9\nDK-4712,2024-02-01 00:00,8\n", name="later.csv"
    )
    assert (receipt["delivered"], receipt["accepted"], receipt["refused"]) == (2, 1, 1)
    assert receipt["errors"][0]["rule"] == "erased_subject"
    again = house.deliver(contract, HEADER + ROWS, name="again.csv")
    assert again["accepted"] == 0
    assert search(house.exchange, PERSON).hits == []


@pytest.mark.parametrize("blank", ["\u00a0", "\ufeff"])
def test_whatever_blanks_stand_round_an_id_it_is_that_of_who_was_erased(
    house: House, contract: Contract, blank: str
) -> None:
    house.deliver(contract, HEADER + ROWS)
    erased(house, contract)
    later = f"DK-1,2024-01-04 00:00,5\n{blank}{PERSON}{blank},2024-01-04 00:00,6\n"
    receipt = house.deliver(contract, HEADER + later, name="later.csv")
    assert receipt["errors"][0]["rule"] == "erased_subject"
    assert search(house.exchange, PERSON).hits == []


def test_by_another_key_nobody_who_was_erased_comes_back_unknown(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS)
    erased(house, contract)
    (house.folder / "home" / "keys" / "town.erasure.1.key").unlink()
    house.drop(contract, HEADER + f"{PERSON},2024-01-05 00:00,6\n")
    with pytest.raises(KeyFault, match=r"town\.erasure\.1 is not the one"):
        intake(house.exchange, contract)
    assert len(house.clean(contract)) == 2


def test_a_receipt_still_adds_up_and_shows_no_value(house: House, contract: Contract) -> None:
    first = house.deliver(contract, HEADER + ROWS + "DK-9,2024-01-02 00:00,-7\n")
    assert first["errors"][0]["value"] == "-7"
    erased(house, contract)
    row = house.exchange.index.row(sa.select(deliveries.c.receipt))
    assert row is not None
    receipt = row["receipt"]
    assert receipt["delivered"] == receipt["accepted"] + receipt["refused"] + receipt["duplicates"] == 5
    assert receipt["accepted"] == 2
    assert {entry["value"] for entry in receipt["errors"]} <= {None, "(masked)"}
    assert json.loads(house.published(contract, receipt, "json")) == receipt


def test_an_erasure_may_be_repeated_and_finds_nothing_more(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS)
    first = erased(house, contract)
    again = erased(house, contract)
    assert again["erasure"] == first["erasure"]
    assert again["taken_out"] == first["taken_out"]


def test_one_that_was_killed_is_taken_up_at_any_point(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS + f"{PERSON},bad,1\n")
    house.deliver(contract, HEADER + f"{PERSON},2024-03-01 00:00,1\n", name="second.csv")
    for calls in range(0, 400, 7):
        dying, fuse = mortal(house.exchange, calls)
        dying.__dict__["contracts"] = house.exchange.contracts
        try:
            erase(dying, contract, subject=PERSON, reason="asked for it")
            break
        except Died:
            assert fuse.dead
    else:
        pytest.fail("it never came to its end")
    assert calls > 7
    certificate = erased(house, contract)
    assert certificate["proven_absent"]
    assert kept(house, contract) == KEPT
    for row in house.exchange.index.rows(sa.select(deliveries.c.receipt)):
        receipt = row["receipt"]
        assert receipt["delivered"] == receipt["accepted"] + receipt["refused"] + receipt["duplicates"]


def test_the_id_is_kept_nowhere_but_as_a_keyed_hash(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS)
    certificate = erased(house, contract)
    row = house.exchange.index.row(sa.select(erasures))
    assert row is not None
    assert PERSON not in json.dumps(dict(row), default=str) + json.dumps(certificate)
    key = house.folder / "home" / "keys" / "town.erasure.1.key"
    assert key.stat().st_mode & 0o077 == 0
    assert key.read_bytes().hex() not in json.dumps(certificate)


def test_a_certificate_that_was_changed_is_found_out(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS)
    certificate = erased(house, contract)
    assert verify_certificate(certificate, certificate["public_key"])
    assert not verify_certificate({**certificate, "proven_absent": False}, certificate["public_key"])


def test_where_the_id_still_stands_elsewhere_it_is_said(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS)
    other = house.contract(
        [column("meter", "string", key=1, classification="identifier")], dataset="register", kind="snapshot"
    )
    house.deliver(other, f"meter\n{PERSON}\n", name="register.csv")
    certificate = erased(house, contract)
    assert not certificate["proven_absent"]
    assert all("register" in key for key in certificate["searched"]["still_in"])
    assert erase(house.exchange, other, subject=PERSON, reason="too")["proven_absent"]


def test_what_waits_and_what_is_of_no_dataset_goes_too(house: House, contract: Contract) -> None:
    house.drop(contract, HEADER + ROWS, name="waiting.csv")
    assert erased(house, contract)["proven_absent"]
    assert intake(house.exchange, contract) == []


def test_what_a_killed_process_left_on_the_machine_goes_and_a_running_one_is_left_alone(
    house: House, contract: Contract
) -> None:
    house.deliver(contract, HEADER + ROWS)
    work = house.exchange.settings.home_path / "work"
    with house.exchange.workplace("build") as running:
        for kind in ("build", "intake"):
            (work / f"{kind}-dead").mkdir()
            (work / f"{kind}-dead" / "rows.csv").write_text(ROWS)
        assert erased(house, contract)["taken_out"]["folders of killed processes"] == 2
        assert running.exists()
    assert list(work.glob("*-*")) == []


def test_a_dry_run_changes_nothing(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS)
    found = preview(house.exchange, contract, subject=PERSON)
    assert {key.split("/")[0] for key in found["found_in"]} == {"raw", "clean"}
    assert len(house.clean(contract)) == 4


def test_a_dataset_without_a_subject_is_refused(house: House) -> None:
    with pytest.raises(NoSubject, match="no data subject"):
        erase(house.exchange, house.contract(), subject=PERSON, reason="")


def test_a_lost_index_still_knows_who_was_erased(house: House, contract: Contract) -> None:
    house.deliver(contract, HEADER + ROWS)
    erased(house, contract)
    with house.exchange.index.begin() as connection:
        connection.execute(sa.delete(erasures))
    rebuild_index(house.exchange)
    receipt = house.deliver(contract, HEADER + f"{PERSON},2024-05-01 00:00,9\n", name="later.csv")
    assert (receipt["delivered"], receipt["refused"]) == (1, 1)
    assert search(house.exchange, PERSON).hits == []
    assert kept(house, contract) == KEPT


SHORT = (
    "meter,read_at,use_kwh\n7,2024-01-07 07:00,1\n17,2024-01-07 00:00,7\n7,2024-01-01 00:00,-1\n8,2024-01-02 00:00,-7\n"
)


@pytest.fixture
def numbered(house: House) -> Contract:
    """Meters are numbers, and few."""
    return house.contract([column("meter", "integer", key=1, classification="identifier"), READ_AT, USE])


def test_a_short_id_is_looked_for_where_ids_stand_and_not_among_other_numbers(house: House, numbered: Contract) -> None:
    """A 7 stands in times, values, names of files and other people's ids; none of these is the person."""
    before = house.deliver(numbered, SHORT + "9,2024-01-03 00:00,-70,77,more\n7,no,time,more\n", name="readings-7.csv")
    assert (before["accepted"], before["refused"]) == (2, 4)
    found = preview(house.exchange, numbered, subject="7")
    assert {key.split("/")[0] for key in found["found_in"]} == {"raw", "clean", "quarantine"}
    certificate = erase(house.exchange, numbered, subject="7", reason="asked for it")
    assert certificate["searched"]["still_in"] == certificate["searched"]["undecided"] == []
    assert certificate["proven_absent"]
    assert "in the fields that hold such ids" in certificate["searched"]["for"]
    [seventeen] = house.people(numbered, "meter", ["17"])
    assert house.clean(numbered, "meter, use_kwh::INT") == [(seventeen, 7)]
    [quarantine] = house.exchange.lake.list("quarantine")
    rows = duckdb.sql(f"SELECT row FROM '{house.exchange.lake.local_path('quarantine', quarantine.key)}'").fetchall()
    assert rows == [('{"meter":"8","read_at":"2024-01-02 00:00","use_kwh":"-7"}',), ("9,2024-01-03 00:00,-70,77,more",)]


def test_a_short_id_is_found_in_the_provider_s_other_datasets_and_said_to_be_perhaps_in_what_no_contract_reads(
    house: House, numbered: Contract
) -> None:
    house.deliver(numbered, SHORT)
    meter = column("meter", "integer", key=1, classification="identifier")
    register = house.contract([meter, column("rooms", "integer")], dataset="register", kind="snapshot")
    house.deliver(register, "meter,rooms\n7,3\n9,7\n", name="register.csv")
    # Another column's 7 is another thing's number.
    rooms = house.contract([column("room", "integer", key=1)], dataset="rooms", kind="snapshot")
    house.deliver(rooms, "room\n7\n", name="rooms.csv")
    stray = "note 7 of the town\n"
    house.exchange.lake.write_bytes("landing-town", "inbox/notes.txt", stray.encode())
    refuse_strays(house.exchange, "town")
    found = erase(house.exchange, numbered, subject="7", reason="asked for it")["searched"]
    assert {key.split("/")[2] for key in found["still_in"]} == {"register"}
    [undecided] = found["undecided"]
    assert undecided.startswith("raw/town/_unknown/")
    assert house.exchange.lake.read_bytes("raw", undecided.removeprefix("raw/")).decode() == stray
    again = erase(house.exchange, register, subject="7", reason="too")
    assert (again["searched"]["still_in"], again["proven_absent"]) == ([], False)
    house.exchange.lake.delete("raw", undecided.removeprefix("raw/"))
    assert erase(house.exchange, register, subject="7", reason="too")["proven_absent"]
