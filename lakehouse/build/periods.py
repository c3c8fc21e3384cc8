"""Partitions as spans of time: which of one dataset overlap which of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Grain = Literal["day", "month", "year"]


@dataclass(frozen=True, order=True)
class Span:
    """A half-open span of time, UTC."""

    start: datetime
    end: datetime

    def widened(self, margin: timedelta) -> Span:
        return Span(self.start - margin, self.end + margin)

    def overlaps(self, other: Span) -> bool:
        return self.start < other.end and other.start < self.end

    def common(self, other: Span) -> timedelta:
        """How long both are."""
        return max(min(self.end, other.end) - max(self.start, other.start), timedelta(0))


def span_of(partition: str, grain: Grain) -> Span:
    """The span of ``2024-10-27``, ``2024-10-01`` or ``2024-10``, ``2024-01-01`` or ``2024``, by grain."""
    year, month, day = ([int(part) for part in partition.split("-")] + [1, 1])[:3]
    start = datetime(year, month if grain != "year" else 1, day if grain == "day" else 1, tzinfo=UTC)
    return Span(start, _next(start, grain))


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same time in the fewest spans, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def partition_names(span: Span, grain: Grain) -> Iterator[str]:
    """Names of the partitions of a grain that a span overlaps: ``2024-10-27``, ``2024-10`` or ``2024``."""
    start = datetime(span.start.year, 1 if grain == "year" else span.start.month, 1, tzinfo=UTC)
    if grain == "day":
        start = start.replace(day=span.start.day)
    while start < span.end:
        yield f"{start:%Y-%m-%d}"[: {"day": 10, "month": 7, "year": 4}[grain]]
        start = _next(start, grain)


def _next(start: datetime, grain: Grain) -> datetime:
    if grain == "day":
        return start + timedelta(days=1)
    if grain == "month":
        return (start + timedelta(days=32)).replace(day=1)
    return start.replace(year=start.year + 1)
