"""Runs a Ceph of one monitor, one OSD and one object gateway on loopback: a real S3 server, up in a second.

python -m tests.object_store.server --print-env            # prints its environment and runs until stopped
python -m tests.object_store.server -- COMMAND ARGUMENT…   # runs the command with that environment
"""

import argparse
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_FETCH = Path(__file__).with_name("fetch")
_FETCH_SECONDS = 1200
_START_SECONDS = 60
_TRIES = 3
_PR_SET_PDEATHSIG = 1

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor_port}
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
keyring = {home}/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
ms mon client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
log file = {home}/log/$name.log
mon cluster log file = {home}/log/cluster.log
admin socket =
run dir = {home}
crash dir = {home}
plugin dir = {libraries}/ceph
erasure code dir = {libraries}/ceph/erasure-code
osd class dir = {libraries}/rados-classes
mon data = {home}/mon
osd data = {home}/osd
osd objectstore = memstore
memstore device bytes = 8589934592
# One disk, no copies: a single machine that nobody else will join.
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 2
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
# A single monitor has nobody to wait for.
paxos propose interval = 0.01
paxos min wait = 0.0
mon client hunt interval = 0.3
mon client hunt interval backoff = 1.0
[client.rgw.a]
objecter tick interval = 0.3
# With tcp_nodelay 300 small reads a second, without it 20.
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {home}/rgw
rgw s3 auth use sts = true
rgw sts key = {sts_key}
rgw enable usage log = false
rgw rados pool pg num min = 1
rgw thread pool size = 32
"""


class Unavailable(RuntimeError):
    """The object server cannot be had on this machine; the message says why."""


class Keys(NamedTuple):
    """What a user of the server signs requests with."""

    access: str
    secret: str


class ObjectServer:
    """An empty S3 server in memory, with one user, for as long as the context is open.

    Raises Unavailable where the packages cannot be fetched and RuntimeError, with the ends of the logs, where
    the server does not come up. It dies with the thread that opened it, however that ends.
    """

    def __init__(self) -> None:
        self._tree = fetch()
        (self._libraries,) = (path.parent for path in self._tree.glob("usr/lib/*/ld-linux-*.so.*"))
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for tries_left in reversed(range(_TRIES)):
            self._home = Path(tempfile.mkdtemp(prefix="object-server-"))
            try:
                self._start()
                self.keys = self.create_user("exchange")
                return self
            except RuntimeError:
                # Its ports were free when they were looked for; somebody else may have taken one since.
                self._stop()
                if not tries_left:
                    raise
            except BaseException:
                self._stop()
                raise
        raise AssertionError("unreachable")

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def environment(self) -> dict[str, str]:
        """What the exchange, boto3 and other S3 clients take from the environment to use this server."""
        return {
            "EXCHANGE_S3_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.keys.access,
            "AWS_SECRET_ACCESS_KEY": self.keys.secret,
        }

    def create_user(self, name: str) -> Keys:
        """A user with random keys and buckets of its own."""
        keys = Keys(access=secrets.token_hex(10), secret=secrets.token_hex(20))
        user = (
            "--uid",
            name,
            "--display-name",
            name,
            "--access-key",
            keys.access,
            "--secret-key",
            keys.secret,
        )
        self._run("radosgw-admin", "user", "create", *user)
        return keys

    def _start(self) -> None:
        port, monitor_port = _free_ports()
        self.endpoint = f"http://127.0.0.1:{port}"
        for name in ("mon", "osd", "log", "rgw"):
            (self._home / name).mkdir()
        fsid, disk = str(uuid.uuid4()), str(uuid.uuid4())
        (self._home / "ceph.conf").write_text(
            _CONFIGURATION.format(
                fsid=fsid,
                monitor_port=monitor_port,
                port=port,
                home=self._home,
                libraries=self._libraries,
                sts_key=secrets.token_hex(8),
            )
        )
        keyring, monmap, osdmap = (str(self._home / name) for name in ("keyring", "monmap", "osdmap"))
        self._run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        monitor = f"[v2:127.0.0.1:{monitor_port}]"
        self._run("monmaptool", "--create", "--clobber", "--addv", "a", monitor, "--fsid", fsid, monmap)
        self._run("osdmaptool", "--createsimple", "1", "--clobber", osdmap)
        maps = ("--monmap", monmap, "--keyring", keyring, "--fsid", fsid, "--osdmap", osdmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", *maps)
        self._spawn("ceph-mon", "-i", "a")
        self._wait(lambda: _accepts(monitor_port))
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._spawn("ceph-osd", "-i", "0")
        self._spawn("radosgw", "-n", "client.rgw.a")
        self._wait(lambda: _answers(self.endpoint))

    def _command(self, program: str, *arguments: str) -> list[str]:
        """The program by the tree's own loader and libraries, which the host's would not fit."""
        (loader,) = self._libraries.glob("ld-linux-*.so.*")
        paths = f"{self._libraries}:{self._libraries}/ceph"
        return [str(loader), "--library-path", paths, str(self._tree / "usr/bin" / program), *arguments]

    @property
    def _environment(self) -> dict[str, str]:
        home = str(self._home)
        return {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "HOME": home,
            "TMPDIR": home,
            "CEPH_CONF": f"{home}/ceph.conf",
        }

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            self._command(program, *arguments),
            env=self._environment,
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr[-2000:]}")

    def _spawn(self, program: str, *arguments: str) -> None:
        with (self._home / "log" / f"{program}.out").open("wb") as log:
            process = subprocess.Popen(
                self._command(program, "-f", *arguments),
                env=self._environment,
                cwd=self._home,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which stop the server in their own time
                preexec_fn=_die_with_parent,
            )
        self._running.append(process)

    def _wait(self, is_up: Callable[[], bool]) -> None:
        end = time.monotonic() + _START_SECONDS
        while not is_up():
            if time.monotonic() > end or any(process.poll() is not None for process in self._running):
                logs = sorted((self._home / "log").iterdir())
                tails = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs)
                raise RuntimeError(f"the object server does not come up:\n{tails}")
            time.sleep(0.02)

    def _stop(self) -> None:
        # All of it is in memory, so there is nothing to end in good order for.
        for process in reversed(self._running):
            process.kill()
            process.wait()
        self._running.clear()
        shutil.rmtree(self._home, ignore_errors=True)


def fetch() -> Path:
    """The tree of Ceph's programs, fetched on first use. Raises Unavailable where that cannot be."""
    try:
        done = subprocess.run([str(_FETCH)], capture_output=True, text=True, timeout=_FETCH_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise Unavailable(f"the object server could not be fetched: {fault}") from fault
    if done.returncode:
        raise Unavailable(f"the object server could not be fetched: {done.stderr.strip()[-1000:]}")
    return Path(done.stdout.strip())


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def main() -> int:
    """Runs the command against a fresh server and returns its status; without one, runs until stopped."""
    parser = argparse.ArgumentParser(description="A real S3 server in memory, on loopback, for as long as it runs.")
    parser.add_argument("--print-env", action="store_true", help="print the server's environment for a shell")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="run this with that environment, then stop")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ObjectServer() as server:
        if options.print_env:
            for name, value in server.environment.items():
                print(f"export {name}={value}", flush=True)
        if options.command:
            return subprocess.run(options.command, env=os.environ | server.environment).returncode
        signal.pause()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Unavailable, KeyboardInterrupt) as fault:
        sys.exit(str(fault))
