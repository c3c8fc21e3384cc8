"""A sheet of an Excel workbook into ``delivered``, each row with its number in the sheet."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

import duckdb
import fastexcel
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.contracts.forms import XlsxForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.columns import header_names, selected, with_lists
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import literal

# What Excel shows in a cell, by the word that its reader has for it.
SHOWN_ERRORS = {
    "NA": "#N/A", "Div0": "#DIV/0!", "Value": "#VALUE!", "Ref": "#REF!", "Name": "#NAME?", "Num": "#NUM!",
    "Null": "#NULL!",
}  # fmt: skip
# From so many digits on a number is not what was written: Excel keeps 15, and other programs write it as binary.
CUT_DIGITS = 16
# How the reader begins a cell that has a time of day and no day: with the day 0 of Excel.
DAY_ZERO = "1899-12-31 "
# A number as text has no more decimals than the reader rounds to; of a smaller one it leaves a zero.
ROUNDED = r"^-?(?:0|[0-9]+\.[0-9]{9})$"


def read_xlsx(connection: duckdb.DuckDBPyConnection, file: PlainFile, form: XlsxForm, contract: Contract) -> list[str]:
    """Reads every row of the sheet as text, so that a row's place in it is its number in Excel."""
    rows, others = _sheet(file, form)
    places = [f"c{number}" for number in range(rows.num_columns)]
    named, rows = rows.schema.names, rows.rename_columns(places)
    header = form.header_row - 1
    while header < rows.num_rows and not any(column[header].as_py() for column in rows.columns):
        header += 1
    names = [column[header].as_py() or "" for column in rows.columns] if header < rows.num_rows else []
    try:
        found = header_names(names, contract, line=form.header_row, place=lambda number: f"c{number}")
        exact = _places_of(("string", "integer"), found, form, contract)
        decimals = _places_of(("string", "number"), found, form, contract)
        numbers = _places_of(("integer", "number"), found, form, contract) if form.decimal == "," else []
        found = with_lists(found, form.unpivot)
        selection = selected(contract, found)
    except DeliveryRefused as refusal:
        refusal.problem += others
        raise
    if rounded := [int(place[1:]) for place in decimals if _holds(rows.column(place), ROUNDED)]:
        rows = _with_all_decimals(connection, rows, file, form, {place: named[place] for place in rounded})
    if pointed := [int(place[1:]) for place in numbers if _holds(rows.column(place), r"\.")]:
        rows = _with_marked_texts(rows, file, form, {place: named[place] for place in pointed})
    connection.register("sheet_rows", rows)
    if cut := _columns_of_long_numbers(connection, exact):
        rows = _with_cut_numbers(connection, rows, file, form, {place: named[place] for place in cut})
        connection.register("sheet_rows", rows)
    filled = f"coalesce({', '.join(places)}) IS NOT NULL"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE delivered_rows AS SELECT * FROM ("
        f"SELECT row_number() OVER () AS exchange_line, {selection}, {filled} AS exchange_filled "
        f"FROM sheet_rows) WHERE exchange_filled AND exchange_line > {header + 1}"
    )
    connection.unregister("sheet_rows")
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW delivered AS SELECT * EXCLUDE (exchange_filled) FROM delivered_rows"
    )
    return list(found)


def _sheet(file: PlainFile, form: XlsxForm) -> tuple[pa.RecordBatch, str]:
    """The sheet's cells as text, and words about the sheets that were not read where the contract names none."""
    try:
        workbook = fastexcel.read_excel(file.path)
        named = [repr(name) for name in workbook.sheet_names]
        if form.sheet is not None and form.sheet not in workbook.sheet_names:
            raise DeliveryRefused(
                "no_such_sheet",
                f"{file.name} has no sheet {form.sheet!r}. It has: {', '.join(named)}.",
                "Name the sheet as the contract does, or ask for the contract to be changed.",
            )
        sheet = workbook.load_sheet(form.sheet or 0, header_row=None, skip_rows=0, dtypes="string")
        rows, errors = sheet.to_arrow_with_errors()
    except (fastexcel.FastExcelError, ValueError) as error:
        raise DeliveryRefused(
            "unreadable",
            f"{file.name} cannot be read as an Excel workbook: {str(error).splitlines()[0]}.",
            "Check the sheet and the header row that the contract names, and deliver it anew.",
        ) from None
    others = ""
    if form.sheet is None and len(named) > 1:
        others = f" Only the first sheet was read, {named[0]}; there are also {', '.join(named[1:])}."
    return with_times_of_day(_with_errors(rows, errors) if errors else rows), others


