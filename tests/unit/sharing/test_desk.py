"""The reviewers' desk: a pass that names the reviewer opens it, and an answer there is as good as one elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from lakehouse.build.dbt import DbtProject
from lakehouse.exchange import Exchange
from lakehouse.release.answer import answer
from lakehouse.release.approval import read_decision
from lakehouse.sharing.app import create_app
from lakehouse.sharing.entitlement import Link
from lakehouse.sharing.links import Links
from tests.mini_exchange import COUNTS, TRAFFIC, Mini, traffic

HOUR = timedelta(hours=1)


@dataclass
class Desk:
    mini: Mini
    client: TestClient
    candidate: str
    told: list[Exchange]

    def address(self, name: str = "Ida Reviewer", *, hours: int = 1) -> str:
        return f"/desk/{Links(self.mini.exchange).sign_desk(name, until=datetime.now(UTC) + hours * HOUR)}/"

    def answer(self, verdict: str, reason: str = "as the city confirmed") -> str:
        form = {"mart": TRAFFIC, "candidate": self.candidate, "verdict": verdict, "reason": reason}
        found = self.client.post(self.address(), data=form)
        return f"{found.status_code} {found.text}"


@pytest.fixture(scope="module")
def asked_once(released_once: Mini, parsed: DbtProject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Mini, str]:
    mini = released_once.copy(tmp_path_factory.mktemp("asked"))
    mini.edit(f"{TRAFFIC}.yml", "approval: auto", "approval: required")
    mini.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 2), more=1))
    mini.build([TRAFFIC], project=parsed)
    [outcome] = mini.release()
    assert outcome["status"] == "waiting"
    return mini, outcome["candidate"]


@pytest.fixture
def desk(asked_once: tuple[Mini, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    mini, candidate = asked_once
    mini = mini.copy(tmp_path_factory.mktemp("desk"))
    told: list[Exchange] = []
    with TestClient(create_app(mini.exchange, answered=told.append)) as client:
        yield Desk(mini, client, candidate, told)


def test_it_shows_what_waits_with_its_report_and_what_it_changes(desk: Desk) -> None:
    page = desk.client.get(desk.address())
    assert page.status_code == 200
    assert "Ida Reviewer" in page.text
    assert desk.candidate in page.text
    for name in ("index.html", "diff/index.html"):
        place = f"reports/{TRAFFIC}/{desk.candidate}/{name}"
        assert f'href="{place}"' in page.text
        report = desk.client.get(desk.address() + place)
        assert report.status_code == 200
        assert report.headers["content-type"].startswith("text/html")
    # Nothing of it is kept on the way, and no other page learns its address or shows it inside itself.
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_an_approval_there_is_in_the_signed_manifest(desk: Desk) -> None:
    said = desk.answer("approved")
    assert said.startswith("200 ")
    manifest = desk.mini.latest(TRAFFIC)
    assert manifest.release.startswith("0002-")
    assert manifest.approval is not None
    assert (manifest.approval.by, manifest.approval.reason, manifest.approval.through) == (
        "Ida Reviewer", "as the city confirmed", "portal",
    )  # fmt: skip
    assert f"it is released as {manifest.release}" in said
    assert "Nothing waits for an approval" in said
    assert desk.told == [desk.mini.exchange]


def test_a_refusal_there_leaves_the_former_release(desk: Desk) -> None:
    assert "was refused by Ida Reviewer" in desk.answer("refused")
    assert desk.mini.latest(TRAFFIC).release.startswith("0001-")
    decision = read_decision(desk.mini.exchange, mart=TRAFFIC, candidate=desk.candidate, number=2)
    assert decision is not None
    assert (decision.verdict, decision.through) == ("refused", "portal")


def test_an_answer_without_a_reason_changes_nothing(desk: Desk) -> None:
    said = desk.answer("approved", reason="  ")
    assert said.startswith("400 ")
    assert "say why" in said
    assert desk.mini.latest(TRAFFIC).release.startswith("0001-")
    assert desk.told == []


def test_what_was_answered_elsewhere_is_told(desk: Desk) -> None:
    mart = desk.mini.mart(TRAFFIC)
    answer(
        desk.mini.exchange, mart=mart, candidate=desk.candidate, verdict="refused", by="Ben", reason="not yet",
        through="command",
    )  # fmt: skip
    said = desk.answer("approved")
    assert "was refused by Ben" in said
    assert "answered before, through command: not yet. That answer holds." in said
    assert desk.mini.latest(TRAFFIC).release.startswith("0001-")


def test_a_candidate_that_is_not_known_is_refused_in_words(desk: Desk) -> None:
    desk.candidate = "c00000009-00000000"
    said = desk.answer("approved")
    assert said.startswith("409 ")
    assert "is not known; it waits for nobody" in said


def passes(desk: Desk) -> dict[str, str]:
    links, until = Links(desk.mini.exchange), datetime.now(UTC) + HOUR
    good = links.sign_desk("Ida", until=until)
    release = Link(mart=TRAFFIC, major=1, release=desk.mini.latest(TRAFFIC).release)
    return {
        "run out": links.sign_desk("Ida", until=datetime.now(UTC) - HOUR),
        # Of the last sign some bits say nothing.
        "tampered with": f"{good[:-2]}{'A' if good[-2] != 'A' else 'B'}{good[-1]}",
        "of a release": links.sign(release, until=until),
        "made up": "letmein",
    }


@pytest.mark.parametrize("case", ["run out", "tampered with", "of a release", "made up"])
def test_no_other_pass_opens_it(desk: Desk, case: str) -> None:
    place = f"/desk/{passes(desk)[case]}/"
    form = {"mart": TRAFFIC, "candidate": desk.candidate, "verdict": "approved", "reason": "because"}
    answers = [desk.client.get(place), desk.client.post(place, data=form)]
    answers.append(desk.client.get(f"{place}reports/{TRAFFIC}/{desk.candidate}/index.html"))
    assert {found.status_code for found in answers} == {401}
    assert "`exchange desk NAME` makes one" in answers[0].json()["message"]
    assert desk.mini.latest(TRAFFIC).release.startswith("0001-")


def test_a_desk_pass_opens_no_release(desk: Desk) -> None:
    desk.mini.edit(f"{TRAFFIC}.yml", "access: open", "access: agreement")
    pass_ = desk.address().split("/")[2]
    found = desk.client.get(f"/marts/{TRAFFIC}/v1/latest/files.json", params={"link": pass_})
    assert found.status_code == 401


def test_ending_all_links_ends_passes(desk: Desk) -> None:
    place = desk.address()
    Links(desk.mini.exchange).end_all()
    assert desk.client.get(place).status_code == 401


@pytest.mark.parametrize("path", ["../marts/x", "%2e%2e/%2e%2e/keys", "nothing.html", ""])
def test_nothing_but_reports_is_given(desk: Desk, path: str) -> None:
    assert desk.client.get(f"{desk.address()}reports/{path}").status_code == 404


def test_the_log_has_no_pass(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="lakehouse.doors"):
        place = desk.address()
        desk.client.get(place)
    assert "GET /desk/…/ 200" in caplog.text
    assert place.split("/")[2] not in caplog.text
