"""What a replay changes of each delivery: its numbers, rows that leave quarantine, partitions with other rows."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.landing.clean import CleanFile
from lakehouse.landing.intake import (
    faults_key,
)
from lakehouse.landing.judge_again import Part
from lakehouse.landing.reseal import erased_rows
from lakehouse.storage.index import (
    clean_files,
)
from lakehouse.storage.sql import literal

COMPARED = ("contract_version", "status", "delivered", "accepted", "refused", "duplicates")


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One delivery, before and after. ``released`` are rows that left quarantine, ``partitions`` those whose rows
    have changed."""

    delivery: str
    file: str
    before: dict[str, Any]
    after: dict[str, Any]
    released: int
    partitions: tuple[str, ...]


def in_words(outcome: Replayed) -> str:
    """One line a delivery: rows accepted and refused, before and after."""
    before, after = outcome.before, outcome.after
    numbers = ", ".join(
        f"{before[name]:,} → {after[name]:,} {name}" for name in ("accepted", "refused") if before[name] != after[name]
    )
    moved = f", {len(outcome.partitions)} partitions changed" if outcome.partitions else ""
    return (numbers or f"{after['accepted']:,} accepted, {after['refused']:,} refused, as before") + moved


def compare(exchange: Exchange, group: Sequence[dict[str, Any]], parts: Sequence[Part], folder: Path) -> list[Replayed]:
    """One outcome a delivery, in order. ``folder`` is for files that have to be fetched to be compared."""
    names = [delivery["delivery"] for delivery in group]
    stood = _standing_of(exchange, names)
    changed = _changed_partitions(exchange, stood, [file for part in parts for file in part.files], folder)
    had: dict[str, set[str]] = defaultdict(set)
    for row in stood:
        had[row["delivery"]].add(row["partition"])
    outcomes = []
    for part in parts:
        for file in part.files:
            for sharer in file.shared or (part.name,):
                had[sharer].add(file.partition)
        for delivery, after in zip(part.members, part.receipts, strict=True):
            before = delivery["receipt"]
            outcomes.append(
                Replayed(
                    delivery=delivery["delivery"],
                    file=delivery["file"],
                    before={name: before[name] for name in COMPARED},
                    after={name: after[name] for name in COMPARED},
                    released=_released(exchange, before, after, part.faults, folder),
                    partitions=tuple(sorted(changed & had[delivery["delivery"]])),
                )
            )
    return outcomes


def _released(
    exchange: Exchange, before: dict[str, Any], after: dict[str, Any], faults: Path | None, folder: Path
) -> int:
    """Rows that were refused and are not any more; ``faults`` holds those that are refused now."""
    if after is before:
        return 0  # it cannot be read again
    if before["status"] == "refused":
        return int(after["delivered"] - after["refused"])
    # Rows of erased people are counted as refused, and are in no quarantine.
    refused = int(before["refused"]) - erased_rows(before)
    if not refused or faults is None:
        return refused
    # A copy: another replay may exchange the object while it is read.
    kept = exchange.lake.download("quarantine", faults_key(before), folder / f"{before['delivery']}-before.parquet")
    with exchange.duckdb() as connection:
        found = connection.execute(
            f"SELECT count(*) FROM (SELECT member, line FROM read_parquet({literal(str(kept))}) "
            f"EXCEPT SELECT member, line FROM read_parquet({literal(str(faults))}))"
        ).fetchone()
    return int(found[0]) if found else 0


def _standing_of(exchange: Exchange, names: Sequence[str]) -> list[sa.RowMapping]:
    asked = sa.select(clean_files).where(clean_files.c.delivery.in_(names)).order_by(clean_files.c.key)
    return list(exchange.index.rows(asked))


def _changed_partitions(
    exchange: Exchange, stood: Sequence[sa.RowMapping], files: Sequence[CleanFile], folder: Path
) -> set[str]:
    """Partitions in which the rows of deliveries are not, byte for byte, those that stand."""
    standing: dict[str, dict[str, sa.RowMapping]] = defaultdict(dict)
    for row in stood:
        standing[row["partition"]][row["key"]] = row
    written: dict[str, list[CleanFile]] = defaultdict(list)
    for file in files:
        written[file.partition].append(file)
    changed = standing.keys() ^ written.keys()
    for partition in standing.keys() & written.keys():
        old, new = list(standing[partition].values()), written[partition]
        if len(old) != len(new) or not all(
            _same(exchange, row, file, folder) for row, file in zip(old, new, strict=True)
        ):
            changed.add(partition)
    return changed


def _same(exchange: Exchange, row: sa.RowMapping, file: CleanFile, folder: Path) -> bool:
    if row["bytes"] != file.path.stat().st_size:
        return False
    local = exchange.lake.local_path("clean", row["key"])
    standing = local or exchange.lake.download("clean", row["key"], folder / "standing.parquet")
    return filecmp.cmp(standing, file.path, shallow=False)
