"""What a delivery is like: freshness, and of each column the share of nulls, of distinct values, and its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import isfinite
from typing import Any

import duckdb
import numpy as np
import polars as pl
import sqlalchemy as sa

from lakehouse.contracts.odcs import Column, Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.alarms import Alarm, find_alarms
from lakehouse.landing.pieces import Places
from lakehouse.landing.plain_measures import Measured, Sample
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.receipt import ADVICE, TAKEN
from lakehouse.storage.index import delivery_profiles
from lakehouse.storage.sql import identifier

# Accepted deliveries by which a new one is held.
HISTORY = 20
# In deliveries of so many values distinct ones are counted; in larger ones they are estimated, and one estimate in a
# hundred is off by a quarter, which is an alarm.
COUNTED = 1_000_000
# Where fewer rows than this share are not plain, distinct values are those of the plain ones.
FEW = 0.01
INNER_DECILES = [number / 10 for number in range(1, 10)]


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Of the good rows that DuckDB has: how many, and what was measured of each column, but for ``plain`` rows that
    were taken out; and the inner deciles of all rows."""

    rows: int
    columns: dict[str, Measured]
    deciles: dict[str, list[float] | None]


def measure_exact(connection: duckdb.DuckDBPyConnection, contract: Contract, plain: PlainRows, sample: Sample) -> Exact:
    """``sample``: some of all rows, for deciles."""
    spread = spread_of(contract)
    (rows,) = connection.execute("SELECT count(*) FROM exact_typed").fetchone() or (0,)
    columns = _measure_columns(connection, contract, spread, plain.taken, rows + plain.rows)
    return Exact(rows=rows, columns=columns, deciles=_deciles(connection, spread, sample))


