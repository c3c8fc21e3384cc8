"""Workbooks: sheets, header rows, cells of other types, and numbers that Excel has cut."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import openpyxl
import pytest

from tests.unit.landing.conftest import House, column, faults
from tests.unit.landing.test_formats import READINGS, as_xlsx, saved


def test_a_workbook_with_a_title_dates_and_empty_rows(house: House) -> None:
    columns = [
        column("id", "integer", key=1),
        column("day", "date", required=True, parse={"formats": ["%d.%m.%Y"]}),
        column("at", "timestamp", parse={"zone": "UTC"}),
        column("price", "number"),
        column("note", "string"),
    ]
    form = {"format": "xlsx", "sheet": "Data", "header_row": 3, "decimal": ","}
    contract = house.contract(columns, forms=[form])
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Data")
    sheet["A1"] = "Prices"
    for row, values in {
        3: ["id", "day", "at", "price", "note"],
        4: [1, date(2024, 1, 31), datetime(2024, 1, 31, 7, 30), 1234.5, "007"],
        6: [2, "01.02.2024", None, "12,25", "x"],
        7: [3.5, date(2024, 1, 31), None, 1, None],
    }.items():
        for place, value in enumerate(values, 1):
            sheet.cell(row, place, value)
    receipt = house.deliver(contract, saved(book), "d.xlsx")
    assert house.clean(contract, 'exchange_line, day, "at", price, note', "1") == [
        (4, date(2024, 1, 31), datetime(2024, 1, 31, 7, 30, tzinfo=UTC), Decimal("1234.500"), "007"),
        (6, date(2024, 2, 1), None, Decimal("12.250"), "x"),
    ]
    assert faults(receipt) == {("not_a_whole_number", "id"): (1, 7, "3.5")}


def test_errors_and_times_without_a_day_are_no_empty_cells(house: House) -> None:
    at = column("at", "timestamp", parse={"zone": "UTC"})
    columns = [column("id", "integer", key=1), at, column("n", "number"), column("s", "string")]
    contract = house.contract(columns, kind="snapshot", forms=[{"format": "xlsx"}])
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    day = datetime(2024, 1, 31)
    cells = [[1, day, "#DIV/0!", "a"], [2, time(8, 30), 1, "b"], [3, day, 1, "#N/A"], [4, day, 1, None]]
    for values in [["id", "at", "n", "s"], *cells]:
        sheet.append(values)
    receipt = house.deliver(contract, saved(book), "d.xlsx")
    assert [(e["rule"], e["column"], e["first_line"], e["value"]) for e in receipt["errors"]] == [
        ("mangled_by_excel", "s", 4, "#N/A"),
        ("not_a_number", "n", 2, "#DIV/0!"),
        ("not_a_timestamp", "at", 3, "08:30:00"),
    ]
    assert house.clean(contract, "id, s") == [(4, None)]


def test_a_number_keeps_all_the_decimals_that_excel_keeps(house: House) -> None:
    columns = [
        column("id", "integer", key=1),
        column("v", "number", physicalType="DOUBLE"),
        column("s", "string"),
    ]
    contract = house.contract(columns, kind="snapshot", forms=[{"format": "xlsx", "decimal": ","}])
    book = openpyxl.Workbook()
    assert book.active is not None
    cells: list[Any] = [1 / 3, 1.23456789012e-10, 0.1 + 0.2, 0, "0,1234567890123"]
    for values in [["id", "v", "s"], *([number, cell, cell] for number, cell in enumerate(cells, 1))]:
        book.active.append(values)
    receipt = house.deliver(contract, saved(book), "d.xlsx")
    assert (receipt["status"], receipt["accepted"]) == ("accepted", 5)
    assert house.clean(contract, "v, s", "id") == [
        (0.333333333333333, "0.333333333333333"),
        (1.23456789012e-10, "1.23456789012e-10"),
        (0.3, "0.3"),
        (0.0, "0"),
        (0.1234567890123, "0,1234567890123"),
    ]


def test_text_with_a_point_is_no_number_where_texts_have_a_decimal_comma(house: House) -> None:
    columns = [column("id", "integer", key=1), column("v", "number")]
    contract = house.contract(columns, kind="snapshot", forms=[{"format": "xlsx", "decimal": ","}])
    book = openpyxl.Workbook()
    assert book.active is not None
    cells: list[Any] = [1.234, "1,234", "1.234", 1.5, None]
    for values in [["id", "v"], *([number, cell] for number, cell in enumerate(cells, 1))]:
        book.active.append(values)
    receipt = house.deliver(contract, saved(book), "d.xlsx")
    # Danish for a thousand and more, and none knows whether it was meant so.
    assert faults(receipt) == {("not_a_number", "v"): (1, 4, "'1.234")}
    assert house.clean(contract, "v", "id") == [(Decimal("1.234"),), (Decimal("1.234"),), (Decimal("1.500"),), (None,)]


def test_a_time_of_day_is_read_as_excel_shows_it_in_cells_and_names_of_columns(house: House) -> None:
    columns = [
        column("day", "date", key=1),
        column("hour", "string", key=2),
        column("opens", "integer", parse={"seconds_of_day": True}),
        column("v", "number"),
    ]
    unpivot = {"columns": r"(\d\d):00:00", "name": "hour", "value": "v"}
    contract = house.contract(columns, kind="snapshot", forms=[{"format": "xlsx", "unpivot": unpivot}])
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["day", "opens", *(time(hour) for hour in range(3))])
    book.active.append([date(2024, 1, 31), time(8, 30), 1, 2, 3])
    receipt = house.deliver(contract, saved(book), "d.xlsx")
    assert (receipt["status"], receipt["warnings"]) == ("accepted", [])
    assert house.clean(contract, "hour, opens, v") == [
        (hour, 30_600, Decimal(f"{number}.000")) for number, hour in enumerate(["00", "01", "02"], 1)
    ]


def test_numbers_of_more_digits_than_excel_keeps_are_no_ids(house: House) -> None:
    columns = [
        column("id", "string", key=1),
        column("other", "integer"),
        column("size", "number", physicalType="DOUBLE"),
    ]
    contract = house.contract(columns, kind="snapshot", forms=[{"format": "xlsx"}])
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    # The fourth has the digits of a binary number by chance, and the fifth as many as Excel keeps.
    cells: list[list[Any]] = [
        [571313174001234567, 1, 1],
        ["571313174001234567", 2, 571313174001234567],
        ["b", 571313174001234567, 1],
        ["571313174001234624", 3, 1],
        [571313174001234, -571313174001234, 1],
        [1234567890123456.5, 1, 1],
        ["c", -1e40, 1],
    ]
    for values in [[], [None, "id", "other", "size"], *([None, *row] for row in cells)]:
        sheet.append(values)
    receipt = house.deliver(contract, saved(book), "d.xlsx")
    assert faults(receipt) == {
        ("mangled_by_excel", "id"): (2, 3, "5.7131317400123462E+17"),
        ("mangled_by_excel", "other"): (2, 5, "5.7131317400123462E+17"),
        ("not_an_integer", "other"): (1, 9, "-1.0000000000000000E+40"),
    }
    assert "no more than 15 digits" in receipt["errors"][0]["expected"]
    assert house.clean(contract, "id, other, size", "exchange_line") == [
        ("571313174001234567", 2, 5.713131740012346e17),
        ("571313174001234624", 3, 1.0),
        ("571313174001234", -571313174001234, 1.0),
    ]


@pytest.mark.parametrize(("kind", "accepted"), [("string", 1), ("number", 2)])
def test_long_numbers_in_columns_that_become_rows_are_none_where_digits_count(
    house: House, kind: str, accepted: int
) -> None:
    physical = {"physicalType": "DOUBLE"} if kind == "number" else {}
    columns = [column("day", "date", key=1), column("meter", "string", key=2), column("id", kind, **physical)]
    form = {"format": "xlsx", "unpivot": {"columns": "m.*", "name": "meter", "value": "id"}}
    contract = house.contract(columns, forms=[form])
    book = openpyxl.Workbook()
    for values in [["day", "m1", "m2"], [date(2024, 1, 31), 571313174001234567, 5]]:
        assert book.active is not None
        book.active.append(values)
    receipt = house.deliver(contract, saved(book), "d.xlsx")
    assert (receipt["delivered"], receipt["accepted"]) == (2, accepted)


def test_a_sheet_before_the_data_is_named(house: House) -> None:
    contract = house.contract(READINGS, forms=[{"format": "xlsx"}])
    book = openpyxl.load_workbook(io.BytesIO(as_xlsx()))
    book.create_sheet("Cover", 0)
    receipt = house.deliver(contract, saved(book), "d.xlsx")
    assert "Only the first sheet was read, 'Cover'; there are also 'Sheet'." in receipt["message"]


def test_a_workbook_without_the_sheet_is_refused(house: House) -> None:
    contract = house.contract(READINGS, forms=[{"format": "xlsx", "sheet": "Nope"}])
    receipt = house.deliver(contract, as_xlsx(), "d.xlsx")
    assert receipt["errors"][0]["rule"] == "no_such_sheet"
    assert "Nope" in receipt["message"]
