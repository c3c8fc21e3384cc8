"""Which files have a quick way, and which way that is."""

from __future__ import annotations

from importlib import import_module
from threading import Thread

import duckdb

from lakehouse.contracts.forms import CsvForm, NdjsonForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.quick_csv import read_csv_quickly
from lakehouse.landing.quick_ndjson import read_ndjson_quickly
from lakehouse.landing.quick_rows import Rest, is_large_text
from lakehouse.landing.unpack import PlainFile


def read_quickly(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract, part: int, plain: PlainRows
) -> Rest | None:
    """Adds the rows of a file that need no second look to ``plain``; returns what is left to read, or ``None`` where
    that is the whole file."""
    if is_large_text(file):
        # DuckDB takes frames only with this loaded, and pandas with it: a fifth of a second, in which files are read.
        Thread(target=import_module, args=("pyarrow.dataset",), daemon=True).start()
    match file.form:
        case CsvForm() as form:
            return read_csv_quickly(connection, file, form, contract, part, plain)
        case NdjsonForm() as form:
            return read_ndjson_quickly(connection, file, form, contract, part, plain)
        case _:
            return None
