"""Local times without an offset: SQL that tells which hours a zone has twice, or not at all."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from lakehouse.contracts.odcs import Column
from lakehouse.storage.sql import literal


def has_local_time(column: Column) -> bool:
    """Whether a column's times are of a zone whose clock changes, and so may name two moments or none."""
    parse = column.parse
    return column.logicalType == "timestamp" and parse.zone not in (None, "UTC") and not parse.epoch


def is_nonexistent(zone: str, local: str) -> str:
    """SQL: the clock skips this time. ``local`` is SQL of a timestamp without zone."""
    quoted = literal(zone)
    return _near_change(zone, local, f"timezone({quoted}, timezone({quoted}, {local})) <> {local}")


def is_ambiguous(zone: str, local: str) -> str:
    """SQL: the clock shows this time twice."""
    quoted = literal(zone)
    # ICU resolves a repeated time to one of its two moments: the other is an hour to either side.
    other = " OR ".join(
        f"timezone({quoted}, timezone({quoted}, {local}) {sign} INTERVAL 1 HOUR) = {local}" for sign in "+-"
    )
    return _near_change(zone, local, f"({other})")


def earlier_moment(zone: str, local: str) -> str:
    """SQL of the first of the two moments that a repeated local time can mean."""
    moment = f"timezone({literal(zone)}, {local})"
    before = f"{moment} - INTERVAL 1 HOUR"
    return f"CASE WHEN timezone({literal(zone)}, {before}) = {local} THEN {before} ELSE {moment} END"


def _near_change(zone: str, local: str, condition: str) -> str:
    """Asks the costly question only on the days on which the zone's offset changes."""
    days = ", ".join(f"DATE '{day}'" for day in offset_change_days(zone))
    if not days:
        return "false"
    return f"CASE WHEN {local}::DATE IN ({days}) THEN {condition} ELSE false END"


@cache
def offset_change_days(zone: str) -> tuple[date, ...]:
    """Local days, 1970 to 2069, on which a zone's offset from UTC changes (and the day before)."""
    info, found = ZoneInfo(zone), []
    day = datetime(1970, 1, 1)
    last = info.utcoffset(day)
    for _ in range(36_525):
        day += timedelta(days=1)
        offset = info.utcoffset(day)
        if offset != last:
            found += [(day - timedelta(days=1)).date(), day.date()]
            last = offset
    return tuple(found)
