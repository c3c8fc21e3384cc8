"""Airflow as processes of this machine: its settings, its secrets, start and stop. No Airflow is imported."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
from cryptography.fernet import Fernet

from lakehouse.settings import Settings

Progress = Callable[[str], None]
START_SECONDS = 180
# Seconds from one reading of the DAGs to the next.
READ_EVERY = 30
# More often than this a component that ends is not started again: what ends it does not pass by itself.
RESTARTS = 10
# Events of Airflow's own provider go where all lineage does.
LINEAGE = "lakehouse.lineage.transport.LakeTransport"
COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
}


class AirflowNotStarted(RuntimeError):
    """Airflow did not come up; the message names the log to read."""


@dataclass(frozen=True, kw_only=True)
class Airflow:
    """A running Airflow. ``ours`` is whether this process started it."""

    url: str
    ours: bool
    home: Path


def home_of(settings: Settings) -> Path:
    return settings.home_path / "airflow"


def environment(
    settings: Settings, *, port: int, schedules: bool, extract_url: str | None, read_every: int = READ_EVERY
) -> dict[str, str]:
    """The environment of Airflow's processes: loopback only, secrets from files that only the owner reads."""
    home = home_of(settings)
    keys = _secrets(home)
    base = f"http://127.0.0.1:{port}"
    paths = [str(settings.project), os.environ.get("PYTHONPATH", "")]
    values = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.project / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.project / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": base,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": keys["api"],
        "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt"],
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "lakehouse.orchestrate.airflow_sqlite.CONNECT_ARGS",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": str(read_every),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # On a busy machine an answer may take longer than the five seconds that are Airflow's own choice.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": LINEAGE}),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "airflow",
        "AIRFLOW__OPENLINEAGE__DISABLE_SOURCE_CODE": "True",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "GX_ANALYTICS_ENABLED": "false",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "EXCHANGE_PROJECT": str(settings.project),
        "EXCHANGE_HOME": str(settings.home_path),
        "EXCHANGE_LAKE": settings.lake_url,
        "EXCHANGE_DATABASE": settings.database_url,
        "EXCHANGE_EXTRACTS": settings.extracts,
        "EXCHANGE_SCHEDULES": str(schedules).lower(),
        "EXCHANGE_MARTS": settings.marts,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONWARNINGS": "ignore",
    }
    if settings.s3_endpoint:
        values["EXCHANGE_S3_ENDPOINT"] = settings.s3_endpoint
    if extract_url:
        values["EXCHANGE_EXTRACT_URL"] = extract_url
    return {**os.environ, **values}


@contextlib.contextmanager
def running(
    settings: Settings,
    *,
    schedules: bool,
    extract_url: str | None,
    port: int | None = None,
    triggerer: bool = False,
    read_every: int = READ_EVERY,
    progress: Progress = lambda _: None,
) -> Iterator[Airflow]:
    """Airflow for as long as the block lasts: the one that runs on this project already, or a new one, which reads the
    DAGs anew each so many seconds.

    Raises :class:`AirflowNotStarted`.
    """
    standing = find_running(settings)
    if standing is not None:
        progress(f"Airflow is running already at {standing.url}")
        yield standing
        return
    home = home_of(settings)
    _end_leftovers(home)
    (home / "logs").mkdir(parents=True, exist_ok=True)
    chosen = port or _free_port()
    values = environment(settings, port=chosen, schedules=schedules, extract_url=extract_url, read_every=read_every)
    _migrate(home, values, progress)
    commands = {**COMPONENTS, **({"triggerer": ["triggerer", "--skip-serve-logs"]} if triggerer else {})}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    url = values["AIRFLOW__API__BASE_URL"]

    def start(name: str, log: str = "wb") -> None:
        processes[name] = _start(name, commands[name], values, home, log=log)
        pids = {name: process.pid for name, process in processes.items()}
        (home / "running.json").write_text(json.dumps({"url": url, "pid": os.getpid(), "components": pids}))

    try:
        for name in commands:
            start(name)
        _wait_until_healthy(url, processes, home)
        with _kept_up(processes, start, progress):
            yield Airflow(url=url, ours=True, home=home)
    finally:
        (home / "running.json").unlink(missing_ok=True)
        _stop(processes)


