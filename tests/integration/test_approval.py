"""A reviewer's answer through the real scheduler, the lake on a real S3 server: over Airflow's REST API, and by a command that Airflow is told of."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from lakehouse.orchestrate.airflow_client import ENDED, AirflowClient, Question
from lakehouse.orchestrate.airflow_process import running
from lakehouse.orchestrate.approvals import answer_in_airflow
from lakehouse.orchestrate.main_job import _follow_releases
from lakehouse.release.answer import answer, fate
from lakehouse.release.approval import list_candidates
from tests.integration.conftest import PROJECT
from tests.mini_exchange import COUNTS, TRAFFIC, Mini, traffic
from tests.object_store.server import ObjectServer

pytestmark = [pytest.mark.integration, pytest.mark.thorough]


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory, object_server: ObjectServer) -> Iterator[Mini]:
    """A small exchange on a real store with one release, whose mart asks for approvals, and of the DAGs the release
    alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment.items():
            patch.setenv(name, value)
        yield _made(tmp_path_factory.mktemp("approval"), object_server)


def _made(root: Path, server: ObjectServer) -> Mini:
    made = Mini.make(root, lake=f"s3://t{uuid.uuid4().hex[:12]}", endpoint=server.endpoint)
    project = made.root / "project"
    (project / "dags").mkdir()
    shutil.copy(PROJECT / "dags" / "release.py", project / "dags")
    shutil.copytree(PROJECT / "plugins", project / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    made.fill(days=2)
    made.build([TRAFFIC])
    made.release()
    made.edit(f"{TRAFFIC}.yml", "approval: auto", "approval: required")
    return made


@pytest.fixture(scope="module")
def client(mini: Mini) -> Iterator[AirflowClient]:
    with (
        running(mini.exchange.settings, schedules=False, extract_url=None) as airflow,
        AirflowClient(airflow.url) as client,
    ):
        client.wait_for_dags(["release", "approval"])
        yield client


def _until(ask: Callable[[], Any], *, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.5)
    return found


def asked(mini: Mini, client: AirflowClient, more: int) -> Question:
    """The question about a new candidate. The run that judged it does not wait for the answer, and nor would the main
    job."""
    mini.deliver(COUNTS, f"late-{more}.csv", traffic(date(2024, 10, 2), more=more))
    mini.build([TRAFFIC])
    run = client.trigger("release")
    _follow_releases(mini.exchange, client, print)
    assert client.state(run) == "success"
    [waiting] = list_candidates(mini.exchange)
    [question] = _until(lambda: client.questions("approval"), seconds=120)
    assert question.conf["candidate"] == waiting["candidate"]
    return question


def test_an_answer_over_the_rest_api_releases_and_is_kept(mini: Mini, client: AirflowClient) -> None:
    before = mini.latest(TRAFFIC).release
    question = asked(mini, client, 1)
    assert mini.latest(TRAFFIC).release == before

    def ended() -> bool:
        # At once, as a program would: Airflow may lose such an answer, and then asks again.
        for open_one in client.questions("approval"):
            client.answer(open_one, option="Approve", given={"reason": "looked at the report"})
        return client.state(question.run) in ENDED

    _until(ended, seconds=180)
    assert client.failures(question.run) == []
    after = mini.latest(TRAFFIC)
    assert after.release.startswith("0002-")
    assert after.approval is not None
    assert (after.approval.reason, after.approval.through) == ("looked at the report", "airflow")
    assert after.approval.by == after.approved_by


def test_an_answer_by_a_command_ends_the_run_that_waits(mini: Mini, client: AirflowClient) -> None:
    before = mini.latest(TRAFFIC).release
    question = asked(mini, client, 2)
    candidate = question.conf["candidate"]
    answer(
        mini.exchange, mart=mini.mart(TRAFFIC), candidate=candidate, verdict="refused", by="Ida", reason="still wrong",
        through="command",
    )  # fmt: skip
    assert answer_in_airflow(mini.exchange) == 1
    client.follow([question.run], on_end=lambda run, state: None, seconds=180)
    assert client.failures(question.run) == []
    assert mini.latest(TRAFFIC).release == before
    assert fate(mini.exchange, mart=TRAFFIC, candidate=candidate)["reason"] == "refused by Ida: still wrong"
    assert client.questions("approval") == []
