"""A text file as a relation of its lines, for the formats that have one row on each."""

from __future__ import annotations

import duckdb

from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import literal

# One line may hold this much; a longer one is refused, not held in memory.
MAX_LINE_BYTES = 8 << 20
# Of what is read at a time. DuckDB passes a line that is longer over without a word, so none may come to it; its own
# choice is 16 lines, which leaves all but large files to one thread.
BUFFER_BYTES = 2 * MAX_LINE_BYTES
# SQL of what may stand in a line that is blank: the last is the end of a file of DOS.
NO_TEXT = "' ' || chr(9) || chr(13) || chr(26)"


def lines_of(file: PlainFile) -> str:
    """SQL of the file's lines in order, each as ``l``; a blank one is NULL."""
    # Four bytes that stand together in no text: every line is one value.
    return (
        f"read_csv({literal(str(file.path))}, auto_detect=false, header=false, columns={{'l': 'VARCHAR'}}, "
        f"delim='\x1f\x1e\x1f\x1e', quote='', escape='', max_line_size={MAX_LINE_BYTES}, "
        f"buffer_size={BUFFER_BYTES})"
    )


def refuse_long_lines(file: PlainFile) -> None:
    """Raises :class:`DeliveryRefused` where a line is longer than :data:`MAX_LINE_BYTES`."""
    longest = file.longest
    if longest is not None and longest.bytes > MAX_LINE_BYTES:
        raise DeliveryRefused(
            "unreadable",
            f"Line {longest.line:,} of {file.name} has {longest.bytes:,} bytes, more than {MAX_LINE_BYTES:,}.",
            "Is a quote left open, or are the ends of lines gone? Mend the file, and deliver it anew.",
            line=longest.line,
        )


def load_lines(connection: duckdb.DuckDBPyConnection, file: PlainFile, *, columns: str = "l") -> None:
    """Makes ``lines``, of which ``rowid + 1`` is the line's number."""
    refuse_long_lines(file)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE lines AS SELECT {columns} FROM {lines_of(file)}")
