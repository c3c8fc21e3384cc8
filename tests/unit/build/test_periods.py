from datetime import UTC, datetime, timedelta

import pytest

from lakehouse.build.periods import Grain, Span, partition_names, span_of


@pytest.mark.parametrize(
    ("partition", "grain", "first", "end"),
    [
        ("2024-02-29", "day", datetime(2024, 2, 29), datetime(2024, 3, 1)),
        ("2024-12", "month", datetime(2024, 12, 1), datetime(2025, 1, 1)),
        # Clean partitions are named by their first day, whatever their grain.
        ("2024-12-01", "month", datetime(2024, 12, 1), datetime(2025, 1, 1)),
        ("2024", "year", datetime(2024, 1, 1), datetime(2025, 1, 1)),
        ("2024-01-01", "year", datetime(2024, 1, 1), datetime(2025, 1, 1)),
    ],
)
def test_a_partition_spans_its_period(partition: str, grain: Grain, first: datetime, end: datetime) -> None:
    assert span_of(partition, grain) == Span(first.replace(tzinfo=UTC), end.replace(tzinfo=UTC))


def test_a_span_overlaps_the_partitions_that_it_enters_and_not_those_that_it_only_meets() -> None:
    month = span_of("2024-12", "month")
    assert list(partition_names(month, "month")) == ["2024-12"]
    assert list(partition_names(month, "year")) == ["2024"]
    assert len(list(partition_names(month, "day"))) == 31
    assert list(partition_names(month.widened(timedelta(hours=24)), "month")) == ["2024-11", "2024-12", "2025-01"]
    assert list(partition_names(span_of("2025-01-01", "day").widened(timedelta(hours=1)), "year")) == ["2024", "2025"]
