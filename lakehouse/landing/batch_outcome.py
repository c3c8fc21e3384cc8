"""What deliveries leave that were loaded together: clean files that they share, and a receipt each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from lakehouse.landing.batch import Batch
from lakehouse.landing.checks import checks_held
from lakehouse.landing.clean import (
    Arrivals,
    CleanFile,
    partition_of,
    write_rows,
)
from lakehouse.landing.load import accepted_message, column_warnings
from lakehouse.landing.measure_each import PART, Measures
from lakehouse.landing.profile import judge_profile
from lakehouse.landing.pseudonymise import Hidden
from lakehouse.landing.receipt import Sender, build_receipt, next_step
from lakehouse.landing.reconcile import Reconciled
from lakehouse.landing.repeats import repetition
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.storage.sql import identifier


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What receipts say of the columns of a table, which are the same in all: see
    :class:`lakehouse.landing.load.Tally`."""

    order: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of one member: rows to store, those of them that are corrections, and how many go into which partition."""

    accepted: int
    corrections: int
    partitions: dict[str, int]


def count_rows(batch: Batch) -> dict[int, Counts]:
    """By the part of each member that has rows to store."""
    query = (
        f"SELECT {PART}, {partition_of(batch.contract)} AS event_date, count(*), "
        f"count(*) FILTER (exchange_correction) FROM fresh WHERE exchange_line < {batch.end * PART_LINES} "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    )
    found: dict[int, list[tuple[str, int, int]]] = {}
    for part, partition, rows, corrections in batch.connection.execute(query).fetchall():
        found.setdefault(part, []).append((str(partition), rows, corrections))
    return {
        part: Counts(
            accepted=sum(rows for _, rows, _ in touched),
            corrections=sum(corrections for *_, corrections in touched),
            partitions={partition: rows for partition, rows, _ in touched},
        )
        for part, touched in found.items()
    }


def write_clean(batch: Batch, name: str, hidden: Hidden, counts: dict[int, Counts]) -> list[CleanFile]:
    """One file a partition, after ``name``, with the rows of all members in it."""
    rows = sum(one.accepted for one in counts.values())
    if not rows:
        return []
    batch.connection.register(
        "batch_members",
        pa.table(
            {
                "part": pa.array(range(batch.end), pa.int64()),
                "delivery": pa.array([member["delivery"] for member in batch.members[: batch.end]]),
                "known_at": pa.array(
                    [member["received_at"] for member in batch.members[: batch.end]], pa.timestamp("us", "UTC")
                ),
            }
        ),
    )
    arrivals = Arrivals(
        name=name,
        line=f"exchange_line % {PART_LINES}",
        delivery="m.delivery",
        known_at="m.known_at",
        joined=f"JOIN batch_members AS m ON m.part = r.exchange_line // {PART_LINES}",
    )
    columns = ", ".join(identifier(column.name) for column in batch.contract.columns)
    source = (
        f"SELECT exchange_line, {columns}, false AS exchange_withdrawn FROM fresh "
        f"WHERE exchange_line < {batch.end * PART_LINES}"
    )
    files = write_rows(
        batch.connection, batch.contract, arrivals, source, rows=rows, folder=batch.folder, hidden=hidden
    )
    batch.connection.unregister("batch_members")
    shared: dict[str, dict[str, int]] = {}
    for part, one in counts.items():
        for partition, some in one.partitions.items():
            shared.setdefault(partition, {})[batch.members[part]["delivery"]] = some
    return [replace(file, shared=shared[file.partition]) for file in files]


def batch_receipts(
    batch: Batch,
    columns: Columns,
    measures: dict[int, Measures],
    counts: dict[int, Counts],
    *,
    name: str | None = None,
) -> list[dict[str, Any]]:
    """Of each member in its order, as it would be told if it were loaded alone after those before it."""
    contract, past = batch.contract, batch.past
    nothing = Counts(accepted=0, corrections=0, partitions={})
    by_delivery: dict[str, dict[str, Any]] = {}
    for part, member in enumerate(batch.members[: batch.end]):
        if part in batch.repeated:
            earlier = by_delivery.get(batch.repeated[part]) or past.loaded[member["sha256"]].receipt
            receipt = repetition(contract, member, earlier)
        else:
            one, count = measures[part], counts.get(part, nothing)
            result = Reconciled(
                accepted=count.accepted, duplicates=one.rows - count.accepted, corrections=count.corrections
            )
            profile, alarms = judge_profile(
                contract, member, one.profile, delivered=one.rows, before=past.profiles, last=past.last
            )
            warnings = [*column_warnings(columns.unknown, columns.dropped, one.rows), *alarms]
            receipt = build_receipt(
                sender=Sender.of(contract),
                delivery=member,
                status="accepted",
                delivered=one.rows,
                accepted=result.accepted,
                duplicates=result.duplicates,
                corrections=result.corrections,
                warnings=warnings,
                columns=columns.order,
                levels=one.levels,
                profile=profile,
                checks=checks_held(contract, one.rows, one.nulls),
                partitions=list(count.partitions),
                batch=name,
                message=accepted_message(result, 0),
                next_step=next_step(0, warnings),
            )
            past.profiles.appendleft({**profile, "delivered": one.rows})
        past.last = member["received_at"]
        by_delivery[member["delivery"]] = receipt
    return list(by_delivery.values())
