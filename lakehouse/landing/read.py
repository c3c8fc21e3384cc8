"""From a plain file to a DuckDB relation of text columns with the line each row stands on."""

from __future__ import annotations

import duckdb
import fastexcel

from lakehouse.contracts.forms import (
    CsvForm,
    FixedWidthForm,
    GeojsonForm,
    JsonForm,
    LayerForm,
    NdjsonForm,
    ParquetForm,
    XlsxForm,
    XmlForm,
)
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.columns import header_names, rows_of_lists, selected, with_lists
from lakehouse.landing.read_csv import read_csv
from lakehouse.landing.read_fixed_width import read_fixed_width
from lakehouse.landing.read_json import read_document, read_documents, read_ndjson
from lakehouse.landing.read_layer import read_layer
from lakehouse.landing.read_xml import read_xml
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import identifier, literal


def read_file(*, connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract) -> list[str]:
    """Makes two relations: ``delivered(exchange_line BIGINT, <column> VARCHAR …)`` and
    ``malformed(exchange_line BIGINT, problem VARCHAR, text VARCHAR)``, the rows that have no columns at all.

    Columns are named as in the contract; one that the file lacks is NULL throughout if it is optional.
    Returns the names of the file's columns; of JSON the fields of its first records.
    Raises :class:`DeliveryRefused` where nothing can be read, or required columns are missing, and DuckDB's
    errors where the file is damaged.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE malformed (exchange_line BIGINT, problem VARCHAR, text VARCHAR)")
    found = _read(connection, file, contract)
    if unpivot := getattr(file.form, "unpivot", None):
        rows_of_lists(connection, contract, unpivot)
    return found


def _read(connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract) -> list[str]:
    match file.form:
        case CsvForm() as form:
            return read_csv(connection, file, form, contract)
        case FixedWidthForm() as form:
            return read_fixed_width(connection, file, form, contract)
        case ParquetForm() as form:
            return _read_parquet(connection, file, form, contract)
        case XlsxForm() as form:
            return _read_xlsx(connection, file, form, contract)
        case LayerForm() as form:
            return read_layer(connection, file, form, contract)
        case XmlForm() as form:
            return read_xml(connection, file, form, contract)
        case NdjsonForm() as form:
            return read_ndjson(connection, file, form, contract)
        case JsonForm() as form if not file.whole:
            return read_documents(connection, file, form, contract)
        case JsonForm() | GeojsonForm() as form:
            return read_document(connection, file, form, contract)


def _read_parquet(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: ParquetForm, contract: Contract
) -> list[str]:
    source = f"read_parquet({literal(str(file.path))}, file_row_number=true)"
    described = connection.execute(f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {source}").fetchall()
    found = {name: f"CAST({identifier(name)} AS VARCHAR)" for name, *_ in described}
    found = with_lists(found, form.unpivot)
    # Read here and once, so that damage shows here.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE delivered_rows AS "
        f"SELECT file_row_number + 1 AS exchange_line, {selected(contract, found)} FROM {source}"
    )
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS FROM delivered_rows")
    return list(found)


def _read_xlsx(connection: duckdb.DuckDBPyConnection, file: PlainFile, form: XlsxForm, contract: Contract) -> list[str]:
    """Reads every row of the sheet as text, so that a row's place in it is its number in Excel."""
    try:
        workbook = fastexcel.read_excel(file.path)
        if form.sheet is not None and form.sheet not in workbook.sheet_names:
            raise DeliveryRefused(
                "no_such_sheet",
                f"{file.name} has no sheet {form.sheet!r}. It has: {', '.join(map(repr, workbook.sheet_names))}.",
                "Name the sheet as the contract does, or ask for the contract to be changed.",
            )
        rows = workbook.load_sheet(form.sheet or 0, header_row=None, skip_rows=0, dtypes="string").to_arrow()
    except (fastexcel.FastExcelError, ValueError) as error:
        raise DeliveryRefused(
            "unreadable",
            f"{file.name} cannot be read as an Excel workbook: {str(error).splitlines()[0]}.",
            "Check the sheet and the header row that the contract names, and deliver it anew.",
        ) from None
    places = [f"c{number}" for number in range(rows.num_columns)]
    rows = rows.rename_columns(places)
    header = form.header_row - 1
    while header < rows.num_rows and not any(column[header].as_py() for column in rows.columns):
        header += 1
    names = [column[header].as_py() or "" for column in rows.columns] if header < rows.num_rows else []
    found = header_names(names, line=form.header_row, place=lambda number: f"c{number}")
    found = with_lists(found, form.unpivot)
    connection.register("sheet_rows", rows)
    filled = f"coalesce({', '.join(places)}) IS NOT NULL"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE delivered_rows AS SELECT * FROM ("
        f"SELECT row_number() OVER () AS exchange_line, {selected(contract, found)}, {filled} AS exchange_filled "
        f"FROM sheet_rows) WHERE exchange_filled AND exchange_line > {header + 1}"
    )
    connection.unregister("sheet_rows")
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW delivered AS SELECT * EXCLUDE (exchange_filled) FROM delivered_rows"
    )
    return list(found)
