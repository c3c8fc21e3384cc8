"""A candidate that needs an approval waits; one answer holds, wherever it was given, and is kept with its reason."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from threading import Barrier

import pytest

from lakehouse.build.dbt import DbtProject
from lakehouse.release.answer import answer, fate
from lakehouse.release.approval import NotWaiting, list_candidates, question, read_decision
from lakehouse.release.listing import list_releases, waiting_candidates
from lakehouse.release.promote import promote
from lakehouse.release.signing import verified_manifest
from tests.mini_exchange import COUNTS, TRAFFIC, Mini, traffic


@pytest.fixture
def asked(second: Mini) -> tuple[Mini, str]:
    """A mart that asks for approvals, with a candidate that passed its gate and waits."""
    second.edit(f"{TRAFFIC}.yml", "approval: auto", "approval: required")
    [outcome] = second.release()
    assert outcome["status"] == "waiting"
    return second, outcome["candidate"]


def say(
    mini: Mini, candidate: str, verdict: str = "approved", *, by: str = "r", through: str = "command"
) -> dict[str, object]:
    return answer(
        mini.exchange, mart=mini.mart(TRAFFIC), candidate=candidate, verdict=verdict, by=by,  # type: ignore[arg-type]
        reason="as the city confirmed", through=through,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_former_release_stands_until_somebody_answers(asked: tuple[Mini, str]) -> None:
    mini, candidate = asked
    assert mini.latest(TRAFFIC).release.startswith("0001-")
    assert mini.release() == []
    [waiting] = list_candidates(mini.exchange)
    assert (waiting["candidate"], waiting["status"], waiting["partitions"], waiting["rows"]) == (
        candidate,
        "waiting",
        1,
        48,
    )
    assert waiting["report"] == f"reports/{TRAFFIC}/{candidate}/index.html"
    put = question(mini.exchange, mart=TRAFFIC, candidate=candidate)
    assert put is not None
    assert "48 rows in 1 partitions" in put["body"]
    assert question(mini.exchange, mart=TRAFFIC, candidate=candidate) == put


def test_an_approval_releases_and_is_kept_in_the_signed_manifest(asked: tuple[Mini, str]) -> None:
    mini, candidate = asked
    outcome = say(mini, candidate, by="Ida")
    assert outcome["status"] == "released"
    release = mini.latest(TRAFFIC).release
    manifest = verified_manifest(mini.exchange, mart=TRAFFIC, major=1, release=release).manifest
    assert manifest.approved_by == "Ida"
    assert manifest.approval is not None
    assert (manifest.approval.by, manifest.approval.reason, manifest.approval.through) == (
        "Ida", "as the city confirmed", "command",
    )  # fmt: skip
    assert list_candidates(mini.exchange) == []


def test_a_refusal_releases_nothing_and_is_kept_with_the_candidate(asked: tuple[Mini, str], parsed: DbtProject) -> None:
    mini, candidate = asked
    before = mini.latest(TRAFFIC)
    assert say(mini, candidate, "refused")["status"] == "refused"
    assert mini.latest(TRAFFIC) == before
    decision = read_decision(mini.exchange, mart=TRAFFIC, candidate=candidate, number=2)
    assert decision is not None
    assert (decision.verdict, decision.reason) == ("refused", "as the city confirmed")
    [row] = [row for row in list_candidates(mini.exchange, everything=True) if row["candidate"] == candidate]
    assert (row["status"], row["reason"]) == ("refused", "refused by r: as the city confirmed")
    left = {entry.key.rsplit("/")[-1] for entry in mini.exchange.lake.list("candidates", f"{TRAFFIC}/{candidate}/")}
    assert left == {"candidate.json", "decision-0002.json"}


def test_what_was_refused_is_not_asked_again_until_something_changes(asked: tuple[Mini, str]) -> None:
    mini, candidate = asked
    mini.build([TRAFFIC])
    [outcome] = mini.release()
    candidate = outcome["candidate"]
    say(mini, candidate, "refused")
    told = mini.build([TRAFFIC]).unchanged[TRAFFIC]
    assert told == f"its candidate {candidate} refused by r: as the city confirmed"
    mini.deliver(COUNTS, "right.csv", traffic(date(2024, 10, 2), more=3))
    mini.build([TRAFFIC])
    [outcome] = mini.release()
    assert (outcome["status"], outcome["candidate"] != candidate) == ("waiting", True)


def test_a_newer_candidate_takes_the_place_of_one_that_waits(asked: tuple[Mini, str]) -> None:
    mini, candidate = asked
    mini.deliver(COUNTS, "newer.csv", traffic(date(2024, 10, 3), more=1))
    mini.build([TRAFFIC])
    assert [outcome["status"] for outcome in mini.release()] == ["waiting"]
    assert fate(mini.exchange, mart=TRAFFIC, candidate=candidate)["status"] == "superseded"
    with pytest.raises(
        NotWaiting, match=f"candidate {candidate} is superseded .a newer one was built.; it waits for nobody"
    ):
        say(mini, candidate)


def test_the_first_answer_holds(asked: tuple[Mini, str]) -> None:
    """Whoever wrote it may have died before anything followed from it."""
    mini, candidate = asked
    from lakehouse.release.approval import decide

    decide(mini.exchange, mart=mini.mart(TRAFFIC), candidate=candidate, verdict="refused", by="first", reason="no",
           through="airflow")  # fmt: skip
    outcome = say(mini, candidate, "approved", by="second")
    assert outcome["status"] == "refused"
    assert outcome["decision"]["by"] == "first"  # type: ignore[index]


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_answers_at_once_one_holds_and_nothing_is_released_against_it(
    asked: tuple[Mini, str], attempt: int
) -> None:
    mini, candidate = asked
    start = Barrier(2)

    def run(verdict: str) -> str:
        other = Mini(mini.root)
        start.wait()
        try:
            return str(say(other, candidate, verdict)["status"])
        except NotWaiting:
            return "not waiting"

    with ThreadPoolExecutor(2) as pool:
        said = set(pool.map(run, ("approved", "refused")))
    decision = read_decision(mini.exchange, mart=TRAFFIC, candidate=candidate, number=2)
    assert decision is not None
    held = "released" if decision.verdict == "approved" else "refused"
    assert said <= {held, "not waiting"}
    assert mini.latest(TRAFFIC).release.startswith("0002-" if held == "released" else "0001-")
    assert fate(mini.exchange, mart=TRAFFIC, candidate=candidate)["status"] == held


def test_an_answer_needs_a_name_and_a_reason(asked: tuple[Mini, str]) -> None:
    mini, candidate = asked
    with pytest.raises(ValueError, match="needs a name and a reason"):
        say(mini, candidate, by=" ")


def test_a_mart_that_asks_for_none_waits_for_nobody(second: Mini) -> None:
    [waiting] = waiting_candidates(second.exchange)
    with pytest.raises(NotWaiting, match="is built; it waits for nobody"):
        say(second, waiting["candidate"])
    assert question(second.exchange, mart=TRAFFIC, candidate=waiting["candidate"]) is None


def test_what_says_nothing_new_is_not_asked_about(released: Mini) -> None:
    """A correction, and the correction taken back."""
    released.edit(f"{TRAFFIC}.yml", "approval: auto", "approval: required")
    released.deliver(COUNTS, "wrong.csv", traffic(date(2024, 10, 7), more=1))
    released.deliver(COUNTS, "right.csv", [*traffic(date(2024, 10, 7)), ""])
    released.build([TRAFFIC])
    assert [outcome["status"] for outcome in released.release()] == ["unchanged"]


def test_a_lost_index_forgets_a_candidate_and_no_release(asked: tuple[Mini, str]) -> None:
    mini, candidate = asked
    say(mini, candidate)
    promote(mini.exchange, mart=mini.mart(TRAFFIC), candidate=candidate)
    assert [row["latest"] for row in list_releases(mini.exchange, mart=TRAFFIC)] == [True, False]
