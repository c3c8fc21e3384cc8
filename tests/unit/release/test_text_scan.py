"""No candidate's texts hold personal data, be its mart open or private; what is found is shown to reviewers, masked."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from lakehouse.contracts.mart import Mart, read_mart
from lakehouse.release.gate import CandidateBlocked, gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.text_scan import found_in_files
from tests.mini_exchange import PROJECT, TRAFFIC, WATER
from tests.unit.release.conftest import Stage

CPR, OTHER_CPR, MAIL, PHONE, ADDRESS = (
    "211062-5629",
    "010107-4003",
    "anna@kommune.dk",
    "+45 33 12 34 56",
    "Lyngbyvej 12B",
)


@pytest.fixture(scope="module")
def mart() -> Mart:
    return read_mart(PROJECT / "dbt_project" / "models" / "marts" / f"{TRAFFIC}.yml")


def parquet(folder: Path, *texts: str) -> Path:
    path = folder / "part.parquet"
    rows = ", ".join(f"('{text}', {number})" for number, text in enumerate(texts))
    duckdb.sql(f"SELECT * FROM (VALUES {rows}) AS t(road, vehicles)").write_parquet(str(path))
    return path


@pytest.mark.parametrize(
    ("text", "kind", "masked", "score"),
    [
        (f"call {MAIL} first", "an e-mail address", "call *** first", None),
        (f"tel. {PHONE}", "a telephone number", "tel. ***", None),
        (f"{CPR} lives here", "a CPR number", "*** lives here", True),
        (f"{OTHER_CPR}", "a CPR number", "***", False),
        (f"{ADDRESS}, 2. sal", "a street address", "***, 2. sal", None),
    ],
)
def test_each_kind_is_found_and_masked(
    mart: Mart, tmp_path: Path, text: str, kind: str, masked: str, score: bool | None
) -> None:
    file = parquet(tmp_path, "Amagerbrogade", text, text, "Rute 16", "2024-10-01")
    with duckdb.connect() as connection:
        [found] = found_in_files(connection, mart, [file])
    assert (found.column, found.kind, found.text, found.rows, found.modulus_11) == ("road", kind, masked, 2, score)


def test_what_may_stand_for_an_id_is_found_where_the_mart_is_private(mart: Mart, tmp_path: Path) -> None:
    digest = hashlib.md5(b"meter-north-1", usedforsecurity=False).hexdigest()
    file = parquet(tmp_path, f"north, most by {digest}=159", "north-0123456789abcdef")
    private = read_mart(PROJECT / "dbt_project" / "models" / "marts" / f"{WATER}.yml")
    with duckdb.connect() as connection:
        assert found_in_files(connection, mart, [file]) == []
        [found] = found_in_files(connection, private, [file])
    assert (found.kind, found.text) == ("a pseudonym or digest", "north, most by ***=159")


def test_names_of_roads_and_districts_are_nothing_personal(mart: Mart, tmp_path: Path) -> None:
    names = ["Østerbrogade", "Aker Brygge", "7 Juni Plassen", "DK1", "2010 or later", "E45", "a-1", "12 34"]
    with duckdb.connect() as connection:
        assert found_in_files(connection, mart, [parquet(tmp_path, *names)]) == []


def test_a_contact_that_is_published_as_such_is_let_through(mart: Mart, tmp_path: Path) -> None:
    open_column = {"config": {"meta": {"published_contact": True}}}
    columns = [c.model_copy(update=open_column) if c.name == "road" else c for c in mart.columns]
    mart = replace(mart, columns=tuple(columns))
    with duckdb.connect() as connection:
        assert found_in_files(connection, mart, [parquet(tmp_path, MAIL)]) == []


def test_an_open_mart_with_a_citizens_number_in_a_text_is_refused(first_stage: Stage, tmp_path: Path) -> None:
    mini = first_stage.mini.copy(tmp_path)
    [name] = [row["candidate"] for row in waiting_candidates(mini.exchange)]
    file = next((mini.root / "lake" / "candidates" / TRAFFIC / name).rglob("*.parquet"))
    # Another file in its place, for the object is linked to by other lakes.
    duckdb.sql(
        f"SELECT * REPLACE (CASE WHEN road = 'Vesterbrogade' THEN '{ADDRESS} {CPR}' ELSE road END AS road) "
        f"FROM read_parquet('{file}', hive_partitioning=false)"
    ).write_parquet(str(file.with_suffix(".new")))
    file.with_suffix(".new").replace(file)
    with pytest.raises(
        CandidateBlocked, match=r"a CPR number in 1 texts of road \(24 rows\); of 1 CPR numbers 1 keep"
    ) as no:
        gate(mini.exchange, mart=mini.mart(TRAFFIC), candidate=name)
    assert CPR not in str(no.value)
    report = json.loads(mini.exchange.lake.read_bytes("reports", f"{TRAFFIC}/{name}/results.json"))
    failed = {result["name"]: result["severity"] for result in report["failed"]}
    assert failed["no_personal_data_in_texts"] == "blocking"
    assert failed["no_addresses_in_texts"] == "warning"
    found = mini.exchange.lake.read_bytes("reports", f"{TRAFFIC}/{name}/personal_data.json").decode()
    assert {one["kind"]: one["text"] for one in json.loads(found)} == {
        "a CPR number": "*** ***", "a street address": "*** ***",
    }  # fmt: skip
