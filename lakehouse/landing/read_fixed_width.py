"""Lines of columns at fixed places into ``delivered`` and ``malformed``."""

from __future__ import annotations

import duckdb

from lakehouse.contracts.forms import FixedWidthForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.columns import selected
from lakehouse.landing.lines import NO_TEXT, load_lines
from lakehouse.landing.unpack import PlainFile


def read_fixed_width(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: FixedWidthForm, contract: Contract
) -> list[str]:
    """A line that is not as wide as the form is malformed: its values may stand one place off. Blanks beyond the
    width, and blank lines, are nothing. Returns the names of fields that the contract does not know."""
    load_lines(connection, file)
    data = f"rowid >= {form.skip_lines} AND trim(coalesce(l, ''), {NO_TEXT}) <> ''"
    right = f"length(l) >= {form.width} AND length(rtrim(l)) <= {form.width}"
    connection.execute(
        "INSERT INTO malformed SELECT rowid + 1, "
        f"'a line of ' || length(l) || ' characters, not {form.width}', l FROM lines WHERE {data} AND NOT ({right})"
    )
    found = {field.name: f"substring(l, {field.start}, {field.width})" for field in form.fields}
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE delivered_rows AS "
        f"SELECT rowid + 1 AS exchange_line, {selected(contract, found)} FROM lines WHERE {data} AND {right}"
    )
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS FROM delivered_rows")
    return list(found)
