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
from lakehouse.landing.columns import rows_of_lists, selected, with_lists
from lakehouse.landing.read_csv import read_csv
from lakehouse.landing.read_fixed_width import read_fixed_width
from lakehouse.landing.read_json import read_document, read_documents, read_ndjson
from lakehouse.landing.read_layer import read_layer
from lakehouse.landing.read_xlsx import read_xlsx
from lakehouse.landing.read_xml import read_xml
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
    found = {name: f"CAST({identifier(name)} AS VARCHAR)" for name, *_ in described}
    found = with_lists(found, form.unpivot)
    # Read here and once, so that damage shows here. Not by file_row_number: a file may have a column of that name.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE delivered_rows AS "
        f"SELECT row_number() OVER () AS exchange_line, {selected(contract, found)} FROM {source}"
    )
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS FROM delivered_rows")
    return list(found)
