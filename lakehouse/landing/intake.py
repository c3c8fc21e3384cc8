"""Intake of a dataset: every sealed delivery, in order of arrival, into clean partitions and a receipt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.derive import landing_bucket
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.clean import CleanFile
from lakehouse.landing.erased import erased_from
from lakehouse.landing.load import load
from lakehouse.landing.receipt import Sender, build_receipt, receipt_html, receipt_json
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.reseal import went_whole, with_erased, without_erased
from lakehouse.landing.seal import seal_inbox
from lakehouse.storage.index import clean_files, deliveries, next_change
from lakehouse.storage.spatial import load_spatial
from lakehouse.storage.sql import literal

Progress = Callable[[str], None]
UPLOADS = 8


def intake(exchange: Exchange, contract: Contract, *, progress: Progress = lambda _: None) -> list[dict[str, Any]]:
    """Seals what waits in the inbox, then loads all that is sealed. Returns the receipts, in order.

    May be killed at any point and run again: sealed bytes are never lost, a clean file is seen only once the
    index names it, and a delivery that was loaded is not loaded again.
    """
    seal_inbox(exchange, contract)
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
    with tempfile.TemporaryDirectory(prefix="intake-") as name, exchange.duckdb() as connection:
        connection.execute(f"SET temp_directory = {literal(str(Path(name) / 'spill'))}")
        if any(column.parse.geometry for column in contract.columns):
            load_spatial(connection)
        for row in pending:
            delivery = dict(row)
            receipt = row["receipt"] or _take_in(exchange, contract, delivery, connection, Path(name))
            write_receipt(exchange, receipt, title=contract.name, raw_key=delivery["raw_key"])
            progress(f"{contract.key}: {row['file']}: {receipt['message']}")
            receipts.append(receipt)
    return receipts


def _take_in(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> dict[str, Any]:
    repeated = _repeats(exchange, contract, delivery)
    if repeated is not None:
        return record(exchange, delivery, repeated, files=[])
    erased_rows = _take_erased_out(exchange, contract, delivery, connection)
    if delivery["raw_key"] is None:
        return record(exchange, delivery, went_whole(Sender.of(contract), delivery), files=[])
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        receipt, files = load(exchange, contract, delivery, connection, Path(name))
        if erased_rows:
            receipt = with_erased(receipt, erased_rows)
        with ThreadPoolExecutor(UPLOADS) as pool:
            list(pool.map(lambda file: exchange.lake.upload("clean", file.key, file.path), files))
        return record(exchange, delivery, receipt, files=files)


def _take_erased_out(
    exchange: Exchange, contract: Contract, delivery: dict[str, Any], connection: duckdb.DuckDBPyConnection
) -> int:
    """Rows of erased people are taken out of what was sealed before anything else reads it."""
    erased = erased_from(exchange, contract)
    if erased is None:
        return 0
    try:
        cut = without_erased(exchange, contract, erased, delivery["raw_key"], connection)
    except (DeliveryRefused, duckdb.Error):
        return 0  # it will be refused as it is, with the reason
    delivery["raw_key"] = exchange.index.rows(
        sa.select(deliveries.c.raw_key).where(deliveries.c.delivery == delivery["delivery"])
    )[0]["raw_key"]
    return cut.rows if cut else 0


def _repeats(exchange: Exchange, contract: Contract, delivery: dict[str, Any]) -> dict[str, Any] | None:
    """The receipt of bytes that were loaded before by the same contract, or ``None``."""
    if delivery["inbox_key"].startswith("extract/"):
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
    rows = int(earlier["receipt"]["delivered"])
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
    exchange: Exchange, delivery: dict[str, Any], receipt: dict[str, Any], *, files: list[CleanFile]
) -> dict[str, Any]:
    """One transaction: from here on the delivery's rows stand. Returns the receipt that holds.

    Where another process has recorded the delivery meanwhile, what it recorded holds.
    """
    status = receipt["status"] if receipt["status"] in ("refused", "repeated") else "loaded"
    mine = deliveries.c.delivery == delivery["delivery"]
    with exchange.index.begin() as connection:
        won = connection.execute(
            sa.update(deliveries).where(mine, deliveries.c.status == "sealed").values(status=status, receipt=receipt)
        )
        if won.rowcount == 0:
            standing: dict[str, Any] = connection.execute(sa.select(deliveries.c.receipt).where(mine)).scalar_one()
            return standing
        if files:
            change = next_change(connection)
            connection.execute(
                sa.insert(clean_files),
                [
                    {
                        "provider": delivery["provider"],
                        "dataset": delivery["dataset"],
                        "partition": file.partition,
                        "key": file.key,
                        "delivery": delivery["delivery"],
                        "rows": file.rows,
                        "bytes": file.path.stat().st_size,
                        "change": change,
                    }
                    for file in files
                ],
            )
    return receipt


def write_receipt(exchange: Exchange, receipt: dict[str, Any], *, title: str, raw_key: str | None) -> None:
    """The receipt into the provider's bucket, with what was refused whole beside it; then the index says so.

    ``raw_key``: ``None`` where nothing of the delivery may be kept.
    """
    bucket, dataset = landing_bucket(receipt["provider"]), receipt["dataset"]
    key = f"receipts/{dataset}/{receipt['delivery']}"
    if receipt["status"] == "refused" and raw_key is not None:
        name = raw_key.rsplit("/", 1)[-1]
        exchange.lake.copy("raw", raw_key, bucket, f"refused/{dataset}/{receipt['delivery']}/{name}")
    exchange.lake.write_bytes(bucket, f"{key}.json", receipt_json(receipt), content_type="application/json")
    page = receipt_html(receipt, title=title)
    exchange.lake.write_bytes(bucket, f"{key}.html", page, content_type="text/html; charset=utf-8")
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(deliveries).where(deliveries.c.delivery == receipt["delivery"]).values(receipt_written=True)
        )
