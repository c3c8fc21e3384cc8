"""A text file as a relation of its lines, for the formats that have one row on each."""

from __future__ import annotations

import duckdb

from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import literal

MAX_LINE_BYTES = 8 << 20


def lines_of(file: PlainFile) -> str:
    """SQL of the file's lines in order, each as ``l``; a blank one is NULL."""
    # Four bytes that stand together in no text: every line is one value.
    return (
        f"read_csv({literal(str(file.path))}, auto_detect=false, header=false, columns={{'l': 'VARCHAR'}}, "
        f"delim='\x1f\x1e\x1f\x1e', quote='', escape='', max_line_size={MAX_LINE_BYTES}, "
        f"buffer_size={2 * MAX_LINE_BYTES})"
    )


def load_lines(connection: duckdb.DuckDBPyConnection, file: PlainFile, *, columns: str = "l") -> None:
    """Makes ``lines``, of which ``rowid + 1`` is the line's number."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE lines AS SELECT {columns} FROM {lines_of(file)}")
