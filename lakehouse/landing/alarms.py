"""Alarms: where a delivery is unlike those of its dataset before it, or breaks what the provider promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from math import ceil, floor
from statistics import median
from typing import Any

from lakehouse.contracts.odcs import Contract

Profile = dict[str, Any]
# Fewer deliveries before say nothing of what is usual.
ENOUGH = 5
# How many deviations from the median are usual; 1.4826 makes the median absolute deviation a standard deviation,
# where values are normal.
DEVIATIONS, NORMAL = 5.0, 1.4826
# Below these a difference does not matter: of volume relative to the median, of shares in points.
VOLUME_FLOOR, NULLS_FLOOR, DISTINCT_FLOOR, DRIFT_FLOOR = 0.25, 0.05, 0.25, 0.25
# Beyond the farthest of the deliveries before, so many times.
DRIFT_MARGIN = 1.5
LATE = 1.5
# A dataset is live where the newest row is on arrival at most so many promised spans old.
LIVE = 3


@dataclass(frozen=True, kw_only=True)
class Alarm:
    rule: str
    column: str | None = None
    words: str


def find_alarms(contract: Contract, profile: Profile, before: Sequence[Profile]) -> list[Alarm]:
    """What is unlike the profiles ``before``, of which there are :data:`ENOUGH`, or none.

    A profile has ``delivered`` rows, ``age_hours``, ``hours_since_last`` and ``columns``.
    """
    if len(before) < ENOUGH:
        return []
    return [
        *_freshness(contract, profile, before),
        *_volume(profile, before),
        *(alarm for column in contract.columns for alarm in _column(column.name, profile, before)),
    ]


def is_live(contract: Contract, before: Sequence[Profile]) -> bool:
    """Whether the dataset tells of the present: not simulated, and no history that is delivered late by design."""
    promised = [span for name in ("latency", "frequency") if (span := contract.promised(name)) is not None]
    if contract.exchange.simulated or not promised:
        return False
    ages = [entry["age_hours"] for entry in before if entry["age_hours"] is not None]
    return not ages or median(ages) <= LIVE * max(promised).total_seconds() / 3600


def span_in_words(hours: float) -> str:
    """A span as a person says it: ``20 min``, ``36 h``, ``3 days``."""
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.0f} days"


def age_in_words(hours: float) -> str:
    """Of a row's age; one of a forecast may lie ahead."""
    return f"{span_in_words(hours)} old" if hours >= 0 else f"{span_in_words(-hours)} ahead"


def is_late(frequency: timedelta, hours: float) -> bool:
    return hours > LATE * frequency.total_seconds() / 3600


def is_stale(contract: Contract, profile: Profile) -> bool:
    """Whether the newest row was older on arrival than the provider promises."""
    latency, age = contract.promised("latency"), profile["age_hours"]
    return latency is not None and age is not None and bool(age > latency.total_seconds() / 3600)


def _freshness(contract: Contract, profile: Profile, before: Sequence[Profile]) -> Iterator[Alarm]:
    if not is_live(contract, before):
        return
    frequency, latency = contract.promised("frequency"), contract.promised("latency")
    waited = profile["hours_since_last"]
    if frequency is not None and waited is not None and is_late(frequency, waited):
        promise = span_in_words(frequency.total_seconds() / 3600)
        yield Alarm(
            rule="late_delivery",
            words=f"a delivery every {promise}; the one before came {span_in_words(waited)} earlier",
        )
    if latency is not None and is_stale(contract, profile):
        promise, age = span_in_words(latency.total_seconds() / 3600), profile["age_hours"]
        yield Alarm(
            rule="stale_data",
            words=f"newest row at most {promise} old on arrival; it was {span_in_words(age)} old",
        )


def _volume(profile: Profile, before: Sequence[Profile]) -> Iterator[Alarm]:
    rows = profile["delivered"]
    low, high = _usual([entry["delivered"] for entry in before], floor=VOLUME_FLOOR, relative=True)
    if not low <= rows <= high:
        yield Alarm(
            rule="unusual_volume",
            words=f"usually {max(ceil(low), 0):,} to {floor(high):,} rows; this delivery has {rows:,}",
        )


def _column(name: str, profile: Profile, before: Sequence[Profile]) -> Iterator[Alarm]:
    now = profile["columns"][name]
    past = [entry["columns"][name] for entry in before if _has_rows(entry) and name in entry["columns"]]
    if not _has_rows(profile) or len(past) < ENOUGH:
        return
    _, most = _usual([entry["null_share"] for entry in past], floor=NULLS_FLOOR)
    if now["null_share"] > most:
        yield Alarm(
            rule="null_share_rose",
            column=name,
            words=f"{name}: usually at most {most:.1%} without a value; now {now['null_share']:.1%}",
        )
    # Of no values at all no share is distinct.
    distinct = [entry["distinct_share"] for entry in past if entry["null_share"] < 1]
    if now["null_share"] < 1 and len(distinct) >= ENOUGH:
        low, high = _usual(distinct, floor=DISTINCT_FLOOR)
        if not low <= now["distinct_share"] <= high:
            yield Alarm(
                rule="distinct_share_changed",
                column=name,
                words=f"{name}: usually {max(low, 0):.0%} to {min(high, 1):.0%} distinct values; now "
                f"{now['distinct_share']:.0%}",
            )
    spreads = [entry["quantiles"] for entry in past if entry.get("quantiles")]
    if now.get("quantiles") and len(spreads) >= ENOUGH:
        yield from _drift(name, now["quantiles"], spreads)


def _has_rows(profile: Profile) -> bool:
    """Whether any row was good: where none was, nothing was measured of the columns."""
    return profile.get("rows") != 0


def _drift(name: str, now: list[float], past: list[list[float]]) -> Iterator[Alarm]:
    # Of halves: the middle of two of the largest doubles, which some write for a missing value, would be infinite.
    usual = [2 * median(value / 2 for value in values) for values in zip(*past, strict=True)]
    limit = max(DRIFT_FLOOR, DRIFT_MARGIN * max(drift(entry, usual) for entry in past))
    if drift(now, usual) <= limit:
        return
    told, spread = "four of five values", "{0[1]:,.6g} to {0[9]:,.6g}, median {0[5]:,.6g}"
    if drift([usual[0], *now[1:-1], usual[-1]], usual) <= limit:
        # A few far values did it: those between them would look as usual.
        told, spread = "all values", "{0[0]:,.6g} to {0[10]:,.6g}"
    yield Alarm(
        rule="distribution_drifted",
        column=name,
        words=f"{name}: {told} usually within {spread.format(usual)}; now {spread.format(now)}",
    )


def drift(quantiles: Sequence[float], usual: Sequence[float]) -> float:
    """How far one distribution is from another, both given by their deciles from minimum to maximum: the first
    Wasserstein distance, the mean difference of their quantile functions (Vallender 1974), by trapezoids; in units
    of what the middle four fifths of ``usual`` span.
    """
    apart = [abs(one - other) for one, other in zip(quantiles, usual, strict=True)]
    distance = sum((left + right) / 2 for left, right in pairwise(apart)) / (len(apart) - 1)
    unit = (usual[-2] - usual[1]) or (usual[-1] - usual[0]) or abs(usual[5]) or 1.0
    return distance / unit


def _usual(values: Sequence[float], *, floor: float, relative: bool = False) -> tuple[float, float]:
    """The median of the values, less and more what is usual; at least ``floor``."""
    middle = median(values)
    deviation = NORMAL * median(abs(value - middle) for value in values)
    width = max(DEVIATIONS * deviation, floor * middle if relative else floor)
    return middle - width, middle + width
