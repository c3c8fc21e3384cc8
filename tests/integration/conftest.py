"""One finished main job, through the real scheduler, that the tests of its results share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ROOMS = ("contracts", "dags", "plugins", "dbt_project", "expectations")


def copied_project(target: Path) -> Path:
    for room in ROOMS:
        made = shutil.ignore_patterns("target", "logs", "staging", "generated")
        shutil.copytree(PROJECT / room, target / room, ignore=made)
    return target


@dataclass(frozen=True)
class Installation:
    """A home and a lake of their own, and the command on them."""

    home: Path
    lake: str
    extra: dict[str, str]

    def command(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "exchange"), *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=900,
            cwd=self.home.parent,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"exchange {' '.join(arguments)} ended {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def json(self, *arguments: str, check: bool = True, **environment: str) -> Any:
        return json.loads(self.command(*arguments, "--json", check=check, **environment).stdout)

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("EXCHANGE_")}
        return {
            **clean,
            "EXCHANGE_HOME": str(self.home),
            "EXCHANGE_LAKE": self.lake,
            "COLUMNS": "200",
            **self.extra,
        }


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated city's deliveries."""
    from lakehouse.simulate.city import City
    from lakehouse.simulate.deliveries import simulate

    folder = tmp_path_factory.mktemp("city")
    simulate(city=City(households=300, days=31), out=folder)
    return folder


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory, city: Path) -> tuple[Installation, dict[str, Any]]:
    """An installation on which the main job has run once on the city, and what the job said."""
    base = tmp_path_factory.mktemp("released")
    installation = Installation(base / "home", (base / "lake").as_uri(), {"EXCHANGE_INPUTS": str(city)})
    return installation, installation.json("run")
