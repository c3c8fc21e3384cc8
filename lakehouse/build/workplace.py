"""Where a build works: a folder of its own in the home, with private rows in it, that nothing outlives."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lakehouse.storage.left_behind import builds_root, remove_dead


@contextmanager
def workplace(home: Path) -> Iterator[Path]:
    """An empty folder, removed at the end. What builds that were killed have left is removed at the beginning;
    those that run beside this one are left alone."""
    root = builds_root(home)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (root / ".lock").open("wb") as gate:
        # Without it a folder could be taken for a dead build's before its own lock is held.
        fcntl.flock(gate, fcntl.LOCK_EX)
        remove_dead(root)
        folder = Path(tempfile.mkdtemp(prefix="build-", dir=root))
        lock = (folder / ".lock").open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
