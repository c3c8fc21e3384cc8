"""Marts that a test adds to a project, or reads by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lakehouse.contracts.mart import Mart, read_mart


def add_mart(project: Path, name: str, *, models: Mapping[str, str], suite: str) -> None:
    """Writes models, each under its path below ``models``, and the mart's suite into a project."""
    for place, text in models.items():
        path = project / "dbt_project" / "models" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (project / "expectations" / f"{name}.json").write_text(suite)


def lone_mart(folder: Path, name: str, yml: str, changes: Mapping[str, str]) -> Mart:
    """The mart of a yml, with parts of it replaced: ``{"k__5": "3"}`` makes ``k: 5`` to ``k: 3``."""
    for old, new in changes.items():
        field, _, standing = old.partition("__")
        assert f"{field}: {standing}" in yml, old
        yml = yml.replace(f"{field}: {standing}", f"{field}: {new}")
    path = folder / f"{name}.yml"
    path.write_text(yml)
    path.with_suffix(".sql").write_text("select 1")
    return read_mart(path)
