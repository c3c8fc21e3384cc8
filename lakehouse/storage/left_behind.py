"""What killed builds left on this machine: folders with private rows, which nobody holds the lock of."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path


def builds_root(home: Path) -> Path:
    """Below it each build has a folder of its own, and holds the lock of the file ``.lock`` in it."""
    return home / "builds"


def sweep(home: Path) -> int:
    """Removes what builds that were killed have left; returns how many folders went."""
    root = builds_root(home)
    if not root.exists():
        return 0
    with (root / ".lock").open("wb") as gate:
        # Without it a folder could be taken for a dead build's before its own lock is held.
        fcntl.flock(gate, fcntl.LOCK_EX)
        return remove_dead(root)


def remove_dead(root: Path) -> int:
    """To be called with the root's lock held."""
    return sum(_remove_if_dead(left) for left in list(root.glob("build-*")))


def _remove_if_dead(folder: Path) -> bool:
    with (folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return True
