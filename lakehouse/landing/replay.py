"""Replay: deliveries are read again from ``raw`` by today's contract, and take the place of what they were."""

from __future__ import annotations

import filecmp
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.clean import CleanFile, Standing, StandingChanged
from lakehouse.landing.intake import (
    STAGED_FAULTS,
    faults_key,
    index_rows,
    index_status,
    load_sealed,
    upload_clean,
    workbench,
    write_receipts,
)
from lakehouse.landing.joined import is_joinable
from lakehouse.landing.load import Loaded, load, write_faults
from lakehouse.landing.repeats import is_extract, repeats, repetition
from lakehouse.landing.together import Together, batch_of, load_together, members_of
from lakehouse.landing.type_rows import create_tables
from lakehouse.storage.index import (
    clean_files,
    deliveries,
    delivery_profiles,
    hold_changes,
    next_change,
    profile_row,
    replaced_files,
    upsert,
)
from lakehouse.storage.sql import literal

Progress = Callable[[str], None]
PAGE = 100
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


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Deliveries that were loaded together, or one alone, which has ``faults``; ``name``: what their files are named
    after."""

    name: str
    members: list[dict[str, Any]]
    receipts: list[dict[str, Any]]
    files: list[CleanFile]
    standing: Standing | None
    faults: Path | None = None

    @classmethod
    def together(cls, members: list[dict[str, Any]], taken: Together) -> _Part:
        return cls(
            name=taken.name, members=members, receipts=taken.receipts, files=taken.files, standing=taken.standing
        )


@dataclass(kw_only=True)
class _Trial:
    """What later deliveries are judged by, where nothing is stored: the clean files by delivery, and of bytes that
    were loaded the last receipt."""

    files: dict[str, Sequence[CleanFile]] = field(default_factory=dict)
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    dry: bool = False


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
        if since is not None and delivery["received_at"] < since:
            return False
        judged = _judged_at(delivery["receipt"])
        current = delivery["receipt"]["contract_version"] == contract.version and judged >= newest
        return not current or (again and judged < began)

    with workbench(exchange, contract) as (connection, scratch):
        trial = _Trial(dry=dry_run)
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
                newest = _judged_at(group[0]["receipt"])
            for delivery in group:
                if delivery["receipt"].get("replayed_at"):
                    newest = max(newest, _judged_at(delivery["receipt"]))
    return done


def _read_again(exchange: Exchange, group: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = [delivery["delivery"] for delivery in group]
    asked = sa.select(deliveries).where(deliveries.c.delivery.in_(names)).order_by(deliveries.c.delivery)
    return [dict(row) for row in exchange.index.rows(asked)]


def in_words(outcome: Replayed) -> str:
    """One line a delivery: rows accepted and refused, before and after."""
    before, after = outcome.before, outcome.after
    numbers = ", ".join(
        f"{before[name]:,} → {after[name]:,} {name}" for name in ("accepted", "refused") if before[name] != after[name]
    )
    moved = f", {len(outcome.partitions)} partitions changed" if outcome.partitions else ""
    return (numbers or f"{after['accepted']:,} accepted, {after['refused']:,} refused, as before") + moved


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
        parts = _judge(exchange, contract, group, connection, Path(name), _Trial())
        outcomes = _compare(exchange, group, parts, Path(name))
        for part in parts:
            for receipt in part.receipts:
                if part.faults is not None:
                    exchange.lake.upload("quarantine", faults_key(receipt, STAGED_FAULTS), part.faults)
        receipts = _swap(exchange, group, parts, outcomes)
        raw_keys = [delivery["raw_key"] for delivery in group]
        write_receipts(exchange, list(zip(receipts, raw_keys, strict=True)), title=contract.name)
    return outcomes


def _try(
    exchange: Exchange,
    contract: Contract,
    group: Sequence[dict[str, Any]],
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
    trial: _Trial,
) -> list[Replayed]:
    """What :func:`_exchange` would do. The files are kept until the trial ends."""
    folder = scratch / group[0]["delivery"]
    folder.mkdir()
    parts = _judge(exchange, contract, group, connection, folder, trial)
    for part in parts:
        for delivery, receipt in zip(part.members, part.receipts, strict=True):
            if index_status(receipt) == "loaded":
                trial.receipts[delivery["sha256"]] = receipt
    return _compare(exchange, group, parts, folder)


def _judge(
    exchange: Exchange,
    contract: Contract,
    group: Sequence[dict[str, Any]],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    trial: _Trial,
) -> list[_Part]:
    """Loads deliveries in their order, together as far as they go. Each is judged by what those before it come to."""
    parts: list[_Part] = []
    # What stands of all of them is about to go.
    trial.files |= {delivery["delivery"]: () for delivery in group}
    left, odd = deque(group), set[str]()
    joinable = len(group) > 1 and is_joinable(contract)
    number = 0
    while left:
        number += 1
        place = folder / str(number)
        place.mkdir()
        members = batch_of(left, odd, again=True) if joinable else []
        if len(members) > 1:
            taken = load_together(exchange, contract, members, connection, place, instead=trial.files, trial=trial.dry)
            odd |= taken.odd
            done = [left.popleft() for _ in taken.receipts]
            if done:
                parts.append(_Part.together(done, taken))
        else:
            delivery = left.popleft()
            parts.append(_judge_one(exchange, contract, delivery, connection, place, trial))
        if parts:
            trial.files[parts[-1].members[0]["delivery"]] = parts[-1].files
    return parts


def _judge_one(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    trial: _Trial,
) -> _Part:
    earlier = trial.receipts.get(delivery["sha256"])
    if earlier is not None and not is_extract(delivery):
        repeated: dict[str, Any] | None = repetition(contract, delivery, earlier)
    else:
        repeated = repeats(exchange, contract, delivery)
    if repeated is None:
        loaded = load(exchange, contract, delivery, connection, folder, instead=trial.files, trial=trial.dry)
    else:
        create_tables(connection, contract)
        faults, rows = write_faults(connection, folder)
        loaded = Loaded(receipt=repeated, faults=faults, fault_rows=rows)
    return _Part(
        name=delivery["delivery"],
        members=[delivery],
        receipts=[loaded.receipt],
        files=loaded.files,
        standing=loaded.standing,
        faults=loaded.faults,
    )


def _compare(
    exchange: Exchange, group: Sequence[dict[str, Any]], parts: Sequence[_Part], folder: Path
) -> list[Replayed]:
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
                    released=_released(exchange, before, after, part.faults),
                    partitions=tuple(sorted(changed & had[delivery["delivery"]])),
                )
            )
    return outcomes


def _released(exchange: Exchange, before: dict[str, Any], after: dict[str, Any], faults: Path | None) -> int:
    """Rows that were refused and are not any more; ``faults`` holds those that are refused now."""
    if before["status"] == "refused":
        return int(after["delivered"] - after["refused"])
    if not before["refused"] or faults is None:
        return int(before["refused"])
    quarantined = literal(exchange.lake.duckdb_url("quarantine", faults_key(before)))
    with exchange.duckdb() as connection:
        found = connection.execute(
            f"SELECT count(*) FROM (SELECT member, line FROM read_parquet({quarantined}) "
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


def _swap(
    exchange: Exchange, group: Sequence[dict[str, Any]], parts: Sequence[_Part], outcomes: Sequence[Replayed]
) -> list[dict[str, Any]]:
    """One transaction: the files, status and receipts of all are the new ones. Returns the receipts.

    The files of a delivery stand under keys of one generation, so that the lake alone tells which hold. Where no
    row has changed the old ones stand on. Raises :class:`StandingChanged`.
    """
    before = {delivery["delivery"]: delivery["receipt"] for delivery in group}
    changed = {partition for outcome in outcomes for partition in outcome.partitions}
    generation = max(receipt.get("generation", 0) for receipt in before.values()) + (1 if changed else 0)
    named = [
        (part, replace(file, key=_new_key(file.key, part.name, generation))) for part in parts for file in part.files
    ]
    if changed:
        upload_clean(exchange, [file for _, file in named])
    mine = deliveries.c.delivery.in_(list(before))
    with exchange.index.begin() as connection:
        hold_changes(connection)
        for part in parts:
            if part.standing is not None:
                part.standing.require_unchanged(connection)
        known = connection.execute(sa.select(deliveries.c.delivery, deliveries.c.receipt).where(mine))
        if {row.delivery: row.receipt for row in known} != before:
            raise StandingChanged
        if changed:
            change = next_change(connection)
            rows = [
                dict(row)
                for row in connection.execute(
                    sa.select(clean_files).where(clean_files.c.delivery.in_(list(before)))
                ).mappings()
            ]
            # Where a partition holds the same bytes as before, no build has to look at it.
            since = {row["partition"]: row["change"] for row in rows if row["partition"] not in changed}
            gone = [{**row, "replaced": change} for row in rows if row["partition"] not in since]
            connection.execute(sa.delete(clean_files).where(clean_files.c.delivery.in_(list(before))))
            if gone:
                connection.execute(sa.insert(replaced_files), gone)
            stands = [
                row
                for part, file in named
                for row in index_rows(part.members[0], file, since.get(file.partition, change))
            ]
            if stands:
                connection.execute(sa.insert(clean_files), stands)
        told = [receipt for part in parts for receipt in part.receipts]
        receipts = [
            _receipt(before[receipt["delivery"]], receipt, outcome, generation, changed=bool(changed))
            for receipt, outcome in zip(told, outcomes, strict=True)
        ]
        for receipt in receipts:
            upsert(connection, delivery_profiles, profile_row(receipt))
            connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.delivery == receipt["delivery"])
                .values(
                    status=index_status(receipt),
                    receipt=receipt,
                    receipt_written=False,
                    contract_version=receipt["contract_version"],
                )
            )
    return receipts


def _new_key(key: str, name: str, generation: int) -> str:
    folder, _, file = key.rpartition("/")
    return f"{folder}/{name}-replay{generation}{file.removeprefix(name)}"


def _receipt(
    before: dict[str, Any], after: dict[str, Any], outcome: Replayed, generation: int, *, changed: bool
) -> dict[str, Any]:
    released = f"{outcome.released:,} row{'' if outcome.released == 1 else 's'}" if outcome.released else "no row"
    now = datetime.now(UTC)
    return {
        **after,
        "replayed_at": now.isoformat(),
        "before": outcome.before,
        "released_from_quarantine": outcome.released,
        "generation": generation,
        # The name of the files that stand.
        "batch": after["batch"] if changed else before.get("batch"),
        "message": (
            f"Read again on {now:%Y-%m-%d} by version {after['contract_version']} of the contract (before: "
            f"{before['contract_version']}): {released} left quarantine. {after['message']}"
        ),
    }
