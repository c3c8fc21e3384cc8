"""By what code and pins a build is made: enough to find both again, and to tell whether they are the same."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from lakehouse.release.manifest import Environment
from lakehouse.settings import PROJECT, Settings

PINS = "requirements.txt"
PACKAGE = Path(__file__).parents[1]
# Made from contracts and marts, by dbt, or by Python; of code that is none.
MADE = frozenset({"staging", "generated", "target", "logs", "dbt_packages", "__pycache__"})
PINNED = ("python", "duckdb", "pyarrow", "dbt")


def environment_of(settings: Settings) -> Environment:
    commit, dirty = _commit(settings.project)
    return Environment(
        commit=commit,
        dirty=dirty,
        source=_source(settings),
        requirements=_digest([PROJECT / PINS], PROJECT),
        python=platform.python_version(),
        duckdb=version("duckdb"),
        pyarrow=version("pyarrow"),
        dbt=version("dbt-core"),
    )


def code_version(environment: Environment) -> str:
    """The commit, ``+changes`` where files differ from it, ``unversioned`` outside git."""
    if environment.commit is None:
        return "unversioned"
    return f"{environment.commit}+changes" if environment.dirty else environment.commit


def differences(built: Environment, now: Environment) -> list[str]:
    """In words, what of the code and the pins is not the same; a release of the same two is built here."""
    found = []
    if built.source != now.source:
        found.append(f"the code (then {code_version(built)[:20]}, now {code_version(now)[:20]})")
    versions = [name for name in PINNED if getattr(built, name) != getattr(now, name)]
    if built.requirements != now.requirements or versions:
        told = ", ".join(f"{name} then {getattr(built, name)}, now {getattr(now, name)}" for name in versions)
        found.append(f"the pins in {PINS}{f' ({told})' if told else ''}")
    return found


def git(project: Path, *arguments: str) -> str | None:
    """What a command of git says, or ``None`` where it fails or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(project), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _commit(project: Path) -> tuple[str | None, bool]:
    commit = git(project, "rev-parse", "HEAD")
    return commit, bool(commit and git(project, "status", "--porcelain", "--untracked-files=no"))


def _source(settings: Settings) -> str:
    """Of the package that runs, and of the project's contracts and models."""
    digest = hashlib.sha256(_digest(_files(PACKAGE), PACKAGE).encode())
    for folder in (settings.contracts_path, settings.dbt_path):
        digest.update(_digest(_files(folder), folder).encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and MADE.isdisjoint(path.relative_to(folder).parts):
            yield path


def _digest(paths: Iterator[Path] | list[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
