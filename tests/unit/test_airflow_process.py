"""Airflow's processes, with others in their place."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lakehouse.orchestrate import airflow_process
from lakehouse.orchestrate.airflow_process import find_running, running
from lakehouse.settings import Settings

STAYS = "import sys, time; print(sys.argv[1], flush=True); time.sleep(60)"


def _until(ask: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not ask():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)


def test_a_component_that_ends_by_itself_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_process, "_migrate", lambda *_: None)
    monkeypatch.setattr(airflow_process, "_wait_until_healthy", lambda *_: None)
    monkeypatch.setattr(airflow_process, "_command", lambda *arguments: [sys.executable, "-c", STAYS, *arguments])
    settings, said = Settings(home=tmp_path), list[str]()
    home = tmp_path / "airflow"

    def pids() -> dict[str, int]:
        return dict(json.loads((home / "running.json").read_text())["components"])

    log = home / "logs" / "scheduler.log"
    with running(settings, schedules=False, extract_url=None, progress=said.append):
        before = pids()
        _until(lambda: log.read_text() == "scheduler\n")
        os.kill(before["scheduler"], signal.SIGKILL)
        _until(lambda: log.read_text() == "scheduler\nscheduler\n")
        _until(lambda: pids()["scheduler"] != before["scheduler"])
        after = pids()
        assert {name: after[name] for name in before if name != "scheduler"} == {
            name: pid for name, pid in before.items() if name != "scheduler"
        }
    assert said == ["Airflow's scheduler ended by itself and is started again; its log says why"]
    # All of them ended with the block, and nobody finds them any more.
    assert not any(Path(f"/proc/{pid}").exists() for pid in after.values())
    assert find_running(settings) is None
