"""Replay: deliveries are read again from ``raw`` by today's contract, and take the place of what they were."""

from __future__ import annotations

import filecmp
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.clean import CleanFile, StandingChanged
from lakehouse.landing.intake import (
    STAGED_FAULTS,
    faults_key,
    index_row,
    index_status,
    is_extract,
    load_sealed,
    repeats,
    repetition,
    upload_clean,
    workbench,
    write_receipt,
)
from lakehouse.landing.load import Loaded, load, write_faults
from lakehouse.landing.type_rows import create_tables
from lakehouse.storage.index import (
    clean_files,
    deliveries,
    delivery_profiles,
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
        for row in _in_order(exchange, contract):
            delivery = dict(row)
            while due(delivery):
                try:
                    if dry_run:
                        outcome = _try(exchange, contract, delivery, connection, scratch, trial)
                    else:
                        outcome = _exchange(exchange, contract, delivery, connection, scratch)
                except StandingChanged:
                    # Another replay may have done it meanwhile.
                    delivery = _read_again(exchange, delivery)
                    continue
                done.append(outcome)
                progress(f"{contract.key}: {outcome.file}: {in_words(outcome)}")
                if dry_run:
                    newest = datetime.now(UTC)
                    break
                delivery = _read_again(exchange, delivery)
                newest = _judged_at(delivery["receipt"])
            if delivery["receipt"].get("replayed_at"):
                newest = max(newest, _judged_at(delivery["receipt"]))
    return done


def _read_again(exchange: Exchange, delivery: dict[str, Any]) -> dict[str, Any]:
    mine = deliveries.c.delivery == delivery["delivery"]
    return dict(exchange.index.rows(sa.select(deliveries).where(mine))[0])


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


def _exchange(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> Replayed:
    """Judges one delivery and puts what came of it in the place of what stood. Raises :class:`StandingChanged`."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        loaded = _judge(exchange, contract, delivery, connection, Path(name), _Trial())
        outcome = _compare(exchange, contract, delivery, loaded, connection, Path(name))
        exchange.lake.upload("quarantine", faults_key(loaded.receipt, STAGED_FAULTS), loaded.faults)
        receipt = _swap(exchange, delivery, loaded, outcome)
        write_receipt(exchange, receipt, title=contract.name, raw_key=delivery["raw_key"])
    return outcome


def _try(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
    trial: _Trial,
) -> Replayed:
    """What :func:`_exchange` would do. The files are kept until the trial ends."""
    folder = scratch / delivery["delivery"]
    folder.mkdir()
    loaded = _judge(exchange, contract, delivery, connection, folder, trial)
    trial.files[delivery["delivery"]] = loaded.files
    if index_status(loaded.receipt) == "loaded":
        trial.receipts[delivery["sha256"]] = loaded.receipt
    return _compare(exchange, contract, delivery, loaded, connection, folder)


def _judge(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    trial: _Trial,
) -> Loaded:
    earlier = trial.receipts.get(delivery["sha256"])
    if earlier is not None and not is_extract(delivery):
        repeated: dict[str, Any] | None = repetition(contract, delivery, earlier)
    else:
        repeated = repeats(exchange, contract, delivery)
    if repeated is None:
        return load(exchange, contract, delivery, connection, folder, instead=trial.files, trial=trial.dry)
    create_tables(connection, contract)
    faults, rows = write_faults(connection, folder)
    return Loaded(receipt=repeated, faults=faults, fault_rows=rows)


def _compare(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    loaded: Loaded,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
) -> Replayed:
    before, after = delivery["receipt"], loaded.receipt
    return Replayed(
        delivery=delivery["delivery"],
        file=delivery["file"],
        before={name: before[name] for name in COMPARED},
        after={name: after[name] for name in COMPARED},
        released=_released(exchange, before, after, connection),
        partitions=_changed_partitions(exchange, delivery["delivery"], loaded.files, folder),
    )


def _released(
    exchange: Exchange, before: dict[str, Any], after: dict[str, Any], connection: duckdb.DuckDBPyConnection
) -> int:
    """Rows that were refused and are not any more; ``faults`` holds those that are refused now."""
    if before["status"] == "refused":
        return int(after["delivered"] - after["refused"])
    if not before["refused"]:
        return 0
    quarantined = literal(exchange.lake.duckdb_url("quarantine", faults_key(before)))
    found = connection.execute(
        f"SELECT count(*) FROM (SELECT member, line FROM read_parquet({quarantined}) "
        "EXCEPT SELECT member, line FROM faults WHERE NOT warning)"
    ).fetchone()
    return int(found[0]) if found else 0


def _changed_partitions(exchange: Exchange, delivery: str, files: Sequence[CleanFile], folder: Path) -> tuple[str, ...]:
    """Partitions in which the delivery's rows are not, byte for byte, those that stand."""
    standing: dict[str, list[sa.RowMapping]] = {}
    asked = sa.select(clean_files).where(clean_files.c.delivery == delivery).order_by(clean_files.c.key)
    for row in exchange.index.rows(asked):
        standing.setdefault(row["partition"], []).append(row)
    written: dict[str, list[CleanFile]] = {}
    for file in files:
        written.setdefault(file.partition, []).append(file)
    changed = standing.keys() ^ written.keys()
    for partition in standing.keys() & written.keys():
        old, new = standing[partition], written[partition]
        if len(old) != len(new) or not all(
            _same(exchange, row, file, folder) for row, file in zip(old, new, strict=True)
        ):
            changed.add(partition)
    return tuple(sorted(changed))


def _same(exchange: Exchange, row: sa.RowMapping, file: CleanFile, folder: Path) -> bool:
    if row["bytes"] != file.path.stat().st_size:
        return False
    local = exchange.lake.local_path("clean", row["key"])
    standing = local or exchange.lake.download("clean", row["key"], folder / "standing.parquet")
    return filecmp.cmp(standing, file.path, shallow=False)


def _swap(exchange: Exchange, delivery: dict[str, Any], loaded: Loaded, outcome: Replayed) -> dict[str, Any]:
    """One transaction: the delivery's files, status and receipt are the new ones. Returns the receipt.

    The files of a delivery stand under keys of one generation, so that the lake alone tells which hold. Where no
    row has changed the old ones stand on. Raises :class:`StandingChanged`.
    """
    before = delivery["receipt"]
    generation = before.get("generation", 0) + (1 if outcome.partitions else 0)
    files = [replace(file, key=_new_key(file.key, delivery["delivery"], generation)) for file in loaded.files]
    if outcome.partitions:
        upload_clean(exchange, files)
    mine = deliveries.c.delivery == delivery["delivery"]
    with exchange.index.begin() as connection:
        if loaded.standing is not None:
            loaded.standing.require_unchanged(connection)
        if connection.execute(sa.select(deliveries.c.receipt).where(mine)).scalar_one() != before:
            raise StandingChanged
        if outcome.partitions:
            change = next_change(connection)
            old = connection.execute(sa.select(clean_files).where(clean_files.c.delivery == delivery["delivery"]))
            rows = [dict(row) for row in old.mappings()]
            # Where a partition holds the same bytes as before, no build has to look at it.
            since = {row["partition"]: row["change"] for row in rows if row["partition"] not in outcome.partitions}
            gone = [{**row, "replaced": change} for row in rows if row["partition"] not in since]
            connection.execute(sa.delete(clean_files).where(clean_files.c.delivery == delivery["delivery"]))
            if gone:
                connection.execute(sa.insert(replaced_files), gone)
            if files:
                named = [index_row(delivery, file, since.get(file.partition, change)) for file in files]
                connection.execute(sa.insert(clean_files), named)
        receipt = _receipt(before, loaded.receipt, outcome, generation)
        upsert(connection, delivery_profiles, profile_row(receipt))
        connection.execute(
            sa.update(deliveries)
            .where(mine)
            .values(
                status=index_status(receipt),
                receipt=receipt,
                receipt_written=False,
                contract_version=receipt["contract_version"],
            )
        )
    return receipt


def _new_key(key: str, delivery: str, generation: int) -> str:
    folder, _, name = key.rpartition("/")
    return f"{folder}/{delivery}-replay{generation}{name.removeprefix(delivery)}"


def _receipt(before: dict[str, Any], after: dict[str, Any], outcome: Replayed, generation: int) -> dict[str, Any]:
    released = f"{outcome.released:,} row{'' if outcome.released == 1 else 's'}" if outcome.released else "no row"
    now = datetime.now(UTC)
    return {
        **after,
        "replayed_at": now.isoformat(),
        "before": outcome.before,
        "released_from_quarantine": outcome.released,
        "generation": generation,
        "message": (
            f"Read again on {now:%Y-%m-%d} by version {after['contract_version']} of the contract (before: "
            f"{before['contract_version']}): {released} left quarantine. {after['message']}"
        ),
    }
