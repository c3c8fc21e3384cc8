"""What each of several deliveries is like that are loaded together, by one query: what is asked of one alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.personal_data import searched_columns
from lakehouse.landing.plausibility import level_of, measured
from lakehouse.landing.profile import INNER_DECILES, distinct_in, has_spread, hours_of, mean_of, newest_of, share_of
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.privacy.personal_data import LEAST_DISTINCT, TEN_DIGITS
from lakehouse.storage.sql import identifier, literal

PART = f"exchange_line // {PART_LINES}"


@dataclass(frozen=True, kw_only=True)
class Measures:
    """``rows`` of a delivery, by column how many lack a value, and what its receipt says of levels and columns."""

    rows: int
    nulls: dict[str, int]
    levels: dict[str, dict[str, float]]
    profile: dict[str, Any]


def measure_each(
    connection: duckdb.DuckDBPyConnection, contract: Contract, received: Mapping[int, datetime]
) -> dict[int, Measures]:
    """By part, of those that have rows in ``typed``; ``received``: when each arrived."""
    level_columns = {column.name for column in measured(contract)}
    asked = [PART, "count(*)"]
    for column in contract.columns:
        name = identifier(column.name)
        asked += [f"count({name})", distinct_in(name)]
        if has_spread(column):
            asked += [
                f"min({name})::DOUBLE",
                f"approx_quantile({name}::DOUBLE, {INNER_DECILES})",
                f"max({name})::DOUBLE",
                f"sum({name}::DOUBLE)",
            ]
        if column.name in level_columns:
            asked.append(f"median({name}::DOUBLE)")
    event = contract.exchange.time
    asked.append(f"max({identifier(event.column)})" if event else "NULL")
    # Grouped rows in the order of their lines, as one alone has them: estimates depend on it.
    rows = connection.execute(f"SELECT {', '.join(asked)} FROM typed GROUP BY 1 ORDER BY 1").fetchall()
    return {part: _told(contract, level_columns, received[part], values) for part, *values in rows}


def _told(contract: Contract, level_columns: set[str], received: datetime, values: list[Any]) -> Measures:
    found = iter(values)
    rows = next(found)
    nulls: dict[str, int] = {}
    levels: dict[str, dict[str, float]] = {}
    columns: dict[str, dict[str, Any]] = {}
    for column in contract.columns:
        count, distinct = next(found), next(found)
        nulls[column.name] = rows - count
        columns[column.name] = {
            "null_share": share_of(rows - count, rows),
            "distinct_share": min(1.0, share_of(distinct, count)),
        }
        if has_spread(column):
            low, inner, high, total = (next(found) for _ in range(4))
            columns[column.name] |= {
                "quantiles": [low, *inner, high] if inner else None,
                "mean": mean_of(total, count),
            }
        if column.name in level_columns and (level := level_of(column, next(found), count)):
            levels[column.name] = level
    newest = newest_of(next(found), contract, received)
    profile = {
        "rows": rows,
        "newest_event": newest.isoformat() if newest else None,
        "age_hours": hours_of(received - newest) if newest else None,
        "columns": columns,
    }
    return Measures(rows=rows, nulls=nulls, levels=levels, profile=profile)


def with_many_long_numbers(connection: duckdb.DuckDBPyConnection, contract: Contract) -> set[int]:
    """Parts with so many numbers of ten digits that only a look at each delivery tells whether they are of people."""
    found: set[int] = set()
    for column in searched_columns(contract):
        name = identifier(column.name)
        long = (
            f"regexp_matches({name}, {literal(TEN_DIGITS)})"
            if column.logicalType == "string"
            else f"{name} BETWEEN 100000000 AND 9999999999"
        )
        query = f"SELECT {PART} FROM typed WHERE {long} GROUP BY 1 HAVING count(*) >= {LEAST_DISTINCT}"
        found |= {part for (part,) in connection.execute(query).fetchall()}
    return found
