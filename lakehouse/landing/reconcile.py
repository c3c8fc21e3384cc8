"""Duplicates and corrections: what a delivery repeats, and what it says anew of rows that stand already."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from lakehouse.contracts.derive import UNDATED
from lakehouse.contracts.odcs import Contract
from lakehouse.storage.sql import identifier


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """``fresh`` holds the rows to store; counts are of rows. A correction is among the accepted."""

    accepted: int
    duplicates: int
    corrections: int


def partition_expression(contract: Contract) -> str:
    """SQL of a row's partition: the first day, UTC, of the day, month or year that it belongs to."""
    time = contract.exchange.time
    if time is None:
        return f"'{UNDATED}'"
    column = identifier(time.column)
    return f"strftime(date_trunc('{time.partition}', {column})::DATE, '%Y-%m-%d')"


def touched_partitions(connection: duckdb.DuckDBPyConnection, contract: Contract) -> list[str]:
    query = f"SELECT DISTINCT {partition_expression(contract)} FROM typed ORDER BY 1"
    return [row[0] for row in connection.execute(query).fetchall()]


def reconcile(
    *, connection: duckdb.DuckDBPyConnection, contract: Contract, standing: str | None
) -> Reconciled:
    """Fills ``fresh`` from ``typed``.

    A row equal in all columns to the version of its key that stands before it (in the delivery, or in
    ``standing``, SQL of the clean rows of the touched partitions) is a duplicate. One that differs is a
    correction, unless the contract refuses those: then it goes to ``faults``.
    """
    keys = [column.name for column in contract.primary_key]
    values = [column.name for column in contract.columns if column.name not in keys]
    key_list = ", ".join(identifier(key) for key in keys)
    everything = ", ".join(identifier(name) for name in [*keys, *values])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE repeated AS SELECT {key_list} FROM typed GROUP BY {key_list} HAVING count(*) > 1"
    )
    # Few keys come twice, so only their rows pay for an ordering.
    value_struct = "{" + ", ".join(f"'{name}': {identifier(name)}" for name in values) + "}" if values else "true"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE fresh AS
        SELECT line, {everything}, false AS correction FROM typed ANTI JOIN repeated USING ({key_list})
        UNION ALL
        SELECT line, {everything}, place > 1 AS correction FROM (
            SELECT line, {everything},
                   row_number() OVER versions AS place,
                   {value_struct} IS NOT DISTINCT FROM lag({value_struct}) OVER versions AS same
            FROM typed SEMI JOIN repeated USING ({key_list})
            WINDOW versions AS (PARTITION BY {key_list} ORDER BY line)
        ) WHERE place = 1 OR NOT same
        """
    )
    if standing is not None:
        _against_standing(connection, contract, standing, keys, values)
    if contract.exchange.corrections == "refuse":
        _refuse_corrections(connection, keys)
    accepted, corrections = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE correction) FROM fresh"
    ).fetchone() or (0, 0)
    total = (connection.execute("SELECT count(*) FROM typed").fetchone() or (0,))[0]
    refused = (
        connection.execute("SELECT count(*) FROM faults WHERE rule = 'differs_from_earlier'").fetchone() or (0,)
    )[0]
    return Reconciled(accepted=accepted, duplicates=total - accepted - refused, corrections=corrections)


def _against_standing(
    connection: duckdb.DuckDBPyConnection, contract: Contract, standing: str, keys: list[str], values: list[str]
) -> None:
    key_list = ", ".join(identifier(key) for key in keys)
    newest = ", ".join(
        f"arg_max({{'v': {identifier(name)}}}, (exchange_delivery, exchange_line)).v AS {identifier(name)}"
        for name in values
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE winners AS SELECT {key_list}{', ' + newest if newest else ''} "
        f"FROM ({standing}) SEMI JOIN (SELECT DISTINCT {key_list} FROM fresh) USING ({key_list}) GROUP BY {key_list}"
    )
    same = " AND ".join(f"f.{identifier(name)} IS NOT DISTINCT FROM w.{identifier(name)}" for name in values) or "true"
    matched = " AND ".join(f"f.{identifier(key)} = w.{identifier(key)}" for key in keys)
    # Only the first version of a key in this delivery meets what stands; later ones met each other above.
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE fresh AS
        SELECT f.* EXCLUDE (correction), f.correction OR w.{identifier(keys[0])} IS NOT NULL AS correction
        FROM fresh AS f LEFT JOIN winners AS w ON {matched}
        WHERE f.correction OR w.{identifier(keys[0])} IS NULL OR NOT ({same})
        """
    )


def _refuse_corrections(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> None:
    row = ", ".join(f"'{key}': {identifier(key)}" for key in keys)
    connection.execute(
        "INSERT INTO faults SELECT NULL, line, NULL, NULL, 'differs_from_earlier', "
        "'the values delivered before: the contract takes no corrections', false, "
        f"to_json({{{row}}})::VARCHAR FROM fresh WHERE correction"
    )
    connection.execute("DELETE FROM fresh WHERE correction")
