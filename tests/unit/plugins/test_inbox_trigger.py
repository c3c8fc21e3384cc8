"""Files in an inbox fire their dataset's trigger, once each, by one listing that all triggers share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from lakehouse.exchange import Exchange
from lakehouse.settings import Settings
from lakehouse.storage.lake import StorageError
from lakehouse.storage.local import LocalLake
from tests.airflow_plugins import exchange_triggers

InboxTrigger = exchange_triggers.InboxTrigger

PARKING, TRAFFIC = ["inbox/parking/"], ["inbox/traffic/"]


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {"LAKE": tmp_path.as_uri(), "SETTLE_SECONDS": "5", "INBOX_POLL_SECONDS": "0.001"}.items():
        monkeypatch.setenv(f"EXCHANGE_{name}", value)
    Exchange.from_environment().lake.ensure_bucket("landing-town")
    return tmp_path / "landing-town" / "inbox"


def put(inbox: Path, key: str, *, age: float = 60, text: str = "a") -> None:
    path = inbox / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - age,) * 2)


def fired(trigger: Any, *steps: Callable[[], Any]) -> list[list[str]]:
    """What fires while the steps are done, one before each look into the inbox."""
    return [payload["files"] for payload in payloads(trigger, *steps)]


def payloads(trigger: Any, *steps: Callable[[], Any]) -> list[dict[str, Any]]:

    async def looks() -> AsyncIterator[Any]:
        stream = trigger.open_shared_stream({"provider": trigger.provider})
        for step in steps:
            step()
            yield await anext(stream)

    async def collect() -> list[dict[str, Any]]:
        return [event.payload async for event in trigger.filter_shared_stream(looks())]

    return asyncio.run(collect())


def nothing() -> None:
    pass


def test_a_file_fires_once_however_long_it_stays(inbox: Path) -> None:
    trigger = InboxTrigger(provider="town", folders=PARKING)
    put(inbox, "parking/waits-since-before.csv")
    put(inbox, "traffic/another.csv")
    assert fired(trigger, nothing, nothing, lambda: put(inbox, "parking/b.csv"), nothing) == [
        ["inbox/parking/waits-since-before.csv"],
        ["inbox/parking/b.csv"],
    ]


def test_a_file_that_is_written_to_fires_when_it_has_come_to_rest(inbox: Path) -> None:
    grows = [lambda age=age, text=text: put(inbox, "parking/a.csv", age=age, text=text) for age, text in [(0, "a"), (1, "ab"), (6, "abc"), (7, "abcd")]]  # fmt: skip
    assert fired(InboxTrigger(provider="town", folders=PARKING), *grows) == [["inbox/parking/a.csv"]] * 2


def test_a_file_that_was_taken_and_comes_again_fires_again(inbox: Path) -> None:
    put(inbox, "parking/a.csv")
    steps = [nothing, (inbox / "parking/a.csv").unlink, lambda: put(inbox, "parking/a.csv")]
    assert fired(InboxTrigger(provider="town", folders=PARKING), *steps) == [["inbox/parking/a.csv"]] * 2


def test_a_file_outside_the_known_folders_fires_the_trigger_for_strays(inbox: Path) -> None:
    for key in ("parking/a.csv", "parkings/b.csv", "c.csv"):
        put(inbox, key)
    strays = InboxTrigger(provider="town", folders=PARKING + TRAFFIC, outside=True)
    assert fired(strays, nothing, nothing) == [["inbox/c.csv", "inbox/parkings/b.csv"]]


def test_a_file_whose_time_is_still_to_come_fires_at_once(inbox: Path) -> None:
    """As one has that a copy brought along from a machine whose clock is wrong."""
    put(inbox, "parking/a.csv", age=-86_400)
    assert fired(InboxTrigger(provider="town", folders=PARKING), nothing, nothing) == [["inbox/parking/a.csv"]]


def test_of_very_many_files_an_event_names_the_first(inbox: Path) -> None:
    for number in range(120):
        put(inbox, f"parking/2024/{number:03}.csv")
    put(inbox, "traffic/another.csv")
    [payload] = payloads(InboxTrigger(provider="town", folders=PARKING), nothing)
    assert payload == {"files": [f"inbox/parking/2024/{number:03}.csv" for number in range(100)], "more": 20}


def test_a_store_that_does_not_answer_is_asked_again(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox, "parking/a.csv")
    honest, faults = LocalLake.list, [StorageError("away"), StorageError("away")]

    def flaky(lake: LocalLake, bucket: str, prefix: str = "") -> Any:
        if faults:
            raise faults.pop()
        return honest(lake, bucket, prefix)

    monkeypatch.setattr(LocalLake, "list", flaky)
    assert fired(InboxTrigger(provider="town", folders=PARKING), nothing) == [["inbox/parking/a.csv"]]


def test_triggers_of_one_provider_share_a_listing_and_each_is_a_trigger_of_its_own(inbox: Path) -> None:
    one, other = (InboxTrigger(provider="town", folders=folders) for folders in (PARKING, TRAFFIC))
    assert one.shared_stream_key() == other.shared_stream_key()
    assert one.shared_stream_key() != InboxTrigger(provider="city", folders=PARKING).shared_stream_key()
    classpath, kwargs = one.serialize()
    assert kwargs != other.serialize()[1]  # or Airflow would take the two for one
    assert classpath == f"{InboxTrigger.__module__}.{InboxTrigger.__name__}"
    assert InboxTrigger(**kwargs).serialize() == one.serialize()
    assert Settings().inbox_poll_seconds == 0.001
