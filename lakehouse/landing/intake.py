"""Intake of a dataset: every sealed delivery, in order of arrival, into clean partitions and a receipt."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.derive import landing_bucket
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.batch import LEAST, MOST, batch_of, between_them
from lakehouse.landing.clean import CleanFile, Standing, StandingChanged
from lakehouse.landing.erased import erased_from
from lakehouse.landing.joined import is_joinable
from lakehouse.landing.load import load
from lakehouse.landing.receipt import Sender, prepare_pages, receipt_html, receipt_json
from lakehouse.landing.repeats import repeats
from lakehouse.landing.reseal import take_erased_out, went_whole, with_erased
from lakehouse.landing.seal import seal_pages
from lakehouse.landing.together import Together, load_together
from lakehouse.storage.index import (
    clean_files,
    deliveries,
    delivery_profiles,
    hold_changes,
    next_change,
    profile_row,
    upsert,
)
from lakehouse.storage.spatial import load_spatial
from lakehouse.storage.sql import literal

Progress = Callable[[str], None]
UPLOADS = 8
# The faults of a replay, until its receipt holds.
STAGED_FAULTS = "faults-next"


def intake(exchange: Exchange, contract: Contract, *, progress: Progress = lambda _: None) -> list[dict[str, Any]]:
    """Seals what waits in the inbox, then loads all that is sealed. Returns the receipts, in order.

    May be killed at any point and run again: sealed bytes are never lost, a clean file is seen only once the
    index names it, and a delivery that was loaded is not loaded again.
    """
    return [receipt for page in intake_pages(exchange, contract, progress=progress) for receipt in page]


def intake_pages(
    exchange: Exchange, contract: Contract, *, progress: Progress = lambda _: None
) -> Iterator[list[dict[str, Any]]]:
    """The same, some receipts at a time: however many files wait, memory holds a page of them."""
    for _ in seal_pages(exchange, contract, progress=progress):
        pass
    yield from load_pages(exchange, contract, progress=progress)


def load_sealed(exchange: Exchange, contract: Contract, *, progress: Progress = lambda _: None) -> list[dict[str, Any]]:
    """Loads what is sealed and writes the receipts that are not written yet. Returns them, in order."""
    return [receipt for page in load_pages(exchange, contract, progress=progress) for receipt in page]


def load_pages(
    exchange: Exchange, contract: Contract, *, progress: Progress = lambda _: None
) -> Iterator[list[dict[str, Any]]]:
    """The same, some receipts at a time."""
    page = _pending(exchange, contract, after="")
    if not page:
        return
    Thread(target=prepare_pages, daemon=True).start()
    with workbench(exchange, contract) as (connection, folder):
        while page:
            last = page[-1]["delivery"]
            yield from _load_page(exchange, contract, page, connection, folder, progress)
            page = _pending(exchange, contract, after=last)


def _pending(exchange: Exchange, contract: Contract, *, after: str) -> list[dict[str, Any]]:
    rows = exchange.index.rows(
        sa.select(deliveries)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.receipt_written.is_(False),
            deliveries.c.status != "claimed",
            deliveries.c.delivery > after,
        )
        .order_by(deliveries.c.delivery)
        .limit(MOST)
    )
    return [dict(row) for row in rows]


def _load_page(
    exchange: Exchange,
    contract: Contract,
    page: list[dict[str, Any]],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    progress: Progress,
) -> Iterator[list[dict[str, Any]]]:
    """Loads deliveries in their order: small ones together, and alone where there is anything to say of one."""
    left, odd = deque(page), set[str]()
    joinable = is_joinable(contract) and erased_from(exchange, contract) is None
    while left:
        members = batch_of(left, odd) if joinable else []
        if len(members) >= LEAST:
            try:
                receipts = _take_in_together(exchange, contract, members, odd, connection, folder)
            except StandingChanged:
                names = [delivery["delivery"] for delivery in left]
                left = deque(dict(row) for row in exchange.index.rows(_named(names)))
                continue
            done = [left.popleft() for _ in receipts]
            if done:
                write_receipts(
                    exchange,
                    [(receipt, delivery["raw_key"]) for receipt, delivery in zip(receipts, done, strict=True)],
                    title=contract.name,
                )
                files = f"{len(done):,} files, {done[0]['file']} to {done[-1]['file']}"
                progress(f"{contract.key}: {files}: {_sum(receipts)}")
                _tell_alarms(contract, receipts, progress)
                yield receipts
            continue
        delivery = left.popleft()
        receipt = delivery["receipt"] or _take_in(exchange, contract, delivery, connection, folder)
        write_receipts(exchange, [(receipt, delivery["raw_key"])], title=contract.name)
        progress(f"{contract.key}: {delivery['file']}: {receipt['message']}")
        _tell_alarms(contract, [receipt], progress)
        yield [receipt]


def _named(names: Sequence[str]) -> sa.Select[Any]:
    return sa.select(deliveries).where(deliveries.c.delivery.in_(names)).order_by(deliveries.c.delivery)


def _tell_alarms(contract: Contract, receipts: Sequence[dict[str, Any]], progress: Progress) -> None:
    for receipt in receipts:
        for alarm in (receipt.get("profile") or {}).get("alarms", []):
            progress(f"{contract.key}: {receipt['file']}: {alarm}")


def _sum(receipts: Sequence[dict[str, Any]]) -> str:
    counts = {kind: sum(receipt[kind] for receipt in receipts) for kind in ("accepted", "corrections", "duplicates")}
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items())


def _take_in_together(
    exchange: Exchange,
    contract: Contract,
    members: list[dict[str, Any]],
    odd: set[str],
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> list[dict[str, Any]]:
    """The receipts of the first of the members, which were loaded together; none where the first is to be loaded
    alone. Adds to ``odd``. Raises :class:`lakehouse.landing.clean.StandingChanged`."""
    between = between_them(contract, members)
    if (late := exchange.index.row(between)) is not None:
        members = [member for member in members if member["delivery"] < late["delivery"]]
        between = between_them(contract, members)
        if len(members) < LEAST:
            odd |= {member["delivery"] for member in members}
            return []
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        taken = load_together(exchange, contract, members, connection, Path(name))
        odd |= taken.odd
        if taken.receipts:
            upload_clean(exchange, taken.files)
            _record_together(exchange, members[: len(taken.receipts)], taken, between)
    return taken.receipts


def _record_together(
    exchange: Exchange, members: list[dict[str, Any]], taken: Together, between: sa.Select[Any]
) -> None:
    """One transaction: from here on the rows of all stand, or of none."""
    names = [member["delivery"] for member in members]
    with exchange.index.begin() as connection:
        hold_changes(connection)
        if taken.standing is not None:
            taken.standing.require_unchanged(connection)
        won = connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery.in_(names), deliveries.c.status == "sealed")
            .values(status="loaded")
        )
        if won.rowcount < len(names) or connection.execute(between.where(deliveries.c.delivery.not_in(names))).first():
            raise StandingChanged
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery == sa.bindparam("loaded"))
            .values(
                status=sa.bindparam("becomes"),
                receipt=sa.bindparam("told", type_=sa.JSON),
                contract_version=sa.bindparam("version"),
            ),
            [
                {
                    "loaded": receipt["delivery"],
                    "becomes": index_status(receipt),
                    "told": receipt,
                    "version": receipt["contract_version"],
                }
                for receipt in taken.receipts
            ],
        )
        connection.execute(sa.delete(delivery_profiles).where(delivery_profiles.c.delivery.in_(names)))
        connection.execute(sa.insert(delivery_profiles), [profile_row(receipt) for receipt in taken.receipts])
        if taken.files:
            change = next_change(connection)
            rows = [row for file in taken.files for row in index_rows(members[0], file, change)]
            connection.execute(sa.insert(clean_files), rows)


@contextmanager
def workbench(exchange: Exchange, contract: Contract) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A DuckDB that can read the dataset's deliveries, and a folder that goes with it."""
    with exchange.workplace("intake") as folder, exchange.duckdb() as connection:
        connection.execute(f"SET temp_directory = {literal(str(folder / 'spill'))}")
        connection.execute(f"SET memory_limit = {literal(exchange.settings.intake_memory_limit)}")
        if any(column.parse.geometry for column in contract.columns):
            load_spatial(connection)
        yield connection, folder


