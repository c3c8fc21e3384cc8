"""What is past its retention loses its files, and nothing else does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakehouse.exchange import Exchange
from lakehouse.release.doctor import rebuild_index
from lakehouse.release.fetch import fetch
from lakehouse.release.listing import ReleaseGone, find_release, list_releases
from lakehouse.release.manifest import Notice, read_manifest
from lakehouse.release.pointer import move_pointer, read_pointer
from lakehouse.release.record import record_release
from lakehouse.release.retention import pin, retention, unpin
from lakehouse.release.signing import verified_manifest
from lakehouse.release.standing import note, read_standing
from lakehouse.release.withdraw import rollback, yank
from tests.airflow_plugins import AirflowSkipException, exchange_operators
from tests.mini_exchange import TRAFFIC, Mini, read_release
from tests.unit.release.aged import NOW, age

SAID = {"by": "a reviewer", "reason": "a reason"}


@pytest.fixture
def aged(second: Mini) -> Mini:
    age(second)
    return second


def past(mini: Mini, *, now: datetime = NOW, apply: bool = False) -> list[str]:
    return [entry.release[:4] for entry in retention(mini.exchange, now=now, days=90, apply=apply)]


def release_of(mini: Mini, number: str) -> str:
    [name] = [row["release"] for row in list_releases(mini.exchange, mart=TRAFFIC) if row["release"].startswith(number)]
    return str(name)


def test_all_of_the_days_are_kept_and_then_the_last_of_each_month(aged: Mini) -> None:
    assert past(aged) == ["0002", "0004"]
    # Nothing was done yet.
    assert past(aged) == ["0002", "0004"]
    assert {row["status"] for row in list_releases(aged.exchange, mart=TRAFFIC)} == {"released"}


def test_the_clock_applies_it_once_a_day(aged: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchange, "from_environment", lambda: aged.exchange)
    daily = exchange_operators.RetentionOperator(task_id="remove_files")
    assert {name.split("@")[1][:4] for name in daily.execute({})} == {"0002", "0004"}
    assert {row["status"] for row in list_releases(aged.exchange, mart=TRAFFIC)} == {"released", "expired"}
    with pytest.raises(AirflowSkipException, match="no release is past its retention"):
        daily.execute({})


def test_the_files_go_and_the_record_stays(aged: Mini, tmp_path: Path) -> None:
    assert past(aged, apply=True) == ["0002", "0004"]
    gone, lake = release_of(aged, "0004"), aged.exchange.lake
    with pytest.raises(ReleaseGone, match=f"@{gone} is past its retention and was removed on 20.*by retention: older"):
        find_release(aged.exchange, f"{TRAFFIC}@0004")
    manifest = verified_manifest(aged.exchange, mart=TRAFFIC, major=1, release=gone).manifest
    left = {entry.key.removeprefix(f"{manifest.prefix}/") for entry in lake.list("marts", f"{manifest.prefix}/")}
    assert left == {"manifest.json", "manifest.json.sig", "standing.json"}
    # Those that share its files have their own.
    for number in ("0001", "0003", "0005", "0006"):
        fetch(aged.exchange, find_release(aged.exchange, f"{TRAFFIC}@{number}"), to=tmp_path / number)
    assert past(aged, apply=True) == []
    statuses = {row["release"][:4]: row["status"] for row in list_releases(aged.exchange, mart=TRAFFIC)}
    rebuild_index(aged.exchange)
    assert {row["release"][:4]: row["status"] for row in list_releases(aged.exchange, mart=TRAFFIC)} == statuses


def test_the_next_release_is_built_on_what_stands(aged: Mini) -> None:
    past(aged, apply=True)
    before = read_release(aged, TRAFFIC)
    assert before is not None
    assert before.release.startswith("0006-")


def test_a_pinned_release_is_kept_until_it_is_let_go(aged: Mini) -> None:
    pin(aged.exchange, mart=TRAFFIC, release="0004", **SAID)
    assert past(aged) == ["0002"]
    rebuild_index(aged.exchange)
    assert past(aged) == ["0002"]
    unpin(aged.exchange, mart=TRAFFIC, release="0004", **SAID)
    assert past(aged) == ["0002", "0004"]
    standing = read_standing(aged.exchange, mart=TRAFFIC, major=1, release=release_of(aged, "0004"))
    assert [event.what for event in standing.events] == ["pinned", "unpinned"]


def test_what_is_pinned_between_the_list_and_the_removal_is_kept(aged: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    name, whole = release_of(aged, "0004"), aged.exchange.lake.delete

    def delete(bucket: str, key: str) -> None:
        # While 0002 goes, and before 0004 does.
        note(aged.exchange, mart=TRAFFIC, major=1, release=name, what="pinned", **SAID)
        whole(bucket, key)

    monkeypatch.setattr(aged.exchange.lake, "delete", delete)
    past(aged, apply=True)
    monkeypatch.undo()
    manifest = read_manifest(aged.exchange, mart=TRAFFIC, major=1, release=name)
    assert all(aged.exchange.lake.stat("marts", f"{manifest.prefix}/{file.path}") for file in manifest.files)
    assert read_standing(aged.exchange, mart=TRAFFIC, major=1, release=name).status == "released"


def test_the_newest_is_kept_however_old_it_is(aged: Mini) -> None:
    rollback(aged.exchange, mart=TRAFFIC, release="0004", **SAID)
    assert past(aged, apply=True) == ["0002"]
    assert read_release(aged, TRAFFIC) is not None


def test_what_is_gone_cannot_be_pinned(aged: Mini) -> None:
    past(aged, apply=True)
    with pytest.raises(ReleaseGone, match="is past its retention"):
        pin(aged.exchange, mart=TRAFFIC, release="0004", **SAID)


def test_nothing_goes_in_an_overlap_of_majors(aged: Mini) -> None:
    """The second major is one release that follows the first."""
    exchange = aged.exchange
    made = aged.latest(TRAFFIC).model_copy(update={"major": 2, "release": "0001-0000aaaa"})
    with exchange.index.begin() as connection:
        record_release(connection, made)
    notice = Notice(
        mart=TRAFFIC, major=1, successor=2, since=NOW - timedelta(days=5), until=NOW + timedelta(days=5),
        changes=("sensors is gone",), text="v2 follows",
    )  # fmt: skip
    pointer, version = read_pointer(exchange, mart=TRAFFIC, major=1)
    assert pointer is not None
    move_pointer(exchange, pointer.model_copy(update={"notice": notice}), expected=version)
    assert past(aged) == []
    assert past(aged, now=NOW + timedelta(days=6)) == ["0002", "0004"]


def test_files_of_a_yanked_release_are_kept_for_as_long_as_others(aged: Mini) -> None:
    yank(aged.exchange, mart=TRAFFIC, release="0005", **SAID)
    past(aged, now=datetime.now(UTC) + timedelta(days=89), apply=True)
    assert list(aged.exchange.lake.list("withdrawn"))
    past(aged, now=datetime.now(UTC) + timedelta(days=91), apply=True)
    assert not list(aged.exchange.lake.list("withdrawn"))
    assert read_standing(aged.exchange, mart=TRAFFIC, major=1, release=release_of(aged, "0005")).status == "yanked"
