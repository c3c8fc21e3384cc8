"""Sealing: the delivered bytes, verbatim, into ``raw`` with their origin, before anything reads them."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.receipt import Sender
from lakehouse.storage.index import deliveries
from lakehouse.storage.lake import AccessRefused, Entry, ObjectNotFound, is_unfinished

Progress = Callable[[str], None]
_log = logging.getLogger(__name__)
# Files that are sealed together, where they are small, and how many of them move at a time.
PAGE_FILES, PAGE_BYTES = 500, 64 << 20
TRANSFERS = 8


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A file of an inbox, or an answer of a source: its name, where it lies, and which of all that lay there."""

    file: str
    key: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The bytes of a claimed delivery, on this machine, and where they come from."""

    claim: dict[str, Any]
    path: Path
    sha256: str
    source: dict[str, Any]


def is_waited_for(exchange: Exchange, contract: Contract) -> bool:
    """Whether a file lies in a dataset's inbox."""
    return next(_waiting(exchange, contract), None) is not None


def _waiting(exchange: Exchange, contract: Contract) -> Iterator[Entry]:
    return exchange.lake.list(landing_bucket(contract.provider), inbox_prefix(contract.dataset))


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


def seal_inbox(exchange: Exchange, contract: Contract, *, progress: Progress = lambda _: None) -> list[str]:
    """Seals every file that waits in the inbox, then clears it. Returns the deliveries sealed.

    Safe to repeat after a death at any point: a claim in the index names each arrival before its bytes move,
    so a second pass takes up the same delivery.
    """
    return [delivery for page in seal_pages(exchange, contract, progress=progress) for delivery in page]


def seal_pages(exchange: Exchange, contract: Contract, *, progress: Progress = lambda _: None) -> Iterator[list[str]]:
    """The same, some files at a time, of an inbox that is listed no further than they go: memory holds a page.

    A page of which no file may be read holds up neither the others nor what is sealed already: where there is nothing
    of either it is raised at the end.
    """
    sender, done, refused = Sender.of(contract), 0, list[AccessRefused]()
    for page in pages(_waiting(exchange, contract)):
        try:
            sealed = [name for name in seal_entries(exchange, sender, settled(exchange, page)) if name is not None]
        except AccessRefused as refusal:
            refused.append(refusal)
            continue
        done += len(sealed)
        if done > len(sealed):
            progress(f"{contract.key}: {done:,} files sealed")
        yield sealed
    if refused:
        others = done or exchange.index.row(
            sa.select(deliveries.c.delivery)
            .where(
                deliveries.c.provider == contract.provider,
                deliveries.c.dataset == contract.dataset,
                deliveries.c.status == "sealed",
            )
            .limit(1)
        )
        _tell_refused(refused, of=len(refused) + bool(others))


def pages(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """As many at a time as are sealed together: one that is large, alone."""
    page: list[Entry] = []
    size = 0
    for entry in entries:
        if page and (len(page) == PAGE_FILES or size + entry.size > PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(entry)
        size += entry.size
    if page:
        yield page


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
    [claim] = _claims(exchange, sender, [Arrival(file=name, key=key, version=version)])
    if claim["status"] != "claimed":
        return str(claim["delivery"]) if claim["status"] == "sealed" else None
    _to_raw(exchange, sender, [Fetched(claim=claim, path=path, sha256=sha256, source=source)])
    return str(claim["delivery"])


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal_entries(exchange: Exchange, sender: Sender, entries: Sequence[Entry]) -> list[str | None]:
    """Seals files of an inbox and takes them out. ``None`` for one that was still being written, is gone, or may not
    be read while others may.

    Of all of them together: claimed in one transaction, then in ``raw``, then known as sealed, then out of the inbox.
    """
    if not entries:
        return []
    # On S3 the same bytes keep their version: the time tells one arrival of them from the next.
    versions = [f"{entry.version}@{entry.modified:%Y%m%dT%H%M%S%f}" for entry in entries]
    arrivals = [
        Arrival(file=PurePosixPath(entry.key).name, key=entry.key, version=version)
        for entry, version in zip(entries, versions, strict=True)
    ]
    claims = _claims(exchange, sender, arrivals)
    gone = set()
    with exchange.workplace("seal") as folder, ThreadPoolExecutor(TRANSFERS) as pool:
        new = [(claim, entry) for claim, entry in zip(claims, entries, strict=True) if claim["status"] == "claimed"]
        fetched = list(pool.map(lambda one: _fetch(exchange, one[0], one[1], folder), new))
        _tell_refused([found for found in fetched if isinstance(found, AccessRefused)], of=len(new))
        for (claim, _), found in zip(new, fetched, strict=True):
            if not isinstance(found, Fetched):
                _forget(exchange, claim)
                gone.add(claim["delivery"])
        _to_raw(exchange, sender, [found for found in fetched if isinstance(found, Fetched)])
        kept = [
            (claim, entry, version)
            for claim, entry, version in zip(claims, entries, versions, strict=True)
            if claim["delivery"] not in gone
        ]
        list(pool.map(lambda one: _clear(exchange, one[1]), kept))
    if kept:
        with exchange.index.begin() as connection:
            # The same name may be dropped again: only an arrival that still lies in the inbox owns its version.
            connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.delivery == sa.bindparam("claimed"))
                .values(inbox_version=sa.bindparam("owned")),
                [
                    {"claimed": claim["delivery"], "owned": f"{version}#{claim['delivery']}"}
                    for claim, _, version in kept
                ],
            )
    return [None if claim["delivery"] in gone else str(claim["delivery"]) for claim in claims]


