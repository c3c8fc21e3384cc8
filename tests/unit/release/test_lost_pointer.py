"""A pointer that somebody removed, or wrote over: no release is lost by it, and it can be made again."""

import pytest

from lakehouse.build.dbt import DbtProject
from lakehouse.release.doctor import rebuild_index, sweep
from lakehouse.release.listing import find_release, list_releases
from lakehouse.release.manifest import UnreadablePointer, latest_key
from lakehouse.release.pointer import read_pointer
from lakehouse.release.promote import NotPromotable
from lakehouse.release.withdraw import rollback
from tests.mini_exchange import TRAFFIC, Mini

SAID = {"by": "a reviewer", "reason": "the pointer was lost"}
KEY = latest_key(TRAFFIC, 1)
REMEDY = f"`exchange rollback {TRAFFIC} RELEASE` makes it again"


def test_of_a_lost_pointer_no_candidate_is_promoted_as_the_first(second: Mini) -> None:
    second.exchange.lake.delete("marts", KEY)
    with pytest.raises(NotPromotable, match=REMEDY):
        second.release()


@pytest.fixture
def two(second: Mini) -> Mini:
    second.release()
    return second


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"", b'{"release": "0009-deadbeef"'])
def test_what_is_no_pointer_is_named_with_what_to_do(two: Mini, content: bytes) -> None:
    two.exchange.lake.write_bytes("marts", KEY, content)
    words = rf"marts/{KEY} is no pointer .* remove it, and `exchange rollback {TRAFFIC} RELEASE`"
    with pytest.raises(UnreadablePointer, match=words):
        two.latest(TRAFFIC)
    with pytest.raises(UnreadablePointer, match=words):
        read_pointer(two.exchange, mart=TRAFFIC, major=1)


@pytest.mark.parametrize("index", ["stands", "made again"])
def test_a_lost_pointer_is_made_again_and_nothing_is_swept(two: Mini, parsed: DbtProject, index: str) -> None:
    newest = two.latest(TRAFFIC).release
    published = {row["release"]: row["status"] for row in list_releases(two.exchange, mart=TRAFFIC)}
    before, _ = read_pointer(two.exchange, mart=TRAFFIC, major=1)
    two.exchange.lake.delete("marts", KEY)
    if index == "made again":
        [problem] = rebuild_index(two.exchange).problems
        assert problem.startswith(f"{KEY}: is not there")
    assert {row["release"]: row["status"] for row in list_releases(two.exchange, mart=TRAFFIC)} == published
    assert sweep(two.exchange, dry_run=True).marts == ()
    # Nothing is built and released as if it were the first.
    failed = two.build([TRAFFIC], project=parsed).failed
    assert failed == {TRAFFIC: f"marts/{KEY} is not there, though {TRAFFIC} has releases: {REMEDY}"}
    rollback(two.exchange, mart=TRAFFIC, release="0001", **SAID)
    # No number is given twice, whichever release is gone back to.
    pointer, _ = read_pointer(two.exchange, mart=TRAFFIC, major=1)
    assert pointer is not None
    assert (pointer.release, pointer.highest) == (find_release(two.exchange, f"{TRAFFIC}@0001").release, 2)
    rollback(two.exchange, mart=TRAFFIC, release=newest, **SAID)
    after, _ = read_pointer(two.exchange, mart=TRAFFIC, major=1)
    assert after == before
