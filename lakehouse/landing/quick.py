"""Which files have a quick way, and which way that is."""

from __future__ import annotations

import duckdb

from lakehouse.contracts.forms import CsvForm, NdjsonForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.quick_csv import read_csv_quickly
from lakehouse.landing.quick_ndjson import read_ndjson_quickly
from lakehouse.landing.quick_rows import Rest
from lakehouse.landing.unpack import PlainFile


def read_quickly(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract, part: int, plain: PlainRows
) -> Rest | None:
    """Adds the rows of a file that need no second look to ``plain``; returns what is left to read, or ``None`` where
    that is the whole file."""
    match file.form:
        case CsvForm() as form:
            return read_csv_quickly(connection, file, form, contract, part, plain)
        case NdjsonForm() as form:
            return read_ndjson_quickly(connection, file, form, contract, part, plain)
        case _:
            return None
