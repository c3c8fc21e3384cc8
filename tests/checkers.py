"""Independent checkers, each in a virtual environment of its own: they want older libraries than the exchange does.

An environment is made once, beside the exchange's own (``.venv/checkers/``), by the first test that needs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CHECKERS = PROJECT / ".venv" / "checkers"
UV = Path(sys.executable).parent / "uv"


def checker(name: str, *requirements: str) -> Path:
    """The interpreter of an environment that holds exactly ``requirements`` (each ``package==version``) and what
    they need. Raises :class:`subprocess.CalledProcessError` where they cannot be installed."""
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    folder = CHECKERS / f"{name}-{digest}"
    python = folder / "bin" / "python"
    CHECKERS.mkdir(parents=True, exist_ok=True)
    with (CHECKERS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            subprocess.run([UV, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
            installing = {**os.environ, "VIRTUAL_ENV": str(folder)}
            subprocess.run([UV, "pip", "install", "--quiet", *requirements], check=True, env=installing)
            (folder / "ready").touch()
    return python