def _take_in(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> dict[str, Any]:
    repeated = repeats(exchange, contract, delivery)
    if repeated is not None:
        return record(exchange, delivery, repeated)
    erased_rows = take_erased_out(exchange, contract, delivery, connection)
    if delivery["raw_key"] is None:
        return record(exchange, delivery, went_whole(Sender.of(contract), delivery))
    while True:
        with tempfile.TemporaryDirectory(dir=scratch) as name, suppress(StandingChanged):
            loaded = load(exchange, contract, delivery, connection, Path(name))
            receipt = with_erased(loaded.receipt, erased_rows) if erased_rows else loaded.receipt
            faults = {faults_key(receipt): loaded.faults} if loaded.fault_rows else {}
            upload_clean(exchange, loaded.files, faults=faults)
            return record(exchange, delivery, receipt, files=loaded.files, standing=loaded.standing)


def upload_clean(exchange: Exchange, files: Sequence[CleanFile], *, faults: Mapping[str, Path] | None = None) -> None:
    """Clean files, and those of ``faults`` by their key in the bucket ``quarantine``."""
    uploads = [
        *(("quarantine", key, path) for key, path in (faults or {}).items()),
        *(("clean", file.key, file.path) for file in files),
    ]
    with ThreadPoolExecutor(UPLOADS) as pool:
        list(pool.map(lambda one: exchange.lake.upload(*one), uploads))


def record(
    exchange: Exchange,
    delivery: dict[str, Any],
    receipt: dict[str, Any],
    *,
    files: Sequence[CleanFile] = (),
    standing: Standing | None = None,
) -> dict[str, Any]:
    """One transaction: from here on the delivery's rows stand. Returns the receipt that holds.

    Where another process has recorded the delivery meanwhile, what it recorded holds.
    Raises :class:`lakehouse.landing.clean.StandingChanged`.
    """
    mine = deliveries.c.delivery == delivery["delivery"]
    with exchange.index.begin() as connection:
        if standing is not None:
            standing.require_unchanged(connection)
        won = connection.execute(
            sa.update(deliveries)
            .where(mine, deliveries.c.status == "sealed")
            .values(
                status=index_status(receipt),
                receipt=receipt,
                contract_version=receipt["contract_version"],
            )
        )
        if won.rowcount == 0:
            recorded: dict[str, Any] = connection.execute(sa.select(deliveries.c.receipt).where(mine)).scalar_one()
            return recorded
        upsert(connection, delivery_profiles, profile_row(receipt))
        if files:
            change = next_change(connection)
            rows = [row for file in files for row in index_rows(delivery, file, change)]
            connection.execute(sa.insert(clean_files), rows)
    return receipt


def index_status(receipt: dict[str, Any]) -> str:
    """What the index calls a delivery with such a receipt."""
    return receipt["status"] if receipt["status"] in ("refused", "repeated") else "loaded"


def index_rows(delivery: dict[str, Any], file: CleanFile, change: int) -> list[dict[str, Any]]:
    """What the index says of a clean file: of each delivery that has rows in it."""
    size = file.path.stat().st_size
    return [
        {
            "provider": delivery["provider"],
            "dataset": delivery["dataset"],
            "partition": file.partition,
            "key": file.key,
            "delivery": name,
            "rows": rows,
            "bytes": size,
            "change": change,
        }
        for name, rows in (file.shared or {delivery["delivery"]: file.rows}).items()
    ]


def faults_key(receipt: dict[str, Any], name: str = "faults") -> str:
    """Where the refused rows of a delivery stand in the bucket ``quarantine``."""
    return f"{receipt['provider']}/{receipt['dataset']}/{receipt['delivery']}/{name}.parquet"


def write_receipt(exchange: Exchange, receipt: dict[str, Any], *, title: str, raw_key: str | None) -> None:
    """The receipt into the provider's bucket, with what was refused whole beside it; then the index says so.

    ``raw_key``: ``None`` where nothing of the delivery may be kept.
    """
    write_receipts(exchange, [(receipt, raw_key)], title=title)


def write_receipts(exchange: Exchange, receipts: Sequence[tuple[dict[str, Any], str | None]], *, title: str) -> None:
    """The same of several, each with its ``raw_key``."""
    with ThreadPoolExecutor(min(UPLOADS, len(receipts))) as pool:
        list(pool.map(lambda one: _put_receipt(exchange, *one, title=title), receipts))
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery.in_([receipt["delivery"] for receipt, _ in receipts]))
            .values(receipt_written=True)
        )