@contextlib.contextmanager
def _kept_up(
    processes: dict[str, subprocess.Popen[bytes]], start: Callable[[str, str], None], progress: Progress
) -> Iterator[None]:
    """Starts a component that ended by itself again: on a busy machine a scheduler may find its SQLite locked, and ends
    over it, and without one everybody would wait for ever."""
    over = threading.Event()

    def watch() -> None:
        left = RESTARTS
        # What was started here ends with this thread, so it stays.
        while not over.wait(1):
            for name in [name for name, process in processes.items() if left and process.poll() is not None]:
                left -= 1
                progress(f"Airflow's {name} ended by itself and is started again; its log says why")
                start(name, "ab")

    watcher = threading.Thread(target=watch, name="keeps Airflow up")
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def find_running(settings: Settings) -> Airflow | None:
    """The Airflow that another process of this project runs, if it answers."""
    path = home_of(settings) / "running.json"
    try:
        state = json.loads(path.read_text())
        os.kill(int(state["pid"]), 0)
        httpx.get(f"{state['url']}/api/v2/monitor/health", timeout=5).raise_for_status()
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
    return Airflow(url=state["url"], ours=False, home=home_of(settings))


def _secrets(home: Path) -> dict[str, str]:
    """Keys of this Airflow, made once: a new key on an old database would lock it."""
    path = home / "secrets.json"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        keys = {
            "fernet": Fernet.generate_key().decode(),
            "jwt": secrets.token_hex(32),
            "api": secrets.token_hex(32),
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as sink:
            json.dump(keys, sink)
    return dict(json.loads(path.read_text()))


def _migrate(home: Path, values: dict[str, str], progress: Progress) -> None:
    stamp = home / f"migrated-{version('apache-airflow')}"
    if stamp.exists() and (home / "airflow.db").exists():
        return
    progress("making Airflow's database")
    log = home / "logs" / "migrate.log"
    with log.open("wb") as sink:
        done = subprocess.run(_command("db", "migrate"), env=values, stdout=sink, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise AirflowNotStarted(f"`airflow db migrate` failed; see {log}")
    # Readers beside the writer, and writers that wait for each other: SQLite's own defaults fail under load.
    with contextlib.closing(sqlite3.connect(home / "airflow.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
    stamp.touch()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _start(name: str, arguments: list[str], values: dict[str, str], home: Path, *, log: str) -> subprocess.Popen[bytes]:
    with (home / "logs" / f"{name}.log").open(log) as sink:
        return subprocess.Popen(
            _command(*arguments),
            env=values,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    """Asks Linux to end this component when the command that started it dies, however it dies."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _end_leftovers(home: Path) -> None:
    """Ends components of a command that was killed: two schedulers on one database would disturb each other."""
    try:
        left = json.loads((home / "running.json").read_text())["components"]
    except (OSError, ValueError, KeyError):
        return
    for pid in left.values():
        with contextlib.suppress(OSError):
            if b"airflow" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.killpg(pid, signal.SIGKILL)
    (home / "running.json").unlink(missing_ok=True)


def _wait_until_healthy(url: str, processes: dict[str, subprocess.Popen[bytes]], home: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for name, process in processes.items():
            if process.poll() is not None:
                raise AirflowNotStarted(f"Airflow's {name} ended at once; see {home / 'logs' / f'{name}.log'}")
        with contextlib.suppress(httpx.HTTPError):
            health = httpx.get(f"{url}/api/v2/monitor/health", timeout=5).json()
            if all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor")):
                return
        time.sleep(0.5)
    raise AirflowNotStarted(f"Airflow did not come up within {START_SECONDS} s; see {home / 'logs'}")


def _stop(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Ends each component's process group: a scheduler's tasks are processes of their own."""
    for process in processes.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 15
    for process in processes.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
