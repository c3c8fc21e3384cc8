"""Releases that are taken back: the pointer goes to an earlier one, or the release disappears from the doors. Either
way it was public once, and whatever comes after has to know."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from lakehouse.build.dbt import DbtProject
from lakehouse.release.approval import decide, list_candidates
from lakehouse.release.attacks import attack_release
from lakehouse.release.doctor import rebuild_index
from lakehouse.release.fetch import fetch
from lakehouse.release.listing import NoSuchRelease, ReleaseGone, find_release, list_releases
from lakehouse.release.notices import remarks
from lakehouse.release.pointer import read_pointer
from lakehouse.release.promote import promote
from lakehouse.release.standing import read_standing
from lakehouse.release.withdraw import NotWithdrawable, rollback, yank
from lakehouse.storage.index import releases
from tests.mini_exchange import COUNTS, READINGS, TRAFFIC, WATER, Mini, read_release, readings, traffic

SAID = {"by": "a reviewer", "reason": "counts of October 2nd are wrong"}


@dataclass(frozen=True)
class Two:
    """A mart with two releases, of which the second restates October 2nd."""

    mini: Mini
    first: str
    second: str


@pytest.fixture
def two(second: Mini) -> Two:
    first = second.latest(TRAFFIC).release
    second.release()
    return Two(second, first, second.latest(TRAFFIC).release)


def statuses(mini: Mini, mart: str = TRAFFIC) -> dict[str, tuple[str, bool]]:
    return {row["release"]: (row["status"], row["latest"]) for row in list_releases(mini.exchange, mart=mart)}


def test_a_rollback_moves_the_pointer_and_leaves_both_readable(two: Two, tmp_path: Path) -> None:
    found = rollback(two.mini.exchange, mart=TRAFFIC, release="0001", **SAID)
    assert found == {"mart": TRAFFIC, "major": 1, "release": two.first, "left": two.second}
    assert two.mini.latest(TRAFFIC).release == two.first
    assert statuses(two.mini) == {two.first: ("released", True), two.second: ("rolled_back", False)}
    standing = read_standing(two.mini.exchange, mart=TRAFFIC, major=1, release=two.second)
    assert [(event.what, event.by, event.reason) for event in standing.events] == [("rolled_back", *SAID.values())]
    # Who has pinned it still gets it, and is told.
    assert remarks(two.mini.exchange, two.mini.latest(TRAFFIC)) == []
    [remark] = remarks(two.mini.exchange, find_release(two.mini.exchange, f"{TRAFFIC}@{two.second}"))
    assert remark == f"{TRAFFIC} v1 {two.second} was rolled back from: {SAID['reason']}"
    fetch(two.mini.exchange, find_release(two.mini.exchange, f"{TRAFFIC}@{two.second}"), to=tmp_path / "to")


def test_what_is_built_after_a_rollback_waits_for_an_approval(two: Two, parsed: DbtProject) -> None:
    rollback(two.mini.exchange, mart=TRAFFIC, release=two.first, **SAID)
    # What was delivered since the first release has not gone away.
    assert [made["mart"] for made in two.mini.build([TRAFFIC], project=parsed).candidates] == [TRAFFIC]
    [outcome] = two.mini.release()
    assert outcome["status"] == "waiting"
    assert outcome["reason"] == f"waits for an approval: {two.second} was rolled back from ({SAID['reason']})"
    assert two.mini.latest(TRAFFIC).release == two.first
    # And it is neither built nor asked about again.
    assert "waits for an approval" in two.mini.build([TRAFFIC], project=parsed).unchanged[TRAFFIC]
    assert two.mini.release() == []


def test_the_release_after_a_rollback_has_a_number_of_its_own_and_the_right_base(two: Two, parsed: DbtProject) -> None:
    exchange = two.mini.exchange
    rollback(exchange, mart=TRAFFIC, release=two.first, **SAID)
    two.mini.deliver(COUNTS, "right.csv", traffic(date(2024, 10, 2), more=5))
    two.mini.build([TRAFFIC], project=parsed)
    two.mini.release()
    [waiting] = list_candidates(exchange)
    mart = two.mini.mart(TRAFFIC)
    decide(exchange, mart=mart, candidate=waiting["candidate"], verdict="approved", by="r", reason="mended",
           through="command")  # fmt: skip
    outcome = promote(exchange, mart=mart, candidate=waiting["candidate"])
    after = two.mini.latest(TRAFFIC)
    assert outcome["release"] == after.release
    assert after.release.startswith("0003-")
    assert after.diff["before"] == two.first
    assert after.diff["partitions_changed"] == ["2024-10-02"]
    assert (after.approved_by, after.approval and after.approval.reason) == ("r", "mended")
    # The next one goes on by itself.
    two.mini.deliver(COUNTS, "more.csv", traffic(date(2024, 10, 4)))
    two.mini.build([TRAFFIC], project=parsed)
    assert [made["status"] for made in two.mini.release()] == ["released"]


def test_an_answer_of_before_the_rollback_is_no_answer_after_it(second: Mini, parsed: DbtProject) -> None:
    """The candidate that is built again has the same name."""
    first = second.latest(TRAFFIC).release
    second.edit(f"{TRAFFIC}.yml", "approval: auto", "approval: required")
    second.build([TRAFFIC])
    [outcome] = second.release()
    name, mart = outcome["candidate"], second.mart(TRAFFIC)
    decide(second.exchange, mart=mart, candidate=name, verdict="approved", by="r", reason="good", through="command")
    promote(second.exchange, mart=mart, candidate=name)
    rollback(second.exchange, mart=TRAFFIC, release=first, **SAID)
    assert [made["candidate"] for made in second.build([TRAFFIC]).candidates] == [name]
    [again] = second.release()
    assert (again["candidate"], again["status"]) == (name, "waiting")
    assert second.latest(TRAFFIC).release == first


def test_going_forward_again_is_a_rollback_too(two: Two, parsed: DbtProject) -> None:
    rollback(two.mini.exchange, mart=TRAFFIC, release=two.first, **SAID)
    rollback(two.mini.exchange, mart=TRAFFIC, release=two.second, by="another", reason="it was right after all")
    assert two.mini.latest(TRAFFIC).release == two.second
    assert statuses(two.mini) == {two.first: ("released", False), two.second: ("released", True)}
    standing = read_standing(two.mini.exchange, mart=TRAFFIC, major=1, release=two.second)
    assert [event.what for event in standing.events] == ["rolled_back", "restored"]
    two.mini.deliver(COUNTS, "more.csv", traffic(date(2024, 10, 4)))
    two.mini.build([TRAFFIC], project=parsed)
    assert [made["status"] for made in two.mini.release()] == ["released"]


def test_a_candidate_on_the_release_that_was_left_is_superseded(two: Two, parsed: DbtProject) -> None:
    two.mini.deliver(COUNTS, "more.csv", traffic(date(2024, 10, 4)))
    two.mini.build([TRAFFIC], project=parsed)
    rollback(two.mini.exchange, mart=TRAFFIC, release=two.first, **SAID)
    assert two.mini.release() == []


def test_a_private_period_that_was_public_once_is_not_told_otherwise(released: Mini, parsed: DbtProject) -> None:
    """November is published, taken back, and then late readings come: in another sum they would tell a household's
    share to who kept the first one."""
    first = released.latest(WATER).release
    released.deliver(READINGS, "november.csv", readings(date(2024, 11, 1), date(2024, 12, 1)))
    released.build([WATER], project=parsed)
    released.release()
    second = released.latest(WATER)
    rollback(released.exchange, mart=WATER, release=first, by="a reviewer", reason="wrong")
    released.deliver(READINGS, "late.csv", readings(date(2024, 11, 5), date(2024, 11, 6), more=1))
    summary = released.build([WATER], project=parsed)
    assert summary.held[WATER]["2024-11"] == "published, and its policy allows no restatement"
    # The audit still counts it among what was published, after the index was lost too.
    assert attack_release(released.exchange, second)
    rebuild_index(released.exchange)
    assert statuses(released, WATER) == {first: ("released", True), second.release: ("rolled_back", False)}
    assert released.build([WATER], project=parsed).held[WATER]["2024-11"].startswith("published")


def test_a_yanked_release_is_refused_with_its_reason_and_its_record_stays(two: Two, tmp_path: Path) -> None:
    exchange, lake = two.mini.exchange, two.mini.exchange.lake
    manifest = two.mini.latest(TRAFFIC)
    found = yank(exchange, mart=TRAFFIC, release=two.second, **SAID)
    assert (found["newest"], found["also_in"]) == (two.first, [])
    assert statuses(two.mini) == {two.first: ("released", True), two.second: ("yanked", False)}
    with pytest.raises(ReleaseGone, match=f"@{two.second} was yanked on 20.* by a reviewer: counts of October 2nd"):
        find_release(exchange, f"{TRAFFIC}@{two.second}")
    assert find_release(exchange, TRAFFIC).release == two.first
    assert find_release(exchange, f"{TRAFFIC}@{two.second}", gone=True) == manifest
    left = {entry.key.removeprefix(f"{manifest.prefix}/") for entry in lake.list("marts", f"{manifest.prefix}/")}
    assert left == {"manifest.json", "manifest.json.sig", "standing.json"}
    # Reviewers still have its files, and the release before has its own.
    moved = {entry.key for entry in lake.list("withdrawn")}
    assert moved == {f"{manifest.prefix}/{file.path}" for file in manifest.files}
    whole = read_release(two.mini, TRAFFIC)
    assert whole is not None
    assert whole.release == two.first


def test_yanking_an_older_release_leaves_the_newest_and_names_those_that_hold_its_files(
    two: Two, parsed: DbtProject
) -> None:
    two.mini.deliver(COUNTS, "more.csv", traffic(date(2024, 10, 4)))
    two.mini.build([TRAFFIC], project=parsed)
    two.mini.release()
    third = two.mini.latest(TRAFFIC).release
    found = yank(two.mini.exchange, mart=TRAFFIC, release=two.second, **SAID)
    assert (found["newest"], found["also_in"]) == (third, [third])
    assert read_release(two.mini, TRAFFIC) is not None
    two.mini.deliver(COUNTS, "again.csv", traffic(date(2024, 10, 5)))
    two.mini.build([TRAFFIC], project=parsed)
    assert [made["status"] for made in two.mini.release()] == ["released"]


def test_where_nothing_good_is_left_there_is_no_newest_and_the_next_has_the_next_number(
    released: Mini, parsed: DbtProject
) -> None:
    exchange = released.exchange
    only = released.latest(TRAFFIC).release
    assert yank(exchange, mart=TRAFFIC, release="0001", **SAID)["newest"] is None
    with pytest.raises(ReleaseGone, match=rf"of {TRAFFIC} v1 no release stands: {only} \(yanked\)"):
        find_release(exchange, TRAFFIC)
    pointer, _ = read_pointer(exchange, mart=TRAFFIC, major=1)
    assert pointer is not None
    assert (pointer.release, pointer.number) == (None, 1)
    released.deliver(COUNTS, "right.csv", traffic(date(2024, 10, 2), more=5))
    released.build([TRAFFIC], project=parsed)
    [outcome] = [made for made in released.release() if made["mart"] == TRAFFIC]
    assert "was yanked" in outcome["reason"]
    mart = released.mart(TRAFFIC)
    decide(exchange, mart=mart, candidate=outcome["candidate"], verdict="approved", by="r", reason="mended",
           through="command")  # fmt: skip
    assert promote(exchange, mart=mart, candidate=outcome["candidate"])["release"].startswith("0002-")
    rebuild_index(exchange)
    assert statuses(released)[only] == ("yanked", False)


def test_yanking_again_keeps_the_first_reason(two: Two) -> None:
    for reason in ("the first", "the second"):
        yank(two.mini.exchange, mart=TRAFFIC, release=two.second, by="a reviewer", reason=reason)
    standing = read_standing(two.mini.exchange, mart=TRAFFIC, major=1, release=two.second)
    assert [event.reason for event in standing.events] == ["the first"]


def test_nothing_goes_back_to_what_is_gone_or_was_never_there(two: Two) -> None:
    yank(two.mini.exchange, mart=TRAFFIC, release=two.first, **SAID)
    with pytest.raises(NotWithdrawable, match=f"@{two.first} is yanked: there is nothing to go back to"):
        rollback(two.mini.exchange, mart=TRAFFIC, release=two.first, **SAID)
    with pytest.raises(NoSuchRelease):
        rollback(two.mini.exchange, mart=TRAFFIC, release="0009", **SAID)


def test_a_rollback_to_what_is_yanked_meanwhile_is_undone(two: Two) -> None:
    """The index has not heard of it yet."""
    yank(two.mini.exchange, mart=TRAFFIC, release=two.first, **SAID)
    with two.mini.exchange.index.begin() as connection:
        connection.execute(releases.update().where(releases.c.release == two.first).values(status="released"))
    with pytest.raises(NotWithdrawable, match="is yanked"):
        rollback(two.mini.exchange, mart=TRAFFIC, release=two.first, **SAID)
    assert two.mini.latest(TRAFFIC).release == two.second
