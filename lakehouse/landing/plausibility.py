"""Whether a delivery's values lie where those before lay, or a factor between two usual units away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from math import isfinite, log
from statistics import median
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Column, Contract, PrivacyClass
from lakehouse.exchange import Exchange
from lakehouse.landing.plain_measures import Sample
from lakehouse.landing.receipt import TAKEN
from lakehouse.storage.index import deliveries
from lakehouse.storage.sql import identifier

RULE = "unit_changed"
# What a value is multiplied by when its unit becomes the next smaller one, and units between which that is so.
FACTORS = {
    1000.0: "kWh and Wh, m3 and litres, km and m",
    1e6: "MWh and Wh, km2 and m2",
    100.0: "m and cm, a share and percent, kroner and øre",
    60.0: "hours and minutes, minutes and seconds",
    3.6: "kWh and MJ, m/s and km/h",
}
TOLERANCE = 0.04
LEAST_DELIVERIES, LEAST_VALUES, LEAST_NEW_VALUES = 3, 100, 20
HISTORY = 30
# A private column's median stands on a receipt only if it is of this many.
PRIVATE_VALUES = 100


@dataclass(frozen=True, kw_only=True)
class Usual:
    """Where the medians of a column's earlier deliveries lie."""

    median: float
    lowest: float
    highest: float


def measured(contract: Contract) -> list[Column]:
    """Columns whose level says something of their unit: numbers outside the key that are no ids, which have an issuer
    or are of class identifier, and that do not only ever grow."""
    readings = contract.exchange.readings
    growing = readings.column if readings and readings.kind == "cumulative" else None
    if contract.exchange.delivery.kind == "snapshot":
        return []
    return [
        column
        for column in contract.columns
        if column.logicalType in ("integer", "number")
        and not (column.primaryKey or column.issuer or column.classification is PrivacyClass.IDENTIFIER)
        and column.name != growing
    ]


def levels(connection: duckdb.DuckDBPyConnection, contract: Contract, sample: Sample) -> dict[str, dict[str, float]]:
    """Of each measured column of ``typed`` the median and how many values there are, for the receipt."""
    columns = measured(contract)
    if not columns:
        return {}
    asked = ", ".join(
        f"median({identifier(column.name)}::DOUBLE), count({identifier(column.name)})" for column in columns
    )
    found = connection.execute(f"SELECT {asked} FROM ({sample.rows})").fetchone() or ()
    summary = {}
    for column, middle, values in zip(columns, found[::2], found[1::2], strict=True):
        if level := level_of(column, middle, values):
            summary[column.name] = {**level, "values": values * sample.every}
    return summary


def level_of(column: Column, middle: float | None, values: int) -> dict[str, float] | None:
    """What a receipt says of the median of so many values; nothing where they are too few."""
    enough = values >= (PRIVATE_VALUES if column.classification.private else 1)
    if not (enough and middle):
        return None
    # The largest doubles, which some write where a value is missing, round to infinity, and JSON has none.
    shown = float(f"{middle:.3g}")
    return {"median": shown if isfinite(shown) else middle, "values": values}


def known_levels(
    exchange: Exchange, contract: Contract, *, before: str, told: Mapping[str, dict[str, Any]] | None = None
) -> list[dict[str, dict[str, float]]]:
    """The levels of the last deliveries that were taken before the delivery ``before``, the newest first.

    ``told``: receipts by delivery that take the place of those in the index.
    """
    rows = exchange.index.rows(
        sa.select(deliveries.c.delivery, deliveries.c.receipt)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.status == "loaded",
            deliveries.c.delivery < before,
        )
        .order_by(deliveries.c.delivery.desc())
        .limit(HISTORY)
    )
    known = {row["delivery"]: row["receipt"] for row in rows}
    known |= {name: receipt for name, receipt in (told or {}).items() if name < before}
    taken = (known[name] for name in sorted(known, reverse=True) if known[name]["status"] in TAKEN)
    return [receipt.get("levels", {}) for receipt in islice(taken, HISTORY)]


def usual_levels(known_before: Iterable[dict[str, dict[str, float]]]) -> dict[str, Usual]:
    """Of each column the level of deliveries before; none where too few were."""
    earlier: dict[str, list[dict[str, float]]] = defaultdict(list)
    for levels_then in known_before:
        for name, level in levels_then.items():
            earlier[name].append(level)
    found = {}
    for name, known in earlier.items():
        medians = [level["median"] for level in known]
        if len(known) >= LEAST_DELIVERIES and sum(level["values"] for level in known) >= LEAST_VALUES:
            found[name] = Usual(median=median(medians), lowest=min(medians), highest=max(medians))
    return found


def changed_units(
    exchange: Exchange,
    contract: Contract,
    now: dict[str, dict[str, float]],
    *,
    before: str,
    told: Mapping[str, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """An entry for the receipt for each column whose unit seems to have changed; see :func:`known_levels`."""
    if contract.exchange.thresholds.unit_change == "ignore" or not now:
        return []
    return unlike_levels(contract, now, known_levels(exchange, contract, before=before, told=told))


def unlike_levels(
    contract: Contract, now: dict[str, dict[str, float]], known: Iterable[dict[str, dict[str, float]]]
) -> list[dict[str, Any]]:
    """The same, by the levels that are ``known`` of deliveries before."""
    usual = usual_levels(known)
    entries = []
    for name, level in now.items():
        factor = _factor(usual[name], level["median"]) if name in usual else None
        if factor is None or level["values"] < LEAST_NEW_VALUES:
            continue
        column = contract.column(name)
        times = factor if factor > 1 else 1 / factor
        by = f"{times:,g} times {'higher' if factor > 1 else 'lower'}"
        entries.append(
            {
                "rule": RULE, "rows": int(level["values"]), "first_line": None, "column": name,
                "source_column": column.source, "member": None, "value": None,
                "expected": f"values in {column.unit}: they are {by} than in the deliveries before, as between "
                f"{FACTORS[round(times, 1)]}",
                "advice": f"Deliver {column.source!r} in {column.unit}, or say first that its unit has changed.",
            }
        )  # fmt: skip
    return entries


def _factor(usual: Usual, now: float) -> float | None:
    """The factor between units by which a level is off; none where the levels before were no steadier than that."""
    if usual.median * now <= 0 or usual.lowest * usual.highest <= 0:
        return None
    ratio = now / usual.median
    for times in FACTORS:
        for factor in (times, 1 / times):
            if abs(log(ratio / factor)) <= TOLERANCE:
                # Halfway there, counted in factors, is where a level may be on either side.
                strayed = max(abs(log(level / usual.median)) for level in (usual.lowest, usual.highest))
                return factor if strayed < abs(log(factor)) / 2 else None
    return None
