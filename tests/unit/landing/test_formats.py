"""The formats beside csv, each also packed, and what cannot be read at all."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.landing import formats
from lakehouse.landing.type_rows import PART_LINES
from tests.unit.landing.conftest import House, column, faults

METER = column("meter", "string", key=1)
READ_AT = column("read_at", "timestamp", key=2, parse={"zone": "UTC"})
USE = column("use_kwh", "number")
READINGS = [METER, READ_AT, USE]
RECORDS = [
    {"meter": "æ1", "read_at": "2024-01-31 12:00:00", "use_kwh": 1.5},
    {"meter": "b2", "read_at": "2024-02-01 00:00:00", "use_kwh": -2},
]
ROWS = [
    ("b2", datetime(2024, 2, 1, tzinfo=UTC), Decimal("-2.000"), 2),
    ("æ1", datetime(2024, 1, 31, 12, tzinfo=UTC), Decimal("1.500"), 1),
]


def as_csv() -> bytes:
    lines = [",".join(str(value) for value in record.values()) for record in RECORDS]
    return "\n".join(["meter,read_at,use_kwh", *lines]).encode()


def as_json() -> bytes:
    return json.dumps(RECORDS).encode()


def as_ndjson() -> bytes:
    return "\n".join(json.dumps(record) for record in RECORDS).encode()


def as_geojson() -> bytes:
    features = [{"type": "Feature", "properties": record, "geometry": None} for record in RECORDS]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def as_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(RECORDS), sink)
    return sink.getvalue()


def as_xlsx() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(list(RECORDS[0]))
    for record in RECORDS:
        sheet.append(list(record.values()))
    return saved(book)


def saved(book: openpyxl.Workbook) -> bytes:
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def zipped(*members: tuple[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return sink.getvalue()


FORMATS: dict[str, Callable[[], bytes]] = {
    "csv": as_csv,
    "json": as_json,
    "ndjson": as_ndjson,
    "geojson": as_geojson,
    "parquet": as_parquet,
    "xlsx": as_xlsx,
}
FIRST_LINE = {"csv": 2, "xlsx": 2}
ALL_FORMS = [{"format": name} for name in FORMATS]


@pytest.mark.parametrize("packing", ["plain", "gzip", "zip"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reads_the_same_packed_or_not(house: House, name: str, packing: str) -> None:
    contract = house.contract(READINGS, forms=ALL_FORMS)
    content = FORMATS[name]()
    if packing == "gzip":
        content = gzip.compress(content)
    elif packing == "zip":
        content = zipped(("folder/data.bin", content), ("__MACOSX/._data.bin", b"x"))
    receipt = house.deliver(contract, content, f"delivery.{name}")
    assert receipt["accepted"] == 2, receipt["errors"]
    found = house.clean(contract, "meter, read_at, use_kwh, exchange_line")
    offset = FIRST_LINE.get(name, 1) - 1
    assert found == [(*row[:3], row[3] + offset) for row in ROWS]


def test_records_in_a_nested_list_with_fields_of_the_root(house: House) -> None:
    columns = [
        column("station", "string", key=1, parse={"path": "id.value"}),
        column("at", "timestamp", key=2, parse={"epoch": "seconds", "path": "$.updated"}),
        column("pm", "number", physicalName="PM2.5"),
    ]
    contract = house.contract(columns, forms=[{"format": "json", "records": "data.list"}])
    document = {"updated": 1700000000, "data": {"list": [{"id": {"value": "x"}, "PM2.5": 3}, {"id": {}}]}}
    receipt = house.deliver(contract, json.dumps(document), "d.json")
    assert house.clean(contract, 'station, epoch("at"), pm, exchange_line') == [
        ("x", 1700000000.0, Decimal("3.000"), 1)
    ]
    assert faults(receipt) == {("missing_value", "station"): (1, 2, None)}


def test_ndjson_with_broken_lines(house: House) -> None:
    contract = house.contract(READINGS, forms=[{"format": "ndjson"}])
    lines = as_ndjson().decode().split("\n")
    receipt = house.deliver(contract, "\n".join([lines[0], '{"meter": "cut', "", "[1]", lines[1], ""]), "d.ndjson")
    assert (receipt["delivered"], receipt["accepted"]) == (4, 2)
    assert faults(receipt) == {("malformed_row", None): (2, 2, '{"meter": "cut')}
    assert house.clean(contract, "exchange_line") == [(1,), (5,)]


LONG = {"note": "x" * 5000}
FEATURE = {"type": "Feature", "properties": RECORDS[0], "geometry": None}
ONE = json.dumps(RECORDS[0])
# By what a reader has to see: how many rows it then has.
OBJECTS: dict[str, tuple[str, int]] = {
    "one record": (ONE, 1),
    "one record, and a line's end": (ONE + "\r\n", 1),
    "a brace in a text of the first record": ("\n".join(json.dumps({**r, "note": "set {a"}) for r in RECORDS), 2),
    "a first record of many bytes": ("\n".join(json.dumps({**LONG, **r}) for r in RECORDS), 2),
    "one record of many bytes": (json.dumps({**LONG, **RECORDS[0]}), 1),
    "blank lines between": (ONE + "\n\n \n" + json.dumps(RECORDS[1]), 2),
    "a first record that is broken": ('{"meter": 1,}\n' + as_ndjson().decode(), 2),
    "a document in one line": (json.dumps({"data": {"list": RECORDS}}), 2),
    "a document in many lines": (json.dumps({**LONG, "data": {"list": RECORDS}}, indent=1), 2),
    "a list that begins with nothing": (json.dumps([None, *RECORDS]), 2),
    "features behind much else": (json.dumps({**LONG, "type": "FeatureCollection", "features": [FEATURE]}), 1),
    "features before their kind": (json.dumps({"features": [{**FEATURE, **LONG}], "type": "FeatureCollection"}), 1),
    "features as a list of records": (json.dumps({"data": {"list": RECORDS, "of": "FeatureCollection"}}), 2),
}


@pytest.mark.parametrize("most", [8 << 20, 2000])
@pytest.mark.parametrize("name", OBJECTS)
def test_records_in_lines_are_told_from_a_document(
    house: House, name: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if most < 8 << 20:
        if "many bytes" in name or "a list of records" in name:
            pytest.skip("then a first record is too long, and so is a document")
        monkeypatch.setattr(formats, "MOST_LOOKED_AT", most)
    content, rows = OBJECTS[name]
    at_top = content.startswith("[")
    forms = [{"format": "json", "records": "" if at_top else "data.list"}, {"format": "ndjson"}, {"format": "geojson"}]
    receipt = house.deliver(house.contract(READINGS, forms=forms), content, "d.json")
    assert receipt["accepted"] == rows, receipt["message"]


def test_geojson_with_geometry_and_the_feature_s_own_id(house: House) -> None:
    columns = [
        column("place", "string", key=1, parse={"path": "id"}),
        column("kind", "string"),
        column("shape", "string", parse={"path": "geometry", "geometry": "geojson"}),
    ]
    contract = house.contract(columns, forms=[{"format": "geojson"}], kind="snapshot")
    features = [
        {"id": "a", "properties": {"kind": "k"}, "geometry": {"type": "Point", "coordinates": [12.5, 55.7, 3]}},
        {"id": "b", "properties": {}, "geometry": {"type": "Pint", "coordinates": []}},
    ]
    receipt = house.deliver(contract, json.dumps({"type": "FeatureCollection", "features": features}), "d.json")
    ((place, kind, shape),) = house.clean(contract, "place, kind, shape::VARCHAR")
    assert (place, kind) == ("a", "k")
    assert shape.startswith("POINT")
    assert "12.5 55.7" in shape
    assert list(faults(receipt)) == [("not_a_geometry", "shape")]


def test_parquet_types_become_the_contract_s(house: House) -> None:
    columns = [
        column("id", "integer", key=1),
        column("at", "timestamp", required=True, parse={"zone": "Europe/Copenhagen"}),
        column("day", "date"),
        column("yes", "boolean"),
        column("share", "number", physicalType="DOUBLE"),
    ]
    contract = house.contract(columns, forms=[{"format": "parquet"}])
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int32()),
            "at": pa.array([datetime(2024, 7, 1, 12, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)]),
            "day": pa.array([date(2024, 7, 1), None]),
            "yes": pa.array([True, None]),
            "share": pa.array([1e-9, float("nan")]),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    receipt = house.deliver(contract, sink.getvalue(), "d.parquet")
    # A time with an offset in the file is a moment, whatever zone the contract states for those without.
    assert house.clean(contract, 'id, "at", day, yes, share') == [
        (1, datetime(2024, 7, 1, 12, tzinfo=UTC), date(2024, 7, 1), True, 1e-9)
    ]
    assert faults(receipt) == {("not_a_number", "share"): (1, 2, "nan")}


def test_a_column_of_parquet_may_be_called_as_duckdb_s_own(house: House) -> None:
    contract = house.contract(READINGS, forms=[{"format": "parquet"}])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{**record, "file_row_number": 7} for record in RECORDS]), sink)
    receipt = house.deliver(contract, sink.getvalue(), "d.parquet")
    assert receipt["accepted"] == len(RECORDS)
    assert [warning["source_column"] for warning in receipt["warnings"]] == ["file_row_number"]


def parquet(*columns: tuple[str, list[Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table([pa.array(values) for _, values in columns], names=[name for name, _ in columns]), sink)
    return sink.getvalue()


def test_a_column_of_parquet_that_is_there_twice_is_not_chosen_from(house: House) -> None:
    contract = house.contract(READINGS, forms=[{"format": "parquet"}])
    at, nested = ("read_at", ["2024-01-31"]), ("nested", [{"use_kwh": {"use_kwh": [1]}}])
    twice = parquet(("meter", ["a"]), nested, at, ("use_kwh", [1]), ("use_kwh", [2]))
    receipt = house.deliver(contract, twice, "a.parquet")
    assert (receipt["errors"][0]["rule"], "'use_kwh'" in receipt["message"]) == ("duplicate_columns", True)
    # Its letters tell a column from another, and blanks around it do not.
    receipt = house.deliver(contract, parquet(("METER", ["b"]), (" meter\n", ["a"]), nested, at), "b.parquet")
    assert (receipt["accepted"], house.clean(contract, "meter")) == (1, [("a",)])


def test_text_of_parquet_without_its_mark_is_text(house: House) -> None:
    contract = house.contract(READINGS, forms=[{"format": "parquet"}])
    columns = [("read_at", [b"2024-01-31"]), ("use_kwh", [b"1.5"])]
    assert house.deliver(contract, parquet(("meter", ["æ1".encode()]), *columns), "a.parquet")["accepted"] == 1
    assert house.clean(contract, "meter, use_kwh") == [("æ1", Decimal("1.500"))]
    receipt = house.deliver(contract, parquet(("meter", ["æ1".encode("latin-1")]), *columns), "b.parquet")
    assert (receipt["errors"][0]["rule"], "'meter'" in receipt["message"]) == ("wrong_encoding", True)


def test_a_zip_of_several_files_is_one_delivery(house: House) -> None:
    contract = house.contract(READINGS)
    first = as_csv()
    second = b"meter,read_at,use_kwh\nc3,2024-01-31 12:00,3\nc4,never,4\n"
    receipt = house.deliver(contract, zipped(("b.csv", second), ("a.csv", first)), "d.zip")
    assert (receipt["delivered"], receipt["accepted"], receipt["refused"]) == (4, 3, 1)
    (error,) = receipt["errors"]
    assert (error["member"], error["first_line"]) == ("b.csv", 3)
    (row,) = house.quarantine(contract, receipt)
    assert (row["member"], row["line"]) == ("b.csv", 3)
    # In the lake, lines of the second file begin far behind those of the first.
    assert house.clean(contract, "meter, exchange_line", "exchange_line") == [
        ("æ1", 2),
        ("b2", 3),
        ("c3", PART_LINES + 2),
    ]


def test_members_that_climb_write_nothing_outside(house: House) -> None:
    contract = house.contract(READINGS)
    before = {path for path in house.folder.parent.rglob("*") if path.is_file()}
    receipt = house.deliver(contract, zipped(("../../../evil.csv", as_csv())), "d.zip")
    assert receipt["accepted"] == 2
    after = {path for path in house.folder.parent.rglob("*") if path.is_file()}
    assert not [path for path in after - before if "evil" in path.name]


def bomb() -> bytes:
    return b"meter,read_at,use_kwh\n" + b"a,2024-01-31 12:00,1\n" * 100_000


REFUSED_WHOLE: dict[str, tuple[bytes, str]] = {
    "nothing.csv": (b"", "empty_file"),
    "header only.csv": (b"meter,read_at,use_kwh\n", "no_rows"),
    "picture.csv": (b"\x89PNG\r\n\x1a\n\x00\x00", "unknown_format"),
    "binary.csv": (bytes(range(256)), "unknown_format"),
    "page.csv": (b"<!DOCTYPE html><html>Not found</html>", "unknown_format"),
    "cut.csv.gz": (gzip.compress(as_csv())[:-12], "damaged_archive"),
    "cut.zip": (zipped(("a.csv", as_csv()))[:-30], "damaged_archive"),
    "gap.zip": (zipped(("a.csv", as_csv()))[:8] + zipped(("a.csv", as_csv()))[20:], "damaged_archive"),
    "no file.zip": (zipped(("folder/", b"")), "empty_archive"),
    "bomb.csv.gz": (gzip.compress(bomb()), "unpacks_too_large"),
    "bomb.zip": (zipped(("a.csv", bomb()[:600_000]), ("b.csv", bomb()[:600_000])), "unpacks_too_large"),
    "one empty.zip": (zipped(("a.csv", as_csv()), ("b.csv", b"")), "empty_file"),
    "cut.json": (as_json()[:-10], "not_json"),
    "other.json": (b'{"records": [1]}', "no_records"),
    "foreign.json": (b'[{"colour": 1}, {"colour": 2}]', "missing_columns"),
    "cut.parquet": (as_parquet()[:-20], "unreadable"),
    "cut.xlsx": (as_xlsx()[:-40], "damaged_archive"),
}


@pytest.mark.parametrize("name", REFUSED_WHOLE)
def test_what_cannot_be_read_is_refused_whole_with_the_reason(house: House, name: str) -> None:
    content, rule = REFUSED_WHOLE[name]
    contract = house.contract(READINGS, forms=[*ALL_FORMS[:2], *ALL_FORMS[4:]])
    receipt = house.deliver(contract, content, name)
    assert (receipt["status"], receipt["errors"][0]["rule"]) == ("refused", rule)
    assert receipt["next_step"]
    assert house.clean(contract) == []
    kept = f"refused/readings/{receipt['delivery']}/{name}"
    assert house.exchange.lake.read_bytes("landing-town", kept) == content
    # The next delivery is none the worse for it.
    assert house.deliver(contract, as_csv())["accepted"] == 2


def test_an_encrypted_zip_is_refused(house: House) -> None:
    contract = house.contract(READINGS)
    content = bytearray(zipped(("a.csv", as_csv())))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(signature) + place] |= 1
    receipt = house.deliver(contract, bytes(content), "d.zip")
    assert receipt["errors"][0]["rule"] == "damaged_archive"


@pytest.mark.parametrize("name", FORMATS)
def test_a_name_that_looks_like_a_pattern_is_only_a_name(house: House, name: str) -> None:
    contract = house.contract(READINGS, forms=ALL_FORMS)
    receipt = house.deliver(contract, FORMATS[name](), f"what's [1] *?'{{a,b}}.{name}")
    assert receipt["accepted"] == 2, receipt["errors"]


@pytest.mark.parametrize("name", ["parquet", "xlsx", "json"])
@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_never_stop_the_intake(house: House, name: str, seed: int) -> None:
    contract = house.contract(READINGS, forms=ALL_FORMS)
    content = bytearray(FORMATS[name]())
    chance = random.Random(seed)
    for _ in range(4):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(4)
    house.deliver(contract, bytes(content), f"d.{name}")


@pytest.mark.parametrize("packing", [gzip.compress, lambda data: zipped(("a.csv", data))])
@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_of_archives_never_stop_the_intake(
    house: House, packing: Callable[[bytes], bytes], seed: int
) -> None:
    contract = house.contract(READINGS)
    content: Any = bytearray(packing(as_csv()))
    chance = random.Random(seed)
    for _ in range(4):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(4)
    house.deliver(contract, bytes(content), "d")
