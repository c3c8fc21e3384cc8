"""The guides are typed in, line by line, on an installation on which the main job has run.

The main job is run once more for all of them: each guide is followed to its first `exchange run`, the files that
it has its reader save later are put there, the job runs, and each guide is followed to its end.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.documents import GUIDES, Block, Command, blocks, commands, prints
from tests.integration.conftest import Installation, copied_project

pytestmark = pytest.mark.integration

RUN = "exchange run"
# What a block of Python may take, in seconds.
PATIENCE = 300


class Interpreter:
    """A Python of a reader's own, which keeps its names from block to block: what a reader's libraries do to their
    process, they do not do to that of the tests."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        processes = get_context("spawn")
        self._blocks, theirs = processes.Pipe()
        self._process = processes.Process(target=_interpret, args=(theirs, folder, environment), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, block: Block) -> str | None:
        """What went wrong, if something did."""
        try:
            self._blocks.send((block.place, block.text))
            if self._blocks.poll(PATIENCE):
                fault: str | None = self._blocks.recv()
                return fault
        except (EOFError, OSError):
            self._process.join()
            return f"{block.place}: the interpreter ended {self._process.exitcode}"
        self.end()
        return f"{block.place}: not done in {PATIENCE} seconds"

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _interpret(blocks: Connection, folder: Path, environment: dict[str, str]) -> None:
    faulthandler.enable()
    os.chdir(folder)
    os.environ.update({name: value for name, value in environment.items() if name.startswith("EXCHANGE_")})
    names: dict[str, Any] = {}
    while True:
        place, text = blocks.recv()
        try:
            exec(compile(text, place, "exec"), names)
            blocks.send(None)
        except Exception as error:
            blocks.send(f"{place}: {type(error).__name__}: {error}")


@dataclass(kw_only=True)
class Reader:
    """Somebody who follows one guide. ``problems``: what did not go as it says."""

    page: Path
    folder: Path
    environment: dict[str, str]
    python: Interpreter | None = None
    problems: list[str] = field(default_factory=list)

    def steps(self) -> tuple[list[Block | Command], list[Block | Command]]:
        """Files to save, code and commands, before the first run of the main job and from it on."""
        found: list[Block | Command] = []
        for block in blocks(self.page):
            if block.language == "console":
                found += commands(block)
            elif block.file or block.language == "python":
                found.append(block)
        runs = [number for number, step in enumerate(found) if isinstance(step, Command) and step.text == RUN]
        first = runs[0] if runs else 0
        return found[:first], found[first:]

    def follow(self, step: Block | Command, ran: subprocess.CompletedProcess[str] | None = None) -> None:
        if isinstance(step, Command):
            self.check(step, ran if step.text == RUN and ran is not None else self.shell(step.text))
        elif step.file:
            self.save(step)
        else:
            self.python = self.python or Interpreter(self.folder, self.environment)
            self.problems += filter(None, [self.python.run(step)])

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    def check(self, command: Command, done: subprocess.CompletedProcess[str]) -> None:
        said = (
            f"{command.place}: `{command.text}` ended {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
        )
        if done.returncode != command.status:
            self.problems.append(said)
        elif not prints(command, done.stdout):
            self.problems.append(f"{said}\nand does not print:\n{command.prints}")

    def save(self, block: Block) -> None:
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")


@pytest.fixture(scope="module")
def problems(
    tmp_path_factory: pytest.TempPathFactory, released: tuple[Installation, dict[str, Any]], city: Path
) -> Iterator[dict[str, list[str]]]:
    """What did not go as each guide says, after all were followed to their ends."""
    installation, _ = released
    folder = copied_project(tmp_path_factory.mktemp("guides") / "exchange")
    # The places that a reader has by default.
    shutil.copytree(installation.home, folder / ".exchange")
    shutil.copytree(installation.home.parent / "lake", folder / "lake")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXCHANGE_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "EXCHANGE_PROJECT": str(folder),
        "EXCHANGE_INPUTS": str(city),
        "COLUMNS": "200",
    }
    readers = [Reader(page=page, folder=folder, environment=environment) for page in GUIDES]
    for reader in readers:
        for step in reader.steps()[0]:
            reader.follow(step)
    for reader in readers:
        for step in reader.steps()[1]:
            if isinstance(step, Block) and step.file:
                reader.follow(step)
    ran = readers[0].shell(RUN)
    for reader in readers:
        for step in reader.steps()[1]:
            reader.follow(step, ran)
    yield {reader.page.name: reader.problems for reader in readers}
    for reader in readers:
        if reader.python:
            reader.python.end()


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_does_what_it_says(problems: dict[str, list[str]], page: Path) -> None:
    assert not problems[page.name], "\n\n".join(problems[page.name])


def test_guides_are_followed_and_not_skipped() -> None:
    steps = [
        step for page in GUIDES for part in Reader(page=page, folder=page, environment={}).steps() for step in part
    ]
    runs = [step for step in steps if isinstance(step, Command) and step.text == RUN]
    assert len(GUIDES) == 4
    assert sum(isinstance(step, Command) for step in steps) > 25
    assert sum(isinstance(step, Block) for step in steps) > 15
    assert len(runs) >= 2
