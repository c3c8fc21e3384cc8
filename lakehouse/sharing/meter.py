"""The meter: what each door gave to whom, kept in the index for the ledger.

Requests are gathered for a moment, so that a reader who asks for a file in fifty ranges leaves one row and not
fifty, and a door never waits for the database. Of an anonymous reader nothing is kept but that there was one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest
from lakehouse.sharing.tables import usage

_log = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
# What the exchange's own staff takes by command, past the doors.
STAFF = "(staff)"


@dataclass(kw_only=True)
class Taken:
    """What one request takes; a door adds ``rows`` where it knows them."""

    door: str
    recipient: str | None
    mart: str
    major: int
    release: str
    bytes: int = 0
    rows: int = 0


_Key = tuple[str, str | None, str, int, str]


class Meter:
    """Safe to use from several threads; `close` writes what is left."""

    def __init__(self, exchange: Exchange, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._exchange, self._pause = exchange, flush_seconds
        self._lock = threading.Lock()
        self._held: dict[_Key, dict[str, Any]] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def count(self, taken: Taken) -> None:
        now = datetime.now(UTC)
        key = (taken.door, taken.recipient, taken.mart, taken.major, taken.release)
        with self._lock:
            held = self._held.setdefault(key, {"first_at": now, "requests": 0, "bytes": 0, "rows": 0})
            held["last_at"] = now
            held["requests"] += 1
            held["bytes"] += taken.bytes
            held["rows"] += taken.rows
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Writes what was gathered. What the database does not take is gathered further."""
        with self._lock:
            held, self._held = self._held, {}
        if not held:
            return
        try:
            with self._exchange.index.begin() as connection:
                connection.execute(sa.insert(usage), list(_rows(held)))
        except SQLAlchemyError as error:
            _log.error("what was taken could not be recorded, it is tried again: %s", str(error).splitlines()[0])
            self._put_back(held)

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._closing.wait(self._pause):
            self.flush()

    def _put_back(self, held: dict[_Key, dict[str, Any]]) -> None:
        with self._lock:
            for key, found in held.items():
                now = self._held.setdefault(key, {**found, "requests": 0, "bytes": 0, "rows": 0})
                now["first_at"] = found["first_at"]
                for name in ("requests", "bytes", "rows"):
                    now[name] += found[name]


def count_staff(exchange: Exchange, manifest: Manifest, *, door: str, rows: int = 0, size: int = 0) -> None:
    """What the exchange's own staff takes past the doors is counted too, where this process may write the index."""
    with suppress(SQLAlchemyError):
        exchange.index.create()
        meter = Meter(exchange)
        meter.count(
            Taken(
                door=door,
                recipient=STAFF,
                mart=manifest.mart,
                major=manifest.major,
                release=manifest.release,
                bytes=size,
                rows=rows,
            )
        )
        meter.close()


def _rows(held: dict[_Key, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for (door, recipient, mart, major, release), counts in held.items():
        named = {"door": door, "recipient": recipient, "mart": mart, "major": major, "release": release}
        yield {**named, **counts}


def usage_statement(
    exchange: Exchange, *, mart: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> list[dict[str, Any]]:
    """What was taken, by mart, major, release, door and recipient (``None``: anonymous):
    ``{mart, major, release, door, recipient, requests, bytes, rows, first_at, last_at}``."""
    by = [usage.c[name] for name in ("mart", "major", "release", "door", "recipient")]
    sums = [sa.func.sum(usage.c[name]).label(name) for name in ("requests", "bytes", "rows")]
    times = [sa.func.min(usage.c.first_at).label("first_at"), sa.func.max(usage.c.last_at).label("last_at")]
    query = sa.select(*by, *sums, *times).group_by(*by).order_by(*by)
    if mart is not None:
        query = query.where(usage.c.mart == mart)
    if since is not None:
        query = query.where(usage.c.first_at >= since)
    if until is not None:
        query = query.where(usage.c.first_at < until)
    return [
        {**row, **{name: int(row[name]) for name in ("requests", "bytes", "rows")}}
        for row in exchange.index.rows(query)
    ]
