"""Sealing: the delivered bytes, verbatim, into ``raw`` with their origin, before anything reads them."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.receipt import Sender
from lakehouse.storage.index import deliveries
from lakehouse.storage.lake import Entry, ObjectNotFound


def waiting(exchange: Exchange, contract: Contract) -> list[Entry]:
    """The files in a dataset's inbox, by name."""
    return list(exchange.lake.list(landing_bucket(contract.provider), inbox_prefix(contract.dataset)))


def settled(exchange: Exchange, entries: list[Entry]) -> list[Entry]:
    """Those of the entries that nobody is writing to any more; waits a moment where one is young.

    A file that is copied into an inbox grows under its final name. One that still changes is left for later.
    """
    rest = exchange.settings.settle_seconds
    if not entries:
        return []
    age = (datetime.now(UTC) - max(entry.modified for entry in entries)).total_seconds()
    if age >= rest:
        return entries
    time.sleep(min(rest, rest - age))
    return [entry for entry in entries if _stands(exchange, entry)]


def seal_inbox(exchange: Exchange, contract: Contract) -> list[str]:
    """Seals every file that waits in the inbox, then clears it. Returns the deliveries sealed.

    Safe to repeat after a death at any point: a claim in the index names each arrival before its bytes move,
    so a second pass takes up the same delivery.
    """
    sender = Sender.of(contract)
    sealed = (seal_entry(exchange, sender, entry) for entry in settled(exchange, waiting(exchange, contract)))
    return [delivery for delivery in sealed if delivery is not None]


def seal_page(exchange: Exchange, contract: Contract, *, name: str, path: Path, source: dict[str, Any]) -> str | None:
    """Seals what an extract pulled. ``None`` where the source's last answer under this name was the same."""
    sender, key = Sender.of(contract), f"extract/{contract.dataset}/{name}"
    sha256 = _sha256(path)
    last = exchange.index.row(
        sa.select(deliveries.c.inbox_version)
        .where(deliveries.c.provider == contract.provider, deliveries.c.inbox_key == key)
        .order_by(deliveries.c.delivery.desc())
        .limit(1)
    )
    # An answer that comes back after another one is news: the source has taken its correction back.
    same = last is not None and last["inbox_version"].startswith(sha256)
    version = last["inbox_version"] if last and same else f"{sha256}@{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    claim = _claim(exchange, sender, file=name, key=key, version=version)
    if claim["status"] != "claimed":
        return str(claim["delivery"]) if claim["status"] == "sealed" else None
    _to_raw(exchange, sender, claim, path, source)
    return str(claim["delivery"])


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal_entry(exchange: Exchange, sender: Sender, entry: Entry) -> str | None:
    """Seals one file of an inbox and takes it out. ``None`` where it was still being written, or is gone."""
    name = PurePosixPath(entry.key).name
    # On S3 the same bytes keep their version: the time tells one arrival of them from the next.
    version = f"{entry.version}@{entry.modified:%Y%m%dT%H%M%S%f}"
    claim = _claim(exchange, sender, file=name, key=entry.key, version=version)
    if claim["status"] == "claimed":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "delivered"
            try:
                exchange.lake.download(entry.bucket, entry.key, path)
            except ObjectNotFound:
                _forget(exchange, claim)
                return None
            if not _stands(exchange, entry):
                _forget(exchange, claim)
                return None
            _to_raw(exchange, sender, claim, path, {"kind": "drop", "inbox_key": entry.key})
    if _stands(exchange, entry):
        exchange.lake.delete(entry.bucket, entry.key)
    with exchange.index.begin() as connection:
        # The same name may be dropped again: only an arrival that still lies in the inbox owns its version.
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery == claim["delivery"])
            .values(inbox_version=f"{version}#{claim['delivery']}")
        )
    return str(claim["delivery"])


def _stands(exchange: Exchange, entry: Entry) -> bool:
    now = exchange.lake.stat(entry.bucket, entry.key)
    return now is not None and now.version == entry.version


def _claim(exchange: Exchange, sender: Sender, *, file: str, key: str, version: str) -> dict[str, Any]:
    """The delivery that this arrival is: the one claimed before, or a new one."""
    query = sa.select(deliveries).where(
        deliveries.c.provider == sender.provider,
        deliveries.c.inbox_key == key,
        deliveries.c.inbox_version == version,
    )
    with exchange.index.begin() as connection:
        found = connection.execute(query).mappings().first()
        if found is not None:
            return dict(found)
        received = datetime.now(UTC)
        digest = hashlib.sha256(f"{sender.provider}/{key}/{version}".encode()).hexdigest()[:8]
        values = {
            "delivery": f"{received:%Y%m%dT%H%M%S%f}Z-{digest}",
            "provider": sender.provider,
            "dataset": sender.dataset,
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
    """Withdraws a claim, unless another process has sealed the file by it meanwhile."""
    with exchange.index.begin() as connection:
        mine = deliveries.c.delivery == claim["delivery"]
        connection.execute(sa.delete(deliveries).where(mine, deliveries.c.status == "claimed"))


def _to_raw(exchange: Exchange, sender: Sender, claim: dict[str, Any], path: Path, source: dict[str, Any]) -> None:
    sha256 = _sha256(path)
    earlier = exchange.index.row(
        sa.select(deliveries.c.raw_key).where(
            deliveries.c.provider == sender.provider,
            deliveries.c.dataset == sender.dataset,
            deliveries.c.sha256 == sha256,
            deliveries.c.raw_key.is_not(None),
        )
    )
    raw_key = earlier["raw_key"] if earlier else _seal(exchange, sender, claim, path, sha256, source)
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery == claim["delivery"], deliveries.c.status == "claimed")
            .values(
                status="sealed",
                sha256=sha256,
                bytes=path.stat().st_size,
                raw_key=raw_key,
                contract_version=sender.contract_version,
            )
        )


def _seal(
    exchange: Exchange, sender: Sender, claim: dict[str, Any], path: Path, sha256: str, source: dict[str, Any]
) -> str:
    received: datetime = claim["received_at"]
    folder = f"{sender.provider}/{sender.dataset}/{received:%Y/%m/%d}/{sha256}"
    raw_key = f"{folder}/{_safe_name(claim['file'])}"
    exchange.lake.upload("raw", raw_key, path)
    origin = {
        "provider": sender.provider,
        "dataset": sender.dataset,
        "delivery": claim["delivery"],
        "file": claim["file"],
        "sha256": sha256,
        "bytes": path.stat().st_size,
        "received_at": received.isoformat(),
        "contract_version": sender.contract_version,
        "simulated": sender.simulated,
        "source": source,
    }
    text = json.dumps(origin, indent=1, ensure_ascii=False)
    exchange.lake.write_bytes("raw", f"{folder}/origin.json", text.encode(), content_type="application/json")
    return raw_key


def _safe_name(name: str) -> str:
    cleaned = re.sub(r"[\x00-\x1f/\\]", "_", name)
    return "delivered" if cleaned in ("", ".", "..", "origin.json") else cleaned
