"""The comparison itself: only partitions whose bytes differ are opened, one after the other."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from lakehouse.exchange import Exchange
from lakehouse.release.diff.columns import column_changes, unmatched, values_of
from lakehouse.release.diff.measures import Measures
from lakehouse.release.diff.rows import RowChanges, restated_columns
from lakehouse.release.diff.sides import Part, Side, Unit, differing
from lakehouse.release.manifest import Column
from lakehouse.storage.sql import identifier, literal

FORMAT = "city-data-exchange/diff/1"
ROWS = "rows.parquet"


def compare(exchange: Exchange, *, before: Side | None, after: Side, rows: Path | None = None) -> dict[str, Any]:
    """What differs, as ``summary.json`` has it; ``before`` is ``None`` for a first release.

    ``rows``: the file to which each row that was added, removed or restated is written (see
    :class:`lakehouse.release.diff.rows.RowChanges`). Measures are those of the partitions that differ; a partition
    that is new is held against the one that stands just before it.
    """
    reason = unmatched(before, after)
    units = list(differing(before, after))
    partitions: list[dict[str, Any]] = []
    with _bench(exchange) as bench:
        measures = Measures(bench.connection, before, after)
        changes = None
        if before is not None and reason is None:
            changes = RowChanges(bench.connection, before, after, rows or bench.folder / ROWS)
        held = {part.file.partition: part for unit in units for part in unit.before}
        for unit in units:
            with bench.opened(before, after, unit):
                matched = changes.add(unit) if changes else _uncounted(before, unit)
                partitions.append(_partition(unit) | matched)
                measures.add("after")
                if unit.before:
                    measures.add("before")
        for part in _held_against(before, units, besides=held):
            with bench.opened(before, after, Unit(name="", before=(part,), after=())):
                measures.add("before")
            held[part.file.partition] = part
        if changes:
            with bench.opened(before, after, Unit(name="", before=(), after=())):
                changes.close()
        return {
            "format": FORMAT,
            "mart": after.mart,
            "before": before.name if before else None,
            "after": after.name,
            "major_before": before.major if before else None,
            "major_after": after.major,
            "key": list(after.key),
            "columns": column_changes(before, after),
            "rows_before": before.rows if before else 0,
            "rows_after": after.rows,
            "rows": _total(partitions),
            "unmatched": reason,
            "partitions_carried": _carried(before, after),
            "partitions": partitions,
            "restated": restated_columns(changes, values_of(before, after)) if changes else [],
            "measured": {
                "before": sorted(held),
                "after": sorted(part.file.partition for unit in units for part in unit.after),
            },
            "measures": measures.summary(),
        }


class _Bench:
    """A DuckDB on disk and a folder beside it, so that memory is bounded whatever differs."""

    def __init__(self, exchange: Exchange, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        self.connection, self.folder = connection, folder
        self._exchange, self._fetched = exchange, 0

    @contextlib.contextmanager
    def opened(self, before: Side | None, after: Side, unit: Unit) -> Iterator[None]:
        """The views ``before`` and ``after`` on the unit's files; what was downloaded for them is gone after."""
        fetched: list[Path] = []
        for name, columns, parts in (
            ("before", before.columns if before else (), unit.before),
            ("after", after.columns, unit.after),
        ):
            paths = [self._local(part, fetched) for part in parts]
            if columns:
                self.connection.execute(
                    f"CREATE OR REPLACE TEMP VIEW {identifier(name)} AS {_relation(columns, paths)}"
                )
        yield
        for path in fetched:
            path.unlink()

    def _local(self, part: Part, fetched: list[Path]) -> Path:
        # A name each: DuckDB remembers what it read of a path.
        self._fetched += 1
        target = self.folder / f"{self._fetched}.parquet"
        path = part.local(self._exchange, target)
        if path == target:
            fetched.append(path)
        return path


@contextlib.contextmanager
def _bench(exchange: Exchange) -> Iterator[_Bench]:
    with exchange.workplace("diff") as folder, exchange.duckdb(folder / "diff.duckdb") as connection:
        yield _Bench(exchange, connection, folder)


def _relation(columns: Sequence[Column], paths: Sequence[Path]) -> str:
    """In the types that the side states, whatever file they are read from."""
    if not paths:
        return "SELECT " + ", ".join(f"NULL::{c.type} AS {identifier(c.name)}" for c in columns) + " WHERE false"
    names = ", ".join(f"{identifier(c.name)}::{c.type} AS {identifier(c.name)}" for c in columns)
    listed = ", ".join(literal(str(path)) for path in paths)
    return f"SELECT {names} FROM read_parquet([{listed}], hive_partitioning=false, union_by_name=true)"


def _partition(unit: Unit) -> dict[str, Any]:
    change = "changed" if unit.before and unit.after else "added" if unit.after else "removed"
    return {
        "partition": unit.name,
        "change": change,
        "rows_before": sum(part.file.rows for part in unit.before),
        "rows_after": sum(part.file.rows for part in unit.after),
    }


def _uncounted(before: Side | None, unit: Unit) -> dict[str, int | None]:
    """Without a release before each row is new; of rows that cannot be matched nothing is known."""
    if before is None:
        return {"added": sum(part.file.rows for part in unit.after), "removed": 0, "restated": 0}
    return {"added": None, "removed": None, "restated": None}


def _held_against(before: Side | None, units: Iterable[Unit], *, besides: Mapping[str, Part]) -> list[Part]:
    """Of each partition that is new the one that stands just before it, unless it is measured already."""
    names = sorted(before.parts) if before else []
    if before is None or not names:
        return []
    wanted = {names[max(bisect_left(names, unit.name) - 1, 0)] for unit in units if not unit.before}
    return [before.parts[name] for name in sorted(wanted - besides.keys())]


def _total(partitions: Sequence[dict[str, Any]]) -> dict[str, int | None]:
    """In all; ``None`` where the rows of one partition could not be matched."""
    total: dict[str, int | None] = {}
    for change in ("added", "removed", "restated"):
        counts = [entry[change] for entry in partitions]
        total[change] = None if None in counts else sum(counts)
    return total


def _carried(before: Side | None, after: Side) -> int:
    if before is None:
        return 0
    old = {name: part.file.sha256 for name, part in before.parts.items()}
    return sum(old.get(name) == part.file.sha256 for name, part in after.parts.items())
