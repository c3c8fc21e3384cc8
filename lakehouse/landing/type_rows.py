"""The typed rows of one file, and its faults: set at a time, in one pass over the text."""

from __future__ import annotations

import duckdb

from lakehouse.contracts.derive import duckdb_type
from lakehouse.contracts.extension import FileForm
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.landing.values import (
    Rule,
    cleaned,
    has_local_time,
    is_ambiguous,
    is_nonexistent,
    local_time,
    rules,
    typed,
)
from lakehouse.storage.sql import identifier, literal

PART_LINES = 10**10


def type_rows(
    *, connection: duckdb.DuckDBPyConnection, contract: Contract, form: FileForm, member: str | None, part: int
) -> None:
    """Reads ``delivered`` and ``malformed``; adds to ``typed`` and ``faults``.

    ``typed(line, <columns typed>)`` gets the rows without fault; ``faults(member, line, column_name, value,
    rule, expected, warning, row_text)`` every fault of every row. A row with several faults has several.
    ``part`` numbers the files of an archive: lines of the second begin at ``PART_LINES``, and so on.
    """
    connection.execute("DROP TABLE IF EXISTS checked")
    found = rules(contract, form)
    blocking = " OR ".join(f"coalesce({rule.condition}, false)" for rule in found if not rule.warning) or "false"
    connection.execute(
        f"""
        CREATE TEMP TABLE checked AS
        SELECT *, ({blocking}) AS bad FROM (
            SELECT *, {", ".join(f"v_{c.name} AS {identifier(c.name)}" for c in contract.columns)} FROM (
                SELECT *, {", ".join(f"{typed(c, form)} AS v_{c.name}" for c in contract.columns)}
                FROM ({_marked(contract, form)})
            )
        )
        """
    )
    for column in contract.columns:
        if has_local_time(column) and column.parse.ambiguous == "sequence":
            _resolve_by_sequence(connection, contract, column)
    for rule in found:
        _collect(connection, contract, rule, member)
    connection.execute(
        f"INSERT INTO faults SELECT {_text_or_null(member)}, line, NULL, left(text, 500), 'malformed_row', problem, "
        "false, text FROM malformed"
    )
    names = ", ".join(identifier(column.name) for column in contract.columns)
    connection.execute(f"INSERT INTO typed SELECT line + {part * PART_LINES}, {names} FROM checked WHERE NOT bad")
    connection.execute("DROP TABLE checked")


def create_tables(connection: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Makes the empty ``typed`` and ``faults`` that the files of one delivery fill."""
    columns = ", ".join(f"{identifier(c.name)} {duckdb_type(c)}" for c in contract.columns)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE typed (line BIGINT, {columns})")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE faults (member VARCHAR, line BIGINT, column_name VARCHAR, value VARCHAR, "
        "rule VARCHAR, expected VARCHAR, warning BOOLEAN, row_text VARCHAR)"
    )


def _marked(contract: Contract, form: FileForm) -> str:
    """The cleaned text of each column; for local times, what is special about them."""
    texts = ", ".join(f"{cleaned(column, form)} AS t_{column.name}" for column in contract.columns)
    source = f"SELECT line, {texts} FROM delivered"
    local = [column for column in contract.columns if has_local_time(column)]
    if not local:
        return source
    times = ", ".join(f"{local_time(column)} AS l_{column.name}" for column in local)
    marks = ", ".join(
        f"CASE WHEN l_{c.name} IS NULL OR regexp_matches(t_{c.name}, '(?:[Zz]|:\\d{{2}}[+-]\\d{{2}}:?\\d{{0,2}})$') "
        f"THEN NULL WHEN {is_nonexistent(c)} THEN 'nonexistent' "
        f"WHEN {is_ambiguous(c)} THEN 'ambiguous' END AS x_{c.name}"
        for c in local
    )
    return f"SELECT *, {marks} FROM (SELECT *, {times} FROM ({source}))"


def _resolve_by_sequence(connection: duckdb.DuckDBPyConnection, contract: Contract, column: Column) -> None:
    """In the repeated hour of a series, a time that is no later than one before it is of the second pass.

    A series is told by the key without the time column; its order is the file's.
    """
    series = [identifier(key.name) for key in contract.primary_key if key.name != column.name]
    within = ", ".join([*series, f"l_{column.name}::DATE"])
    time = identifier(column.name)
    connection.execute(
        f"""
        UPDATE checked SET {time} = {time} + INTERVAL 1 HOUR
        WHERE line IN (
            SELECT line FROM (
                SELECT line, l_{column.name} <= max(l_{column.name}) OVER (
                    PARTITION BY {within} ORDER BY line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) AS second_pass
                FROM checked WHERE x_{column.name} = 'ambiguous' AND NOT bad
            ) WHERE second_pass
        )
        """
    )


def _collect(connection: duckdb.DuckDBPyConnection, contract: Contract, rule: Rule, member: str | None) -> None:
    value = f"t_{rule.column}" if rule.column else "NULL"
    row = ", ".join(f"{literal(c.name)}: t_{c.name}" for c in contract.columns)
    scope = "NOT bad AND " if rule.warning else "bad AND "
    connection.execute(
        f"INSERT INTO faults SELECT {_text_or_null(member)}, line, {_text_or_null(rule.column)}, {value}, "
        f"{literal(rule.rule)}, {literal(rule.expected)}, {rule.warning}, to_json({{{row}}})::VARCHAR "
        f"FROM checked WHERE {scope}coalesce({rule.condition}, false)"
    )


def _text_or_null(text: str | None) -> str:
    return "NULL" if text is None else literal(text)
