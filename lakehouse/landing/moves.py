"""Corrections that move a row into another partition, in datasets whose key does not hold the time.

A partition shows the newest version of each key that it has. Where a later version lies in another partition,
the old one would stand there for ever: so the delivery writes it there once more, as withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.clean import CleanFile, partition_of, touched_partitions
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.storage.index import clean_files
from lakehouse.storage.sql import identifier


def rows_move(contract: Contract) -> bool:
    """Whether a row of a known key may belong to another partition than the one before it."""
    time = contract.exchange.time
    return time is not None and all(column.name != time.column for column in contract.primary_key)


def judging_partitions(
    exchange: Exchange,
    contract: Contract,
    connection: duckdb.DuckDBPyConnection,
    plain: PlainRows,
    instead: Mapping[str, Sequence[CleanFile]],
) -> list[str]:
    """The partitions that rows of a delivery are held to: those they belong to, and where rows move all of the dataset,
    of which any may hold the older version of a key.

    ``instead``: see :func:`lakehouse.landing.clean.standing_files`; the index need not know of theirs.
    """
    if not rows_move(contract):
        return touched_partitions(connection, contract, plain)
    rows = exchange.index.rows(
        sa.select(clean_files.c.partition)
        .where(clean_files.c.provider == contract.provider, clean_files.c.dataset == contract.dataset)
        .distinct()
    )
    written = {file.partition for files in instead.values() for file in files}
    return sorted(written.union(row["partition"] for row in rows))


def without_withdrawn(standing: str) -> str:
    """SQL of the rows among which the newest of a key is the one that stands, over all partitions."""
    return f"SELECT * FROM ({standing}) WHERE exchange_withdrawn IS NOT TRUE"


def withdraw_moved(connection: duckdb.DuckDBPyConnection, contract: Contract, standing: str | None) -> int:
    """``stored``: the rows of ``fresh`` and those that they withdraw elsewhere; returns how many there are.

    A version that this very delivery moves on is stored as withdrawn. One that stood before is written again
    into its partition: with line 0, before every row of the delivery and behind all that came earlier.
    """
    keys = ", ".join(identifier(column.name) for column in contract.primary_key)
    names = ", ".join(identifier(column.name) for column in contract.columns)
    place = partition_of(contract)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE stored AS
        SELECT exchange_line, {names}, {place} IS DISTINCT FROM last_value({place}) OVER (
            PARTITION BY {keys} ORDER BY exchange_line ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS exchange_withdrawn
        FROM fresh
        """
    )
    if standing is not None:
        columns = ", ".join(f"exchange_newest.{identifier(column.name)}" for column in contract.columns)
        connection.execute(
            f"""
            INSERT INTO stored
            SELECT 0, {names}, true FROM (
                SELECT {columns} FROM (
                    SELECT arg_max(exchange_row, (exchange_row.exchange_delivery, exchange_row.exchange_line,
                                   exchange_row)) AS exchange_newest
                    FROM ({standing}) AS exchange_row SEMI JOIN stored USING ({keys}) GROUP BY {keys}
                )
            )
            WHERE ({keys}, {place}) NOT IN (SELECT ({keys}, {place}) FROM stored)
            """
        )
    return int((connection.execute("SELECT count(*) FROM stored").fetchone() or (0,))[0])
