"""Files in an inbox that belong to no dataset: kept, and answered with a receipt that says where they go."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.contracts.load import contract_keys
from lakehouse.exchange import Exchange
from lakehouse.landing.intake import record, write_receipt
from lakehouse.landing.receipt import Sender, build_receipt, refusal_entry
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.seal import pages, seal_entries, settled
from lakehouse.storage.index import deliveries
from lakehouse.storage.lake import Entry

# No dataset's name begins so: what is under it in raw and among the receipts is of no dataset.
UNKNOWN = "_unknown"


def stray_files(exchange: Exchange, provider: str) -> list[Entry]:
    """What lies in a provider's inbox outside the folders of its datasets, by name."""
    known = tuple(inbox_prefix(dataset) for dataset in _datasets(exchange, provider))
    entries = exchange.lake.list(landing_bucket(provider), "inbox/")
    return [entry for entry in entries if not entry.key.startswith(known)]


def refuse_strays(exchange: Exchange, provider: str) -> list[dict[str, Any]]:
    """Seals each stray file in ``raw`` under ``<provider>/_unknown/``, moves it to ``refused/`` and writes a
    receipt that names the datasets. Returns the receipts. May be killed and run again, as intake may."""
    sender = Sender(provider=provider, dataset=UNKNOWN, contract_version="none")
    for page in pages(stray_files(exchange, provider)):
        seal_entries(exchange, sender, settled(exchange, page))
    pending = exchange.index.rows(
        sa.select(deliveries)
        .where(
            deliveries.c.provider == provider,
            deliveries.c.dataset == UNKNOWN,
            deliveries.c.receipt_written.is_(False),
            deliveries.c.status != "claimed",
        )
        .order_by(deliveries.c.delivery)
    )
    receipts = []
    for row in pending:
        delivery = dict(row)
        receipt = row["receipt"] or record(exchange, delivery, _refusal(exchange, sender, delivery))
        write_receipt(exchange, receipt, title="No known dataset", raw_key=row["raw_key"])
        receipts.append(receipt)
    return receipts


def _refusal(exchange: Exchange, sender: Sender, delivery: dict[str, Any]) -> dict[str, Any]:
    folder = delivery["inbox_key"].rpartition("/")[0]
    known = ", ".join(inbox_prefix(dataset) for dataset in _datasets(exchange, sender.provider))
    refusal = DeliveryRefused(
        "unknown_dataset",
        f"It lay in {folder}/, which is no dataset's folder.",
        f"Put it into the folder of its dataset: {known or 'there is none yet; ask the exchange for a contract'}.",
    )
    return build_receipt(
        sender=sender,
        delivery=delivery,
        status="refused",
        errors=[refusal_entry(refusal, 0)],
        message=f"The file was not read. {refusal.problem}",
        next_step=refusal.advice,
    )


def _datasets(exchange: Exchange, provider: str) -> list[str]:
    """By the places of their contracts: what is for one whose contract has a fault is no stray."""
    return [dataset for owner, dataset in contract_keys(exchange.settings.contracts_path) if owner == provider]
