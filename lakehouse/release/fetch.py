"""Fetching a release: every file with its hash checked, as Parquet or csv."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import duckdb

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Manifest, release_prefix
from lakehouse.storage.sql import literal


class TamperedFile(RuntimeError):
    """A file whose bytes are not those that the manifest names; nothing of it is kept."""


def fetch(
    exchange: Exchange,
    manifest: Manifest,
    *,
    to: Path,
    form: str = "parquet",
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Writes the release to ``to/<mart>-v<major>-<release>/`` and returns that folder.

    Files that stand there already with the right hash are not fetched again. Raises :class:`TamperedFile`,
    and ``ValueError`` for a form that is neither ``parquet`` nor ``csv``.
    """
    if form not in ("parquet", "csv"):
        raise ValueError(f"no format {form!r}: parquet or csv")
    folder = to / f"{manifest.mart}-v{manifest.major}-{manifest.release}"
    prefix = release_prefix(manifest.mart, manifest.major, manifest.release)
    for number, file in enumerate(manifest.files, 1):
        target = folder / file.path
        if not (target.exists() and _sha256(target) == file.sha256):
            exchange.lake.download("marts", f"{prefix}/{file.path}", target)
            if _sha256(target) != file.sha256:
                target.unlink()
                raise TamperedFile(
                    f"{prefix}/{file.path} is not what its manifest says (sha256 differs): do not use this release, "
                    "and tell the exchange"
                )
        progress(f"{number} of {len(manifest.files)}: {file.path}")
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    if form == "csv":
        return _as_csv(manifest, folder)
    return folder


def _as_csv(manifest: Manifest, folder: Path) -> Path:
    target = folder / f"{manifest.mart}.csv"
    listed = ", ".join(literal(str(folder / file.path)) for file in manifest.files)
    order = ", ".join(f'"{name}"' for name in manifest.key)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"COPY (SELECT * FROM read_parquet([{listed}], hive_partitioning=false) ORDER BY {order}) "
            f"TO {literal(str(target))} (FORMAT csv, HEADER true)"
        )
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
