"""A mart with totals for tests: homes by kind of building, period of construction (in eras) and energy label."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import SuppressPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.table_record import PublishedTable, add_table, keep_table, make_tables
from lakehouse.privacy.withheld import Pattern, fill_but_withheld
from tests.mart_files import lone_mart

TABLE = "homes_by_building"
YML = f"""version: 2
models:
  - name: {TABLE}
    description: "Homes by building, with totals."
    config:
      contract: {{enforced: true}}
      meta:
        exchange:
          title: "Homes by building"
          theme: ENER
          licence: {{id: CC0-1.0, url: https://creativecommons.org/publicdomain/zero/1.0/}}
          access: open
          price: null
          major: 1
          key: [kind, period, label, as_of]
          partition: {{column: as_of, grain: year}}
          freshness_hours: 9600
          approval: auto
          privacy:
            kind: suppress
            unit: household
            unit_column: home_id
            measure: homes
            k: 5
            dimensions:
              - {{column: kind, total: all kinds}}
              - {{column: period, levels: [decade, era], total: all periods}}
              - {{column: label, total: all labels}}
            contributions: anonymised.building_contributions
            classes: conformed.building_classes
            cap: {{value: 1, unit: homes}}
    columns:
      - {{name: kind, data_type: varchar, description: Kind, constraints: [{{type: not_null}}]}}
      - {{name: period, data_type: varchar, description: Period, constraints: [{{type: not_null}}]}}
      - {{name: label, data_type: varchar, description: Label, constraints: [{{type: not_null}}]}}
      - {{name: as_of, data_type: bigint, description: Year, constraints: [{{type: not_null}}], config: {{meta: {{unit: a}}}}}}
      - {{name: homes, data_type: bigint, description: Homes, config: {{meta: {{unit: homes}}}}}}
"""
KINDS, LABELS = ("house", "flat"), ("A", "B", "C")
ERAS = {"1950s": "old", "1960s": "old", "1990s": "new", "not known": "not known"}
LEAVES = list(itertools.product(KINDS, ERAS, LABELS))
Counts = Mapping[tuple[str, str, str], int]


def table_mart(folder: Path, **changes: str) -> Mart:
    """The mart by itself, with parts of its yml replaced (``k__5="3"`` for ``k: 5``, say)."""
    return lone_mart(folder, TABLE, YML, changes)


def suppress_policy(mart: Mart) -> SuppressPolicy:
    policy = mart.exchange.privacy
    assert isinstance(policy, SuppressPolicy)
    return policy


def some_counts(seed: int, *, mean: float = 12.0) -> dict[tuple[str, str, str], int]:
    """Homes in each finest class, few in some of them."""
    chance = np.random.default_rng(seed)
    return {leaf: int(count) for leaf, count in zip(LEAVES, chance.geometric(1 / mean, len(LEAVES)) - 1, strict=True)}


def build_database(years: Mapping[int, Counts]) -> duckdb.DuckDBPyConnection:
    """A build's database as dbt leaves it: classes and contributions of some years, and the mart without numbers."""
    connection = duckdb.connect()
    for schema in ("anonymised", "conformed", "marts"):
        connection.execute(f"CREATE SCHEMA {schema}")
    classes = pa.table([list(column) for column in zip(*LEAVES, strict=True)], names=["kind", "decade", "label"])
    eras = pa.table([list(ERAS), list(ERAS.values())], names=["decade", "era"])
    connection.register("leaves", classes)
    connection.register("eras", eras)
    listed = ", ".join(f"({year})" for year in years)
    connection.execute(
        "CREATE TABLE conformed.building_classes AS "
        f"SELECT * FROM leaves JOIN eras USING (decade) CROSS JOIN (VALUES {listed}) AS years(as_of)"
    )
    connection.execute(
        "CREATE TABLE anonymised.building_contributions "
        "(unit VARCHAR, kind VARCHAR, decade VARCHAR, era VARCHAR, label VARCHAR, as_of INTEGER, contribution BIGINT)"
    )
    for year, counts in years.items():
        add_homes(connection, counts, year)
    connection.execute(
        f"""
        CREATE TABLE marts.{TABLE} AS
        SELECT kind, period, label, as_of::BIGINT AS as_of, NULL::BIGINT AS homes
        FROM (SELECT DISTINCT unnest([kind, 'all kinds']) AS kind FROM leaves),
             (SELECT DISTINCT unnest([decade, era, 'all periods']) AS period FROM eras),
             (SELECT DISTINCT unnest([label, 'all labels']) AS label FROM leaves),
             (VALUES {listed}) AS years(as_of)
        """
    )
    return connection


def add_homes(connection: duckdb.DuckDBPyConnection, counts: Counts, year: int) -> None:
    """Each home is called after its class and number, so that it is the same one in every year that has it."""
    for (kind, decade, label), count in counts.items():
        connection.execute(
            "INSERT INTO anonymised.building_contributions "
            "SELECT concat_ws('/', $k, $d, $l, n), $k, $d, $e, $l, $y, 1 FROM range($n) AS homes(n)",
            {"k": kind, "d": decade, "e": ERAS[decade], "l": label, "y": year, "n": count},
        )


def filled(
    connection: duckdb.DuckDBPyConnection, mart: Mart, years: Iterable[int] = (2024,), **standing: Pattern
) -> Pattern:
    """Fills some years of the mart, and returns the pattern of the last."""
    partitions = {str(year): f"as_of = {year}" for year in years}
    patterns = fill_but_withheld(connection, mart, suppress_policy(mart), partitions, standing.get("standing", {}))
    return patterns[max(patterns)]


def recorded(
    connection: duckdb.DuckDBPyConnection, mart: Mart, exchange: Exchange, folder: Path, years: Iterable[int] = (2024,)
) -> duckdb.DuckDBPyConnection:
    """The records of a build's years, as the attacks read them; the first year is the one in question."""
    partitions = {str(year): f"as_of = {year}" for year in years}
    policy = suppress_policy(mart)
    keep_table(
        exchange, connection=connection, mart=mart, policy=policy, candidate="c1", partitions=partitions, folder=folder
    )
    attacked = duckdb.connect()
    read_into(attacked, exchange, mart, list(partitions))
    return attacked


def read_into(attacked: duckdb.DuckDBPyConnection, exchange: Exchange, mart: Mart, partitions: list[str]) -> None:
    make_tables(attacked)
    for number, partition in enumerate(partitions):
        entry = PublishedTable(
            mart=mart.name,
            candidate="c1",
            release="c1",
            grain="year",
            partition=partition,
            policy=suppress_policy(mart),
        )
        paths = [
            exchange.lake.local_path("audit", f"{mart.name}/c1/year={partition}/{name}.parquet")
            for name in ("cells", "members")
        ]
        assert paths[0] is not None
        assert paths[1] is not None
        add_table(attacked, entry, number, paths[0], paths[1])
