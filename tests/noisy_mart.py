"""A mart with noise for the small exchange: households that used water, by area and hour of their reading."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import DpPolicy
from tests.mart_files import add_mart, lone_mart
from tests.mini_exchange import Mini

NOISY = "homes_by_area_hour"
BUDGET = "rho: 0.5, partitions_a_year: 3, year_rho: 1.5, lifetime_rho: 3"
YML = f"""version: 2
models:
  - name: {NOISY}
    description: "Households whose meter was read, with noise."
    config:
      contract: {{enforced: true}}
      meta:
        exchange:
          title: "Homes by area"
          theme: ENVI
          licence: {{id: CC0-1.0, url: https://creativecommons.org/publicdomain/zero/1.0/}}
          access: open
          price: null
          major: 1
          key: [area, hour_utc]
          partition: {{column: hour_utc, grain: month}}
          freshness_hours: 1080
          approval: auto
          privacy:
            kind: dp
            mechanism: discrete_gaussian
            unit: household
            unit_column: meter_id
            population: mini_households
            measure: homes
            contributions: anonymised.home_contributions
            key_set: conformed.area_hours
            cap: {{value: 4, unit: homes}}
            budget: {{{BUDGET}}}
    columns:
      - {{name: area, data_type: varchar, description: Area, constraints: [{{type: not_null}}]}}
      - {{name: hour_utc, data_type: timestamp with time zone, description: Hour, constraints: [{{type: not_null}}]}}
      - {{name: homes, data_type: bigint, description: Homes, config: {{meta: {{unit: homes}}}}}}
      - {{name: error_90, data_type: bigint, description: Error, config: {{meta: {{unit: homes}}}}}}
      - {{name: standard_error, data_type: "decimal(9, 2)", description: Error, config: {{meta: {{unit: homes}}}}}}
"""
MODELS = {
    f"marts/{NOISY}.yml": YML,
    f"marts/{NOISY}.sql": """select area, hour_utc, cast(null as bigint) as homes, cast(null as bigint) as error_90,
        cast(null as decimal(9, 2)) as standard_error from {{ ref('area_hours') }}""",
    "conformed/area_hours.sql": """select area, hour_utc from calendar.hours
        cross join (select unnest(['north', 'south', 'harbour', 'hills']) as area) as areas""",
    "anonymised/home_contributions.sql": """select area, read_at as hour_utc, meter_id as unit
        from {{ ref('stg_utility__meter_readings') }} inner join {{ ref('stg_utility__meters') }} using (meter_id)""",
}
SUITE = """{"name": "homes_by_area_hour", "expectations": [{"type": "expect_column_values_to_not_be_null",
 "kwargs": {"column": "homes"}, "severity": "critical", "meta": {"notes": "Noise is in every cell."}}]}"""


def add_noisy_mart(mini: Mini) -> None:
    """Its budget is just enough for the five months that the exchange's readings bear on."""
    budget = "rho: 0.5, partitions_a_year: 5, year_rho: 2.5, lifetime_rho: 5"
    models = {place: text.replace(BUDGET, budget) for place, text in MODELS.items()}
    add_mart(mini.root / "project", NOISY, models=models, suite=SUITE)


def noisy_mart(folder: Path, **changes: str) -> Mart:
    """The mart by itself, with parts of its yml replaced (``value__4="2"`` for ``value: 4``, say)."""
    return lone_mart(folder, NOISY, YML, changes)


def dp_policy(mart: Mart) -> DpPolicy:
    policy = mart.exchange.privacy
    assert isinstance(policy, DpPolicy)
    return policy


def build_database(
    contributions: Iterable[tuple[str | None, str, str]], *, hours: int = 6
) -> duckdb.DuckDBPyConnection:
    """A build's database as dbt leaves it: rows of unit, area and hour, the areas a to d, and an empty mart."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for schema in ("anonymised", "conformed", "marts"):
        connection.execute(f"CREATE SCHEMA {schema}")
    connection.execute(
        "CREATE TABLE conformed.area_hours AS SELECT area, hour_utc FROM unnest(['a', 'b', 'c', 'd']) AS areas(area), "
        f"(SELECT unnest(range(TIMESTAMPTZ '2024-10-01', TIMESTAMPTZ '2024-10-01' + INTERVAL {hours} HOUR, "
        "INTERVAL 1 HOUR)) AS hour_utc)"
    )
    connection.execute("CREATE TABLE anonymised.home_contributions (unit VARCHAR, area VARCHAR, hour_utc TIMESTAMPTZ)")
    rows = list(contributions)
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        given = pa.table(columns, names=["unit", "area", "hour_utc"])
        connection.register("given", given)
        connection.execute("INSERT INTO anonymised.home_contributions SELECT unit, area, hour_utc FROM given")
        connection.unregister("given")
    connection.execute(
        f"CREATE TABLE marts.{NOISY} AS SELECT area, hour_utc, NULL::BIGINT AS homes, NULL::BIGINT AS error_90, "
        "NULL::DECIMAL(9, 2) AS standard_error FROM conformed.area_hours"
    )
    return connection
