"""The gate's own recount: what a cell says of its period."""

import duckdb
import pytest

from lakehouse.contracts.mart import read_mart
from lakehouse.contracts.policy import AggregatePolicy
from lakehouse.privacy.gathered import gather
from lakehouse.privacy.thresholds import recount
from tests.mini_exchange import PROJECT, WATER


@pytest.mark.parametrize(
    ("grain", "starts", "hours", "broken"),
    [
        ("day", "2024-10-01 00:00:00+00", 24, 0),
        ("day", "2024-10-01 00:00:00.000159+00", 24, 1),
        ("day", "2024-10-01 00:00:00+00", 183, 1),
        ("hour", "2024-10-01 05:00:00+00", 1, 0),
        ("hour", "2024-10-01 05:00:00+00", 2, 1),
        ("month", "2024-10-01 00:00:00+00", 744, 0),
        ("month", "2024-10-02 00:00:00+00", 744, 1),
        ("month", "2024-11-01 00:00:00+00", 744, 1),
        ("week", "2024-10-01 00:00:00+00", 1, 1),
    ],
)
def test_a_period_starts_and_lasts_as_its_grain_says(grain: str, starts: str, hours: int, broken: int) -> None:
    mart = read_mart(PROJECT / "dbt_project" / "models" / "marts" / f"{WATER}.yml")
    policy = mart.exchange.privacy
    assert isinstance(policy, AggregatePolicy)
    with duckdb.connect() as connection:
        connection.execute(
            f"""
            SET TimeZone = 'Europe/Copenhagen'; CREATE SCHEMA marts; CREATE SCHEMA anonymised;
            CREATE TABLE anonymised.water_contributions AS SELECT 'north' AS area, '{grain}' AS period_grain,
                TIMESTAMPTZ '{starts}' AS period_start_utc, unit, 10 AS contribution FROM range(5) AS units (unit);
            CREATE TABLE marts.{WATER} AS SELECT 'north' AS area, '{grain}' AS period_grain,
                TIMESTAMPTZ '{starts}' AS period_start_utc, {hours} AS period_hours, 5 AS households, 50 AS water_use_l
            """
        )
        gather(connection, mart, policy)
        found = {violation.rule: violation.cells for violation in recount(connection, mart=mart, policy=policy)}
    assert found["period_is_of_its_grain"] == broken
    assert found["published_sum_is_true"] == found["published_count_is_true"] == 0
