"""Whether a candidate's file says what its membership record says: the attacks are on the record."""

from __future__ import annotations

from pathlib import Path

import duckdb

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy, SuppressPolicy
from lakehouse.privacy.membership import named_key
from lakehouse.storage.sql import identifier, literal


def differing_rows(
    connection: duckdb.DuckDBPyConnection,
    *,
    mart: Mart,
    policy: AggregatePolicy | SuppressPolicy,
    file: Path,
    cells: Path,
) -> int:
    """Rows that the file has and the record has not, and the other way about, each as often as it stands there."""
    name, value = named_key(mart.exchange.key), identifier(policy.measure)
    if isinstance(policy, SuppressPolicy):
        said, columns = f"{name} AS name, {value} AS value", "name, value"
    else:
        start = identifier(mart.exchange.partition.column)
        said = (
            f"{name} AS name, {start}::TIMESTAMPTZ AS starts, period_grain AS grain, "
            f"period_hours AS hours, {identifier(policy.units)} AS units, {value} AS value"
        )
        columns = "name, starts, grain, hours, units, value"
    published = f"SELECT {said} FROM read_parquet({literal(str(file))}, hive_partitioning=false)"
    recorded = f"SELECT {columns} FROM read_parquet({literal(str(cells))}, hive_partitioning=false)"
    [[rows]] = connection.execute(
        f"SELECT count(*) FROM (({published} EXCEPT ALL {recorded}) UNION ALL ({recorded} EXCEPT ALL {published}))"
    ).fetchall()
    return int(rows)
