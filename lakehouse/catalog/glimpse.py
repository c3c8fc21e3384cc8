"""A first look at a mart's rows: a few of them, and one measure over time. Read from the newest files alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from lakehouse.contracts.mart import NUMBERS
from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Column, Manifest
from lakehouse.storage.sql import identifier, literal

ROWS = 8
# Newest files that the plot is of, and points in it: where there are more times, each is the mean of a few.
FILES = 31
POINTS = 240


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """``rows`` as text, spread over the newest file, in the order of ``columns``. ``points``: what the measure's mean
    was, and when."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    measure: Column | None
    points: tuple[tuple[str, float], ...]


def glimpse(exchange: Exchange, manifest: Manifest) -> Glimpse:
    """Of the newest files, so its cost does not grow with the release."""
    names = tuple(column.name for column in manifest.columns)
    newest = [file.path for file in sorted(manifest.files, key=lambda file: file.partition)[-FILES:]]
    places = [exchange.lake.duckdb_url("marts", f"{manifest.prefix}/{path}") for path in newest]
    measure = _measure(manifest)
    with exchange.duckdb() as connection:
        listed = ", ".join(identifier(name) for name in names)
        apart = max(1, max(manifest.files, key=lambda file: file.partition).rows // ROWS)
        rows = connection.execute(
            f"SELECT {listed} FROM (SELECT *, row_number() OVER () AS exchange_place FROM {_scan(places[-1:])}) "
            f"WHERE (exchange_place - 1) % {apart} = 0 ORDER BY exchange_place LIMIT {ROWS}"
        ).fetchall()
        points: list[tuple[Any, Any]] = []
        if measure is not None:
            moment = identifier(manifest.partition["column"])
            mean = f"avg({identifier(measure.name)})::DOUBLE"
            points = connection.execute(
                f"WITH times AS (SELECT {moment} AS moment, {mean} AS mean FROM {_scan(places)} "
                f"WHERE {identifier(measure.name)} IS NOT NULL {_of_one_grain(manifest, places)} GROUP BY ALL), "
                f"parts AS (SELECT *, ntile({POINTS}) OVER (ORDER BY moment) AS part FROM times) "
                "SELECT min(moment), avg(mean) FROM parts GROUP BY part ORDER BY part"
            ).fetchall()
    return Glimpse(
        columns=names,
        rows=tuple(tuple(_shown(value) for value in row) for row in rows),
        measure=measure,
        points=tuple((_shown(at), float(value)) for at, value in points),
    )


def _scan(places: list[str]) -> str:
    return (
        f"read_parquet([{', '.join(literal(place) for place in places)}], union_by_name=true, hive_partitioning=false)"
    )


def _of_one_grain(manifest: Manifest, places: list[str]) -> str:
    """Rows about hours and rows about months have no mean in common: the most usual of them are plotted."""
    if "period_grain" not in {column.name for column in manifest.columns}:
        return ""
    return f"AND period_grain = (SELECT mode(period_grain) FROM {_scan(places)})"


def _measure(manifest: Manifest) -> Column | None:
    """What the privacy policy protects; else the first number that is no part of the key and has a unit of its own;
    else the first number."""
    if protected := manifest.privacy.get("measure"):
        return next((column for column in manifest.columns if column.name == protected), None)
    numbers = [
        column
        for column in manifest.columns
        if column.type.split("(")[0].strip().upper() in NUMBERS
        and column.name not in (*manifest.key, manifest.partition["column"])
    ]
    whole = [column for column in numbers if column.unit not in (None, "1", "h", "a")]
    return next(iter([*whole, *numbers]), None)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal | float):
        return f"{value:f}" if isinstance(value, Decimal) else f"{value:g}"
    return str(value)
