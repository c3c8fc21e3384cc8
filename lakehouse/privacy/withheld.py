"""Tables with totals: their cells filled into the mart, but for those that are withheld."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import SuppressPolicy
from lakehouse.privacy.filled import require_empty
from lakehouse.privacy.suppression import Bools, Table, Unprotectable, suppress, unprotected
from lakehouse.privacy.tables import number_cells, read_table
from lakehouse.storage.sql import identifier, literal

# Names of a table's cells that are withheld, each by its dimensions.
Pattern = frozenset[tuple[str, ...]]


class PatternBroken(RuntimeError):
    """The cells that a period withholds do not protect one of its partitions."""


def period_of(policy: SuppressPolicy, partition: str) -> str:
    """The period of a partition, within which the pattern stands: ``2024`` of ``2024-10-27``."""
    return partition[: {"year": 4, "month": 7, "day": 10}[policy.period]]


def fill_but_withheld(
    connection: duckdb.DuckDBPyConnection,
    mart: Mart,
    policy: SuppressPolicy,
    partitions: Mapping[str, str],
    standing: Mapping[str, Pattern],
) -> dict[str, Pattern]:
    """Fills the measure in ``marts.<mart>`` for some partitions (by name a condition in SQL). Returns each period's
    pattern. A ``standing`` one, of what is published of its period, is kept to the cell.

    Raises :class:`lakehouse.privacy.filled.MeasureNotEmpty`, :class:`lakehouse.privacy.tables.TableNotSound` and
    :class:`PatternBroken`.
    """
    require_empty(connection, mart, [policy.measure])
    periods: dict[str, list[str]] = defaultdict(list)
    for partition in sorted(partitions):
        periods[period_of(policy, partition)].append(partition)
    patterns: dict[str, Pattern] = {}
    for period, names in periods.items():
        tables: dict[str, tuple[Table, list[tuple[str, ...]]]] = {}
        for name in names:
            number_cells(connection, mart, policy, partitions[name])
            tables[name] = (read_table(connection, mart, policy, partitions[name]), _names(connection, policy))
        patterns[period] = _pattern(mart, policy, period, tables, standing.get(period))
        for name, (table, cells) in tables.items():
            if patterns[period].issuperset(cells):
                # No cell may be published: then there is no table either.
                connection.execute(f"DELETE FROM marts.{identifier(mart.name)} WHERE {partitions[name]}")
            else:
                _fill(connection, mart, policy, partitions[name], table, cells, patterns[period])
    return patterns


def _pattern(
    mart: Mart,
    policy: SuppressPolicy,
    period: str,
    tables: Mapping[str, tuple[Table, list[tuple[str, ...]]]],
    standing: Pattern | None,
) -> Pattern:
    """One for all partitions of a period that are built together: withholding more in one protects no other less.
    Of a table that cannot be protected every cell is withheld."""
    if standing is not None:
        for name, (table, cells) in tables.items():
            if left := unprotected(table, _mask(cells, standing), k=policy.k, percent=policy.protection_percent):
                raise PatternBroken(
                    f"{left:,} cells of {name} are not protected by what {period} withholds since its first release; "
                    f"publish {name} under a new major of {mart.name}, or leave it out"
                )
        return standing
    pattern, grown = Pattern(), True
    while grown:
        before = pattern
        for table, cells in tables.values():
            try:
                withheld = suppress(
                    table, k=policy.k, percent=policy.protection_percent, at_least=_mask(cells, pattern)
                )
            except Unprotectable:
                withheld = np.ones(len(cells), dtype=bool)
            pattern |= {cells[cell] for cell in np.flatnonzero(withheld)}
        grown = len(tables) > 1 and pattern != before
    return pattern


def _mask(cells: list[tuple[str, ...]], pattern: Pattern) -> Bools:
    return np.array([cell in pattern for cell in cells], dtype=bool)


def _names(connection: duckdb.DuckDBPyConnection, policy: SuppressPolicy) -> list[tuple[str, ...]]:
    names = ", ".join(identifier(one.column) for one in policy.dimensions)
    return connection.execute(f"SELECT {names} FROM table_cells ORDER BY cell").fetchall()


def _fill(
    connection: duckdb.DuckDBPyConnection,
    mart: Mart,
    policy: SuppressPolicy,
    partition: str,
    table: Table,
    cells: list[tuple[str, ...]],
    pattern: Pattern,
) -> None:
    published = ~_mask(cells, pattern)
    columns = [one.column for one in policy.dimensions]
    shown = pa.table(
        {name: pa.array([cell[place] for cell in cells], pa.string()) for place, name in enumerate(columns)}
        | {"shown": pa.array(table.cell_values, mask=~published)}
    )
    connection.register("shown_cells", shown)
    same = " AND ".join(f"filled.{identifier(name)} = shown_cells.{identifier(name)}" for name in columns)
    connection.execute(
        f"UPDATE marts.{identifier(mart.name)} AS filled SET {identifier(policy.measure)} = shown "
        f"FROM shown_cells WHERE {same} AND ({partition})"
    )
    connection.unregister("shown_cells")


def withheld_in(connection: duckdb.DuckDBPyConnection, policy: SuppressPolicy, file: Path) -> Pattern:
    """The pattern of a published or built file."""
    names = ", ".join(identifier(one.column) for one in policy.dimensions)
    rows = connection.execute(
        f"SELECT DISTINCT {names} FROM read_parquet({literal(str(file))}, hive_partitioning=false) "
        f"WHERE {identifier(policy.measure)} IS NULL"
    ).fetchall()
    return frozenset(rows)
