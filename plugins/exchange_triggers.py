"""Triggers: what has come into an inbox starts the DAG that takes it in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from lakehouse.landing.arrivals import Arrival, Arrivals
    from lakehouse.landing.doorbell import Doorbell

_log = logging.getLogger(__name__)
LONGEST_PAUSE_SECONDS = 60.0
# Airflow keeps them with the event, and hands them to each task of the run.
NAMED_FILES = 100


class InboxTrigger(BaseEventTrigger):
    """Fires when files have newly come to rest in ``folders`` of a provider's inbox, or ``outside`` of them.

    All triggers of one provider share one listing of its bucket a poll, in the triggerer and in no worker. A file
    fires once; after a restart of the triggerer those that still wait fire again, which intake bears.
    """

    def __init__(self, *, provider: str, folders: Sequence[str], outside: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.provider = provider
        self.folders = list(folders)
        self.outside = outside

    def serialize(self) -> tuple[str, dict[str, Any]]:
        arguments = {"provider": self.provider, "folders": self.folders, "outside": self.outside}
        return "exchange_triggers.InboxTrigger", arguments

    def shared_stream_key(self) -> tuple[str, str]:
        return ("inbox", self.provider)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Arrivals]:
        """All that waits, at every look, so that a trigger that joins late misses nothing.

        Where the store rings when something is put, an inbox in which nothing moves is looked into once a minute.
        """
        from lakehouse.exchange import Exchange
        from lakehouse.landing.arrivals import look
        from lakehouse.storage.lake import StorageError

        exchange, provider = Exchange.from_environment(), kwargs["provider"]
        doorbell = _doorbell(exchange.settings.inbox_events) if exchange.settings.inbox_events else None
        poll = pause = exchange.settings.inbox_poll_seconds
        while True:
            try:
                inbox = await asyncio.to_thread(look, exchange, provider)
                yield inbox.rested
                pause = LONGEST_PAUSE_SECONDS if doorbell and not inbox.restless else poll
            except StorageError as error:
                pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
                _log.warning("inbox of %s: %s; asked again in %.0f s", provider, error, pause)
            await (doorbell.wait(provider, pause) if doorbell else asyncio.sleep(pause))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Arrivals]) -> AsyncIterator[TriggerEvent]:
        fired: frozenset[Arrival] = frozenset()
        async for waiting in shared_stream:
            # By the folder: to look at each of a million files here would hold up all other triggers.
            mine = [files for folder, files in waiting.items() if (folder in self.folders) is not self.outside]
            ours: frozenset[Arrival] = frozenset().union(*mine)
            if new := ours - fired:
                first = sorted(key for key, _ in new)[:NAMED_FILES]
                more = {"more": len(new) - len(first)} if len(new) > len(first) else {}
                yield TriggerEvent({"files": first, **more})  # type: ignore[no-untyped-call]
            fired = ours

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """For a triggerer that shares nothing."""
        async for event in self.filter_shared_stream(self.open_shared_stream({"provider": self.provider})):
            yield event


@cache
def _doorbell(url: str) -> Doorbell | None:
    """The one of this process; none where the address is not to be had, as beside a second triggerer."""
    from lakehouse.landing.doorbell import Doorbell

    try:
        return Doorbell(url)
    except OSError as error:
        _log.warning("no events of the store at %s: %s; inboxes are listed at every poll", url, error)
        return None
