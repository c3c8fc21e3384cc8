"""Files of plain rows: what stands in them, and who can read them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from lakehouse.landing import write_plain
from lakehouse.landing.plain_rows import PlainFrame
from lakehouse.landing.quick_rows import Rest
from lakehouse.landing.write_plain import Writing
from lakehouse.storage.sql import identifier
from tests.unit.landing.both_ways import csv_of, landed, rows_of
from tests.unit.landing.conftest import House, column

KEY = column("n", "integer", key=1)
AT = column("at", "timestamp", required=True)
MONTHS = {"column": "at", "partition": "month"}


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "lake" / "clean").rglob("*.parquet"))


def test_no_text_is_listed_that_no_row_has(tmp_path: Path, ways: list[Rest | None]) -> None:
    notes = {20: "kim@example.org", 40: "of a wrong row"}
    lines = [f"{n},2024-05-05T10:00:00Z,{notes.get(n, f'note {n % 7}')},{'x' if n == 40 else n}" for n in range(400)]
    house = House(tmp_path)
    contract = house.contract([KEY, AT, column("note", "string"), column("use", "integer")], time=MONTHS)
    receipt = house.deliver(contract, "\n".join(["n,at,note,use", *lines]) + "\n", "a.csv")
    assert (receipt["accepted"], receipt["refused"]) == (398, 2)
    assert ways[0] is not None
    listed = [
        text
        for file in _files(tmp_path)
        for chunk in pq.ParquetFile(file, read_dictionary=["note"]).read(["note"]).column("note").chunks
        for text in chunk.dictionary.to_pylist()
    ]
    assert set(listed) == {f"note {n}" for n in range(7)}


def test_many_rows_of_a_partition_are_several_files(
    tmp_path: Path, ways: list[Rest | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = csv_of(rows_of(8, 900))
    whole = landed(tmp_path / "whole", text, "a.csv", {"format": "csv"})
    monkeypatch.setattr(write_plain, "FILE_ROWS", 20)
    split = landed(tmp_path / "split", text, "a.csv", {"format": "csv"})
    assert ways[0] is not None
    assert split == whole
    assert len(_files(tmp_path / "split")) > len(_files(tmp_path / "whole"))
    assert any(file.stem.endswith("part-0-1") for file in _files(tmp_path / "split"))


@pytest.mark.parametrize("distinct", [5, 400])
def test_every_reader_finds_the_same_values(distinct: int, tmp_path: Path, ways: list[Rest | None]) -> None:
    columns = [
        KEY, AT,
        column("day", "date"), column("small", "number", physicalType="DECIMAL(9,2)"),
        column("usual", "number", physicalType="DECIMAL(18,3)"), column("wide", "number", physicalType="DECIMAL(38,10)"),
        column("ratio", "number", physicalType="DOUBLE"), column("text", "string"), column("good", "boolean"),
    ]  # fmt: skip

    def row(n: int) -> list[str]:
        k = n % distinct
        values = [f"2024-0{1 + k % 9}-0{1 + k % 9}", f"{-k}.25", f"{k * 1000}.125", f"{k}.5", f"{k / 8}", f"text {k}",
                  ["true", "false"][k % 2]]  # fmt: skip
        # Each column lacks some.
        return [str(n), "2024-05-05T10:00:00Z", *("" if (n + place) % 11 == 0 else v for place, v in enumerate(values))]

    names = [one["name"] for one in columns]
    quoted = ", ".join(map(identifier, names))
    text = "\n".join(",".join(one) for one in [names, *map(row, range(400))]) + "\n"
    house = House(tmp_path)
    receipt = house.deliver(house.contract(columns, time=MONTHS), text, "a.csv")
    assert receipt["accepted"] == 400
    assert ways[0] is not None
    (file,) = _files(tmp_path)
    told = duckdb.sql(f"SELECT {quoted} FROM '{file}' ORDER BY n")
    exactly = duckdb.sql(
        f"SELECT {quoted} FROM read_csv({str(_written(tmp_path, text))!r}, all_varchar=true) ORDER BY n::INT"
    ).fetchall()
    types = ["BIGINT", "TIMESTAMP WITH TIME ZONE", "DATE", "DECIMAL(9,2)", "DECIMAL(18,3)", "DECIMAL(38,10)", "DOUBLE",
             "VARCHAR", "BOOLEAN"]  # fmt: skip
    assert [str(one) for one in told.types] == types
    found: list[tuple[Any, ...]] = told.fetchall()
    assert [[value is None for value in one] for one in found] == [[value is None for value in one] for one in exactly]
    assert [tuple(str(value) for value in one[3:7]) for one in found if None not in one] == [
        tuple(str(duckdb.sql(f"SELECT {value}::{type_}").fetchall()[0][0]) for value, type_ in zip(
            one[3:7], types[3:7], strict=True)) for one in exactly if None not in one
    ]  # fmt: skip
    by_polars = pl.read_parquet(file).select(names).sort("n").rows()
    by_arrow = pl.DataFrame(pq.read_table(file)).select(names).sort("n").rows()
    assert [one[2:] for one in by_polars] == [one[2:] for one in by_arrow] == [one[2:] for one in found]


def _written(folder: Path, text: str) -> Path:
    path = folder / "given.csv"
    path.write_text(text)
    return path


def test_what_nobody_has_begun_can_be_given_up(tmp_path: Path) -> None:
    contract = House(tmp_path).contract([KEY, AT], time=MONTHS)
    days = [datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 3)]
    rows = pl.DataFrame({"exchange_line": [1, 2, 3], "n": [1, 2, 3], "at": days})
    delivery = {"delivery": "d", "received_at": days[0]}
    writing = Writing(contract, delivery, [PlainFrame.of(rows)], tmp_path / "clean", "part-0", {})
    assert sorted(writing.rows.values()) == [1, 1, 1]
    writing.give_up()
    writing.join()
    assert not any(path.exists() for path in writing.rows)
