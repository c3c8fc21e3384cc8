"""Intake of a dataset: every sealed delivery, in order of arrival, into clean partitions and a receipt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.derive import landing_bucket
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.checks import delivery_checks
from lakehouse.landing.read import read_file
from lakehouse.landing.receipt import (
    build_receipt,
    receipt_html,
    receipt_json,
    refusal_entry,
    summarise_faults,
)
from lakehouse.landing.reconcile import partition_expression, reconcile, touched_partitions
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.seal import seal_inbox
from lakehouse.landing.type_rows import create_tables, type_rows
from lakehouse.landing.unpack import unpack
from lakehouse.storage.index import clean_files, deliveries, next_change
from lakehouse.storage.spatial import load_spatial
from lakehouse.storage.sql import identifier, literal

Progress = Callable[[str], None]
UPLOADS = 8


@dataclass(frozen=True, kw_only=True)
class CleanFile:
    partition: str
    key: str
    path: Path
    rows: int


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
    receipts = []
    for row in pending:
        receipt = row["receipt"] or _load(exchange, contract, dict(row))
        _write_receipt(exchange, contract, receipt, raw_key=row["raw_key"])
        progress(f"{contract.key}: {row['file']}: {receipt['message']}")
        receipts.append(receipt)
    return receipts


def _load(exchange: Exchange, contract: Contract, delivery: dict[str, Any]) -> dict[str, Any]:
    repeated = _repeats(exchange, contract, delivery)
    if repeated is not None:
        receipt = repeated
        _record(exchange, delivery, receipt, status="repeated", files=[])
        return receipt
    with tempfile.TemporaryDirectory(prefix="intake-") as name:
        folder = Path(name)
        connection = exchange.duckdb(folder / "intake.duckdb")
        try:
            connection.execute(f"SET temp_directory = {literal(str(folder / 'spill'))}")
            receipt, files = _load_rows(exchange, contract, delivery, connection, folder)
            if files:
                with ThreadPoolExecutor(UPLOADS) as pool:
                    list(pool.map(lambda file: exchange.lake.upload("clean", file.key, file.path), files))
        finally:
            connection.close()
        status = "refused" if receipt["status"] == "refused" else "loaded"
        _record(exchange, delivery, receipt, status=status, files=files)
    return receipt


def _repeats(exchange: Exchange, contract: Contract, delivery: dict[str, Any]) -> dict[str, Any] | None:
    """The receipt of bytes that were loaded before, or ``None``."""
    earlier = exchange.index.row(
        sa.select(deliveries.c.delivery, deliveries.c.receipt)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.sha256 == delivery["sha256"],
            deliveries.c.status == "loaded",
            deliveries.c.delivery != delivery["delivery"],
        )
        .order_by(deliveries.c.delivery)
    )
    if earlier is None:
        return None
    rows = int(earlier["receipt"]["delivered"])
    return build_receipt(
        contract=contract,
        delivery=delivery,
        status="repeated",
        delivered=rows,
        duplicates=rows,
        message=f"These very bytes were delivered before, as {earlier['delivery']}: nothing was changed.",
        next_step="Nothing is to be done. If you meant to send newer data, check which file was sent.",
    )


def _load_rows(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
) -> tuple[dict[str, Any], list[CleanFile]]:
    create_tables(connection, contract)
    if any(column.parse.geometry for column in contract.columns):
        load_spatial(connection)
    delivered, unknown = 0, []
    try:
        path = exchange.lake.download("raw", delivery["raw_key"], folder / "delivered")
        plain = unpack(
            path=path,
            name=delivery["file"],
            forms=contract.exchange.delivery.forms,
            folder=folder / "unpacked",
            max_bytes=exchange.settings.max_unpacked_bytes,
        )
        for part, file in enumerate(plain):
            unknown = read_file(connection=connection, file=file, contract=contract)
            delivered += _count(connection, "delivered") + _count(connection, "malformed")
            type_rows(connection=connection, contract=contract, form=file.form, member=file.member, part=part)
        return _reconciled(exchange, contract, delivery, connection, folder, delivered, unknown)
    except DeliveryRefused as refusal:
        _write_quarantine(exchange, contract, delivery, connection, folder)
        entry = refusal_entry(refusal, delivered)
        receipt = build_receipt(
            contract=contract,
            delivery=delivery,
            status="refused",
            delivered=delivered,
            refused=delivered,
            errors=[entry, *summarise_faults(connection, contract, warnings=False)],
            message=f"The delivery was refused whole. {refusal.problem}",
            next_step=refusal.advice,
        )
        return receipt, []


def _reconciled(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    delivered: int,
    unknown: list[str],
) -> tuple[dict[str, Any], list[CleanFile]]:
    if delivered == 0:
        raise DeliveryRefused("no_rows", "The file holds no rows.", "Deliver the file with its data in it.")
    partitions = touched_partitions(connection, contract)
    result = reconcile(
        connection=connection, contract=contract, standing=_standing(exchange, contract, partitions)
    )
    refused = delivered - result.accepted - result.duplicates
    checks = delivery_checks(connection, contract, delivered)
    _refuse_beyond_threshold(contract, delivered, refused, checks)
    _write_quarantine(exchange, contract, delivery, connection, folder)
    files = _write_partitions(contract, delivery, connection, folder)
    warnings = summarise_faults(connection, contract, warnings=True) + [
        {
            "rule": "unknown_column", "rows": delivered, "first_line": 1, "column": None, "source_column": name,
            "member": None, "value": None, "expected": "only columns of the contract; this one was not loaded",
            "advice": "If it matters, ask for it to be added to the contract.",
        }
        for name in unknown
    ]  # fmt: skip
    errors = summarise_faults(connection, contract, warnings=False)
    status = "partly_accepted" if refused else "accepted"
    receipt = build_receipt(
        contract=contract,
        delivery=delivery,
        status=status,
        delivered=delivered,
        accepted=result.accepted,
        refused=refused,
        duplicates=result.duplicates,
        corrections=result.corrections,
        errors=errors,
        warnings=warnings,
        checks=checks,
        partitions=sorted({file.partition for file in files}),
        message=_message(result.accepted, refused, result.duplicates),
        next_step=(
            "Deliver the refused rows again once they are corrected; the accepted ones need not be sent again."
            if refused
            else "Nothing is to be done."
        ),
    )
    return receipt, files


def _message(accepted: int, refused: int, duplicates: int) -> str:
    parts = [f"{accepted:,} row{'' if accepted == 1 else 's'} accepted"]
    if refused:
        parts.append(f"{refused:,} refused")
    if duplicates:
        parts.append(f"{duplicates:,} known already")
    return ", ".join(parts) + "."


def _refuse_beyond_threshold(
    contract: Contract, delivered: int, refused: int, checks: list[dict[str, Any]]
) -> None:
    limit = contract.exchange.thresholds.max_refused_share
    if refused > limit * delivered:
        raise DeliveryRefused(
            "too_many_refused",
            f"{refused:,} of {delivered:,} rows are wrong, more than the {limit:.0%} that the contract allows.",
            "See the errors below: most often a column, a unit or a format has changed. Mend the file, deliver anew.",
        )
    for check in checks:
        if not check["success"] and check["severity"] == "error":
            raise DeliveryRefused(
                "contract_expectation",
                f"{check['expectation']} does not hold: {check['found']}.",
                "Check that the file is the whole delivery, and deliver it anew.",
            )


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int((connection.execute(f"SELECT count(*) FROM {relation}").fetchone() or (0,))[0])


def _standing(exchange: Exchange, contract: Contract, partitions: list[str]) -> str | None:
    """SQL of the clean rows that stand in the touched partitions, or ``None`` where there are none."""
    rows = exchange.index.rows(
        sa.select(clean_files.c.key)
        .where(
            clean_files.c.provider == contract.provider,
            clean_files.c.dataset == contract.dataset,
            clean_files.c.partition.in_(partitions),
        )
        .order_by(clean_files.c.key)
    )
    if not rows:
        return None
    urls = ", ".join(literal(exchange.lake.duckdb_url("clean", row["key"])) for row in rows)
    return f"SELECT * FROM read_parquet([{urls}], hive_partitioning=false)"


def _write_partitions(
    contract: Contract, delivery: dict[str, Any], connection: duckdb.DuckDBPyConnection, folder: Path
) -> list[CleanFile]:
    target = folder / "clean"
    names = ", ".join(identifier(column.name) for column in contract.columns)
    keys = ", ".join(identifier(column.name) for column in contract.primary_key)
    connection.execute(
        f"""
        COPY (
            SELECT {names}, {literal(delivery["delivery"])} AS exchange_delivery, line AS exchange_line,
                   TIMESTAMPTZ {literal(delivery["received_at"].isoformat())} AS exchange_known_at,
                   {partition_expression(contract)} AS event_date
            FROM fresh ORDER BY event_date, {keys}, line
        ) TO {literal(str(target))} (
            FORMAT parquet, COMPRESSION zstd, PARTITION_BY (event_date), FILENAME_PATTERN 'part-{{i}}'
        )
        """
    )
    if not target.exists():
        return []
    paths = sorted(target.glob("event_date=*/*.parquet"))
    counts = dict(
        connection.execute(
            f"SELECT file_name, num_rows FROM parquet_file_metadata({literal(str(target / '**' / '*.parquet'))})"
        ).fetchall()
    )
    return [
        CleanFile(
            partition=path.parent.name.removeprefix("event_date="),
            key=f"{contract.key}/{path.parent.name}/{delivery['delivery']}-{path.name}",
            path=path,
            rows=int(counts[str(path)]),
        )
        for path in paths
        if counts[str(path)]
    ]


def _write_quarantine(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
) -> None:
    """The refused rows, with the row as it was delivered, for reviewers; nothing where none was refused."""
    if _count(connection, "(FROM faults WHERE NOT warning)") == 0:
        return
    path = folder / "faults.parquet"
    connection.execute(
        'COPY (SELECT member, line, column_name AS "column", value, rule, expected, row_text AS row FROM faults '
        f'WHERE NOT warning ORDER BY member, line, rule, "column") TO {literal(str(path))} '
        "(FORMAT parquet, COMPRESSION zstd)"
    )
    exchange.lake.upload("quarantine", f"{contract.key}/{delivery['delivery']}/faults.parquet", path)


def _record(
    exchange: Exchange, delivery: dict[str, Any], receipt: dict[str, Any], *, status: str, files: list[CleanFile]
) -> None:
    """One transaction: from here on the delivery's rows stand."""
    with exchange.index.begin() as connection:
        if files:
            change = next_change(connection)
            connection.execute(sa.delete(clean_files).where(clean_files.c.delivery == delivery["delivery"]))
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
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery == delivery["delivery"])
            .values(status=status, receipt=receipt)
        )


def _write_receipt(exchange: Exchange, contract: Contract, receipt: dict[str, Any], *, raw_key: str) -> None:
    bucket, key = landing_bucket(contract.provider), f"receipts/{contract.dataset}/{receipt['delivery']}"
    if receipt["status"] == "refused":
        name = raw_key.rsplit("/", 1)[-1]
        # Never a link: the provider may write in its own bucket, and raw must stay as it was sealed.
        with tempfile.TemporaryDirectory() as folder:
            path = exchange.lake.download("raw", raw_key, Path(folder) / "delivered")
            exchange.lake.upload(bucket, f"refused/{contract.dataset}/{receipt['delivery']}/{name}", path)
    exchange.lake.write_bytes(bucket, f"{key}.json", receipt_json(receipt), content_type="application/json")
    exchange.lake.write_bytes(
        bucket, f"{key}.html", receipt_html(receipt, title=contract.name), content_type="text/html; charset=utf-8"
    )
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery == receipt["delivery"])
            .values(receipt_written=True)
        )
