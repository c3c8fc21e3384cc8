"""Where a process works on private rows: a folder of its own in the home, that nothing outlives."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = "work"
_LOCK = ".lock"


@contextmanager
def workplace(home: Path, kind: str) -> Iterator[Path]:
    """An empty folder, removed at the end. What processes that were killed have left, whatever they worked on, is
    removed at the beginning; those that run beside this one are left alone: each holds the lock of its folder."""
    root = home / FOLDER
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _gate(root):
        _remove_dead(root, dry_run=False)
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=root))
        lock = (folder / _LOCK).open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def sweep(home: Path, *, dry_run: bool = False) -> list[str]:
    """Removes what processes that were killed have left. Returns the names of the folders; ``dry_run`` removes
    nothing."""
    root = home / FOLDER
    if not root.exists():
        return []
    with _gate(root):
        return _remove_dead(root, dry_run=dry_run)


@contextmanager
def _gate(root: Path) -> Iterator[None]:
    """Without it a folder could be taken for a dead process's before its own lock is held."""
    with (root / _LOCK).open("wb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def _remove_dead(root: Path, *, dry_run: bool) -> list[str]:
    dead = []
    for folder in sorted(root.glob("*-*")):
        if _remove_if_dead(folder, dry_run=dry_run):
            dead.append(folder.name)
    return dead


def _remove_if_dead(folder: Path, *, dry_run: bool) -> bool:
    # A folder without a lock: who made it died before it had one, or is removing it this moment.
    with suppress(FileNotFoundError), (folder / _LOCK).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    if not dry_run:
        shutil.rmtree(folder, ignore_errors=True)
    return True
