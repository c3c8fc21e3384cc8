"""Files that are made from contracts and marts: a folder holds those that are wanted and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_all(wanted: Mapping[Path, str], folder: Path) -> list[Path]:
    """Only files that differ are written, so that dbt's partial parsing is kept."""
    for path in folder.glob("*"):
        if path not in wanted:
            path.unlink()
    if wanted:
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return sorted(wanted)
