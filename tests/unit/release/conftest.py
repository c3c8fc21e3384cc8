"""A smaller exchange, three days of one mart, for tests that run through every call."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from lakehouse.build.dbt import DbtProject
from tests.mini_exchange import COUNTS, TRAFFIC, Mini, Replayed, traffic


@dataclass(frozen=True)
class Stage:
    """An exchange in which one candidate of the open mart waits, the same before it was built, and dbt as it was."""

    mini: Mini
    unbuilt: Mini
    project: Replayed


def _built(mini: Mini, parsed: DbtProject, root: Path) -> Stage:
    unbuilt, project = mini.copy(root / "unbuilt"), Replayed(parsed, root / "kept.duckdb")
    mini.build([TRAFFIC], project=project)
    return Stage(mini, unbuilt, project)


@pytest.fixture(scope="session")
def first_stage(parsed: DbtProject, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Nothing was ever released."""
    root = tmp_path_factory.mktemp("first")
    mini = Mini.make(root / "exchange")
    mini.fill(days=3)
    return _built(mini, parsed, root)


@pytest.fixture(scope="session")
def second_stage(first_stage: Stage, parsed: DbtProject, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Three days are released, and one of them was delivered again."""
    root = tmp_path_factory.mktemp("second")
    mini = first_stage.mini.copy(root / "exchange")
    mini.release()
    mini.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 2), more=1))
    return _built(mini, parsed, root)


@pytest.fixture
def second(second_stage: Stage, tmp_path: Path) -> Mini:
    return second_stage.mini.copy(tmp_path / "second")
