"""Rows that a file does not have line by line: fixed places, lists within records, a column for each meter, archives."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.contracts.load import ContractError
from lakehouse.landing.history import history
from lakehouse.orchestrate.inputs import match_inputs
from tests.unit.landing.conftest import READINGS, House, column, faults

FIXED = {
    "format": "fixed_width", "encoding": "iso-8859-1", "skip_lines": 1, "decimal": ",", "null_values": ["-"],
    "fields": [
        {"name": "meter", "start": 1, "width": 6}, {"name": "read_at", "start": 7, "width": 10},
        {"name": "use_kwh", "start": 17, "width": 7},
    ],
}  # fmt: skip


def test_fixed_width_lines_that_are_not_as_wide_as_stated_are_malformed(house: House) -> None:
    contract = house.contract(forms=[FIXED])
    lines = [
        "MÅLER DATO       FORBRUG",
        "æ1    2024-01-31   1,50   ",
        "",
        "b2    2024-02-01 12,5",
        "b3    2024-02-01  12,500 7",
        "b4    2024-02-01      - ",
        "b5    2024-02-01   1.50",
    ]
    receipt = house.deliver(contract, "\r\n".join(lines).encode("iso-8859-1"), "maal.dat")
    assert faults(receipt) == {
        ("malformed_row", None): (2, 4, "b2    2024-02-01 12,5"),
        ("not_a_number", "use_kwh"): (1, 7, "1.50"),
    }
    assert receipt["errors"][0]["advice"].startswith("Check this line; its columns stand at fixed places")
    assert house.clean(contract, "meter, use_kwh, exchange_line", order="exchange_line") == [
        ("æ1", Decimal("1.500"), 2),
        ("b4", None, 6),
    ]


WIDE = {"columns": r"M_(.+)", "name": "meter", "value": "use_kwh"}


def as_csv(table: list[list[Any]]) -> bytes:
    return "\n".join(",".join("" if cell is None else str(cell) for cell in row) for row in table).encode()


def as_parquet(table: list[list[Any]]) -> bytes:
    sink, (header, *rows) = io.BytesIO(), table
    columns = [[None if cell is None else str(cell) for cell in cells] for cells in zip(*rows, strict=True)]
    pq.write_table(pa.table(dict(zip(header, columns, strict=True))), sink)
    return sink.getvalue()


def as_xlsx(table: list[list[Any]]) -> bytes:
    book, sink = openpyxl.Workbook(), io.BytesIO()
    book.active.title = "Forside"
    sheet = book.create_sheet("Data")
    for row in table:
        sheet.append(row)
    book.save(sink)
    return sink.getvalue()


def rewritten(content: bytes, member: str, old: bytes, new: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(sink, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == member:
                assert old in data
                data = data.replace(old, new)
            target.writestr(name, data)
    return sink.getvalue()


@pytest.mark.parametrize("format_", ["csv", "parquet", "xlsx"])
def test_a_column_for_each_meter_becomes_a_row_for_each(house: House, format_: str) -> None:
    form: dict[str, Any] = {"format": format_, "unpivot": WIDE}
    if format_ == "xlsx":
        form["sheet"] = "Data"
    contract = house.contract(forms=[form], delivery={"ignored_columns": ["note"]})
    table = [
        ["read_at", "M_æ1", "M_b2", "note"],
        ["2024-01-01T00:00:00", 1.5, None, "n"],
        ["2024-01-02T00:00:00", "much", -3, "n"],
    ]
    content = {"csv": as_csv, "parquet": as_parquet, "xlsx": as_xlsx}[format_](table)
    receipt = house.deliver(contract, content, f"wide.{format_}")
    first = 1 if format_ == "parquet" else 2
    assert (receipt["delivered"], receipt["accepted"], receipt["warnings"]) == (4, 2, [])
    assert faults(receipt) == {
        ("not_a_number", "use_kwh"): (1, first + 1, "much"),
        ("below_minimum", "use_kwh"): (1, first + 1, "-3"),
    }
    assert house.clean(contract, "meter, use_kwh, exchange_line") == [
        ("b2", None, first),
        ("æ1", Decimal("1.500"), first),
    ]


def test_a_wide_file_without_the_columns_stated_is_refused(house: House) -> None:
    contract = house.contract(forms=[{"format": "csv", "unpivot": WIDE}])
    receipt = house.deliver(contract, "read_at,N_1\n2024-01-01,1\n")
    assert list(faults(receipt)) == [("missing_columns", None)]
    assert "M_(.+)" in receipt["message"]


NESTED = [
    {**READINGS[0], "customProperties": [{"property": "parse", "value": {"path": "^.device.id"}}]},
    {**READINGS[1], "customProperties": [{"property": "parse", "value": {"zone": "UTC", "path": "t"}}]},
    READINGS[2],
    column("batch", "string", parse={"path": "$.batch"}),
]


@pytest.mark.parametrize("format_", ["json", "ndjson"])
def test_lists_within_records_become_rows(house: House, format_: str) -> None:
    form = {"format": format_, "unnest": "data.values", **({"records": "devices"} if format_ == "json" else {})}
    contract = house.contract(NESTED, forms=[form])
    devices: list[dict[str, Any]] = [
        {"device": {"id": "æ1"}, "data": {"values": [
            {"t": "2024-01-01T00:00", "use_kwh": 1.5}, {"t": "2024-01-01T01:00", "use_kwh": "x"},
        ]}},
        {"device": {"id": "b2"}, "data": {"values": []}},
        {"device": {"id": "b3"}, "data": None},
        {"device": {"id": "b4"}, "data": {"values": [{"t": "2024-01-01T00:00", "use_kwh": 2}]}},
    ]  # fmt: skip
    if format_ == "json":
        content = json.dumps({"batch": "n1", "devices": devices})
    else:
        content = "\n".join(json.dumps({**device, "batch": "n1"}) for device in devices)
    receipt = house.deliver(contract, content, "d.json")
    assert (receipt["delivered"], receipt["accepted"], receipt["refused"]) == (4, 2, 2)
    assert {rule: line for (rule, _), (_, line, _) in faults(receipt).items()} == {
        "not_a_number": 1,
        "malformed_row": 3,
    }
    assert [entry["advice"][:18] for entry in receipt["errors"] if entry["rule"] == "malformed_row"] == [
        "Check this record;"
    ]
    midnight = datetime(2024, 1, 1, tzinfo=UTC)
    assert house.clean(contract, "meter, read_at, use_kwh, batch, exchange_line") == [
        ("b4", midnight, Decimal(2), "n1", 4),
        ("æ1", midnight, Decimal("1.500"), "n1", 1),
    ]


def test_an_unnested_path_without_a_list_to_unnest_is_a_fault_of_the_contract(house: House) -> None:
    with pytest.raises(ContractError, match="unnest"):
        house.contract(NESTED, forms=[{"format": "json"}])


def timetable() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("stops.txt", "stop_id\ns1\n")
        archive.writestr("stop_times.txt", "trip_id,departure_time\nt1,08:05:00\nt2,25:35:10\nt3,25:75:00\nt4,\n")
    return content.getvalue()


TIMES = [
    column("trip_id", "string", key=1),
    column("departure_s", "integer", physicalName="departure_time", parse={"seconds_of_day": True}),
]


def test_one_table_of_a_timetable_with_times_past_midnight(house: House) -> None:
    contract = house.contract(TIMES, kind="snapshot", delivery={"members": ["stop_times.txt"]})
    receipt = house.deliver(contract, timetable(), "gtfs.zip")
    assert faults(receipt) == {("not_an_integer", "departure_s"): (1, 4, "25:75:00")}
    assert house.clean(contract, "trip_id, departure_s") == [("t1", 29_100), ("t2", 92_110), ("t4", None)]


def test_an_archive_without_the_dataset_s_file_is_refused_and_says_what_it_holds(house: House) -> None:
    contract = house.contract(TIMES, kind="snapshot", delivery={"members": ["frequencies.txt"]})
    receipt = house.deliver(contract, timetable(), "gtfs.zip")
    assert list(faults(receipt)) == [("no_such_member", None)]
    assert "'stop_times.txt', 'stops.txt'" in receipt["message"]


def test_a_sheet_that_is_not_there_and_an_old_workbook_are_refused_clearly(house: House) -> None:
    contract = house.contract(forms=[{"format": "xlsx", "sheet": "Tal"}])
    receipt = house.deliver(contract, as_xlsx([["meter"]]), "book.xlsx")
    assert list(faults(receipt)) == [("no_such_sheet", None)]
    assert "It has: 'Forside', 'Data'" in receipt["message"]
    receipt = house.deliver(contract, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "book.xls")
    assert ".xls" in receipt["message"]
    assert "password" in receipt["message"]


def test_cells_of_excel_below_a_title_are_read_as_what_they_show(house: House) -> None:
    columns = [
        column("meter", "integer", key=1), column("day", "date"), column("at", "timestamp", parse={"zone": "UTC"}),
        column("on", "boolean"), column("use_kwh", "number"), column("total", "number"),
    ]  # fmt: skip
    contract = house.contract(columns, kind="snapshot", forms=[{"format": "xlsx", "sheet": "Data", "header_row": 3}])
    moment = datetime(2024, 1, 31, 13, 45, 10)
    table: list[list[Any]] = [
        ["Forbrug 2024"], [], [made["name"] for made in columns], [7, moment.date(), moment, True, 0.1 + 0.2, "=E4*2"],
    ]  # fmt: skip
    # As Excel saves it: a formula with what it came to.
    content = rewritten(as_xlsx(table), "xl/worksheets/sheet2.xml", b"</f><v></v>", b"</f><v>0.6</v>")
    assert house.deliver(contract, content, "book.xlsx")["accepted"] == 1
    row = (7, moment.date(), moment.replace(tzinfo=UTC), True, Decimal("0.300"), Decimal("0.600"), 4)
    assert house.clean(contract, 'meter, day, "at", "on", use_kwh, total, exchange_line') == [row]


def test_one_file_of_the_inputs_may_be_several_datasets(house: House) -> None:
    for name in ("stops", "stop_times"):
        delivery = {"members": [f"{name}.txt"], "folder": "gtfs"}
        house.contract([column("id", "string", key=1)], dataset=name, kind="snapshot", delivery=delivery)
    feed = house.folder / "inputs" / "town" / "gtfs" / "feed.zip"
    feed.parent.mkdir(parents=True)
    feed.write_bytes(timetable())
    matched = match_inputs(house.exchange, house.folder / "inputs")
    assert matched.files == {"town/stop_times": [feed], "town/stops": [feed]}
    assert matched.unmatched == []


def test_of_rows_of_one_line_with_one_key_the_last_stands_wherever_it_is_asked(house: House) -> None:
    contract = house.contract(NESTED, forms=[{"format": "ndjson", "unnest": "data.values"}])

    def line(*uses: int) -> str:
        values = [{"t": "2024-01-01T00:00", "use_kwh": use} for use in uses]
        return json.dumps({"device": {"id": "a"}, "data": {"values": values}, "batch": "n"})

    # What is stored of a line is one row of a key: by its line alone nobody could tell which of two stands.
    first = house.deliver(contract, line(7, 9, 8), "first.json")
    assert (first["accepted"], first["duplicates"], first["corrections"]) == (1, 2, 0)
    assert house.deliver(contract, line(9, 8), "same.json")["duplicates"] == 2
    second = house.deliver(contract, f"{line(8, 5)}\n{line(6, 4)}\n", "back.json")
    assert (second["accepted"], second["duplicates"], second["corrections"]) == (2, 2, 2)
    versions = history(house.exchange, contract, where={"meter": "a"})
    assert [(version["use_kwh"], version["line"]) for version in versions] == [(8, 1), (5, 1), (4, 2)]
    assert [version["stands"] for version in versions] == [False, False, True]


def test_columns_that_become_rows_tell_no_order_of_times(house: House) -> None:
    time = column("read_at", "timestamp", key=2, parse={"zone": "Europe/Copenhagen", "ambiguous": "sequence"})
    form = {"format": "csv", "unpivot": {"columns": r"\d.+", "name": "read_at", "value": "use_kwh"}}
    with pytest.raises(ContractError, match="found by name and may stand in any order: state refuse, earlier or"):
        house.contract([READINGS[0], time, READINGS[2]], forms=[form])
