"""Intake of a dataset: every sealed delivery, in order of arrival, into clean partitions and a receipt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.derive import landing_bucket
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.clean import CleanFile, Standing, StandingChanged
from lakehouse.landing.erased import erased_from
from lakehouse.landing.load import load
from lakehouse.landing.receipt import Sender, build_receipt, receipt_html, receipt_json
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.reseal import went_whole, with_erased, without_erased
from lakehouse.landing.seal import seal_inbox
from lakehouse.storage.index import (
    clean_files,
    deliveries,
    delivery_profiles,
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
    seal_inbox(exchange, contract)
    return load_sealed(exchange, contract, progress=progress)


def load_sealed(exchange: Exchange, contract: Contract, *, progress: Progress = lambda _: None) -> list[dict[str, Any]]:
    """Loads what is sealed and writes the receipts that are not written yet. Returns them, in order."""
    pending = exchange.index.rows(
        sa.select(deliveries)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.receipt_written.is_(False),
            deliveries.c.status != "claimed",
        )
        .order_by(deliveries.c.delivery)
    )
    if not pending:
        return []
    receipts = []
    with workbench(exchange, contract) as (connection, folder):
        for row in pending:
            delivery = dict(row)
            receipt = row["receipt"] or _take_in(exchange, contract, delivery, connection, folder)
            write_receipt(exchange, receipt, title=contract.name, raw_key=delivery["raw_key"])
            progress(f"{contract.key}: {row['file']}: {receipt['message']}")
            for alarm in (receipt.get("profile") or {}).get("alarms", []):
                progress(f"{contract.key}: {row['file']}: {alarm}")
            receipts.append(receipt)
    return receipts


@contextmanager
def workbench(exchange: Exchange, contract: Contract) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A DuckDB that can read the dataset's deliveries, and a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="intake-") as name, exchange.duckdb() as connection:
        connection.execute(f"SET temp_directory = {literal(str(Path(name) / 'spill'))}")
        connection.execute(f"SET memory_limit = {literal(exchange.settings.intake_memory_limit)}")
        if any(column.parse.geometry for column in contract.columns):
            load_spatial(connection)
        yield connection, Path(name)


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
    erased_rows = _take_erased_out(exchange, contract, delivery, connection)
    if delivery["raw_key"] is None:
        return record(exchange, delivery, went_whole(Sender.of(contract), delivery))
    while True:
        with tempfile.TemporaryDirectory(dir=scratch) as name, suppress(StandingChanged):
            loaded = load(exchange, contract, delivery, connection, Path(name))
            receipt = with_erased(loaded.receipt, erased_rows) if erased_rows else loaded.receipt
            if loaded.fault_rows:
                exchange.lake.upload("quarantine", faults_key(receipt), loaded.faults)
            upload_clean(exchange, loaded.files)
            return record(exchange, delivery, receipt, files=loaded.files, standing=loaded.standing)


def upload_clean(exchange: Exchange, files: list[CleanFile]) -> None:
    with ThreadPoolExecutor(UPLOADS) as pool:
        list(pool.map(lambda file: exchange.lake.upload("clean", file.key, file.path), files))


def _take_erased_out(
    exchange: Exchange, contract: Contract, delivery: dict[str, Any], connection: duckdb.DuckDBPyConnection
) -> int:
    """Rows of erased people are taken out of what was sealed before anything else reads it."""
    erased = erased_from(exchange, contract)
    if erased is None:
        return 0
    try:
        rows, delivery["raw_key"] = without_erased(exchange, contract, erased, delivery["raw_key"], connection)
    except (DeliveryRefused, duckdb.Error):
        return 0  # it will be refused as it is, with the reason
    return rows


def repeats(exchange: Exchange, contract: Contract, delivery: dict[str, Any]) -> dict[str, Any] | None:
    """The receipt of bytes that were loaded before by the same contract, or ``None``."""
    if is_extract(delivery):
        # Sealed only where the source had answered otherwise in between.
        return None
    earlier = exchange.index.row(
        sa.select(deliveries.c.delivery, deliveries.c.receipt)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.sha256 == delivery["sha256"],
            deliveries.c.status == "loaded",
            deliveries.c.delivery < delivery["delivery"],
        )
        .order_by(deliveries.c.delivery.desc())
    )
    # By another version of the contract the same bytes may mean something else: they are read anew.
    if earlier is None or earlier["receipt"]["contract_version"] != contract.version:
        return None
    return repetition(contract, delivery, earlier["receipt"])


def is_extract(delivery: dict[str, Any]) -> bool:
    return str(delivery["inbox_key"]).startswith("extract/")


def repetition(contract: Contract, delivery: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """The receipt of a delivery whose bytes came before, with that receipt."""
    rows = int(earlier["delivered"])
    return build_receipt(
        sender=Sender.of(contract),
        delivery=delivery,
        status="repeated",
        delivered=rows,
        duplicates=rows,
        message=f"These very bytes were delivered before, as {earlier['delivery']}: nothing was changed.",
        next_step=(
            "Nothing is to be done. If you meant to send newer data, check which file was sent; to take a later "
            "correction back, deliver the rows in question in a file of their own."
        ),
    )


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
            connection.execute(sa.insert(clean_files), [index_row(delivery, file, change) for file in files])
    return receipt


def index_status(receipt: dict[str, Any]) -> str:
    """What the index calls a delivery with such a receipt."""
    return receipt["status"] if receipt["status"] in ("refused", "repeated") else "loaded"


def index_row(delivery: dict[str, Any], file: CleanFile, change: int) -> dict[str, Any]:
    return {
        "provider": delivery["provider"],
        "dataset": delivery["dataset"],
        "partition": file.partition,
        "key": file.key,
        "delivery": delivery["delivery"],
        "rows": file.rows,
        "bytes": file.path.stat().st_size,
        "change": change,
    }


def faults_key(receipt: dict[str, Any], name: str = "faults") -> str:
    """Where the refused rows of a delivery stand in the bucket ``quarantine``."""
    return f"{receipt['provider']}/{receipt['dataset']}/{receipt['delivery']}/{name}.parquet"


def write_receipt(exchange: Exchange, receipt: dict[str, Any], *, title: str, raw_key: str | None) -> None:
    """The receipt into the provider's bucket, with what was refused whole beside it; then the index says so.

    ``raw_key``: ``None`` where nothing of the delivery may be kept.
    """
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
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(deliveries).where(deliveries.c.delivery == receipt["delivery"]).values(receipt_written=True)
        )


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
