"""Looking for secret keys in everything that was written: plain, as hex or base64, packed or in columns."""

from __future__ import annotations

import base64
import gzip
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb


def forms(key: bytes) -> list[bytes]:
    """How a key may stand in text or bytes. Of base64 without its end, which depends on what follows."""
    found = [key, key.hex().encode(), key.hex().upper().encode(), repr(key)[2:-1].encode()]
    return [*found, base64.b64encode(key)[:42], base64.urlsafe_b64encode(key)[:42]]


def files_with(keys: Iterable[bytes], folder: Path, *, but: Path) -> list[str]:
    """The files below ``folder``, and not below ``but``, that hold one of the keys."""
    needles = [form for key in keys for form in forms(key)]
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(but) and _holds(path, needles)
    )


def _holds(path: Path, needles: list[bytes]) -> bool:
    return any(needle in text for text in _texts(path) for needle in needles)


def _texts(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    elif content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            yield from map(archive.read, archive.namelist())
    elif content.startswith(b"PAR1"):
        yield from _columns(duckdb.connect(), f"read_parquet('{path}', hive_partitioning=false)")
    elif content[8:12] == b"DUCK":
        with duckdb.connect(str(path), read_only=True) as connection:
            tables = connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
            for schema, table in tables:
                yield from _columns(connection, f'"{schema}"."{table}"')


def _columns(connection: duckdb.DuckDBPyConnection, source: str) -> Iterator[bytes]:
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    for name, type_, *_ in described:
        if type_.startswith(("VARCHAR", "BLOB")):
            rows = connection.execute(f'SELECT DISTINCT "{name}" FROM {source} WHERE "{name}" IS NOT NULL').fetchall()
            yield b"\n".join(value if isinstance(value, bytes) else str(value).encode() for (value,) in rows)
