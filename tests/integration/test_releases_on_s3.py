"""What happens to releases on a real object store: processes that are killed, two that promote at once, and what passes
through the client."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from threading import Barrier
from typing import Any

import pytest

from lakehouse.release.gate import gate
from lakehouse.release.listing import list_releases, waiting_candidates
from lakehouse.release.promote import NotPromotable, promote
from lakehouse.release.signing import verified_manifest
from lakehouse.storage.lake import Conflict
from tests.killing import Work, killed
from tests.mini_exchange import COUNTS, TRAFFIC, Mini, read_release, traffic
from tests.object_store.server import ObjectServer
from tests.unit.release import steps

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory, object_server: ObjectServer) -> Iterator[Mini]:
    """Three days of one mart are released on the store."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment.items():
            patch.setenv(name, value)
        made = Mini.make(
            tmp_path_factory.mktemp("store"), lake=f"s3://t{uuid.uuid4().hex[:12]}", endpoint=object_server.endpoint
        )
        made.fill(days=3)
        made.build([TRAFFIC])
        made.release()
        yield made


def passed(mini: Mini, more: int) -> str:
    """A correction of one day, built, and through its gate. Returns the candidate."""
    mini.deliver(COUNTS, f"late-{more}.csv", traffic(date(2024, 10, 2), more=more))
    mini.build([TRAFFIC])
    [waiting] = waiting_candidates(mini.exchange)
    gate(mini.exchange, mart=mini.mart(TRAFFIC), candidate=waiting["candidate"])
    return waiting["candidate"]


def dies_on_and_on(mini: Mini, work: Work, argument: Any) -> list[str | None]:
    """Kills the work at its first call, then at its second, and so on, each time on what the one before left, until it
    ends alive. Returns what a reader found after each death, one after the other."""
    seen: list[str | None] = []
    calls = 0
    while True:
        dead = killed(mini.exchange.settings, work, argument, calls=calls)
        found = read_release(mini, TRAFFIC)
        if found is not None:
            verified_manifest(mini.exchange, mart=TRAFFIC, major=1, release=found.release)
        if not seen or seen[-1] != (found.release if found else None):
            seen.append(found.release if found else None)
        if not dead:
            print(f"{work.__name__}: killed at {calls} calls")
            assert calls > 15
            return seen
        calls += 1


def statuses(mini: Mini) -> dict[str, tuple[str, bool]]:
    return {row["release"][:4]: (row["status"], row["latest"]) for row in list_releases(mini.exchange, mart=TRAFFIC)}


def test_a_promotion_sends_no_file_through_the_client(mini: Mini) -> None:
    name = passed(mini, 1)
    asked: list[tuple[str, str]] = []

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        asked.append((model.name, params["url_path"]))

    events = mini.exchange.lake._client.meta.events  # type: ignore[attr-defined]
    events.register("before-call.s3", note)
    try:
        promote(mini.exchange, mart=mini.mart(TRAFFIC), candidate=name)
    finally:
        events.unregister("before-call.s3", note)
    release = mini.latest(TRAFFIC)
    of_files = {operation for operation, path in asked if path.endswith(".parquet")}
    assert of_files <= {"CopyObject", "HeadObject", "DeleteObject"}
    copied = {path for operation, path in asked if operation == "CopyObject" and f"/{release.prefix}/" in path}
    assert len(copied) == len(release.files) == 3
    assert read_release(mini, TRAFFIC) == release


def test_of_two_promoters_at_once_one_moves_the_pointer(mini: Mini) -> None:
    name, before = passed(mini, 2), mini.latest(TRAFFIC).release
    start = Barrier(2)

    def run(_: int) -> str:
        exchange = mini.open()
        start.wait()
        try:
            return str(promote(exchange, mart=mini.mart(TRAFFIC), candidate=name)["release"])
        except (Conflict, NotPromotable):
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        said = set(pool.map(run, range(2)))
    after = read_release(mini, TRAFFIC)
    assert after is not None
    assert after.release != before
    assert said <= {after.release, "refused"}
    assert list(statuses(mini).values()).count(("released", True)) == 1


@pytest.mark.thorough
def test_a_promotion_that_is_killed_at_every_call_is_whole_at_every_moment(mini: Mini) -> None:
    before, _ = mini.latest(TRAFFIC).release, passed(mini, 3)
    seen = dies_on_and_on(mini, steps.promote_waiting, mini.mart(TRAFFIC))
    # It moved once, and never back.
    assert seen == [before, mini.latest(TRAFFIC).release]
    assert before != mini.latest(TRAFFIC).release
    assert waiting_candidates(mini.exchange) == []


@pytest.mark.thorough
def test_a_yank_that_is_killed_at_every_call_is_whole_at_every_moment(mini: Mini) -> None:
    steps.roll_back(mini.exchange, {"mart": TRAFFIC, "release": "0003"})
    assert statuses(mini)["0004"] == ("rolled_back", False)
    third = mini.latest(TRAFFIC)
    seen = dies_on_and_on(mini, steps.take_out, {"mart": TRAFFIC, "release": "0003"})
    assert seen == [third.release, mini.latest(TRAFFIC).release]
    assert (statuses(mini)["0003"], statuses(mini)["0002"]) == (("yanked", False), ("released", True))
    lake = mini.exchange.lake
    assert not [entry for entry in lake.list("marts", f"{third.prefix}/") if entry.key.endswith(".parquet")]
    assert len(list(lake.list("withdrawn", f"{third.prefix}/"))) == len(third.files)
