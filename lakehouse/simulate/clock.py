"""Local days of 23, 24 and 25 hours, and the texts of times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Floats, Ints

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
MADRID = ZoneInfo("Europe/Madrid")


def by_hour(percent: str) -> Floats:
    """A day's course: 24 numbers, one for each local hour, in hundredths of what is usual."""
    course = np.array(percent.split(), dtype=np.float64) / 100
    assert course.size == 24, percent
    return course


@dataclass(frozen=True, kw_only=True)
class LocalDay:
    """``index`` counts from the city's first day; ``utc`` holds the start of each hour, ``wall`` its local
    hour: 0, 1, 3 … 23 in spring, 0, 1, 2, 2, 3 … 23 in autumn."""

    index: int
    day: date
    utc: tuple[datetime, ...]
    wall: Ints

    @property
    def hours(self) -> int:
        return len(self.utc)

    @property
    def ordinal(self) -> int:
        return self.day.toordinal()

    @property
    def weekend(self) -> bool:
        return self.day.weekday() >= 5

    @property
    def second_pass(self) -> int | None:
        """Which hour repeats the local hour before it; None on all days but one a year."""
        repeated = np.flatnonzero(np.diff(self.wall) == 0)
        return int(repeated[0]) + 1 if repeated.size else None

    def texts(self, form: str) -> list[str]:
        """The start of each hour in UTC."""
        return [hour.strftime(form) for hour in self.utc]

    def wall_texts(self, form: str) -> list[str]:
        """The start of each hour in local time; ``form`` says no offset, as the sources say none."""
        return [datetime(self.day.year, self.day.month, self.day.day, int(hour)).strftime(form) for hour in self.wall]


def local_days(*, start: date, days: int, zone: ZoneInfo = COPENHAGEN) -> list[LocalDay]:
    """``days`` local days from ``start``."""
    return [_local_day(index, start + timedelta(days=index), zone) for index in range(days)]


def _local_day(index: int, day: date, zone: ZoneInfo) -> LocalDay:
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    after = day + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=zone).astimezone(UTC)
    utc = tuple(midnight + timedelta(hours=hour) for hour in range((end - midnight) // timedelta(hours=1)))
    wall = np.array([hour.astimezone(zone).hour for hour in utc], dtype=np.int64)
    return LocalDay(index=index, day=day, utc=utc, wall=wall)


def periods(*, days: list[LocalDay], period: Literal["month", "day"]) -> list[list[LocalDay]]:
    """The days of each file."""
    if period == "day":
        return [[day] for day in days]
    return [list(group) for _, group in groupby(days, key=lambda day: (day.day.year, day.day.month))]


def span_name(days: list[LocalDay]) -> str:
    """``2024-10-10_2024-10-31``, or the day alone."""
    first, last = days[0].day.isoformat(), days[-1].day.isoformat()
    return first if first == last else f"{first}_{last}"


@cache
def times_of_day() -> pl.Series:
    """``HH:MM:SS`` of each of a day's 86,400 seconds."""
    nanoseconds = pl.Series("time", np.arange(86_400, dtype=np.int64) * 1_000_000_000)
    return nanoseconds.cast(pl.Time).dt.strftime("%H:%M:%S")
