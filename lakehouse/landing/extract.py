"""Extracts: what a source holds of an interval, or holds anew, sealed page by page as it came."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.derive import history_start
from lakehouse.contracts.extract_base import HOW_IT_IS_ASKED
from lakehouse.contracts.extract_stores import SqlRead
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.seal import seal_page
from lakehouse.sources.connector import Asked, Connector, Page, Watermark, connector_for
from lakehouse.sources.page import NotThere
from lakehouse.sources.periods import periods
from lakehouse.storage.index import extract_windows, upsert, watermarks

Window = tuple[datetime, datetime]
_LOOK_BACK = timedelta(days=31)


class ExtractNotPossible(RuntimeError):
    """There is nobody to ask: no live address, or no loopback server."""


@dataclass(kw_only=True)
class Extracted:
    """``rows`` of the pages whose connector counts them; ``sealed``: pages that held something new."""

    pages: int = 0
    rows: int = 0
    sealed: int = 0

    def add(self, page: Page, *, sealed: bool) -> None:
        self.pages += 1
        self.rows += page.rows or 0
        self.sealed += sealed

    def __add__(self, other: Extracted) -> Extracted:
        return Extracted(pages=self.pages + other.pages, rows=self.rows + other.rows, sealed=self.sealed + other.sealed)


def extract(
    exchange: Exchange,
    contract: Contract,
    *,
    start: datetime,
    end: datetime,
    again_before: datetime | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Extracted:
    """Pulls ``[start, end)``, window by window, and seals each page. The same answer is not sealed twice.
    Of a source that is asked for whole days a day that goes on waits for the interval in which it ends, which begins
    where the day does.

    The pages of a window are held to be whole before the first is sealed, so a set that moved while it was
    paged leaves nothing; one that carries a watermark is sealed as it comes, after those before it, and the
    next extract goes on behind the last of them. A window that was read since ``again_before`` (when this run
    began) is not asked for again: so a run that died takes up where it was. Where there is a file for each period,
    each is a window. One whose file is not there holds up no other, and is raised at the end once it is due; after a
    month it is given up where others came.
    Raises :class:`lakehouse.sources.connector.SourceError` and :class:`ExtractNotPossible`.
    """
    arguments = contract.exchange.extract
    if arguments is None:
        raise ExtractNotPossible(f"{contract.key} is delivered by drop; its contract has no extract")
    if arguments.by_interval and start >= end:
        raise ExtractNotPossible(f"{contract.key} is asked for a data interval; start its DAG with one, or a backfill")
    address = source_address(exchange, contract)
    columns = [column.source for column in contract.columns]
    connector = connector_for(arguments, address=address, credential=_credential(contract), columns=columns)
    if arguments.by_interval:
        given, (start, end) = (start, end), (arguments.last_bound(start), arguments.last_bound(end))
        if start >= end:
            progress(
                f"{contract.key}: {_shown(given)}: less than the source can be asked for; it comes with the interval "
                "in which it is whole"
            )
            return Extracted()
    total = Extracted()
    done = _read_since(exchange, contract, again_before)
    absent: dict[Window, NotThere] = {}
    days, period = arguments.window_days if arguments.by_interval else None, arguments.file_each
    for window in windows(start, end, days, every=period):
        if window in done:
            continue
        try:
            found = _extract_window(exchange, contract, connector, window)
        except NotThere as error:
            if period is None or not error.empty:
                raise
            absent[window] = error
            progress(f"{contract.key}: {_shown(window)}: not there: {error}")
            continue
        total += found
        progress(
            f"{contract.key}: {_shown(window)}: {found.rows:,} rows in {found.pages} pages from {address}; "
            f"{found.sealed} pages are new"
        )
    if total.pages:
        # Else each day without a file would be asked for for ever.
        for window in [window for window in absent if window[1] < datetime.now(UTC) - _LOOK_BACK]:
            _cover(exchange, contract, window, Extracted())
            del absent[window]
    for window, missing in absent.items():
        if period and _is_due(contract, period, window):
            raise missing
    return total


def _shown(window: Window) -> str:
    return f"{window[0]:%Y-%m-%d %H:%M} to {window[1]:%Y-%m-%d %H:%M}"


def _is_due(contract: Contract, period: str, window: Window) -> bool:
    """Whether the file of a window's period should be there: once that is over, and as late as was promised."""
    [(_, over)] = periods(*window, period)
    return over + (contract.promised("latency") or timedelta()) <= datetime.now(UTC)


