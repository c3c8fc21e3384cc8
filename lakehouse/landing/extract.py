"""Extracts: one interval of a public source, sealed page by page as it came."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.seal import seal_bytes
from lakehouse.sources.connector import connector_for
from lakehouse.storage.index import extract_windows, upsert


class ExtractNotPossible(RuntimeError):
    """There is nobody to ask: no live address, or no loopback server."""


def extract(
    exchange: Exchange,
    contract: Contract,
    *,
    start: datetime,
    end: datetime,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Pulls ``[start, end)`` and seals each page. The same answer sealed before is not sealed again.

    All pages are held to be whole before the first is sealed, so a set that moved while it was paged leaves
    nothing. Raises :class:`lakehouse.sources.connector.SourceError` and :class:`ExtractNotPossible`.
    """
    arguments = contract.exchange.extract
    if arguments is None:
        raise ExtractNotPossible(f"{contract.key} is delivered by drop; its contract has no extract")
    base_url = source_url(exchange, contract)
    pages = list(connector_for(arguments, base_url=base_url).pages(start=start, end=end))
    sealed = 0
    for page in pages:
        source = {
            "kind": "extract",
            "url": page.url,
            "fetched_at": page.fetched_at.isoformat(),
            "interval": [start.astimezone(UTC).isoformat(), end.astimezone(UTC).isoformat()],
        }
        sealed += seal_bytes(exchange, contract, name=page.name, content=page.content, source=source) is not None
    rows = sum(page.rows for page in pages)
    with exchange.index.begin() as connection:
        upsert(
            connection,
            extract_windows,
            {
                "provider": contract.provider,
                "dataset": contract.dataset,
                "start": start,
                "end": end,
                "pages": len(pages),
                "rows": rows,
            },
        )
    progress(f"{contract.key}: {rows:,} rows in {len(pages)} pages from {base_url}; {sealed} pages are new")
    return {"pages": len(pages), "rows": rows, "sealed": sealed}


def source_url(exchange: Exchange, contract: Contract) -> str:
    """Whom to ask: the publisher when extracts are live, else the loopback server of this run."""
    if exchange.settings.extracts == "live":
        address = next((server.location for server in contract.servers if server.type == "api"), None)
        if address is None:
            raise ExtractNotPossible(f"{contract.key}: its contract has no server of type api with a location")
        return address
    if exchange.settings.extract_url is None:
        raise ExtractNotPossible(
            f"{contract.key}: no loopback server is running. `exchange run` and `exchange airflow` start one; to ask "
            "the publisher instead set EXCHANGE_EXTRACTS=live"
        )
    return exchange.settings.extract_url


def uncovered(
    exchange: Exchange, contract: Contract, *, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """The parts of ``[start, end)`` that no extract has covered yet, in order of time."""
    rows = exchange.index.rows(
        sa.select(extract_windows.c.start, extract_windows.c.end)
        .where(extract_windows.c.provider == contract.provider, extract_windows.c.dataset == contract.dataset)
        .order_by(extract_windows.c.start)
    )
    gaps, reached = [], start
    for row in rows:
        if row["start"] > reached:
            gaps.append((reached, min(row["start"], end)))
        reached = max(reached, row["end"])
        if reached >= end:
            break
    if reached < end:
        gaps.append((reached, end))
    return [gap for gap in gaps if gap[0] < gap[1]]
