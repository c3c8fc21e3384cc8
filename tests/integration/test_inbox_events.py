"""A store that announces arrivals: its own events, from a real gateway, wake a quiet inbox's look."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.exchange import Exchange
from lakehouse.settings import PROJECT
from lakehouse.storage.lake import StorageError
from tests.airflow_plugins import exchange_triggers
from tests.object_store.server import ObjectServer

InboxTrigger = exchange_triggers.InboxTrigger

pytestmark = pytest.mark.integration


@pytest.fixture
def exchange(tmp_path: Path, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        **object_server.environment,
        "EXCHANGE_PROJECT": str(PROJECT / "tests" / "mini"),
        "EXCHANGE_HOME": str(tmp_path),
        "EXCHANGE_LAKE": f"s3://e{uuid.uuid4().hex[:10]}",
        "EXCHANGE_SETTLE_SECONDS": "1",
        "EXCHANGE_INBOX_POLL_SECONDS": "0.1",
        "EXCHANGE_INBOX_EVENTS": f"http://127.0.0.1:{port}",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Exchange.from_environment()


def test_an_object_that_is_put_wakes_the_look_into_a_quiet_inbox(exchange: Exchange) -> None:
    exchange.init()
    exchange.init()  # which changes nothing
    trigger = InboxTrigger(provider="city", folders=["inbox/sensors/"])
    looks = 0

    async def counted() -> Any:
        nonlocal looks
        async for inbox in trigger.open_shared_stream({"provider": "city"}):
            looks += 1
            yield inbox

    async def drop_and_wait() -> float:
        events = trigger.filter_shared_stream(counted())
        first = asyncio.ensure_future(anext(events))
        while not looks:
            await asyncio.sleep(0.1)
        began = time.monotonic()
        await asyncio.sleep(1)
        assert looks == 1  # nothing moves, so nobody looks again at each poll
        # Ceph takes up to half a minute to see a new topic, and announces nothing of what came before.
        while not first.done():
            await asyncio.to_thread(exchange.lake.write_bytes, "landing-city", "inbox/sensors/a.csv", b"a\n")
            await asyncio.wait([first], timeout=8)
        assert first.result().payload == {"files": ["inbox/sensors/a.csv"]}
        return time.monotonic() - began

    try:
        # Without an event it were a minute.
        assert asyncio.run(drop_and_wait()) < 55
        bell = str(exchange.settings.inbox_events)
        assert httpx.post(f"{bell}/nobody", content=b"{}").status_code == 404
        assert httpx.post(f"{bell}/city", content=b"x" * (2 << 20)).status_code == 413
    finally:
        if bell_of_test := exchange_triggers._doorbell(str(exchange.settings.inbox_events)):
            bell_of_test.close()


def test_a_lake_in_a_folder_says_that_it_announces_nothing(exchange: Exchange, tmp_path: Path) -> None:
    local = Exchange(exchange.settings.model_copy(update={"lake": tmp_path.as_uri()}))
    with pytest.raises(StorageError, match="unset EXCHANGE_INBOX_EVENTS"):
        local.init()