def _put_receipt(exchange: Exchange, receipt: dict[str, Any], raw_key: str | None, *, title: str) -> None:
    bucket, dataset = landing_bucket(receipt["provider"]), receipt["dataset"]
    key = f"receipts/{dataset}/{receipt['delivery']}"
    if raw_key is not None:
        refused = f"refused/{dataset}/{receipt['delivery']}/{raw_key.rsplit('/', 1)[-1]}"
        if receipt["status"] == "refused":
            exchange.lake.copy("raw", raw_key, bucket, refused)
        elif receipt.get("replayed_at"):
            exchange.lake.delete(bucket, refused)
    if receipt.get("replayed_at"):
        _exchange_quarantine(exchange, receipt)
    if draft := (receipt.get("contract_change") or {}).get("draft"):
        place = f"{receipt['provider']}/{dataset}/{receipt['delivery']}/contract-change.diff"
        exchange.lake.write_bytes("quarantine", place, draft.encode(), content_type="text/plain")
    exchange.lake.write_bytes(bucket, f"{key}.json", receipt_json(receipt), content_type="application/json")
    page = receipt_html(receipt, title=title)
    exchange.lake.write_bytes(bucket, f"{key}.html", page, content_type="text/html; charset=utf-8")


def _exchange_quarantine(exchange: Exchange, receipt: dict[str, Any]) -> None:
    """After a replay: what was refused before is kept under another name, what is refused now takes its place."""
    staged, current = faults_key(receipt, STAGED_FAULTS), faults_key(receipt)
    if exchange.lake.stat("quarantine", staged) is None:
        return
    kept = faults_key(receipt, f"faults-before-{datetime.fromisoformat(receipt['replayed_at']):%Y%m%dT%H%M%S%fZ}")
    if exchange.lake.stat("quarantine", current) and not exchange.lake.stat("quarantine", kept):
        exchange.lake.copy("quarantine", current, "quarantine", kept)
    exchange.lake.copy("quarantine", staged, "quarantine", current)
    exchange.lake.delete("quarantine", staged)
