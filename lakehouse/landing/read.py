"""From a plain file to a DuckDB relation of text columns with the line each row stands on."""

from __future__ import annotations

import duckdb

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
from lakehouse.landing.read_xlsx import read_xlsx
from lakehouse.landing.read_xml import read_xml
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import identifier, literal


def read_file(*, connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract) -> list[str]:
    """Makes two relations: ``delivered(exchange_line BIGINT, <column> VARCHAR …)`` and
    ``malformed(exchange_line BIGINT, problem VARCHAR, text VARCHAR)``, the rows that have no columns at all. Where
    rows may share a line ``delivered`` has their order there too, as ``exchange_ordinal``.

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
            return read_xlsx(connection, file, form, contract)
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
    source = f"read_parquet({literal(str(file.path))})"
    described = connection.execute(f"DESCRIBE FROM {source}").fetchall()
    places = [_text_of(name, type_) for name, type_, *_ in described]
    found = header_names(names_in_parquet(connection, file), contract, line=1, place=places.__getitem__)
    found = with_lists(found, form.unpivot)
    try:
        # Read here and once, so that damage shows here. Not by file_row_number: a file may have a column of that name.
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE delivered_rows AS "
            f"SELECT row_number() OVER () AS exchange_line, {selected(contract, found)} FROM {source}"
        )
    except duckdb.ConversionException:
        binary = ", ".join(repr(name) for name, type_, *_ in described if type_ == "BLOB")
        raise DeliveryRefused(
            "wrong_encoding",
            f"Not all that is in binary columns of {file.name} is text in UTF-8. It has: {binary}.",
            "Write texts as columns of text (STRING, with the mark UTF8).",
        ) from None
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS FROM delivered_rows")
    return list(found)


def _text_of(name: str, type_: str) -> str:
    """SQL of a column's text; old writers leave out the mark which says that bytes are text."""
    return f"decode({identifier(name)})" if type_ == "BLOB" else f"CAST({identifier(name)} AS VARCHAR)"


def names_in_parquet(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> list[str]:
    """The columns' names as they are written: DuckDB gives one that stands twice another name."""
    query = f"SELECT name, coalesce(num_children, 0) FROM parquet_schema({literal(str(file.path))})"
    names, within = [], 0
    for name, children in connection.execute(query).fetchall()[1:]:
        if within == 0:
            names.append(name)
        within = max(within - 1, 0) + children
    return names