def profile_delivery(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    delivered: int,
    plain: PlainRows,
    measured: dict[str, Measured],
    exact: Exact,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The profile of the good rows, in ``typed``, with its alarms in words; and those as warnings of the receipt.

    ``measured``: what :class:`lakehouse.landing.plain_measures.Measuring` made of the plain ones and of those that
    were taken out of them since; ``exact``: of the others.
    Of a private column it holds shares alone, and the newest event of a private time by the end of its day.
    """
    before = past_profiles(exchange, contract, before=delivery["delivery"])
    profile = _profile(connection, contract, delivery["received_at"], plain, measured, exact)
    last = last_arrival(exchange, contract, delivery["delivery"])
    return judge_profile(contract, delivery, profile, delivered=delivered, before=before, last=last)


def judge_profile(
    contract: Contract,
    delivery: dict[str, Any],
    profile: dict[str, Any],
    *,
    delivered: int,
    before: Sequence[dict[str, Any]],
    last: datetime | None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What was measured of a delivery, held to those ``before``, of which the ``last`` came then."""
    profile["hours_since_last"] = hours_of(delivery["received_at"] - last) if last else None
    alarms = find_alarms(contract, {"delivered": delivered, **profile}, before)
    profile["alarms"] = [alarm.words for alarm in alarms]
    return profile, [_warning(contract, alarm, delivered) for alarm in alarms]


def past_profiles(exchange: Exchange, contract: Contract, *, before: str | None = None) -> list[dict[str, Any]]:
    """The profiles of the last accepted deliveries, the newest first, each with the rows ``delivered``."""
    query = (
        sa.select(delivery_profiles.c.delivered, delivery_profiles.c.profile)
        .where(
            delivery_profiles.c.provider == contract.provider,
            delivery_profiles.c.dataset == contract.dataset,
            delivery_profiles.c.status.in_(TAKEN),
        )
        .order_by(delivery_profiles.c.delivery.desc())
        .limit(HISTORY)
    )
    if before is not None:
        query = query.where(delivery_profiles.c.delivery < before)
    rows = exchange.index.rows(query)
    return [{**row["profile"], "delivered": row["delivered"]} for row in rows if row["profile"]]


def _profile(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    received: datetime,
    plain: PlainRows,
    measured: dict[str, Measured],
    exact: Exact,
) -> dict[str, Any]:
    found = exact.columns
    rows = exact.rows + plain.rows
    for name, more in measured.items():
        found[name].add(more)
    if measured and exact.rows > FEW * rows:
        _count_distinct(connection, found, rows)
    columns: dict[str, dict[str, Any]] = {}
    for name, one in found.items():
        columns[name] = {
            "null_share": share_of(rows - one.values, rows),
            # The count of distinct values may be an estimate.
            "distinct_share": min(1.0, share_of(one.distinct, one.values)),
        }
        if name in exact.deciles:
            inner = exact.deciles[name]
            columns[name] |= {
                "quantiles": [float(one.least), *inner, float(one.most)] if inner and one.values else None,
                "mean": mean_of(one.total, one.values),
            }
    event = contract.exchange.time
    newest = newest_of(found[event.column].most if event else None, contract, received)
    return {
        "rows": rows,
        "newest_event": newest.isoformat() if newest else None,
        "age_hours": hours_of(received - newest) if newest else None,
        "columns": columns,
    }


def _measure_columns(
    connection: duckdb.DuckDBPyConnection, contract: Contract, spread: list[str], taken: Sequence[Places], number: int
) -> dict[str, Measured]:
    """The good rows that DuckDB has, of so many in all, but for those on the lines ``taken``."""
    event = contract.exchange.time
    asked = []
    for column in contract.columns:
        name = identifier(column.name)
        asked += [f"count({name})", distinct_in(name, number * len(contract.columns))]
        if column.name in spread:
            asked += [f"min({name})::DOUBLE", f"max({name})::DOUBLE", f"sum({name}::DOUBLE)"]
        elif event and event.column == column.name:
            asked += ["NULL", f"max({name})", "NULL"]
        else:
            asked += ["NULL", "NULL", "NULL"]
    rows = "exact_typed"
    if taken:
        connection.register("taken_lines", pl.DataFrame({"exchange_line": np.concatenate(taken)}).to_arrow())
        rows += " ANTI JOIN taken_lines USING (exchange_line)"
    values = connection.execute(f"SELECT {', '.join(asked)} FROM {rows}").fetchone() or ()
    found = {}
    for place, column in enumerate(contract.columns):
        count, distinct, least, most, total = values[5 * place : 5 * place + 5]
        found[column.name] = Measured(values=count, distinct=distinct, least=least, most=most, total=total or 0.0)
    return found


def distinct_in(name: str, of: int = 0) -> str:
    """SQL of how many distinct values a column has, ``of`` so many that the delivery has in all columns."""
    # A list: of hundreds of columns count(DISTINCT) takes ten times as long.
    return f"coalesce(list_unique(list({name})), 0)" if of <= COUNTED else f"approx_count_distinct({name})"


def _count_distinct(connection: duckdb.DuckDBPyConnection, found: dict[str, Measured], rows: int) -> None:
    """About how many distinct values all rows together have."""
    asked = ", ".join(distinct_in(identifier(name), rows * len(found)) for name in found)
    counts = connection.execute(f"SELECT {asked} FROM typed").fetchone() or ()
    for one, distinct in zip(found.values(), counts, strict=True):
        one.distinct = distinct


def _deciles(connection: duckdb.DuckDBPyConnection, spread: list[str], sample: Sample) -> dict[str, list[float] | None]:
    if not spread:
        return {}
    asked = ", ".join(f"approx_quantile({identifier(name)}::DOUBLE, {INNER_DECILES})" for name in spread)
    return dict(zip(spread, connection.execute(f"SELECT {asked} FROM ({sample.rows})").fetchone() or (), strict=True))


def spread_of(contract: Contract) -> list[str]:
    return [column.name for column in contract.columns if has_spread(column)]


def has_spread(column: Column) -> bool:
    return column.logicalType in ("integer", "number") and not column.classification.private


def newest_of(value: Any, contract: Contract, received: datetime) -> datetime | None:
    """The moment up to which the rows reach; of a date and of a private time the end of the day."""
    if value is None or contract.exchange.time is None:
        return None
    private = contract.column(contract.exchange.time.column).classification.private
    if isinstance(value, datetime) and not private:
        return value.astimezone(UTC)
    day: date = value.astimezone(UTC).date() if isinstance(value, datetime) else value
    return min(
        datetime.combine(day, time(), UTC) + timedelta(days=1), max(received, datetime.combine(day, time(), UTC))
    )


def last_arrival(exchange: Exchange, contract: Contract, delivery: str) -> datetime | None:
    row = exchange.index.row(
        sa.select(delivery_profiles.c.received_at)
        .where(
            delivery_profiles.c.provider == contract.provider,
            delivery_profiles.c.dataset == contract.dataset,
            delivery_profiles.c.delivery < delivery,
        )
        .order_by(delivery_profiles.c.delivery.desc())
        .limit(1)
    )
    return row["received_at"] if row else None


def share_of(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def mean_of(total: float, values: int) -> float | None:
    """``None`` also where the sum is more than a double holds: JSON knows no infinity, and an index refuses it."""
    return total / values if values and isfinite(total) else None


def hours_of(span: timedelta) -> float:
    return round(span.total_seconds() / 3600, 2)


def _warning(contract: Contract, alarm: Alarm, delivered: int) -> dict[str, Any]:
    return {
        "rule": alarm.rule,
        "rows": delivered,
        "first_line": None,
        "column": alarm.column,
        "source_column": contract.column(alarm.column).source if alarm.column else None,
        "member": None,
        "value": None,
        "expected": alarm.words,
        "advice": ADVICE[alarm.rule],
    }
