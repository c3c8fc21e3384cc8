"""Whether a candidate's file says what its membership record says: the attacks are on the record."""

from __future__ import annotations

from pathlib import Path

import duckdb

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy
from lakehouse.privacy.membership import named_key
from lakehouse.storage.sql import identifier, literal


def differing_rows(
    connection: duckdb.DuckDBPyConnection, *, mart: Mart, policy: AggregatePolicy, file: Path, cells: Path
) -> int:
    """Rows that the file has and the record has not, and the other way about, each as often as it stands there."""
    start = identifier(mart.exchange.partition.column)
    published = (
        f"SELECT {named_key(mart.exchange.key)} AS name, {start}::TIMESTAMPTZ AS starts, period_grain AS grain, "
        f"period_hours AS hours, {identifier(policy.units)} AS units, {identifier(policy.measure)} AS value "
        f"FROM read_parquet({literal(str(file))}, hive_partitioning=false)"
    )
    recorded = (
        "SELECT name, starts, grain, hours, units, value "
        f"FROM read_parquet({literal(str(cells))}, hive_partitioning=false)"
    )
    [[rows]] = connection.execute(
        f"SELECT count(*) FROM (({published} EXCEPT ALL {recorded}) UNION ALL ({recorded} EXCEPT ALL {published}))"
    ).fetchall()
    return int(rows)
