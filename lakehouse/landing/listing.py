"""Receipts as they are promised to programs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.storage.index import deliveries


def list_receipts(exchange: Exchange, *, provider: str | None = None) -> list[dict[str, Any]]:
    """All receipts, oldest first."""
    query = sa.select(deliveries.c.receipt).where(deliveries.c.receipt.is_not(None)).order_by(deliveries.c.delivery)
    if provider is not None:
        query = query.where(deliveries.c.provider == provider)
    return [row["receipt"] for row in exchange.index.rows(query) if row["receipt"]]