def _extract_window(exchange: Exchange, contract: Contract, connector: Connector, window: Window) -> Extracted:
    found = Extracted()
    with exchange.workplace("extract") as folder:
        asked = Asked(start=window[0], end=window[1], watermark=_watermark(exchange, contract), folder=folder)
        whole: list[Page] = []
        for page in connector.pages(asked):
            whole.append(page)
            if page.watermark is not None:
                _seal_all(exchange, contract, whole, window, found)
                _keep_watermark(exchange, contract, page.watermark)
        _seal_all(exchange, contract, whole, window, found)
    _cover(exchange, contract, window, found)
    return found


def _cover(exchange: Exchange, contract: Contract, window: Window, found: Extracted) -> None:
    """From here on nobody asks for a window, but a backfill."""
    with exchange.index.begin() as connection:
        upsert(
            connection,
            extract_windows,
            {
                "provider": contract.provider,
                "dataset": contract.dataset,
                "start": window[0],
                "end": window[1],
                "pages": found.pages,
                "rows": found.rows,
                "extracted_at": datetime.now(UTC),
            },
        )


def _seal_all(exchange: Exchange, contract: Contract, pages: list[Page], window: Window, found: Extracted) -> None:
    """Seals the pages, in order, and takes them off the disk."""
    while pages:
        page = pages.pop(0)
        found.add(page, sealed=_seal(exchange, contract, page, window))
        page.path.unlink()


def _seal(exchange: Exchange, contract: Contract, page: Page, window: Window) -> bool:
    source: dict[str, Any] = {
        "kind": "extract",
        "url": page.url,
        "fetched_at": page.fetched_at.isoformat(),
        "interval": [bound.astimezone(UTC).isoformat() for bound in window],
    }
    return seal_page(exchange, contract, name=page.name, path=page.path, source=source) is not None


def _watermark(exchange: Exchange, contract: Contract) -> Watermark | None:
    """How far the source was read; ``None`` where it was by another extract, whose words would mean something else."""
    found = exchange.index.row(
        sa.select(watermarks.c.watermark).where(
            watermarks.c.provider == contract.provider, watermarks.c.dataset == contract.dataset
        )
    )
    if found is None:
        return None
    kept = dict(found["watermark"])
    # Watermarks of before do not say.
    of = kept.pop("of", None)
    return kept if of in (None, _what_is_read(exchange, contract)) else None


def _what_is_read(exchange: Exchange, contract: Contract) -> str:
    """A digest of all that says what is read, and from where."""
    arguments = contract.exchange.extract
    assert arguments is not None
    what: list[Any] = [arguments.model_dump(mode="json", exclude=set(HOW_IT_IS_ASKED), exclude_defaults=True)]
    if exchange.settings.extracts == "live":
        what.append(source_address(exchange, contract))
    if isinstance(arguments, SqlRead):
        what.append(sorted(column.source for column in contract.columns))
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _keep_watermark(exchange: Exchange, contract: Contract, watermark: Watermark) -> None:
    values = {
        "provider": contract.provider,
        "dataset": contract.dataset,
        "watermark": {**watermark, "of": _what_is_read(exchange, contract)},
        "sealed_at": datetime.now(UTC),
    }
    with exchange.index.begin() as connection:
        upsert(connection, watermarks, values)


