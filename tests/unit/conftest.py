"""Stages of one small exchange, made once for all tests; a test that asks for one gets a copy of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakehouse.build import dbt
from lakehouse.build.dbt import DbtProject
from tests.mini_exchange import Mini


@pytest.fixture(scope="session", autouse=True)
def each_project_parsed_once() -> Iterator[None]:
    """Projects whose files are the same, wherever they stand, are parsed once: it takes a second, and many tests make
    the same change to a copy."""
    parse, known = DbtProject._parse, {}

    def parsed(project: DbtProject) -> Any:
        files = dbt._digest(project._settings.dbt_path)
        if files not in known:
            known[files] = parse(project)
        return known[files]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DbtProject, "_parse", parsed)
        yield


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Mini:
    mini = Mini.make(tmp_path_factory.mktemp("mini"))
    mini.fill()
    return mini


@pytest.fixture(scope="session")
def parsed(filled_once: Mini) -> DbtProject:
    """The project as it stands in `tests/mini`, parsed; it can build any copy of the exchange."""
    return DbtProject(filled_once.exchange)


@pytest.fixture(scope="session")
def built_once(filled_once: Mini, parsed: DbtProject, tmp_path_factory: pytest.TempPathFactory) -> Mini:
    mini = filled_once.copy(tmp_path_factory.mktemp("built"))
    mini.build(project=parsed)
    return mini


@pytest.fixture(scope="session")
def released_once(built_once: Mini, tmp_path_factory: pytest.TempPathFactory) -> Mini:
    mini = built_once.copy(tmp_path_factory.mktemp("released"))
    mini.release()
    return mini


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture
def filled(filled_once: Mini, bench: Path) -> Iterator[Mini]:
    """30 days of traffic and two months of readings are taken in; nothing is built. It always stands at the same
    place, where dbt keeps what it parsed."""
    for name in ("project", "lake"):
        shutil.rmtree(bench / name, ignore_errors=True)
    mini = filled_once.copy(bench)
    yield mini
    mini.close()


@pytest.fixture
def built(built_once: Mini, tmp_path: Path) -> Mini:
    """Two candidates wait."""
    return built_once.copy(tmp_path / "built")


@pytest.fixture
def released(released_once: Mini, tmp_path: Path) -> Mini:
    """Both marts have their first release."""
    return released_once.copy(tmp_path / "released")
