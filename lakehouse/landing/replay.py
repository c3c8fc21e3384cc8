"""Replay: deliveries are read again from ``raw`` by today's contract, and take the place of what they were."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.batch import members_of
from lakehouse.landing.before_after import Replayed, compare, in_words
from lakehouse.landing.clean import StandingChanged
from lakehouse.landing.intake import (
    STAGED_FAULTS,
    faults_key,
    index_status,
    load_sealed,
    workbench,
    write_receipts,
)
from lakehouse.landing.judge_again import Trial, judge_again
from lakehouse.landing.take_place import take_place
from lakehouse.storage.index import (
    deliveries,
)

Progress = Callable[[str], None]
PAGE = 100


def replay(
    exchange: Exchange,
    contract: Contract,
    *,
    since: datetime | None = None,
    again: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
) -> list[Replayed]:
    """Reads the deliveries received from ``since`` on again, in order of arrival, each judged by what stands from
    those before it. Returns what came of each.

    One that today's version of the contract has judged already, after all before it, is passed over unless
    ``again``; so a replay that was killed goes on where it stopped. Each delivery is exchanged in one transaction,
    and one that arrives meanwhile is replayed too if it was judged by what is gone. ``dry_run`` changes nothing.
    """
    if not dry_run:
        load_sealed(exchange, contract, progress=progress)
    done: list[Replayed] = []
    began, newest = datetime.now(UTC), datetime.min.replace(tzinfo=UTC)

    def due(delivery: dict[str, Any]) -> bool:
        if delivery["raw_key"] is None or (since is not None and delivery["received_at"] < since):
            return False
        judged = _judged_at(delivery["receipt"])
        current = delivery["receipt"]["contract_version"] == contract.version and judged >= newest
        return not current or (again and judged < began)

    with workbench(exchange, contract) as (connection, scratch):
        trial = Trial(dry=dry_run)
        for group in _groups(exchange, contract):
            while any(due(delivery) for delivery in group):
                try:
                    if dry_run:
                        outcomes = _try(exchange, contract, group, connection, scratch, trial)
                    else:
                        outcomes = _exchange(exchange, contract, group, connection, scratch)
                except StandingChanged:
                    # Another replay may have done it meanwhile.
                    group = _read_again(exchange, group)
                    continue
                done += outcomes
                for outcome in outcomes:
                    progress(f"{contract.key}: {outcome.file}: {in_words(outcome)}")
                if dry_run:
                    newest = datetime.now(UTC)
                    break
                group = _read_again(exchange, group)
                newest = min(_judged_at(delivery["receipt"]) for delivery in group if delivery["raw_key"])
            for delivery in group:
                if delivery["receipt"].get("replayed_at"):
                    newest = max(newest, _judged_at(delivery["receipt"]))
    return done


def _read_again(exchange: Exchange, group: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = [delivery["delivery"] for delivery in group]
    asked = sa.select(deliveries).where(deliveries.c.delivery.in_(names)).order_by(deliveries.c.delivery)
    return [dict(row) for row in exchange.index.rows(asked)]


def _judged_at(receipt: dict[str, Any]) -> datetime:
    """A moment before which the delivery was not judged."""
    return datetime.fromisoformat(receipt.get("replayed_at") or receipt["received_at"])


def _in_order(exchange: Exchange, contract: Contract) -> Iterator[sa.RowMapping]:
    """All that has been judged, as it stands when its turn comes."""
    last = ""
    mine = (deliveries.c.provider == contract.provider, deliveries.c.dataset == contract.dataset)
    # What went whole with a person who was erased cannot be read again.
    judged = (
        deliveries.c.receipt.is_not(None),
        deliveries.c.raw_key.is_not(None),
        deliveries.c.status.in_(["loaded", "refused", "repeated"]),
    )
    while rows := exchange.index.rows(
        sa.select(deliveries)
        .where(*mine, *judged, deliveries.c.delivery > last)
        .order_by(deliveries.c.delivery)
        .limit(PAGE)
    ):
        yield from rows
        last = rows[-1]["delivery"]


def _groups(exchange: Exchange, contract: Contract) -> Iterator[list[dict[str, Any]]]:
    """The same, each with those that it shares clean files with: they can only be exchanged together."""
    shared: set[str] = set()
    for row in _in_order(exchange, contract):
        batch = row["receipt"].get("batch")
        if batch is None:
            yield [dict(row)]
        elif batch not in shared:
            shared.add(batch)
            yield members_of(exchange, contract, batch)


def _exchange(
    exchange: Exchange,
    contract: Contract,
    group: Sequence[dict[str, Any]],
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> list[Replayed]:
    """Judges deliveries and puts what came of them in the place of what stood. Raises :class:`StandingChanged`."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        parts = judge_again(exchange, contract, group, connection, Path(name), Trial())
        outcomes = compare(exchange, group, parts, Path(name))
        for part in parts:
            for receipt in part.receipts:
                if part.faults is not None:
                    exchange.lake.upload("quarantine", faults_key(receipt, STAGED_FAULTS), part.faults)
        receipts = take_place(exchange, group, parts, outcomes)
        raw_keys = [delivery["raw_key"] for delivery in group]
        write_receipts(exchange, list(zip(receipts, raw_keys, strict=True)), title=contract.name)
    return outcomes


def _try(
    exchange: Exchange,
    contract: Contract,
    group: Sequence[dict[str, Any]],
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
    trial: Trial,
) -> list[Replayed]:
    """What :func:`_exchange` would do. The files are kept until the trial ends."""
    folder = scratch / group[0]["delivery"]
    folder.mkdir()
    parts = judge_again(exchange, contract, group, connection, folder, trial)
    for part in parts:
        for delivery, receipt in zip(part.members, part.receipts, strict=True):
            if index_status(receipt) == "loaded":
                trial.receipts[delivery["sha256"]] = receipt
    return compare(exchange, group, parts, folder)
