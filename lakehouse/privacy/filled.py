"""Columns of a mart that its SQL leaves empty and the build fills: with noise, or but for what is withheld."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from lakehouse.contracts.mart import Mart
from lakehouse.storage.sql import identifier


class MeasureNotEmpty(RuntimeError):
    """The mart's own SQL fills a column that only the build may fill."""


def require_empty(connection: duckdb.DuckDBPyConnection, mart: Mart, names: Iterable[str]) -> None:
    """Raises :class:`MeasureNotEmpty` where a row of ``marts.<mart>`` has a value in one of the columns."""
    names = list(names)
    filled = " OR ".join(f"{identifier(name)} IS NOT NULL" for name in names)
    found = connection.execute(f"SELECT count(*) FROM marts.{identifier(mart.name)} WHERE {filled}").fetchone()
    if found is None or found[0]:
        raise MeasureNotEmpty(
            f"{mart.name}.sql fills {', '.join(names)} itself; leave them empty (cast(null as …)), for the build"
        )
