"""The published cells of a build and who is in them, joined once: the recount and the record both read it."""

from __future__ import annotations

import duckdb

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy
from lakehouse.storage.sql import identifier

CELLS, MEMBERS = "published_cells", "published_members"


def gather(
    connection: duckdb.DuckDBPyConnection, mart: Mart, policy: AggregatePolicy, *, published: str = "true"
) -> None:
    """Makes the temporary tables ``published_cells``, the rows of ``marts.<mart>`` for which the SQL condition
    ``published`` holds, each with a number ``published_cell``; and ``published_members``: ``published_cell``, ``unit``
    and ``contribution``.

    ``policy.contributions`` names a relation with the mart's key columns, ``unit`` and ``contribution`` (the unit's
    capped share of the cell, a whole number): one row a unit and cell. Raises ``duckdb.Error`` where there is none
    such. Cells are compared by their whole key once; after that all work is on whole numbers.
    """
    schema, _, relation = policy.contributions.partition(".")
    same = " AND ".join(
        f"{CELLS}.{identifier(name)} IS NOT DISTINCT FROM given.{identifier(name)}" for name in mart.exchange.key
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {CELLS} AS
        SELECT *, (row_number() OVER ())::INTEGER AS published_cell FROM marts.{identifier(mart.name)}
        WHERE {published};
        CREATE OR REPLACE TEMP TABLE {MEMBERS} AS
        SELECT published_cell, given.unit, contribution
        FROM {identifier(schema)}.{identifier(relation)} AS given JOIN {CELLS} ON {same}
        """
    )


def scatter(connection: duckdb.DuckDBPyConnection) -> None:
    """Drops them."""
    connection.execute(f"DROP TABLE IF EXISTS {CELLS}; DROP TABLE IF EXISTS {MEMBERS}")
