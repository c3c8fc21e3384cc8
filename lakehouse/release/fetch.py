"""Fetching a release: every file with its hash checked, as Parquet or csv."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lakehouse.exchange import Exchange
from lakehouse.release import attribution
from lakehouse.release.manifest import Manifest
from lakehouse.release.signing import Untrusted, verified_manifest
from lakehouse.storage.sql import identifier, literal


class TamperedFile(Untrusted):
    """A file whose bytes are not those that the manifest names; nothing of it is kept."""


def fetch(
    exchange: Exchange,
    manifest: Manifest,
    *,
    to: Path,
    form: str = "parquet",
    key: Ed25519PublicKey | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Writes the release to ``to/<mart>-v<major>-<release>/`` and returns that folder.

    As ``parquet`` it has the release's partitions, as ``csv`` one file ``<mart>.csv`` with all rows, moments in
    UTC; beside them the manifest, its signature and the public key, and ``ATTRIBUTION.txt`` with the licence and
    whom to name. The signature is verified first, by ``key`` or by the published one that the manifest names. Parquet
    that stands there already with the right hash is not fetched again.
    Raises :class:`lakehouse.release.signing.Untrusted`, of which :class:`TamperedFile` is one, and ``ValueError`` for
    another form.
    """
    signed = verified_manifest(exchange, mart=manifest.mart, major=manifest.major, release=manifest.release, key=key)
    manifest = signed.manifest
    folder = to / f"{manifest.mart}-v{manifest.major}-{manifest.release}"
    if form == "parquet":
        _fetch_files(exchange, manifest, folder, progress)
    elif form == "csv":
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=to) as name:
            _fetch_files(exchange, manifest, Path(name), progress)
            folder.mkdir(exist_ok=True)
            _as_csv(manifest, Path(name), folder / f"{manifest.mart}.csv")
    else:
        raise ValueError(f"no format {form!r}: parquet or csv")
    (folder / "manifest.json").write_bytes(signed.content)
    (folder / "manifest.json.sig").write_bytes(signed.signature)
    (folder / f"{manifest.signed_with}.pem").write_bytes(signed.public_key)
    (folder / attribution.FILE).write_text(attribution.attribution_text(manifest), encoding="utf-8")
    return folder


def _fetch_files(exchange: Exchange, manifest: Manifest, folder: Path, progress: Callable[[str], None]) -> None:
    """A file has its name only once its hash was checked."""
    for number, file in enumerate(manifest.files, 1):
        target = folder / file.path
        if not (target.exists() and _sha256(target) == file.sha256):
            unchecked = target.with_name(f".{target.name}.unchecked")
            exchange.lake.download("marts", f"{manifest.prefix}/{file.path}", unchecked)
            if _sha256(unchecked) != file.sha256:
                unchecked.unlink()
                raise TamperedFile(
                    f"{manifest.prefix}/{file.path} is not what its manifest says (sha256 differs): do not use "
                    "this release, and tell the exchange"
                )
            unchecked.replace(target)
        progress(f"{number} of {len(manifest.files)}: {file.path}")


def _as_csv(manifest: Manifest, folder: Path, target: Path) -> None:
    """Files are in the order of their partitions, and each is sorted by the key: no sort is needed."""
    listed = ", ".join(literal(str(folder / file.path)) for file in manifest.files)
    names = ", ".join(identifier(column.name) for column in manifest.columns)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"COPY (SELECT {names} FROM read_parquet([{listed}], hive_partitioning=false, union_by_name=true)) "
            f"TO {literal(str(target))} (FORMAT csv, HEADER true)"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
