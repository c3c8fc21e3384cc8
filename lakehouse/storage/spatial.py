"""DuckDB's spatial extension, from its wheel: no network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import duckdb

from lakehouse.storage.sql import literal


def extension_path(name: str) -> Path:
    """The file of a DuckDB extension that was installed as a package.

    Raises ``RuntimeError`` where the package is missing or made for another version of DuckDB.
    """
    spec = find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the package duckdb-extension-{name} is not installed; run `make setup`")
    path = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    if not path.exists():
        raise RuntimeError(f"duckdb-extension-{name} is not of DuckDB's version {duckdb.__version__}: {path}")
    return path


def load_spatial(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"LOAD {literal(str(extension_path('spatial')))}")
