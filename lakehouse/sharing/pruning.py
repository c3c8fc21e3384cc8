"""Which files of a release can hold a row that is asked for: by their partition, then by their footers' bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from lakehouse.build.periods import span_of
from lakehouse.contracts.mart import Grain
from lakehouse.exchange import Exchange
from lakehouse.release.manifest import File, Manifest
from lakehouse.sharing.hints import Predicate, Span
from lakehouse.sharing.kinds import Kind, kind_of, read_value
from lakehouse.sharing.statistics import Statistics, statistics_of

# The partition's own column, which stands in the folders' names and not in the files.
PARTITION_KINDS: dict[str, Kind] = {"day": "date", "month": "text", "year": "integer"}


@dataclass(frozen=True)
class Kept:
    """The files that are left, and what is known of their columns, by hash."""

    files: list[File]
    statistics: Mapping[str, Statistics]


def kinds_of(manifest: Manifest) -> dict[str, Kind]:
    """The kind of each column that a predicate may name, the partition's own one among them."""
    kinds = {column.name: kind_of(column.type) for column in manifest.columns}
    return {**kinds, manifest.partition["grain"]: PARTITION_KINDS[manifest.partition["grain"]]}


def prune(exchange: Exchange, manifest: Manifest, predicates: Sequence[Predicate]) -> Kept:
    """First by the partition alone, which costs nothing; only what is left is looked up in footers."""
    kinds = kinds_of(manifest)
    files = [file for file in manifest.files if _can_hold(predicates, manifest, file, None, kinds)]
    statistics = statistics_of(exchange, manifest, files)
    left = [file for file in files if _can_hold(predicates, manifest, file, statistics.get(file.sha256), kinds)]
    return Kept(left, statistics)


def _can_hold(
    predicates: Sequence[Predicate],
    manifest: Manifest,
    file: File,
    statistics: Statistics | None,
    kinds: Mapping[str, Kind],
) -> bool:
    if not predicates:
        return True
    spans = _of_partition(manifest, file, kinds)
    if statistics is not None:
        for name, nulls in statistics["nullCount"].items():
            low, high = (statistics[f"{end}Values"].get(name) for end in ("min", "max"))
            bounds = [None if bound is None else read_value(str(bound), kinds[name]) for bound in (low, high)]
            spans[name] = Span(low=bounds[0], high=bounds[1], nulls=nulls, rows=file.rows)
    return all(predicate(spans).true for predicate in predicates)


def _of_partition(manifest: Manifest, file: File, kinds: Mapping[str, Kind]) -> dict[str, Span]:
    """What a folder's name says: of its own column, and of the one that the mart is parted by."""
    grain, column = manifest.partition["grain"], manifest.partition["column"]
    value = read_value(file.partition, kinds[grain])
    spans = {grain: Span(low=value, high=value, nulls=0, rows=file.rows)}
    low, high = _bounds(file.partition, cast(Grain, grain), kinds.get(column, "other"))
    if low is not None:
        spans[column] = Span(low=low, high=high, nulls=0, rows=file.rows)
    return spans


def _bounds(partition: str, grain: Grain, kind: Kind) -> tuple[Any, Any]:
    """The first and the last value that a partition's column may have in ``2024-10-27``, ``2024-10`` or ``2024``."""
    if kind == "integer":
        return int(partition), int(partition)
    if kind not in ("date", "timestamp"):
        return None, None
    span = span_of(partition, grain)
    last = span.end - timedelta(microseconds=1)
    return (span.start.date(), last.date()) if kind == "date" else (span.start, last)
