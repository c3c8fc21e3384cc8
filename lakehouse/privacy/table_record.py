"""Who is in which finest class of a table with totals, kept privately beside what is published of it (see
:mod:`lakehouse.privacy.membership`, whose bucket, pseudonyms and reasons these are)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import SuppressPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.membership import (
    BUCKET,
    OTHER_KEY,
    Published,
    Record,
    membership_key,
    named_key,
    prefix,
    record_file,
    unit_pseudonyms,
)
from lakehouse.privacy.tables import level_columns, number_cells, relation, told_beside
from lakehouse.storage.sql import identifier, literal

TABLE_CELLS = "cell INTEGER, name VARCHAR, value BIGINT, leaves INTEGER[], told BOOLEAN, key_id VARCHAR"
TABLE_MEMBERS = "leaf INTEGER, unit UBIGINT, contribution BIGINT"


@dataclass(frozen=True, kw_only=True)
class PublishedTable(Record):
    """A table with totals, under the policy that it states itself."""

    policy: SuppressPolicy


def keep_table(
    exchange: Exchange,
    *,
    connection: duckdb.DuckDBPyConnection,
    mart: Mart,
    policy: SuppressPolicy,
    candidate: str,
    partitions: dict[str, str],
    folder: Path,
) -> None:
    """Writes ``cells.parquet`` (every cell, its value where it is published, the leaves it is made of) and
    ``members.parquet`` (each unit with its leaf) of each partition (its name, and SQL of its rows)."""
    key = membership_key(exchange)
    contributions = relation(policy.contributions)
    connection.register("unit_pseudonyms", unit_pseudonyms(exchange, connection, contributions, key, policy))
    folder.mkdir(parents=True, exist_ok=True)
    sides = ", ".join(identifier(one.column) for one in policy.dimensions)
    try:
        for partition, condition in partitions.items():
            number_cells(connection, mart, policy, condition)
            queries = {
                "cells": f"""
                    SELECT cell, {named_key(mart.exchange.key)} AS name, {identifier(policy.measure)}::BIGINT AS value,
                           leaves, {told_beside(policy)} AS told, {literal(key.key_id)} AS key_id
                    FROM marts.{identifier(mart.name)} JOIN table_cells USING ({sides})
                    JOIN (SELECT cell, list(leaf ORDER BY leaf) AS leaves FROM table_incidence GROUP BY cell)
                    USING (cell) WHERE {condition} ORDER BY cell""",
                "members": f"""
                    SELECT leaf, pseudonym AS unit, contribution::BIGINT AS contribution
                    FROM {contributions} AS given JOIN table_leaves USING ({", ".join(level_columns(policy))})
                    JOIN unit_pseudonyms ON given.unit IS NOT DISTINCT FROM unit_pseudonyms.unit
                    WHERE {condition} ORDER BY 2, 1""",
            }
            for name, query in queries.items():
                path = folder / f"{name}.parquet"
                connection.execute(f"COPY ({query}) TO {literal(str(path))} (COMPRESSION zstd)")
                place = prefix(mart.name, candidate, mart.exchange.partition.grain, partition)
                exchange.lake.upload(BUCKET, f"{place}/{name}.parquet", path)
                path.unlink()
    finally:
        connection.unregister("unit_pseudonyms")


def read_tables(
    exchange: Exchange, published: Sequence[PublishedTable], connection: duckdb.DuckDBPyConnection, folder: Path
) -> None:
    """Fills ``cells`` and ``members`` from the records; the first is the one in question, marked ``mine``. Leaves
    and cells of each get numbers of their own.

    Raises :class:`lakehouse.storage.lake.ObjectNotFound` for a record that is missing, ``ValueError`` for one of
    another key.
    """
    make_tables(connection)
    for number, entry in enumerate(published):
        add_table(
            connection, entry, number, *(record_file(exchange, entry, name, folder) for name in ("cells", "members"))
        )
    key_id = membership_key(exchange).key_id
    if connection.execute("SELECT count(*) FROM cells WHERE key_id <> ?", [key_id]).fetchone() != (0,):
        raise ValueError(OTHER_KEY)


def make_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """The tables ``cells``, ``members`` and ``counted``, empty."""
    connection.execute(
        f"CREATE OR REPLACE TABLE cells ({TABLE_CELLS}, mart VARCHAR, release VARCHAR, k INTEGER, share INTEGER, "
        "p INTEGER, percent INTEGER, mine BOOLEAN)"
    )
    connection.execute(f"CREATE OR REPLACE TABLE members ({TABLE_MEMBERS})")
    connection.execute("CREATE OR REPLACE TABLE counted (name VARCHAR, leaves INTEGER[], units BIGINT, every BOOLEAN)")


def add_table(
    connection: duckdb.DuckDBPyConnection, entry: PublishedTable, number: int, cells: Path, members: Path
) -> None:
    """Adds one partition's record to ``cells`` and ``members``."""
    policy = entry.policy
    dominance = policy.dominance
    share, p = (100, 0) if dominance is None else (dominance.max_share_percent, dominance.p_percent)
    [[cell, leaf]] = connection.execute(
        "SELECT coalesce(max(cell) + 1, 0), coalesce(max(list_max(leaves)) + 1, 0) FROM cells"
    ).fetchall()
    connection.execute(
        f"""
        INSERT INTO cells BY NAME
        SELECT * REPLACE (cell + {cell} AS cell, list_transform(leaves, lambda one: one + {leaf}) AS leaves),
               $mart AS mart, $release AS release, {policy.k} AS k, {share} AS share, {p} AS p,
               {policy.protection_percent} AS percent, {number == 0} AS mine
        FROM read_parquet({literal(str(cells))}, hive_partitioning=false)
        """,
        {"mart": entry.mart, "release": entry.release},
    )
    connection.execute(
        f"INSERT INTO members SELECT * REPLACE (leaf + {leaf} AS leaf) "
        f"FROM read_parquet({literal(str(members))}, hive_partitioning=false)"
    )


