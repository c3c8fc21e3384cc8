"""Sealing: the delivered bytes, verbatim, into ``raw`` with their origin, before anything reads them."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.storage.index import deliveries
from lakehouse.storage.lake import Entry, ObjectNotFound

CHUNK = 1 << 20


def waiting(exchange: Exchange, contract: Contract) -> list[Entry]:
    """The files in a dataset's inbox, by name."""
    return list(exchange.lake.list(landing_bucket(contract.provider), inbox_prefix(contract.dataset)))


def seal_inbox(exchange: Exchange, contract: Contract) -> list[str]:
    """Seals every file that waits in the inbox, then clears it. Returns the deliveries sealed.

    Safe to repeat after a death at any point: a claim in the index names each arrival before its bytes move,
    so a second pass takes up the same delivery.
    """
    return [
        delivery
        for entry in waiting(exchange, contract)
        if (delivery := _seal_entry(exchange, contract, entry)) is not None
    ]


def seal_bytes(
    exchange: Exchange, contract: Contract, *, name: str, content: bytes, source: dict[str, Any]
) -> str | None:
    """Seals what an extract pulled. Returns ``None`` where the same answer was sealed before."""
    sha256 = hashlib.sha256(content).hexdigest()
    claim = _claim(exchange, contract, file=name, key=f"extract/{contract.dataset}/{name}", version=sha256)
    if claim["status"] != "claimed":
        return str(claim["delivery"]) if claim["status"] == "sealed" else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page"
        path.write_bytes(content)
        _to_raw(exchange, contract, claim, path, sha256, source)
    return str(claim["delivery"])


def _seal_entry(exchange: Exchange, contract: Contract, entry: Entry) -> str | None:
    bucket, name = entry.bucket, PurePosixPath(entry.key).name
    claim = _claim(exchange, contract, file=name, key=entry.key, version=entry.version)
    if claim["status"] == "claimed":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "delivered"
            try:
                exchange.lake.download(bucket, entry.key, path)
            except ObjectNotFound:
                _forget(exchange, claim)
                return None
            now = exchange.lake.stat(bucket, entry.key)
            if now is None or now.version != entry.version:
                # Still being written: it is taken whole at a later pass.
                _forget(exchange, claim)
                return None
            _to_raw(exchange, contract, claim, path, _sha256(path), {"kind": "drop", "inbox_key": entry.key})
    exchange.lake.delete(bucket, entry.key)
    with exchange.index.begin() as connection:
        # The same name may be dropped again: only an arrival that still lies in the inbox owns its version.
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery == claim["delivery"])
            .values(inbox_version=f"{entry.version}#{claim['delivery']}")
        )
    return str(claim["delivery"])


def _claim(exchange: Exchange, contract: Contract, *, file: str, key: str, version: str) -> dict[str, Any]:
    """The delivery that this arrival is: the one claimed before, or a new one."""
    query = sa.select(deliveries).where(
        deliveries.c.provider == contract.provider,
        deliveries.c.inbox_key == key,
        deliveries.c.inbox_version == version,
    )
    with exchange.index.begin() as connection:
        found = connection.execute(query).mappings().first()
        if found is not None:
            return dict(found)
        received = datetime.now(UTC)
        digest = hashlib.sha256(f"{contract.key}/{key}/{version}".encode()).hexdigest()[:8]
        values = {
            "delivery": f"{received:%Y%m%dT%H%M%S%f}Z-{digest}",
            "provider": contract.provider,
            "dataset": contract.dataset,
            "file": file,
            "inbox_key": key,
            "inbox_version": version,
            "received_at": received,
            "status": "claimed",
            "receipt_written": False,
        }
        connection.execute(sa.insert(deliveries).values(**values))
        return values


def _forget(exchange: Exchange, claim: dict[str, Any]) -> None:
    with exchange.index.begin() as connection:
        connection.execute(sa.delete(deliveries).where(deliveries.c.delivery == claim["delivery"]))


def _to_raw(
    exchange: Exchange, contract: Contract, claim: dict[str, Any], path: Path, sha256: str, source: dict[str, Any]
) -> None:
    received: datetime = claim["received_at"]
    earlier = exchange.index.row(
        sa.select(deliveries.c.raw_key).where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.sha256 == sha256,
            deliveries.c.raw_key.is_not(None),
        )
    )
    if earlier is not None:
        raw_key = str(earlier["raw_key"])
    else:
        folder = f"{contract.provider}/{contract.dataset}/{received:%Y/%m/%d}/{sha256}"
        raw_key = f"{folder}/{_safe_name(claim['file'])}"
        exchange.lake.upload("raw", raw_key, path)
        origin = {
            "provider": contract.provider,
            "dataset": contract.dataset,
            "delivery": claim["delivery"],
            "file": claim["file"],
            "sha256": sha256,
            "bytes": path.stat().st_size,
            "received_at": received.isoformat(),
            "contract_version": contract.version,
            "simulated": contract.exchange.simulated,
            "source": source,
        }
        text = json.dumps(origin, indent=1, ensure_ascii=False)
        exchange.lake.write_bytes("raw", f"{folder}/origin.json", text.encode(), content_type="application/json")
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery == claim["delivery"])
            .values(
                status="sealed",
                sha256=sha256,
                bytes=path.stat().st_size,
                raw_key=raw_key,
                contract_version=contract.version,
            )
        )


def _safe_name(name: str) -> str:
    cleaned = re.sub(r"[\x00-\x1f/\\]", "_", name)
    return "delivered" if cleaned in ("", ".", "..", "origin.json") else cleaned


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