def _credential(contract: Contract) -> str | None:
    """The source's credential: of the dataset, else of the provider. What it holds is the connector's matter."""
    provider = f"EXCHANGE_CREDENTIAL_{contract.provider.upper()}"
    found = os.environ.get(f"{provider}__{contract.dataset.upper()}", "").strip()
    return found or os.environ.get(provider, "").strip() or None


def source_address(exchange: Exchange, contract: Contract) -> str:
    """Whom to ask: the publisher when extracts are live, else the loopback server of this run."""
    arguments = contract.exchange.extract
    kinds = arguments.server_types if arguments else ()
    if exchange.settings.extracts == "live":
        address = next((server.address for server in contract.servers if server.type in kinds), None)
        if address is None:
            raise ExtractNotPossible(f"{contract.key}: its contract has no server of type {kinds} with an address")
        return address
    if "api" not in kinds:
        raise ExtractNotPossible(
            f"{contract.key}: no loopback server stands in for a source of type {' or '.join(kinds)}; to ask the "
            "source itself set EXCHANGE_EXTRACTS=live"
        )
    if exchange.settings.extract_url is None:
        raise ExtractNotPossible(
            f"{contract.key}: no loopback server is running. `exchange run` and `exchange airflow` start one; to ask "
            "the publisher instead set EXCHANGE_EXTRACTS=live"
        )
    return exchange.settings.extract_url


def windows(start: datetime, end: datetime, days: int | None, *, every: str | None = None) -> Iterator[Window]:
    """``[start, end)`` in parts of so many whole days (UTC), cut at the same places whatever the start; in parts of
    ``every`` period; or whole."""
    if every is not None:
        yield from ((max(start, first), min(last, end)) for first, last in periods(start, end, every))
        return
    if days is None:
        yield start, end
        return
    length = days * 86_400
    first = start
    while first < end:
        last = datetime.fromtimestamp((first.timestamp() // length + 1) * length, UTC)
        yield first, min(last, end)
        first = last


def _read_since(exchange: Exchange, contract: Contract, moment: datetime | None) -> set[Window]:
    if moment is None:
        return set()
    rows = exchange.index.rows(
        sa.select(extract_windows.c.start, extract_windows.c.end).where(
            extract_windows.c.provider == contract.provider,
            extract_windows.c.dataset == contract.dataset,
            extract_windows.c.extracted_at >= moment,
        )
    )
    return {(row["start"], row["end"]) for row in rows}


def uncovered(exchange: Exchange, contract: Contract, *, start: datetime, end: datetime) -> list[Window]:
    """The parts of ``[start, end)`` that no extract has covered yet, as far as the source can be asked for them, in
    order of time."""
    arguments = contract.exchange.extract
    assert arguments is not None
    start, end = arguments.last_bound(start), arguments.last_bound(end)
    rows = exchange.index.rows(
        sa.select(extract_windows.c.start, extract_windows.c.end)
        .where(
            extract_windows.c.provider == contract.provider,
            extract_windows.c.dataset == contract.dataset,
            extract_windows.c.end > start,
            extract_windows.c.start < end,
        )
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


def missed(exchange: Exchange, contract: Contract, *, before: datetime) -> list[Window]:
    """What no extract has covered of the month before a moment, behind the first that did: the source was away, or
    we were. Where there is a file for each period, and none came yet, of the history: it may always come late."""
    first = exchange.index.row(
        sa.select(sa.func.min(extract_windows.c.start).label("start")).where(
            extract_windows.c.provider == contract.provider, extract_windows.c.dataset == contract.dataset
        )
    )
    begun: datetime | None = first["start"] if first else None
    if begun is None and contract.exchange.extract and contract.exchange.extract.file_each:
        begun = history_start(contract)
    if begun is None or begun >= before:
        return []
    return uncovered(exchange, contract, start=max(begun, before - _LOOK_BACK), end=before)