def _tell_refused(refused: Sequence[AccessRefused], *, of: int) -> None:
    """One file that may not be read holds up no other; where none may, it is raised."""
    if refused and len(refused) == of:
        raise refused[0]
    for refusal in refused:
        _log.warning("%s: it waits in the inbox", refusal)


def _fetch(exchange: Exchange, claim: dict[str, Any], entry: Entry, folder: Path) -> Fetched | AccessRefused | None:
    try:
        path = exchange.lake.download(entry.bucket, entry.key, folder / claim["delivery"])
    except ObjectNotFound:
        return None
    except AccessRefused as refused:
        return refused
    if not _stands(exchange, entry):
        return None
    return Fetched(claim=claim, path=path, sha256=_sha256(path), source={"kind": "drop", "inbox_key": entry.key})


def _clear(exchange: Exchange, entry: Entry) -> None:
    if _stands(exchange, entry):
        exchange.lake.delete(entry.bucket, entry.key)


def _stands(exchange: Exchange, entry: Entry) -> bool:
    now = exchange.lake.stat(entry.bucket, entry.key)
    return now is not None and now.version == entry.version


def _claims(exchange: Exchange, sender: Sender, arrivals: Sequence[Arrival]) -> list[dict[str, Any]]:
    """The deliveries that these arrivals are: those claimed before, or new ones, whose ids sort as they stand here."""
    query = sa.select(deliveries).where(
        deliveries.c.provider == sender.provider,
        deliveries.c.inbox_key.in_([arrival.key for arrival in arrivals]),
    )
    if len(arrivals) == 1:
        # A source's answers all have one key. Of many keys each would be sought with the version of each.
        query = query.where(deliveries.c.inbox_version == arrivals[0].version)
    with exchange.index.begin() as connection:
        known = {(row["inbox_key"], row["inbox_version"]): dict(row) for row in connection.execute(query).mappings()}
        first = datetime.now(UTC)
        claims = [
            known.get((arrival.key, arrival.version))
            or _new_claim(sender, arrival, first + place * datetime.resolution)
            for place, arrival in enumerate(arrivals)
        ]
        new = [
            claim
            for claim, arrival in zip(claims, arrivals, strict=True)
            if (arrival.key, arrival.version) not in known
        ]
        if new:
            connection.execute(sa.insert(deliveries), new)
    return claims


def _new_claim(sender: Sender, arrival: Arrival, received: datetime) -> dict[str, Any]:
    digest = hashlib.sha256(f"{sender.provider}/{arrival.key}/{arrival.version}".encode()).hexdigest()[:8]
    return {
        "delivery": f"{received:%Y%m%dT%H%M%S%f}Z-{digest}",
        "provider": sender.provider,
        "dataset": sender.dataset,
        "file": arrival.file,
        "inbox_key": arrival.key,
        "inbox_version": arrival.version,
        "received_at": received,
        "status": "claimed",
        "receipt_written": False,
    }


def _forget(exchange: Exchange, claim: dict[str, Any]) -> None:
    """Withdraws a claim, unless another process has sealed the file by it meanwhile."""
    with exchange.index.begin() as connection:
        mine = deliveries.c.delivery == claim["delivery"]
        connection.execute(sa.delete(deliveries).where(mine, deliveries.c.status == "claimed"))


def _to_raw(exchange: Exchange, sender: Sender, fetched: Sequence[Fetched]) -> None:
    """Puts delivered bytes into ``raw``, the same ones once; then one transaction says so of all."""
    if not fetched:
        return
    earlier = exchange.index.rows(
        sa.select(deliveries.c.sha256, deliveries.c.raw_key).where(
            deliveries.c.provider == sender.provider,
            deliveries.c.dataset == sender.dataset,
            deliveries.c.sha256.in_([one.sha256 for one in fetched]),
            deliveries.c.raw_key.is_not(None),
        )
    )
    raw_keys: dict[str, str] = {row["sha256"]: row["raw_key"] for row in earlier}
    new: dict[str, Fetched] = {}
    for one in fetched:
        if one.sha256 not in raw_keys:
            new.setdefault(one.sha256, one)
    with ThreadPoolExecutor(TRANSFERS) as pool:
        raw_keys |= dict(zip(new, pool.map(lambda one: _seal(exchange, sender, one), new.values()), strict=True))
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery == sa.bindparam("claimed"), deliveries.c.status == "claimed")
            .values(
                status="sealed",
                sha256=sa.bindparam("hash"),
                bytes=sa.bindparam("size"),
                raw_key=sa.bindparam("place"),
                contract_version=sender.contract_version,
            ),
            [
                {
                    "claimed": one.claim["delivery"],
                    "hash": one.sha256,
                    "size": one.path.stat().st_size,
                    "place": raw_keys[one.sha256],
                }
                for one in fetched
            ],
        )


def _seal(exchange: Exchange, sender: Sender, fetched: Fetched) -> str:
    claim, path, sha256 = fetched.claim, fetched.path, fetched.sha256
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
        "source": fetched.source,
    }
    text = json.dumps(origin, indent=1, ensure_ascii=False)
    exchange.lake.write_bytes("raw", f"{folder}/origin.json", text.encode(), content_type="application/json")
    return raw_key


def _safe_name(name: str) -> str:
    cleaned = re.sub(r"[\x00-\x1f/\\]", "_", name)
    if cleaned in ("", ".", "..", "origin.json"):
        return "delivered"
    # Of a source, for which it may be the name of a whole file.
    return f"_{cleaned}_" if is_unfinished(cleaned) else cleaned
