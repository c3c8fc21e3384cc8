"""Rows of a unit, matched by the mart's key: added, removed and restated, with the values of both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.release.diff.columns import Value, is_number, values_of
from lakehouse.release.diff.sides import Side, Unit
from lakehouse.storage.sql import identifier, literal

BATCH = 122_880
EXAMPLES = 5


class RowChanges:
    """Gathers the changes of one unit after the other and appends them to ``path``; memory is DuckDB's own.

    Of the views ``before`` and ``after`` a row each has: ``diff_change`` (added, removed, restated),
    ``diff_partition``, ``diff_columns`` (those that were restated), the key, and of each other column its
    ``_before`` and ``_after``.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, before: Side, after: Side, path: Path) -> None:
        self._connection, self._path = connection, path
        self._key = after.key
        self._values = values_of(before, after)
        self._writer: pq.ParquetWriter | None = None
        self.restated: Counter[str] = Counter()
        self._examples: dict[str, list[tuple[float, dict[str, Any]]]] = {}

    def add(self, unit: Unit) -> dict[str, int | None]:
        """Counts of the unit; ``None`` each where a key stands twice on one side, for then no row can be matched."""
        if any(self._repeats(side) for side in ("before", "after")):
            return {"added": None, "removed": None, "restated": None}
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE matched AS {self._matched(unit.name)}")
        counts: dict[str, int] = dict(
            self._connection.execute("SELECT diff_change, count(*) FROM matched GROUP BY ALL").fetchall()
        )
        if counts.get("restated"):
            self._note_restated()
        self._append()
        return {change: counts.get(change, 0) for change in ("added", "removed", "restated")}

    def close(self) -> None:
        """Ends the file; where nothing was appended it has the columns and no row."""
        if self._writer is None:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE matched AS {self._matched('')} LIMIT 0")
            self._append()
        if self._writer is not None:
            self._writer.close()

    def examples(self, column: str) -> list[dict[str, Any]]:
        """The rows with the largest changes of a number; of another column the first ones."""
        return [entry for _, entry in self._examples.get(column, [])]

    def _repeats(self, side: str) -> bool:
        keys = ", ".join(map(identifier, self._key))
        query = f"SELECT 1 FROM {identifier(side)} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"
        return self._connection.execute(query).fetchone() is not None

    def _matched(self, partition: str) -> str:
        compared = {value.name: value.differs for value in self._values if value.differs}
        named = ", ".join(f"CASE WHEN {differs} THEN {literal(name)} END" for name, differs in compared.items())
        columns = [
            "CASE WHEN b.exchange_side IS NULL THEN 'added' WHEN a.exchange_side IS NULL THEN 'removed' "
            "ELSE 'restated' END AS diff_change",
            f"{literal(partition)} AS diff_partition",
            "CASE WHEN b.exchange_side AND a.exchange_side "
            f"THEN list_filter([{named}]::VARCHAR[], lambda name: name IS NOT NULL) ELSE [] END AS diff_columns",
        ]
        columns += [f"coalesce(a.{identifier(name)}, b.{identifier(name)}) AS {identifier(name)}" for name in self._key]
        for value in self._values:
            sides = (("before", "b", value.before), ("after", "a", value.after))
            columns += [
                f"{alias}.{identifier(value.name)} AS {identifier(f'{value.name}_{side}')}"
                for side, alias, column in sides
                if column is not None
            ]
        same = " AND ".join(f"b.{identifier(name)} = a.{identifier(name)}" for name in self._key)
        differs = " OR ".join(["b.exchange_side IS NULL", "a.exchange_side IS NULL", *compared.values()])
        return (
            f'SELECT {", ".join(columns)} FROM (SELECT *, true AS exchange_side FROM "before") AS b '
            f'FULL JOIN (SELECT *, true AS exchange_side FROM "after") AS a ON {same} WHERE {differs}'
        )

    def _note_restated(self) -> None:
        named = "SELECT unnest(diff_columns) AS name FROM matched"
        found = self._connection.execute(f"SELECT name, count(*) FROM ({named}) GROUP BY ALL").fetchall()
        self.restated.update(dict(found))
        for value in self._values:
            if any(value.name == name for name, _ in found):
                kept = [*self._examples.get(value.name, []), *self._examples_of(value)]
                self._examples[value.name] = sorted(kept, key=lambda entry: -entry[0])[:EXAMPLES]

    def _examples_of(self, value: Value) -> list[tuple[float, dict[str, Any]]]:
        old, new = (identifier(f"{value.name}_{side}") for side in ("before", "after"))
        number = bool(value.before and value.after and is_number(value.before) and is_number(value.after))
        size = f"coalesce(abs({new}::DOUBLE - {old}::DOUBLE), 0)" if number else "0::DOUBLE"
        keys = ", ".join(map(identifier, self._key))
        texts = ", ".join(f"{identifier(name)}::VARCHAR" for name in self._key)
        rows = self._connection.execute(
            f"SELECT {size}, {old}::VARCHAR, {new}::VARCHAR, {texts} FROM matched "
            f"WHERE list_contains(diff_columns, {literal(value.name)}) ORDER BY 1 DESC, {keys} LIMIT {EXAMPLES}"
        ).fetchall()
        return [
            (float(size), {"key": dict(zip(self._key, key, strict=True)), "before": was, "after": now})
            for size, was, now, *key in rows
        ]

    def _append(self) -> None:
        keys = ", ".join(map(identifier, self._key))
        reader = self._connection.execute(f"FROM matched ORDER BY {keys}").to_arrow_reader(BATCH)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, reader.schema, compression="zstd", compression_level=3)
        for batch in reader:
            if batch.num_rows:
                self._writer.write_table(pa.Table.from_batches([batch]))


def restated_columns(changes: RowChanges, values: Sequence[Value]) -> list[dict[str, Any]]:
    """Of each column that was restated how many rows, and the examples."""
    return [
        {"column": value.name, "rows": changes.restated[value.name], "examples": changes.examples(value.name)}
        for value in values
        if changes.restated[value.name]
    ]
