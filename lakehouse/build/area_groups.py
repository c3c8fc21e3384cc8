"""Groups of areas that stand for a period: given to a build as the release has them, and read from it where new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import duckdb

from lakehouse.build.periods import span_of
from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AreaPartition
from lakehouse.release.manifest import AreaGroup
from lakehouse.storage.sql import identifier, literal

INSTANT = timedelta(microseconds=1)


def write_area_groups(connection: duckdb.DuckDBPyConnection, areas: Iterable[tuple[str, AreaGroup]]) -> None:
    """Makes ``published.area_groups``, one row a mart, period, kind of unit and area."""
    connection.execute("CREATE SCHEMA published")
    connection.execute(
        "CREATE TABLE published.area_groups (mart VARCHAR, period_utc TIMESTAMPTZ, kind VARCHAR, area_code VARCHAR, "
        "group_code VARCHAR, group_name VARCHAR)"
    )
    for mart, group in sorted(areas, key=lambda entry: (entry[0], entry[1].period, entry[1].kind, entry[1].code)):
        connection.execute(
            "INSERT INTO published.area_groups SELECT $mart, $period::TIMESTAMPTZ, $kind, unnest($areas), $code, $name",
            {"mart": mart, "areas": list(group.areas), **group.model_dump(include={"period", "kind", "code", "name"})},
        )


def read_area_groups(
    connection: duckdb.DuckDBPyConnection, policy: AreaPartition, mart: Mart, partitions: Sequence[str]
) -> set[AreaGroup]:
    """The groups of the periods that these partitions of the mart lie in."""
    schema, _, relation = policy.groups.partition(".")
    spans = [span_of(partition, mart.exchange.partition.grain) for partition in partitions]
    built = " OR ".join(
        f"month_utc BETWEEN date_trunc('month', {literal(span.start.isoformat())}::TIMESTAMPTZ) "
        f"AND {literal((span.end - INSTANT).isoformat())}::TIMESTAMPTZ"
        for span in spans
    )
    groups = f"{identifier(schema)}.{identifier(relation)}"
    code, name = identifier(f"merged_{policy.area}"), identifier(f"merged_{policy.name}")
    rows = connection.execute(
        f"""
        SELECT strftime(period_utc, '%Y-%m-%d'), kind, {code}, any_value({name}),
               list(DISTINCT {identifier(policy.area)}::VARCHAR ORDER BY {identifier(policy.area)}::VARCHAR)
        FROM {groups} WHERE period_utc IN (SELECT period_utc FROM {groups} WHERE {built or "false"})
        GROUP BY period_utc, kind, {code}
        """
    ).fetchall()
    return {
        AreaGroup(period=period, kind=kind, code=group, name=named, areas=tuple(areas))
        for period, kind, group, named, areas in rows
    }
