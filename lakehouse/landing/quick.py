"""Which files have a quick way, and which way that is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from threading import Thread

import duckdb

from lakehouse.contracts.forms import CsvForm, NdjsonForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.quick_csv import read_csv_quickly
from lakehouse.landing.quick_ndjson import read_ndjson_quickly
from lakehouse.landing.quick_rows import Rest, is_large_text
from lakehouse.landing.unpack import PlainFile, surveyed


def read_quickly(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract, part: int, plain: PlainRows
) -> tuple[PlainFile, Rest | None]:
    """Adds the rows of a file that need no second look to ``plain``; returns what is left to read, or ``None`` where
    that is the whole file, and the file, which is surveyed then."""
    if not is_large_text(file):
        return surveyed(file), None
    # DuckDB takes frames only with this loaded, and pandas with it: a fifth of a second, in which files are read.
    Thread(target=import_module, args=("pyarrow.dataset",), daemon=True).start()
    by_pieces: Callable[[PlainFile], Rest | None]
    by_records: Callable[[PlainFile], Rest | None] | None = None
    match file.form:
        case CsvForm() as form:
            by_pieces = partial(read_csv_quickly, connection, form=form, contract=contract, part=part, plain=plain)
        case NdjsonForm() as form:
            read = partial(read_ndjson_quickly, connection, form=form, contract=contract, part=part, plain=plain)
            by_pieces, by_records = partial(read, alike=True), partial(read, alike=False)
        case _:
            return file, None
    rest = by_pieces(file)
    if rest is None and not file.surveyed:
        given, file = file, surveyed(file)
        if not is_large_text(file):
            return file, None
        # What was written anew is another file.
        rest = by_pieces(file) if file.path != given.path else None
    if rest is None and by_records is not None:
        rest = by_records(file)
    return file, rest
