"""A change of a mart's contract is compatible, or it is refused until a new major is announced to those who read the
old one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakehouse.contracts.load import ContractError
from lakehouse.contracts.mart import Mart
from lakehouse.release.doctor import rebuild_index
from lakehouse.release.evolution import changes_since
from lakehouse.release.listing import find_release, list_releases
from lakehouse.release.manifest import Manifest, latest_manifest
from lakehouse.release.notices import notices, read_notice, remarks
from lakehouse.release.pointer import read_pointer
from lakehouse.release.retention import retention
from lakehouse.release.withdraw import rollback, yank
from tests.mini_exchange import TRAFFIC, WATER, Mini, read_release


def told(base: Manifest, mart: Mart, **changes: object) -> list[tuple[str, bool]]:
    """The changes where the column `vehicles` of the mart is changed so."""
    columns = tuple(
        column.model_copy(update=changes) if column.name == "vehicles" else column for column in mart.columns
    )
    return [(change.words, change.breaking) for change in changes_since(base, replace(mart, columns=columns))]


@pytest.fixture(scope="module")
def base(released_once: Mini) -> Manifest:
    return released_once.latest(TRAFFIC)


@pytest.fixture(scope="module")
def mart(released_once: Mini) -> Mart:
    return released_once.mart(TRAFFIC)


def test_what_has_not_changed_is_no_change(base: Manifest, mart: Mart) -> None:
    assert changes_since(base, mart) == []
    # Another spelling of the same type is none either.
    assert told(base, mart, data_type="INT8") == []


@pytest.mark.parametrize(
    ("before", "after", "breaking"),
    [
        ("integer", "bigint", False),
        ("bigint", "integer", True),
        ("bigint", "hugeint", True),
        ("float", "double", False),
        ("double", "float", True),
        ("bigint", "double", True),
        ("decimal(9, 2)", "decimal(12,2)", False),
        ("decimal(9, 2)", "decimal(8, 2)", True),
        ("decimal(9, 2)", "decimal(12, 3)", True),
        ("date", "timestamp", True),
        ("varchar", "bigint", True),
    ],
)
def test_a_type_may_grow_as_readers_can_follow(
    base: Manifest, mart: Mart, before: str, after: str, breaking: bool
) -> None:
    columns = tuple(c.model_copy(update={"type": before}) if c.name == "vehicles" else c for c in base.columns)
    [(words, breaks)] = told(base.model_copy(update={"columns": columns}), mart, data_type=after)
    assert words.startswith("vehicles was ")
    assert breaks == breaking


def test_null_where_there_was_none_breaks(base: Manifest, mart: Mart) -> None:
    never = tuple(c.model_copy(update={"required": True}) if c.name == "vehicles" else c for c in base.columns)
    assert told(base.model_copy(update={"columns": never}), mart) == [("vehicles was never null and may be", True)]
    assert told(base, mart, constraints=[{"type": "not_null"}]) == [("vehicles is never null any more", False)]


def test_values_that_readers_were_told_would_not_come_break(base: Manifest, mart: Mart) -> None:
    listed = tuple(c.model_copy(update={"values": ("1", "2")}) if c.name == "vehicles" else c for c in base.columns)
    before = base.model_copy(update={"columns": listed})

    def values(*given: int) -> list[object]:
        return [{"accepted_values": {"arguments": {"values": list(given)}}}]

    assert told(before, mart, data_tests=values(1, 2)) == []
    assert told(before, mart, data_tests=values(1, 2, 3)) == [("vehicles takes new values: 3", True)]
    assert told(before, mart, data_tests=values(1)) == [("vehicles does not take any more: 2", False)]
    assert told(before, mart) == [("vehicles may take other values than 1, 2", True)]
    assert told(base, mart, data_tests=values(1)) == [("vehicles takes listed values alone: 1", False)]


def test_a_manifest_of_before_says_nothing_of_null_and_values(base: Manifest, mart: Mart) -> None:
    older = tuple(column.model_copy(update={"required": None, "values": None}) for column in base.columns)
    assert changes_since(base.model_copy(update={"columns": older}), mart) == []


def test_a_new_major_states_its_overlap(released: Mini) -> None:
    released.edit(f"{TRAFFIC}.yml", "major: 1", "major: 2")
    with pytest.raises(ContractError, match="v2 follows v1: state for how many days v1 stays published beside it"):
        released.mart(TRAFFIC)


@pytest.fixture(scope="module")
def two_majors_once(released_once: Mini, tmp_path_factory: pytest.TempPathFactory) -> Mini:
    """A column was renamed, so a second major began, with an overlap of 30 days."""
    mini = released_once.copy(tmp_path_factory.mktemp("majors") / "mini")
    mini.edit(f"{TRAFFIC}.yml", "name: sensors", "name: sensor_count")
    mini.edit(f"{TRAFFIC}.sql", "as sensors,", "as sensor_count,")
    refused = mini.build([TRAFFIC]).failed[TRAFFIC]
    assert "these changes would break those who read v1: column sensors is gone" in refused
    mini.edit(f"{TRAFFIC}.yml", "major: 1", "major: 2\n          overlap_days: 30")
    mini.build([TRAFFIC])
    assert [outcome["status"] for outcome in mini.release()] == ["released"]
    return mini


@pytest.fixture
def two_majors(two_majors_once: Mini, tmp_path: Path) -> Mini:
    return two_majors_once.copy(tmp_path / "two")


def test_both_majors_are_published_and_readers_of_the_first_are_told(two_majors: Mini) -> None:
    exchange = two_majors.exchange
    second = latest_manifest(exchange, mart=TRAFFIC, major=2)
    assert second is not None
    assert find_release(exchange, TRAFFIC) == second
    first = read_release(two_majors, TRAFFIC)
    assert first is not None
    assert find_release(exchange, f"{TRAFFIC}@v1") == first
    [notice] = second.notices
    assert (notice.major, notice.successor, notice.changes) == (1, 2, ("column sensors is gone",))
    assert notice.until - notice.since == timedelta(days=30)
    assert read_notice(exchange, mart=TRAFFIC, major=1) == notice
    pointer, _ = read_pointer(exchange, mart=TRAFFIC, major=1)
    assert pointer is not None
    assert (pointer.notice, pointer.release) == (notice, first.release)
    [said] = notices(exchange)
    assert (said.kind, said.mart, said.major, said.until) == ("deprecated", TRAFFIC, 1, notice.until)
    assert said.text.endswith("and gets no new releases. What breaks: column sensors is gone.")
    # Who looks at the first, or fetches it, is told; who reads the second has nothing to hear.
    assert (remarks(exchange, first), remarks(exchange, second)) == ([said.text], [])
    # A lost index is made again with both.
    rebuild_index(exchange)
    assert {(row["major"], row["latest"]) for row in list_releases(exchange, mart=TRAFFIC)} == {(1, True), (2, True)}
    assert notices(exchange) == [said]


def test_a_major_that_is_followed_is_not_built_again(two_majors: Mini) -> None:
    two_majors.edit(f"{TRAFFIC}.yml", "major: 2\n          overlap_days: 30", "major: 1")
    refused = two_majors.build([TRAFFIC]).failed[TRAFFIC]
    assert "v1 is followed by v2, and its readers were told that it gets no new releases: set major to 2" in refused


def test_the_notice_stays_when_the_first_major_is_rolled_back(two_majors: Mini) -> None:
    """And nothing of either major goes before the overlap ends."""
    notice = read_notice(two_majors.exchange, mart=TRAFFIC, major=1)
    assert notice is not None
    first = find_release(two_majors.exchange, f"{TRAFFIC}@v1").release
    rollback(two_majors.exchange, mart=TRAFFIC, release=first, by="r", reason="again")
    pointer, _ = read_pointer(two_majors.exchange, mart=TRAFFIC, major=1)
    assert pointer is not None
    assert pointer.notice == notice
    assert retention(two_majors.exchange, now=datetime.now(UTC), days=1) == []


def test_an_overlap_is_made_longer_by_the_next_release(two_majors: Mini) -> None:
    before = read_notice(two_majors.exchange, mart=TRAFFIC, major=1)
    assert before is not None
    two_majors.edit(f"{TRAFFIC}.yml", "overlap_days: 30", "overlap_days: 60")
    two_majors.edit(f"{TRAFFIC}.yml", "access: open", "access: registered")
    two_majors.build([TRAFFIC])
    two_majors.release()
    after = read_notice(two_majors.exchange, mart=TRAFFIC, major=1)
    assert after is not None
    assert (after.since, after.until - before.until) == (before.since, timedelta(days=30))
    pointer, _ = read_pointer(two_majors.exchange, mart=TRAFFIC, major=1)
    assert pointer is not None
    assert pointer.notice == after


def test_what_was_taken_back_is_told_too(two_majors: Mini) -> None:
    yank(two_majors.exchange, mart=WATER, release="0001", by="r", reason="an area was wrong")
    newest = notices(two_majors.exchange)[0]
    assert (newest.kind, newest.mart) == ("yanked", WATER)
    assert newest.text.endswith("was yanked and cannot be read any more: an area was wrong")


def test_nothing_is_told_where_nothing_happened(released: Mini) -> None:
    assert notices(released.exchange) == []
