"""Groups of areas stand for a period: what one build decides, the release keeps and the next build finds."""

from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest

from lakehouse.build.area_groups import read_area_groups, write_area_groups
from lakehouse.contracts.mart import read_mart
from lakehouse.contracts.policy import AggregatePolicy, AreaPartition, Ceiling
from lakehouse.privacy.words import areas_in_words, in_words
from lakehouse.release.compose import standing_areas
from lakehouse.release.manifest import AreaGroup
from tests.mini_exchange import PROJECT, WATER

POLICY = AreaPartition(area="area", name="label", k=2, frozen_for="quarter", groups="anonymised.areas")
MART = read_mart(PROJECT / "dbt_project" / "models" / "marts" / f"{WATER}.yml")


def group(period: str, *areas: str, kind: str = "simulated=true") -> AreaGroup:
    return AreaGroup(period=period, kind=kind, code="+".join(areas), name=", ".join(areas), areas=areas)


OCTOBER, MERGED = group("2024-10-01", "a"), group("2024-10-01", "b", "c")


@pytest.fixture
def connection() -> Any:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA anonymised")
        connection.execute(
            """
            CREATE TABLE anonymised.areas AS SELECT * FROM (VALUES
                (TIMESTAMPTZ '2024-07-01', 'simulated=true', TIMESTAMPTZ '2024-09-01', 'a', 'a', 'a'),
                (TIMESTAMPTZ '2024-10-01', 'simulated=true', TIMESTAMPTZ '2024-10-01', 'a', 'a', 'a'),
                (TIMESTAMPTZ '2024-10-01', 'simulated=true', TIMESTAMPTZ '2024-10-01', 'b', 'b+c', 'b, c'),
                (TIMESTAMPTZ '2024-10-01', 'simulated=true', TIMESTAMPTZ '2024-10-01', 'c', 'b+c', 'b, c'),
                (TIMESTAMPTZ '2024-10-01', 'simulated=true', TIMESTAMPTZ '2024-11-01', 'b', 'b+c', 'b, c')
            ) AS rows(period_utc, kind, month_utc, area, merged_area, merged_label)
            """
        )
        yield connection


def test_the_groups_of_a_period_are_read_whole_and_given_to_the_next_build(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    assert read_area_groups(connection, POLICY, MART, ["2024-11"]) == {OCTOBER, MERGED}
    assert read_area_groups(connection, POLICY, MART, []) == set()
    write_area_groups(connection, [(WATER, MERGED), (WATER, OCTOBER)])
    rows = connection.execute("FROM published.area_groups ORDER BY area_code").fetchall()
    start = datetime(2024, 10, 1, tzinfo=UTC)
    assert rows == [
        (WATER, start, "simulated=true", "a", "a", "a"),
        (WATER, start, "simulated=true", "b", "b+c", "b, c"),
        (WATER, start, "simulated=true", "c", "b+c", "b, c"),
    ]


def test_a_release_keeps_the_groups_of_every_period_and_the_first_ones_stand() -> None:
    first = standing_areas([MERGED, OCTOBER], [])
    january, real = group("2025-01-01", "a", "b", "c"), group("2024-10-01", "t", kind="simulated=false")
    later = standing_areas([january, real, OCTOBER.model_copy(update={"name": "another"})], first)
    assert later == (real, OCTOBER, MERGED, january)
    assert standing_areas([], later) == later


def test_the_report_says_in_words_who_is_published_together() -> None:
    policy = MART.exchange.privacy
    assert isinstance(policy, AggregatePolicy)
    said = in_words(policy.model_copy(update={"partition": POLICY}))
    assert "until each group holds 2 households, and the groups stand for a quarter." in said
    assert "merged" not in in_words(policy)
    assert areas_in_words([OCTOBER, MERGED]) == "a (from 2024-10-01); b, c (from 2024-10-01)"
    assert areas_in_words([OCTOBER] * 14).endswith(" and 2 more")


def test_the_report_says_in_words_who_is_left_out() -> None:
    policy = MART.exchange.privacy.model_copy(update={"ceiling": Ceiling(times_median=5, among=["unit_type"])})
    assert "above 5 times the median of the same unit_type in a month is in none" in in_words(policy)
