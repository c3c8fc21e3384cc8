"""`exchange airflow`: Airflow on this project until it is stopped."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lakehouse.exchange import Exchange
from lakehouse.orchestrate.airflow_process import environment, find_running, running
from lakehouse.orchestrate.inputs import loopback_datasets, match_inputs
from lakehouse.sources.loopback import LoopbackApi


def stay(exchange: Exchange, *, port: int | None, inputs: Path | None, say: Callable[[str], None]) -> None:
    """Starts Airflow with its schedules on and waits for Ctrl-C or SIGTERM."""
    exchange.init()
    settings = exchange.settings
    folder = settings.inputs or inputs or settings.home_path / "simulated"
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        url = None
        if settings.extracts == "loopback":
            datasets = loopback_datasets(exchange, match_inputs(exchange, folder))
            url = stack.enter_context(LoopbackApi(datasets=datasets)).base_url
            say(f"extracts ask a loopback server over {folder}; EXCHANGE_EXTRACTS=live asks the publishers")
        airflow = stack.enter_context(
            running(
                settings,
                schedules=settings.schedules,
                extract_url=url,
                port=settings.airflow_port if port is None else port,
                triggerer=True,
                progress=say,
            )
        )
        say(f"Airflow is at {airflow.url} (no password: it listens on this machine only). Ctrl-C stops it.")
        stop.wait()


def airflow_command(exchange: Exchange, arguments: Sequence[str]) -> int:
    """Runs one of Airflow's own commands with this project's settings. Returns its exit status."""
    settings = exchange.settings
    standing = find_running(settings)
    port = int(standing.url.rsplit(":", 1)[-1]) if standing else settings.airflow_port
    values = environment(settings, port=port, schedules=settings.schedules, extract_url=settings.extract_url)
    return subprocess.run([sys.executable, "-m", "airflow", *arguments], env=values).returncode
