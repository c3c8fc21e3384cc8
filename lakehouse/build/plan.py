"""What a build has to do: marts whose inputs or code changed, and only their touched partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from lakehouse.build.periods import Span, partition_names, span_of
from lakehouse.contracts.derive import UNDATED
from lakehouse.contracts.mart import AggregatePolicy, Mart
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest
from lakehouse.storage.index import clean_files, mart_state


@dataclass(frozen=True, kw_only=True)
class CleanFile:
    dataset: str
    partition: str
    key: str
    delivery: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class MartPlan:
    """Partitions of one mart to build. ``held``: touched, but published and not to be restated, or not final.
    ``change``: how far the index's changes are taken in by a candidate of this plan."""

    mart: Mart
    inputs: tuple[str, ...]
    code: str
    change: int
    partitions: tuple[str, ...]
    held: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    new_code: bool = False


def plan_mart(
    exchange: Exchange,
    *,
    mart: Mart,
    inputs: Iterable[str],
    code: str,
    base: Manifest | None,
    change: int,
    now: datetime | None = None,
) -> MartPlan:
    """The partitions that changes since the mart's last release touch; all of them where its code is new."""
    known = tuple(sorted(inputs))
    state = exchange.index.row(
        sa.select(mart_state).where(mart_state.c.mart == mart.name, mart_state.c.major == mart.major)
    )
    fresh = state is None or state["code"] != code
    since = -1 if fresh or state is None else int(state["change"])
    touched = _touched(exchange, known, since, change)
    partitions = set(_mart_partitions(exchange, mart, known, touched))
    if not fresh and base is not None and not partitions:
        reason = "no input has changed since its last release"
    elif state is None:
        reason = "it was never released"
    elif fresh:
        reason = "its code has changed"
    else:
        reason = f"{len(touched)} input partitions have changed"
    held = _held(mart, partitions, base, now or datetime.now(UTC))
    return MartPlan(
        mart=mart,
        inputs=known,
        code=code,
        change=change,
        partitions=tuple(sorted(partitions - held.keys())),
        held=held,
        reason=reason,
        new_code=fresh,
    )


def input_files(exchange: Exchange, plans: Iterable[tuple[MartPlan, Iterable[str]]]) -> list[CleanFile]:
    """The clean files that building these partitions of these marts reads: nothing of the rest of history."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for plan, partitions in plans:
        spans = [span_of(partition, plan.mart.exchange.partition.grain) for partition in partitions]
        for dataset in plan.inputs:
            contract = exchange.contract(dataset)
            wanted[dataset] |= set(_dataset_partitions(contract, spans))
    files: list[CleanFile] = []
    for dataset, partitions in sorted(wanted.items()):
        provider, name = dataset.split("/")
        rows = exchange.index.rows(
            sa.select(clean_files)
            .where(
                clean_files.c.provider == provider,
                clean_files.c.dataset == name,
                clean_files.c.partition.in_(sorted(partitions)),
            )
            .order_by(clean_files.c.key)
        )
        files += [
            CleanFile(
                dataset=dataset,
                partition=row["partition"],
                key=row["key"],
                delivery=row["delivery"],
                rows=row["rows"],
            )
            for row in rows
        ]
    return files


def _margin(contract: Contract) -> timedelta:
    """How far beyond a period its readings reach: use between two readings needs both."""
    readings = contract.exchange.readings
    if readings is None or readings.kind == "interval":
        return timedelta(0)
    return timedelta(hours=readings.max_gap_hours)


def _dataset_partitions(contract: Contract, spans: list[Span]) -> Iterable[str]:
    time = contract.exchange.time
    if time is None:
        yield UNDATED
        return
    for span in spans:
        for name in partition_names(span.widened(_margin(contract)), time.partition):
            yield f"{name}-01-01"[:10]


def _touched(exchange: Exchange, inputs: tuple[str, ...], since: int, until: int) -> list[tuple[str, str]]:
    rows = exchange.index.rows(
        sa.select(clean_files.c.provider, clean_files.c.dataset, clean_files.c.partition)
        .where(clean_files.c.change > since, clean_files.c.change <= until)
        .distinct()
    )
    found = ((f"{row['provider']}/{row['dataset']}", row["partition"]) for row in rows)
    return sorted(entry for entry in found if entry[0] in inputs)


def _mart_partitions(
    exchange: Exchange, mart: Mart, inputs: tuple[str, ...], touched: list[tuple[str, str]]
) -> Iterable[str]:
    grain = mart.exchange.partition.grain
    if any(partition == UNDATED for _, partition in touched):
        # A register bears on every period: all that the mart's events have.
        touched = [entry for entry in _touched(exchange, inputs, -1, 2**62) if entry[1] != UNDATED]
    for dataset, partition in touched:
        contract = exchange.contract(dataset)
        time = contract.exchange.time
        if time is not None:
            yield from partition_names(span_of(partition, time.partition).widened(_margin(contract)), grain)


def _held(mart: Mart, partitions: set[str], base: Manifest | None, now: datetime) -> dict[str, str]:
    policy = mart.exchange.privacy
    if not isinstance(policy, AggregatePolicy):
        return {}
    published = {file.partition for file in base.files} if base else set()
    held = {}
    for partition in sorted(partitions):
        final_at = span_of(partition, mart.exchange.partition.grain).end + timedelta(
            days=policy.release.final_after_days
        )
        if partition in published:
            held[partition] = "published, and its policy allows no restatement"
        elif now < final_at:
            held[partition] = f"not final before {final_at:%Y-%m-%d}"
    return held
