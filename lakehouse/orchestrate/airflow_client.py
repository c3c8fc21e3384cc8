"""The few questions that the main job asks Airflow's REST API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

ENDED = ("success", "failed")


class RunFailed(RuntimeError):
    """DAGs that cannot be loaded, or an Airflow that stopped answering."""


class _Busy(RunFailed):
    """Airflow could not answer now."""


@dataclass(frozen=True, kw_only=True)
class DagRun:
    dag_id: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """A task that waits for a person's answer; ``conf`` is what its run was started with."""

    run: DagRun
    task_id: str
    map_index: int
    conf: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TaskEnd:
    dag_id: str
    task_id: str
    map_index: int
    state: str
    message: str


class AirflowClient:
    """Speaks to an Airflow on loopback. Transport errors and answers of 5xx are tried again, one of 4xx is raised."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=60)

    def __enter__(self) -> AirflowClient:
        token = self._http.get("/auth/token").raise_for_status().json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @retry(
        retry=retry_if_exception_type((httpx.TransportError, _Busy)),
        wait=wait_exponential(multiplier=0.2, max=5),
        stop=stop_after_attempt(6),
        reraise=True,
    )
    def _ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self._http.request(method, f"/api/v2{path}", **options)
        if answer.status_code >= 500:
            # Its database was locked and nothing was written; a run that was made twice all the same is skipped.
            raise _Busy(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        if answer.status_code >= 400:
            raise RunFailed(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer.json()

    def wait_for_dags(self, wanted: Iterable[str], *, seconds: float = 180) -> None:
        """Raises :class:`RunFailed` with Airflow's own import errors where a DAG does not appear."""
        missing = set(wanted)
        deadline = time.monotonic() + seconds
        while missing:
            dags = self._ask("GET", "/dags", params={"limit": 1000})["dags"]
            missing -= {dag["dag_id"] for dag in dags}
            errors = self._ask("GET", "/importErrors", params={"limit": 20})["import_errors"]
            if errors and missing:
                listed = "\n".join(f"{error['filename']}: {error['stack_trace'][-800:]}" for error in errors)
                raise RunFailed(f"DAGs cannot be loaded:\n{listed}")
            if missing and time.monotonic() > deadline:
                raise RunFailed(f"Airflow knows no DAG {', '.join(sorted(missing))} after {seconds:.0f} s")
            if missing:
                time.sleep(0.5)

    def end_stale_runs(self, *, but: str) -> int:
        """Fails what a killed command left queued or running, so that it holds nothing up; runs of the DAG ``but``
        wait for people, and hold nothing up. Returns how many."""
        answer = self._ask("GET", "/dags/~/dagRuns", params={"state": ["queued", "running"], "limit": 1000})
        stale = [run for run in answer["dag_runs"] if run["dag_id"] != but]
        for run in stale:
            self._ask("PATCH", f"/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}", json={"state": "failed"})
        return len(stale)

    def trigger(self, dag_id: str, *, start: datetime | None = None, end: datetime | None = None) -> DagRun:
        """Starts a run; with both bounds it has that data interval, else none."""
        body: dict[str, Any] = {"logical_date": None}
        if start is not None and end is not None:
            body = {
                # One run alone may have a logical date: a killed run's interval is asked for again under another.
                "logical_date": datetime.now(UTC).isoformat(),
                "data_interval_start": start.isoformat(),
                "data_interval_end": end.isoformat(),
            }
        answer = self._ask("POST", f"/dags/{dag_id}/dagRuns", json=body)
        return DagRun(dag_id=dag_id, run_id=answer["dag_run_id"])

    def state(self, run: DagRun) -> str:
        return str(self._ask("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}")["state"])

    def active_runs(self, dag_id: str) -> list[DagRun]:
        """The DAG's runs that are queued or running, ``~`` for those of all DAGs; a hundred of them at most."""
        answer = self._ask("GET", f"/dags/{dag_id}/dagRuns", params={"state": ["queued", "running"], "limit": 100})
        return [DagRun(dag_id=run["dag_id"], run_id=run["dag_run_id"]) for run in answer["dag_runs"]]

    def questions(self, dag_id: str) -> list[Question]:
        """The tasks of a DAG that wait for an answer."""
        answer = self._ask(
            "GET", f"/dags/{dag_id}/dagRuns/~/hitlDetails", params={"response_received": "false", "limit": 100}
        )
        found = []
        for detail in answer["hitl_details"]:
            task = detail["task_instance"]
            run = DagRun(dag_id=dag_id, run_id=task["dag_run_id"])
            conf = self._ask("GET", f"/dags/{dag_id}/dagRuns/{run.run_id}")["conf"] or {}
            found.append(Question(run=run, task_id=task["task_id"], map_index=task["map_index"], conf=conf))
        return found

    def answer(self, question: Question, *, option: str, given: dict[str, str]) -> None:
        """Raises :class:`RunFailed` where somebody else has answered it."""
        run = question.run
        self._ask(
            "PATCH",
            f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{question.task_id}/{question.map_index}/hitlDetails",
            json={"chosen_options": [option], "params_input": given},
        )

    def follow(self, runs: list[DagRun], *, on_end: Callable[[DagRun, str], None], seconds: float) -> dict[DagRun, str]:
        """Waits for all runs. Raises :class:`RunFailed` where one takes longer than ``seconds``."""
        states: dict[DagRun, str] = {}
        deadline = time.monotonic() + seconds
        while len(states) < len(runs):
            # One question for all of them: a question for each would keep Airflow busier than their tasks do.
            active = set(self.active_runs("~"))
            for run in runs:
                if run not in states and run not in active and (state := self.state(run)) in ENDED:
                    states[run] = state
                    on_end(run, state)
            if len(states) < len(runs):
                if time.monotonic() > deadline:
                    waiting = ", ".join(run.dag_id for run in runs if run not in states)
                    raise RunFailed(f"no end after {seconds:.0f} s: {waiting}")
                time.sleep(0.5)
        return states

    def failures(self, run: DagRun) -> list[TaskEnd]:
        """The failed tasks of a run with the last error of each one's log."""
        tasks = self._ask("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances")["task_instances"]
        return [
            TaskEnd(
                dag_id=run.dag_id,
                task_id=task["task_id"],
                map_index=task["map_index"],
                state=task["state"],
                message=self._last_error(run, task),
            )
            for task in tasks
            if task["state"] == "failed"
        ]

    def _last_error(self, run: DagRun, task: dict[str, Any]) -> str:
        answer = self._ask(
            "GET",
            f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}",
            params={"map_index": task["map_index"], "full_content": "true"},
            headers={"Accept": "application/json"},
        )
        errors = [
            detail
            for entry in answer.get("content", [])
            if isinstance(entry, dict)
            for detail in entry.get("error_detail") or []
        ]
        if errors:
            return f"{errors[0].get('exc_type')}: {errors[0].get('exc_value')}"
        lines = [
            e.get("event", "") for e in answer.get("content", []) if isinstance(e, dict) and e.get("level") == "error"
        ]
        return lines[-1] if lines else "see its log"