def read_counted(
    exchange: Exchange,
    mine: PublishedTable,
    others: Sequence[Published],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
) -> None:
    """Fills ``counted``, after :func:`read_tables`: what marts that sum something of the same units say of their
    number. Of each series the leaves of the table in question that its units are of, the most units that it
    counted at once, and whether these are all that the leaves hold.

    A mart that the policy names as one beside says nothing new where all cells of its dimensions are published:
    whatever the table's other cells are, they agree with its numbers. Of any other the series is taken to be known
    by the very leaves of its units, which is more than its name tells.
    """
    [[kept_back]] = connection.execute("SELECT count(*) FROM cells WHERE mine AND told AND value IS NULL").fetchall()
    beside = set() if kept_back else {sibling.mart for sibling in mine.policy.beside}
    for entry in others:
        if entry.mart in beside:
            continue
        cells, members = (literal(str(record_file(exchange, entry, name, folder))) for name in ("cells", "members"))
        connection.execute(
            f"""
            INSERT INTO counted
            WITH series AS (
                SELECT DISTINCT series, unit
                FROM read_parquet({members}, hive_partitioning=false)
                JOIN read_parquet({cells}, hive_partitioning=false) USING (cell)
            ),
            leaves AS (SELECT DISTINCT unnest(leaves) AS leaf FROM cells WHERE mine),
            mine AS (SELECT unit, leaf FROM members SEMI JOIN leaves USING (leaf)),
            most AS (
                SELECT series, max(units) AS units FROM read_parquet({cells}, hive_partitioning=false) GROUP BY series
            ),
            placed AS (
                SELECT series, list(DISTINCT leaf ORDER BY leaf) AS leaves,
                       count(*) FILTER (WHERE leaf IS NULL) AS elsewhere
                FROM series LEFT JOIN mine USING (unit) GROUP BY series
            ),
            held AS (SELECT leaf, count(*) AS held FROM mine GROUP BY leaf)
            SELECT series || ' (' || $release || ')', leaves, units - elsewhere,
                   elsewhere = 0 AND units = (SELECT sum(held) FROM held WHERE list_contains(leaves, leaf))
            FROM placed JOIN most USING (series) WHERE len(leaves) > 0
            """,
            {"release": f"{entry.mart}, {entry.release}"},
        )
