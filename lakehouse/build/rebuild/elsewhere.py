"""A rebuild by the code and the pins of another commit: in a work tree of git, with Python of its own if it must."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lakehouse.build.environment import PINS, git
from lakehouse.build.rebuild.wanted import Rebuilt, Wanted
from lakehouse.exchange import Exchange
from lakehouse.settings import PROJECT, Settings

Progress = Callable[[str], None]
COMMAND = "from lakehouse.cli import main; main()"


class NotThere(RuntimeError):
    """The other commit cannot be run; the message says at what it failed."""


def rebuild_at(
    exchange: Exchange, wanted: Sequence[Wanted], *, commit: str, threads: int, progress: Progress
) -> list[Rebuilt]:
    """Runs the rebuild of that commit, on this lake. Raises :class:`NotThere`."""
    with (
        exchange.workplace("build") as folder,
        _work_tree(exchange.settings.project, folder / "code", commit) as tree,
    ):
        python = _python(tree, folder, progress)
        results: list[Rebuilt] = []
        for entry in wanted:
            progress(f"{entry.names}: by the code at {commit[:12]}")
            results += _run(exchange.settings, tree, python, entry, threads)
    return results


@contextmanager
def _work_tree(project: Path, tree: Path, commit: str) -> Iterator[Path]:
    if git(project, "worktree", "add", "--detach", str(tree), commit) is None:
        raise NotThere(f"git cannot make a work tree of {commit[:12]} at {tree}")
    try:
        yield tree
    finally:
        git(project, "worktree", "remove", "--force", str(tree))


def _python(tree: Path, folder: Path, progress: Progress) -> Path:
    """This Python where the pins are the same, else one with those of the commit."""
    pins = tree / PINS
    if pins.read_bytes() == (PROJECT / PINS).read_bytes():
        return Path(sys.executable)
    progress("its pins are others: installing them beside")
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    python = folder / "venv" / "bin" / "python"
    if uv is None:
        raise NotThere("uv is not here to install the pins of the commit; `make setup` brings it")
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
        ["pip", "install", "--quiet", "--python", str(python), "--requirement", str(pins)],
    ):
        done = subprocess.run([uv, *arguments], capture_output=True, text=True)
        if done.returncode != 0:
            raise NotThere(f"uv {arguments[0]} failed: {done.stderr.strip()[-500:]}")
    return python


def _run(settings: Settings, tree: Path, python: Path, entry: Wanted, threads: int) -> list[Rebuilt]:
    arguments = [
        "rebuild", entry.names, "--built-by", entry.candidate, "--threads", str(threads), "--code", "current", "--json",
    ]  # fmt: skip
    done = subprocess.run(
        [str(python), "-c", COMMAND, *arguments],
        env=_environment(settings, tree), capture_output=True, text=True, cwd=tree,
    )  # fmt: skip
    try:
        found = json.loads(done.stdout)
    except ValueError:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise NotThere(f"the code at {tree.name} does not rebuild: {words[-1] if words else done.returncode}") from None
    return [Rebuilt(**result) for result in found]


def _environment(settings: Settings, tree: Path) -> dict[str, str]:
    """This exchange's lake, index and keys, and that commit's project."""
    stated = {
        "PROJECT": tree,
        "HOME": settings.home_path,
        "LAKE": settings.lake_url,
        "DATABASE": settings.database_url,
        "KEYS": settings.keys_url,
        "S3_ENDPOINT": settings.s3_endpoint or "",
        "S3_REGION": settings.s3_region,
        "MEMORY_LIMIT": settings.memory_limit,
    }
    return {
        **os.environ,
        **{f"EXCHANGE_{name}": str(value) for name, value in stated.items()},
        "PYTHONPATH": str(tree),
    }
