"""The distribution of each measure before and after: exact figures, a drift, and the bars of a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import duckdb

from lakehouse.release.diff.columns import Value, is_number, values_of
from lakehouse.release.diff.sides import Side
from lakehouse.storage.sql import identifier, literal

SIDES = ("before", "after")
BINS = 24
# The picture leaves out of its scale, not of its bars, what lies beyond these shares of either side.
SCALE = (0.01, 0.99)


@dataclass(kw_only=True)
class _Sums:
    """Of one measure on one side: exact, and so the same in whatever order partitions come."""

    rows: int = 0
    count: int = 0
    least: Any = None
    most: Any = None
    total: Any = field(default_factory=lambda: Decimal(0))

    def add(self, rows: int, count: int, least: Any, most: Any, total: Any) -> None:
        self.rows += rows
        self.count += count
        if count:
            self.least = least if self.least is None else min(self.least, least)
            self.most = most if self.most is None else max(self.most, most)
            self.total += Decimal(str(total))


class Measures:
    """Numbers that are not of the key. Each value is counted, once a partition, in DuckDB's tables on disk: quartiles
    are exact, and memory does not grow with the rows."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, before: Side | None, after: Side) -> None:
        self._connection = connection
        self._values = [value for value in values_of(before, after) if _is_measure(value, after)]
        self._sums = {(value.name, side): _Sums() for value in self._values for side in SIDES}
        for number, _ in enumerate(self._values):
            connection.execute(f"CREATE TABLE counts_{number} (side VARCHAR, value DOUBLE, n BIGINT)")

    def add(self, side: str) -> None:
        """The rows of the view ``before`` or ``after``."""
        for number, value in enumerate(self._values):
            if getattr(value, side) is None:
                continue
            name = identifier(value.name)
            found = self._connection.execute(
                f"SELECT count(*), count({name}), min({name}), max({name}), sum({name}) FROM {identifier(side)}"
            ).fetchone()
            self._sums[value.name, side].add(*(found or (0, 0, None, None, None)))
            self._connection.execute(
                f"INSERT INTO counts_{number} SELECT {literal(side)}, {name}::DOUBLE, count(*) "
                f"FROM {identifier(side)} WHERE {name} IS NOT NULL GROUP BY 2"
            )

    def summary(self) -> list[dict[str, Any]]:
        """A measure each: ``{column, unit, before, after, drift, bins}``; a side is ``None`` that has no row.

        ``drift``: the largest difference of the two cumulative distributions (Kolmogorov and Smirnov's), 0 where
        they are the same and 1 where no value of one lies among those of the other.
        """
        return [self._measure(number, value) for number, value in enumerate(self._values)]

    def _measure(self, number: int, value: Value) -> dict[str, Any]:
        shares = self._shares(number)
        column = value.after or value.before
        return {
            "column": value.name,
            "unit": column.unit if column else None,
            **{side: self._side(value.name, side, shares) for side in SIDES},
            "drift": None if shares["drift"] is None else round(shares["drift"], 4),
            "bins": self._bins(number, shares),
        }

    def _side(self, name: str, side: str, shares: dict[str, Any]) -> dict[str, Any] | None:
        sums = self._sums[name, side]
        if not sums.rows:
            return None
        return {
            "rows": sums.rows,
            "nulls": sums.rows - sums.count,
            "min": _number(sums.least),
            "q1": shares[f"{side}_q1"],
            "median": shares[f"{side}_q2"],
            "q3": shares[f"{side}_q3"],
            "max": _number(sums.most),
            "mean": float(sums.total / sums.count) if sums.count else None,
            "sum": _number(sums.total) if sums.count else None,
        }

    def _shares(self, number: int) -> dict[str, Any]:
        """Quantiles (the least value that at least such a share of values does not exceed) and the drift."""
        wanted = {"low": SCALE[0], "q1": 0.25, "q2": 0.5, "q3": 0.75, "high": SCALE[1]}
        quantiles = ", ".join(
            f"min(value) FILTER ({side}_share >= {share}) AS {side}_{name}"
            for side in SIDES
            for name, share in wanted.items()
        )
        sums = ", ".join(f"coalesce(sum(n) FILTER (side = '{side}'), 0) AS {side}_n" for side in SIDES)
        shares = ", ".join(
            f"sum({side}_n) OVER (ORDER BY value) / nullif(sum({side}_n) OVER (), 0) AS {side}_share" for side in SIDES
        )
        found = self._connection.execute(
            f"WITH summed AS (SELECT value, {sums} FROM counts_{number} GROUP BY value), "
            f"shares AS (SELECT value, {shares} FROM summed) "
            f"SELECT {quantiles}, max(abs(before_share - after_share)) AS drift, "
            "bool_and(value = round(value)) AS whole FROM shares"
        )
        names = [column[0] for column in found.description or ()]
        return dict(zip(names, found.fetchone() or [None] * len(names), strict=True))

    def _bins(self, number: int, shares: dict[str, Any]) -> list[dict[str, float]]:
        """Bars of one width, ``{from, to, before, after}`` with each side's share of its values; the outermost also
        hold what lies beyond."""
        low = min((shares[f"{side}_low"] for side in SIDES if shares[f"{side}_low"] is not None), default=None)
        high = max((shares[f"{side}_high"] for side in SIDES if shares[f"{side}_high"] is not None), default=None)
        if low is None or high is None:
            return []
        bins = BINS
        if shares["whole"] and high - low < BINS:
            bins, low, high = int(high - low) + 1, low - 0.5, high + 0.5
        elif low == high:
            bins, low, high = 1, low - 0.5, high + 0.5
        width = (high - low) / bins
        rows = self._connection.execute(
            f"SELECT least(greatest(floor((value - ?) / ?), 0), ?)::INTEGER, side, sum(n)::BIGINT "
            f"FROM counts_{number} GROUP BY ALL",
            [low, width, bins - 1],
        ).fetchall()
        counted = {(place, side): int(n) for place, side, n in rows}
        totals = {side: sum(n for (_, of), n in counted.items() if of == side) or 1 for side in SIDES}
        return [
            {"from": low + place * width, "to": low + (place + 1) * width}
            | {side: counted.get((place, side), 0) / totals[side] for side in SIDES}
            for place in range(bins)
        ]


def _is_measure(value: Value, after: Side) -> bool:
    sides = [column for column in (value.before, value.after) if column is not None]
    return all(map(is_number, sides)) and value.name != after.partition["column"]


def _number(value: Any) -> int | float | None:
    """As JSON says it: whole numbers stay whole."""
    if value is None or isinstance(value, int):
        return value
    return int(value) if value == int(value) else float(value)
