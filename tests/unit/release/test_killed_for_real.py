"""Processes that are killed, by SIGKILL, at every call of the lake and the index: whatever was being done to a release,
a reader sees the old one or the new one, whole, and doing it again ends as if nothing had happened."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lakehouse.release.gate import gate
from lakehouse.release.listing import READABLE, list_releases, waiting_candidates
from lakehouse.release.manifest import read_manifest
from lakehouse.release.signing import verified_manifest
from lakehouse.release.standing import read_standing
from tests.killing import Work, killed
from tests.mini_exchange import TRAFFIC, Mini, read_release
from tests.unit.release import steps
from tests.unit.release.aged import NOW, age
from tests.unit.release.conftest import Stage


@dataclass(frozen=True)
class Case:
    """Something to do, and what it may leave a reader with at any moment: names of releases, None for none."""

    mini: Mini
    work: Work
    argument: Any
    seen: set[str | None]


@pytest.fixture(scope="module")
def passed_once(second_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Mini:
    """A release, and a candidate that passed its gate."""
    mini = second_stage.mini.copy(tmp_path_factory.mktemp("killed") / "passed")
    [waiting] = waiting_candidates(mini.exchange)
    gate(mini.exchange, mart=mini.mart(TRAFFIC), candidate=waiting["candidate"])
    return mini


def promotion(mini: Mini) -> Case:
    return Case(mini, steps.promote_waiting, mini.mart(TRAFFIC), {mini.latest(TRAFFIC).release, after_promotion(mini)})


def after_promotion(mini: Mini) -> str:
    """The name of the next release, which does not hang on when and by whom it is made."""
    copy = mini.copy(mini.root.parent / "after")
    steps.promote_waiting(copy.exchange, copy.mart(TRAFFIC))
    release = copy.latest(TRAFFIC).release
    copy.close()
    shutil.rmtree(copy.root)
    return release


def approval(mini: Mini) -> Case:
    before, after = mini.latest(TRAFFIC).release, after_promotion(mini)
    mini.edit(f"{TRAFFIC}.yml", "approval: auto", "approval: required")
    mart = mini.mart(TRAFFIC)
    [waiting] = waiting_candidates(mini.exchange)
    steps.promote_waiting(mini.exchange, mart)
    return Case(mini, steps.say, (mart, waiting["candidate"], "approved"), {before, after})


def back(mini: Mini) -> Case:
    before = mini.latest(TRAFFIC).release
    steps.promote_waiting(mini.exchange, mini.mart(TRAFFIC))
    named = {"mart": TRAFFIC, "release": before}
    return Case(mini, steps.roll_back, named, {before, mini.latest(TRAFFIC).release})


def yank_the_newest(mini: Mini) -> Case:
    before = mini.latest(TRAFFIC).release
    steps.promote_waiting(mini.exchange, mini.mart(TRAFFIC))
    newest = mini.latest(TRAFFIC).release
    return Case(mini, steps.take_out, {"mart": TRAFFIC, "release": newest}, {before, newest})


def yank_the_only_one(mini: Mini) -> Case:
    only = mini.latest(TRAFFIC).release
    return Case(mini, steps.take_out, {"mart": TRAFFIC, "release": only}, {only, None})


def remove_old(mini: Mini) -> Case:
    age(mini)
    return Case(mini, steps.remove_old, NOW, {mini.latest(TRAFFIC).release})


CASES = {
    "promotion": (promotion, 30),
    "approval": (approval, 30),
    "rollback": (back, 12),
    "yank of the newest": (yank_the_newest, 20),
    "yank of the only one": (yank_the_only_one, 20),
    "retention": (remove_old, 20),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_a_process_that_is_killed_anywhere_leaves_whole_releases_and_is_made_good(
    passed_once: Mini, tmp_path: Path, name: str
) -> None:
    make, least = CASES[name]
    case = make(passed_once.copy(tmp_path / "stage"))
    undisturbed = case.mini.copy(tmp_path / "undisturbed")
    case.work(undisturbed.exchange, case.argument)
    wanted = state(undisturbed)
    assert wanted != state(case.mini)
    seen, calls = set[str | None](), 0
    while True:
        mini = case.mini.copy(tmp_path / str(calls))
        dead = killed(mini.exchange.settings, case.work, case.argument, calls=calls)
        found = read_release(mini, TRAFFIC)
        seen.add(found.release if found else None)
        assert_whole(mini)
        case.work(mini.exchange, case.argument)
        assert state(mini) == wanted, f"after a death at call {calls}"
        assert_whole(mini)
        mini.close()
        shutil.rmtree(mini.root)
        if not dead:
            break
        calls += 1
    print(f"{name}: killed at {calls} calls")
    assert calls > least
    assert seen == case.seen


def assert_whole(mini: Mini) -> None:
    """Whatever the index calls readable has all of its files, and the newest is signed."""
    lake = mini.exchange.lake
    for row in list_releases(mini.exchange, mart=TRAFFIC):
        if row["status"] in READABLE:
            manifest = read_manifest(mini.exchange, mart=TRAFFIC, major=1, release=row["release"])
            assert all(lake.stat("marts", f"{manifest.prefix}/{file.path}") for file in manifest.files)
    found = read_release(mini, TRAFFIC)
    if found is not None:
        verified_manifest(mini.exchange, mart=TRAFFIC, major=1, release=found.release)


def state(mini: Mini) -> tuple[Any, ...]:
    """All that there is to see, but times, and a candidate's Parquet, which the sweep removes."""
    exchange = mini.exchange
    newest = read_release(mini, TRAFFIC)
    rows = list_releases(exchange, mart=TRAFFIC)
    standings = [read_standing(exchange, mart=TRAFFIC, major=1, release=row["release"]) for row in rows]
    keys = sorted(entry.key for bucket in ("marts", "withdrawn") for entry in exchange.lake.list(bucket))
    keys += [entry.key for entry in exchange.lake.list("candidates") if not entry.key.endswith(".parquet")]
    return (
        newest.release if newest else None,
        newest.approval.reason if newest and newest.approval else None,
        [(row["release"], row["status"], row["latest"]) for row in rows],
        [[(event.what, event.reason) for event in standing.events] for standing in standings],
        keys,
        waiting_candidates(exchange, statuses=("built", "passed", "waiting", "refused", "released")),
    )
