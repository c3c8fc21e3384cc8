"""The hours, days, months or years (UTC) for each of which a source has a file."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

# Of each period: a time that is sure to reach into the next one, and the form that keeps its beginning.
_LONGER = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "month": timedelta(days=32),
    "year": timedelta(days=367),
}
_BEGINNING = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}


def periods(start: datetime, end: datetime, every: str) -> Iterator[tuple[datetime, datetime]]:
    """Each that `[start, end)` touches, whole."""
    first = _floor(start.astimezone(UTC), every)
    while first < end:
        following = _floor(first + _LONGER[every], every)
        yield first, following
        first = following


def _floor(moment: datetime, period: str) -> datetime:
    """The beginning of the period that holds the moment."""
    form = _BEGINNING[period]
    return datetime.strptime(moment.strftime(form), form).replace(tzinfo=UTC)