def _with_errors(rows: pa.RecordBatch, errors: fastexcel.CellErrors) -> pa.RecordBatch:
    """The cells with an error as Excel shows it: as text they have none, and would pass for empty ones."""
    struck: dict[int, dict[int, str]] = defaultdict(dict)
    for error in errors.errors:
        row, column = error.position
        kind = error.detail.rpartition("Error(")[2].partition(")")[0]
        struck[column][row] = SHOWN_ERRORS.get(kind, "#N/A")
    columns = rows.columns
    for column, shown in struck.items():
        mask = np.zeros(rows.num_rows, bool)
        mask[list(shown)] = True
        texts = pa.array([shown[row] for row in sorted(shown)], pa.string())
        columns[column] = pc.replace_with_mask(columns[column].cast(pa.string()), pa.array(mask), texts)
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def with_times_of_day(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Cells with a time of day as Excel shows them, names of columns among them."""
    columns = [
        pc.replace_substring_regex(column, f"^{DAY_ZERO}", "") if _holds(column, f"^{DAY_ZERO}") else column
        for column in rows.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def _holds(column: pa.Array, pattern: str) -> bool:
    return pa.types.is_string(column.type) and pc.any(pc.match_substring_regex(column, pattern)).as_py() is True


def _places_of(types: tuple[str, ...], found: dict[str, str], form: XlsxForm, contract: Contract) -> list[str]:
    """The places of columns of these types, those that become rows among them."""
    sources = {column.source for column in contract.columns if column.logicalType in types}
    listed = form.unpivot.columns if form.unpivot and form.unpivot.value in sources else None
    return [
        place
        for name, place in found.items()
        if place and (name in sources or (listed is not None and re.fullmatch(listed, name)))
    ]


def _with_all_decimals(
    connection: duckdb.DuckDBPyConnection, rows: pa.RecordBatch, file: PlainFile, form: XlsxForm, places: dict[int, str]
) -> pa.RecordBatch:
    """Numbers with the 15 digits that Excel keeps, where the reader's text has fewer. ``places`` as below."""
    columns = rows.columns
    numbers = _cells(file, form, places.values(), "float")
    for place, name in places.items():
        exact, texts = numbers.column(name), columns[place]
        plain = pc.and_(
            pc.fill_null(pc.match_substring_regex(texts, r"^-?[0-9]{1,15}(?:\.[0-9]{1,9})?$"), False),
            pc.is_valid(exact),
        )
        rounded = pc.cast(pc.if_else(plain, texts, None), pa.float64())
        cut = pc.fill_null(pc.not_equal(rounded, exact), False)
        columns[place] = pc.replace_with_mask(texts, cut, _printed(connection, exact.filter(cut), "%.15g"))
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def _printed(connection: duckdb.DuckDBPyConnection, numbers: pa.Array, form: str) -> pa.Array:
    connection.register("cut_numbers", pa.table({"number": numbers}))
    shown = connection.execute(f"SELECT printf({literal(form)}, number) AS shown FROM cut_numbers").to_arrow_table()
    connection.unregister("cut_numbers")
    return shown.column("shown").combine_chunks()


def _with_marked_texts(rows: pa.RecordBatch, file: PlainFile, form: XlsxForm, places: dict[int, str]) -> pa.RecordBatch:
    """Text with a point, where that of numbers has a decimal comma, with the mark by which Excel knows a text: 1.234
    may be a thousand, and would pass for the number that it looks like. ``places`` as below."""
    columns = rows.columns
    numbers = _cells(file, form, places.values(), "boolean")
    for place, name in places.items():
        texts = columns[place]
        marked = pc.and_(pc.is_null(numbers.column(name)), pc.fill_null(pc.match_substring(texts, "."), False))
        columns[place] = pc.if_else(marked, pc.binary_join_element_wise("'", texts, ""), texts)
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def _cells(file: PlainFile, form: XlsxForm, names: Iterable[str], type_: Literal["float", "boolean"]) -> pa.RecordBatch:
    """Columns as the reader takes them for this type. To it a number may be true or false, and a text may not."""
    sheet = fastexcel.read_excel(file.path).load_sheet(
        form.sheet or 0, header_row=None, skip_rows=0, dtypes=dict.fromkeys(names, type_), use_columns=list(names)
    )
    return sheet.to_arrow()


def _columns_of_long_numbers(connection: duckdb.DuckDBPyConnection, places: list[str]) -> list[int]:
    """The columns, of those in which every digit counts, with a text that may be that of a number whose last digits are
    lost: it has the digits of a binary number."""
    if not places:
        return []
    binary = "trunc(TRY_CAST({0} AS DOUBLE))"
    digits = f"starts_with(ltrim({{0}}, '-'), ltrim(TRY_CAST({binary} AS HUGEINT)::VARCHAR, '-'))"
    long = f"CASE WHEN length({{0}}) >= {CUT_DIGITS} AND isfinite({binary}) THEN coalesce({digits}, true) END"
    asked = ", ".join(f"coalesce(bool_or({long.format(place)}), false)" for place in places)
    struck = connection.execute(f"SELECT {asked} FROM sheet_rows").fetchone() or ()
    return [int(place[1:]) for place, has in zip(places, struck, strict=True) if has]


def _with_cut_numbers(
    connection: duckdb.DuckDBPyConnection, rows: pa.RecordBatch, file: PlainFile, form: XlsxForm, places: dict[int, str]
) -> pa.RecordBatch:
    """Numbers beyond the digits that are kept with an exponent, as Excel shows them; text of as many is left.

    ``places``: columns, with the names that the reader has for them.
    """
    columns = rows.columns
    numbers = _cells(file, form, places.values(), "boolean")
    for place, name in places.items():
        texts = columns[place].cast(pa.string())
        long = pc.fill_null(pc.match_substring_regex(texts, f"^-?[0-9]{{{CUT_DIGITS},}}"), False)
        cut = pc.and_(long, pc.is_valid(numbers.column(name)))
        long_numbers = pc.cast(texts.filter(cut), pa.float64())
        columns[place] = pc.replace_with_mask(texts, cut, _printed(connection, long_numbers, "%.16E"))
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)
