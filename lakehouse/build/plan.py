"""What a build has to do: marts whose inputs or code changed, and only their touched partitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from lakehouse.build.lineage import Lineage
from lakehouse.build.periods import Span, partition_names, span_of
from lakehouse.contracts.derive import UNDATED
from lakehouse.contracts.mart import Mart
from lakehouse.contracts.odcs import Contract
from lakehouse.contracts.policy import OpenPolicy
from lakehouse.exchange import Exchange
from lakehouse.release.evolution import changes_since
from lakehouse.release.manifest import Manifest, read_candidate
from lakehouse.release.notices import read_notice
from lakehouse.release.withdraw import withdrawn_partitions
from lakehouse.storage.index import candidates, clean_files, deliveries, mart_state, replaced_files


class NotBuildable(ValueError):
    """A mart that cannot be planned as it is written; the message says what to change."""


@dataclass(frozen=True, kw_only=True)
class MartPlan:
    """Partitions of one mart to build, on its release ``base``.

    ``change``: how far the index's changes are taken in by a candidate of this plan. ``held``: touched, but
    published and not to be restated, or not final, with the reason; those not final are also ``waiting``.
    ``whole``: the partitions are all of the mart. ``new_code``: it was never built by this code.
    """

    mart: Mart
    inputs: tuple[str, ...]
    code: str
    base: Manifest | None
    change: int
    partitions: tuple[str, ...]
    held: dict[str, str]
    waiting: tuple[str, ...]
    whole: bool
    new_code: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """How far a mart has come."""

    change: int
    code: str
    waiting: frozenset[str]


def plan_mart(
    exchange: Exchange, *, mart: Mart, lineage: Lineage, base: Manifest | None, change: int, now: datetime
) -> MartPlan:
    """The partitions that changes up to ``change`` touch since the mart's last candidate was taken; all of them
    where its code is new. Raises :class:`NotBuildable`.

    Lateness is judged by ``now`` (aware).
    """
    inputs = {key: exchange.contract(key) for key in sorted(lineage.datasets)}
    _require_buildable(exchange, mart, base)
    taken = _taken(exchange, mart, base)
    new_code = taken is None or taken.code != lineage.code
    touched = _touched(exchange, inputs, since=-1 if taken is None or new_code else taken.change, until=change)
    partitions = set(_mart_partitions(exchange, mart, inputs, touched, change))
    if taken is not None and not new_code:
        partitions |= taken.waiting
    published = _published(exchange, mart, base) & partitions
    # What a register says is whole when it arrives: there is no late row to wait for.
    dated = any(contract.exchange.time for contract in inputs.values())
    waiting = _not_final(mart, partitions - published, now) if dated else {}
    return MartPlan(
        mart=mart,
        inputs=tuple(inputs),
        code=lineage.code,
        base=base,
        change=change,
        partitions=tuple(sorted(partitions - published - waiting.keys())),
        held={**dict.fromkeys(sorted(published), "published, and its policy allows no restatement"), **waiting},
        waiting=tuple(sorted(waiting)),
        whole=new_code and not mart.private,
        new_code=new_code,
        reason=_reason(taken, new_code, len(touched), partitions),
    )


def answered(exchange: Exchange, plan: MartPlan) -> str | None:
    """Why nothing needs to be built again: a candidate of the same code, base and partitions waits for an approval,
    or was refused, and none of its inputs has changed since."""
    row = exchange.index.row(
        sa.select(candidates)
        .where(candidates.c.mart == plan.mart.name, candidates.c.major == plan.mart.major)
        .order_by(candidates.c.created_at.desc())
        .limit(1)
    )
    if row is None or row["status"] not in ("waiting", "refused") or row["code"] != plan.code:
        return None
    made = read_candidate(exchange, mart=plan.mart.name, candidate=row["candidate"])
    base = plan.base.release if plan.base else None
    if made.base != base or set(plan.partitions) != set(made.built):
        return None
    if _touched(exchange, plan.inputs, since=made.change, until=plan.change):
        return None
    return f"its candidate {made.candidate} {row['reason']}"


def margin(contract: Contract) -> timedelta:
    """How far beyond a period its readings reach: use between two readings needs both."""
    readings = contract.exchange.readings
    if readings is None or readings.kind == "interval":
        return timedelta(0)
    return timedelta(hours=readings.max_gap_hours)


def _require_buildable(exchange: Exchange, mart: Mart, base: Manifest | None) -> None:
    notice = read_notice(exchange, mart=mart.name, major=mart.major)
    if notice is not None:
        raise NotBuildable(
            f"{mart.name}: v{mart.major} is followed by v{notice.successor}, and its readers were told that it gets no "
            f"new releases: set major to {notice.successor} in {mart.path.name}"
        )
    breaking = [change.words for change in changes_since(base, mart) if change.breaking] if base else []
    if breaking:
        raise NotBuildable(
            f"{mart.name}: these changes would break those who read v{mart.major}: {'; '.join(breaking)}. Set major to "
            f"{mart.major + 1} and overlap_days in {mart.path.name}: v{mart.major} stays published for so long, and "
            "its readers are told"
        )


def _taken(exchange: Exchange, mart: Mart, base: Manifest | None) -> _Taken | None:
    """What the release says of itself, unless later candidates of the same code came to no new release.

    The pointer decides: a release whose record in the index was lost, or one that was rolled back to, is gone
    on from all the same.
    """
    state = exchange.index.row(
        sa.select(mart_state).where(mart_state.c.mart == mart.name, mart_state.c.major == mart.major)
    )
    if state is not None and state["release"] == (base.release if base else None):
        return _Taken(change=state["change"], code=state["code"], waiting=frozenset(state["waiting"]))
    if base is None:
        return None
    return _Taken(change=base.change, code=base.code, waiting=frozenset(base.waiting))


def _touched(exchange: Exchange, inputs: Iterable[str], *, since: int, until: int) -> list[tuple[str, str]]:
    """Partitions that got a file, or lost one to a replay."""
    wanted = sorted(inputs)
    asked = []
    for table, change in ((clean_files, clean_files.c.change), (replaced_files, replaced_files.c.replaced)):
        dataset = table.c.provider + "/" + table.c.dataset
        asked.append(
            sa.select(dataset.label("dataset"), table.c.partition).where(
                change > since, change <= until, dataset.in_(wanted)
            )
        )
    rows = exchange.index.rows(sa.union(*asked))
    return sorted((row["dataset"], row["partition"]) for row in rows)


def _mart_partitions(
    exchange: Exchange, mart: Mart, inputs: dict[str, Contract], touched: list[tuple[str, str]], change: int
) -> Iterator[str]:
    if touched and all(contract.exchange.time is None for contract in inputs.values()):
        yield from _period_of_newest(exchange, mart, inputs)
    elif any(partition == UNDATED for _, partition in touched):
        # A register bears on every period: all that the mart's events have.
        touched = _touched(exchange, inputs, since=-1, until=change)
    for dataset, partition in touched:
        time = inputs[dataset].exchange.time
        if time is not None:
            span = span_of(partition, time.partition).widened(margin(inputs[dataset]))
            yield from partition_names(span, mart.exchange.partition.grain)


def _period_of_newest(exchange: Exchange, mart: Mart, inputs: Iterable[str]) -> Iterator[str]:
    """Of a mart made of registers alone: the period in which the newest of them arrived, which it is the state of.
    Earlier ones stand as they were published."""
    dataset = clean_files.c.provider + "/" + clean_files.c.dataset
    newest = exchange.index.row(
        sa.select(sa.func.max(deliveries.c.received_at).label("received_at"))
        .join(clean_files, clean_files.c.delivery == deliveries.c.delivery)
        .where(dataset.in_(sorted(inputs)))
    )
    if newest is not None and newest["received_at"] is not None:
        at = newest["received_at"]
        yield from partition_names(Span(at, at + timedelta(microseconds=1)), mart.exchange.partition.grain)


def _published(exchange: Exchange, mart: Mart, base: Manifest | None) -> set[str]:
    """Periods of a private mart that stand, or that were public in a release that was taken back: who read that one
    could compare."""
    if isinstance(mart.exchange.privacy, OpenPolicy):
        return set()
    standing = {file.partition for file in base.files} if base else set()
    return standing | withdrawn_partitions(exchange, mart=mart.name, major=mart.major)


def _not_final(mart: Mart, partitions: set[str], now: datetime) -> dict[str, str]:
    policy = mart.exchange.privacy
    if isinstance(policy, OpenPolicy):
        return {}
    lateness = timedelta(days=policy.release.final_after_days)
    finals = {name: span_of(name, mart.exchange.partition.grain).end + lateness for name in sorted(partitions)}
    return {name: f"not final before {final.astimezone(UTC):%Y-%m-%d}" for name, final in finals.items() if now < final}


def _reason(taken: _Taken | None, new_code: bool, touched: int, partitions: set[str]) -> str:
    if taken is None:
        if touched and not partitions:
            return "of its inputs only registers have been delivered"
        return "it was never released" if touched else "no input has been delivered yet"
    if new_code:
        return "its code has changed"
    if touched:
        return f"{touched} input partition{' has' if touched == 1 else 's have'} changed"
    return "partitions have become final" if taken.waiting else "no input has changed since its last release"
