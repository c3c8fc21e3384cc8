"""What the main job asks Airflow while it waits."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

from lakehouse.orchestrate import airflow_client
from lakehouse.orchestrate.airflow_client import AirflowClient, DagRun, RunFailed

RUNS = [DagRun(dag_id=f"dag{number}", run_id="one") for number in range(120)]


class Airflow:
    """Runs end one a poll, the last of them failed; its lists show a hundred at most."""

    def __init__(self) -> None:
        self.active = list(RUNS)
        self.asked = Counter[str]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked[request.url.path.rsplit("/", 1)[1]] += 1
        if request.url.path == "/api/v2/dags/~/dagRuns":
            if self.active:
                self.active.pop()
            shown = [{"dag_id": run.dag_id, "dag_run_id": run.run_id} for run in self.active[:100]]
            return httpx.Response(200, json={"dag_runs": shown})
        run = DagRun(dag_id=request.url.path.split("/")[4], run_id="one")
        ended = "failed" if run == RUNS[0] else "success"
        return httpx.Response(200, json={"state": "running" if run in self.active else ended})


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    monkeypatch.setattr(airflow_client.time, "sleep", lambda seconds: None)
    return Airflow()


def _client(airflow: Airflow) -> AirflowClient:
    client = AirflowClient("http://airflow")
    client._http = httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(airflow))
    return client


def test_runs_are_followed_to_their_ends_by_one_question_a_poll(airflow: Airflow) -> None:
    ended: list[DagRun] = []
    states = _client(airflow).follow(RUNS[:90], on_end=lambda run, state: ended.append(run), seconds=60)
    assert states == {run: "failed" if run == RUNS[0] else "success" for run in RUNS[:90]}
    assert sorted(ended, key=RUNS.index) == RUNS[:90]
    assert airflow.asked == {"dagRuns": 120, "one": 90}


def test_a_run_that_the_list_has_no_place_for_is_asked_for_by_its_name(airflow: Airflow) -> None:
    assert len(_client(airflow).follow(RUNS, on_end=lambda run, state: None, seconds=60)) == len(RUNS)


def test_runs_without_an_end_are_named(airflow: Airflow) -> None:
    with pytest.raises(RunFailed, match="no end after 0 s: dag0"):
        _client(airflow).follow(RUNS[:1], on_end=lambda run, state: None, seconds=0)
