"""A small city of households, set at a time in DuckDB, and what an exchange publishes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb

from lakehouse.privacy.membership import make_tables

K = 15
CAP = 1000


@dataclass
class Record:
    """What was published, as the audit reads it: one table of cells, one of members."""

    connection: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)
    releases: int = 0

    def __post_init__(self) -> None:
        self.connection.execute("SET TimeZone = 'UTC'; SET threads = 2")
        make_tables(self.connection)

    def use(self, *, households: int, areas: int, days: int, seed: int = 1) -> None:
        """``use``: each household's litres an area and day, of a hash, so that it is the same everywhere."""
        self.connection.execute(
            f"""
            CREATE OR REPLACE TABLE use AS
            SELECT unit::UBIGINT AS unit, 'a' || unit % {areas} AS area, 'h' || (unit // {areas}) % {areas} AS hexagon,
                   TIMESTAMPTZ '2024-03-01 00:00:00+00' + INTERVAL (day) DAY AS starts, 'day' AS grain,
                   (50 + hash(unit, day, {seed}) % 200)::BIGINT AS litres
            FROM range({households}) AS units(unit), range({days}) AS days(day)
            """
        )

    def publish(
        self, group: str = "area", where: str = "true", *, grain: str = "day", least: int = K, rule: str = ""
    ) -> int:
        """One release: cells of ``group`` and day (or all days as a month), where ``rule`` (SQL) lets them pass.
        Returns the number of cells."""
        self.releases += 1
        starts = "starts" if grain != "month" else "date_trunc('month', starts)"
        step = {"hour": "1 HOUR", "day": "1 DAY", "month": "1 MONTH"}[grain]
        [[first]] = self.connection.execute("SELECT coalesce(max(cell) + 1, 0) FROM cells").fetchall()
        self.connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE given AS
            SELECT {first} + dense_rank() OVER (ORDER BY {starts}, {group}) - 1 AS cell, {group}::VARCHAR AS name,
                   {starts} AS starts, unit, sum(litres)::BIGINT AS contribution
            FROM use WHERE {where} GROUP BY {group}, {starts}, unit;
            CREATE OR REPLACE TEMP TABLE kept AS
            SELECT cell, name, starts, count(*) AS units, sum(contribution)::BIGINT AS value FROM given
            GROUP BY ALL HAVING {rule or f'count(*) >= {least}'};
            INSERT INTO cells BY NAME
            SELECT cell, name || ' ' || strftime(starts, '%Y-%m-%d %H') AS name, name AS series, starts, starts + INTERVAL {step} AS ends,
                   '{grain}' AS grain, CASE '{grain}' WHEN 'hour' THEN 1 WHEN 'day' THEN 24 ELSE 744 END AS hours, units, value, 'mart of ' || $group AS mart,
                   'release {self.releases}' AS release, {least} AS least, {CAP} AS cap, 15 AS share, 10 AS p, {self.releases} = 1 AS mine FROM kept;
            INSERT INTO members SELECT cell, unit, contribution FROM given SEMI JOIN kept USING (cell)
            """.replace("$group", f"'{group.replace(chr(39), chr(39) * 2)}'")
        )  # fmt: skip
        return self.one("SELECT count(*) FROM kept")

    def one(self, query: str) -> Any:
        [[value]] = self.connection.execute(query).fetchall()
        return value

    def change(self, statement: str) -> None:
        self.connection.execute(statement)


@contextmanager
def record(**city: int) -> Iterator[Record]:
    made = Record()
    made.use(**city)
    try:
        yield made
    finally:
        made.connection.close()
