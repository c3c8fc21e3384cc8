"""Duplicates and corrections: what a delivery repeats, and what it says anew of rows that stand already."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.contested import contested_lines
from lakehouse.landing.pieces import Places
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.storage.sql import identifier

REFUSED_CORRECTION = "differs_from_earlier"


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """``fresh`` holds the rows to store; counts are of rows. A correction is among the accepted."""

    accepted: int
    duplicates: int
    corrections: int


def reconcile(
    *,
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    standing: str | None,
    plain: PlainRows,
    own: Places | None = None,
) -> Reconciled:
    """Makes ``fresh`` out of ``typed``: the plain rows, and of the others ``fresh_exact``.

    A row equal in all columns to the version of its key that stands before it (in the delivery, or in
    ``standing``, SQL of the clean rows of the touched partitions) is a duplicate, and so is one that a later row of
    its own line takes the place of. One that differs is a correction, unless the contract refuses those: then it goes
    to ``faults``. ``own``: which plain rows have the key of another of them, where there are any.
    """
    keys = [column.name for column in contract.primary_key]
    values = [column.name for column in contract.columns if column.name not in keys]
    refuse = contract.exchange.corrections == "refuse"
    if plain.rows and own is not None:
        # Plain rows that share their key with another are held to it with the rest.
        plain.take_out(connection, contested_lines(connection, contract, plain, own, standing))
    repeated = _find_repeated(connection, keys)
    winners = _find_winners(connection, keys, values, standing)
    if repeated or winners:
        _judge_versions(connection, keys, values, against_first=refuse)
    else:
        connection.execute(
            "CREATE OR REPLACE TEMP VIEW fresh_exact AS SELECT *, false AS exchange_correction FROM exact_typed"
        )
    more = " UNION ALL BY NAME SELECT *, false AS exchange_correction FROM plain_rows" if plain.rows else ""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW fresh AS FROM fresh_exact{more}")
    total, fresh, corrections = connection.execute(
        "SELECT (SELECT count(*) FROM exact_typed), count(*), count(*) FILTER (exchange_correction) FROM fresh_exact"
    ).fetchone() or (0, 0, 0)
    total, fresh = total + plain.rows, fresh + plain.rows
    if refuse and corrections:
        _refuse_corrections(connection, keys)
        return Reconciled(accepted=fresh - corrections, duplicates=total - fresh, corrections=0)
    return Reconciled(accepted=fresh, duplicates=total - fresh, corrections=corrections)


def _list(names: list[str]) -> str:
    return ", ".join(identifier(name) for name in names)


def _value(names: list[str]) -> str:
    """All values of a row as one, which compares with IS NOT DISTINCT FROM."""
    return "{" + ", ".join(f"{identifier(name)}: {identifier(name)}" for name in names) + "}" if names else "true"


def _find_repeated(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> int:
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE repeated AS SELECT {_list(keys)} FROM exact_typed "
        "GROUP BY ALL HAVING count(*) > 1"
    )
    return int((connection.execute("SELECT count(*) FROM repeated").fetchone() or (0,))[0])


def _find_winners(
    connection: duckdb.DuckDBPyConnection, keys: list[str], values: list[str], standing: str | None
) -> int:
    """``winners``: of each key that this delivery has too, the newest version that stands."""
    if standing is None:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE winners AS "
            f"SELECT {_list(keys)}, {_value(values)} AS exchange_value FROM exact_typed LIMIT 0"
        )
        return 0
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE winners AS "
        f"SELECT {_list(keys)}, arg_max({_value(values)}, (exchange_delivery, exchange_line, "
        f"{_value(values)})) AS exchange_value "
        f"FROM ({standing}) SEMI JOIN exact_typed USING ({_list(keys)}) GROUP BY {_list(keys)}"
    )
    return int((connection.execute("SELECT count(*) FROM winners").fetchone() or (0,))[0])


def _judge_versions(
    connection: duckdb.DuckDBPyConnection, keys: list[str], values: list[str], *, against_first: bool
) -> None:
    """``fresh``, where keys are repeated or known. Each version of a key is held to the one before it.

    Where corrections are refused no later version ever stands, so each is held to the first. Of those on one line only
    the last is held to any: ``clean`` knows the line alone, by which it could not tell which one stands.
    """
    before = "first_value" if against_first else "lag"
    rows = f"SELECT * FROM exact_typed SEMI JOIN repeated USING ({_list(keys)})"
    if not against_first:
        same_line = f"PARTITION BY {_list(keys)}, exchange_line ORDER BY exchange_ordinal DESC"
        rows += f" QUALIFY row_number() OVER ({same_line}) = 1"
    # Few keys come twice or are known, so only their rows pay for being held to others.
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE contested AS
        SELECT {_list(keys)} FROM repeated UNION SELECT {_list(keys)} FROM winners;
        CREATE OR REPLACE TEMP TABLE judged AS
        WITH versions AS (
            SELECT *, {_value(values)} AS exchange_value, NULL AS exchange_before, 1 AS exchange_place
            FROM exact_typed SEMI JOIN contested USING ({_list(keys)}) ANTI JOIN repeated USING ({_list(keys)})
            UNION ALL
            SELECT *, {_value(values)} AS exchange_value, {before}({_value(values)}) OVER same_key,
                   row_number() OVER same_key
            FROM ({rows})
            WINDOW same_key AS (PARTITION BY {_list(keys)} ORDER BY exchange_line, exchange_ordinal)
        )
        FROM versions
        """
    )
    known = f"w.{identifier(keys[0])} IS NOT NULL"
    # With a version that stands, the first of this delivery is held to it.
    held_to_winner = f"{known} AND (exchange_place = 1 OR {str(against_first).lower()})"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE fresh_rows AS
        SELECT j.* EXCLUDE (exchange_value, exchange_before, exchange_place),
               exchange_place > 1 OR {known} AS exchange_correction
        FROM judged AS j LEFT JOIN winners AS w USING ({_list(keys)})
        WHERE CASE WHEN {held_to_winner} THEN j.exchange_value IS DISTINCT FROM w.exchange_value
                   ELSE exchange_place = 1 OR j.exchange_value IS DISTINCT FROM j.exchange_before END
        """
    )
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW fresh_exact AS "
        f"SELECT *, false AS exchange_correction FROM exact_typed ANTI JOIN contested USING ({_list(keys)}) "
        "UNION ALL FROM fresh_rows"
    )


def _refuse_corrections(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> None:
    connection.execute(
        f"""
        INSERT INTO faults
        SELECT exchange_line // {PART_LINES}, exchange_member, exchange_line % {PART_LINES}, exchange_ordinal,
               NULL, NULL, '{REFUSED_CORRECTION}', 'the values delivered before: the contract takes no corrections',
               false, exchange_key
        FROM (
            SELECT exchange_line, exchange_ordinal, to_json({_value(keys)})::VARCHAR AS exchange_key FROM fresh_exact
            WHERE exchange_correction
        )
        LEFT JOIN parts ON exchange_part = exchange_line // {PART_LINES}
        """
    )
    connection.execute("DELETE FROM fresh_rows WHERE exchange_correction")
