"""How the tests' two processes share them when a library ends one of these."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DYING = """
import os, signal, time
from pathlib import Path

def test_before():
    time.sleep(0.1)

def test_dying():
    died = Path(__file__).with_name("died")
    if {always} or not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)

def test_behind():
    pass
"""
CALM = """
import time, pytest

@pytest.mark.parametrize("number", range(4))
def test_calm(number):
    time.sleep(0.05)
"""


@pytest.mark.parametrize("always", [False, True])
def test_a_process_that_dies_is_started_anew_and_its_test_judged_once_more(tmp_path: Path, always: bool) -> None:
    for name in "abcd":
        (tmp_path / f"test_{name}.py").write_text(CALM)
    # Last: the process that dies has files behind it that are done.
    (tmp_path / "test_z.py").write_text(DYING.format(always=always))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--numprocesses=2", "--max-worker-restart=2",
            "--no-loadscope-reorder", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path),
        ],
        cwd=tmp_path, env={**plain, "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == (1 if always else 0), done.stdout + done.stderr
    assert ("failed, 17 passed, 1 rerun" if always else "19 passed, 1 rerun") in done.stdout
