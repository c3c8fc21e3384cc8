"""Looking for an id, and for what stands for it, in every object of the lake, byte by byte, packed or not.

An id of a few characters stands in many places by chance: :mod:`lakehouse.erasure.fields` looks for it.
"""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from lakehouse.contracts.derive import landing_bucket
from lakehouse.exchange import SHARED_BUCKETS, Exchange
from lakehouse.landing.unpack import Readable
from lakehouse.privacy.vault import BUCKET as VAULT
from lakehouse.storage.lake import Entry
from lakehouse.storage.sql import identifier, literal

CHUNK = 1 << 20


# From so many characters on a word stands nowhere by chance. Shorter numbers are dates, counts and measures too.
LEAST_DIGITS, LEAST_CHARACTERS = 10, 6


@dataclass(kw_only=True)
class Searched:
    """``hits``: bucket and key of each object that holds the id. ``undecided``: of each that has it as a word and
    cannot be read by a contract, so that nobody but a person can say whether it is the id."""

    objects: int = 0
    bytes: int = 0
    hits: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)


def telling(word: str) -> bool:
    """Whether a word is long enough to be looked for in bytes."""
    return len(word) >= (LEAST_DIGITS if word.isdigit() else LEAST_CHARACTERS)


def word_pattern(words: Sequence[str]) -> str:
    """A regular expression of DuckDB (RE2) for one of the words, with no letter or digit beside it."""
    return rf"(^|[^0-9A-Za-z_])({'|'.join(map(re.escape, words))})([^0-9A-Za-z_]|$)"


def search(exchange: Exchange, *words: str) -> Searched:
    """Every object of every bucket that holds one of the ``words`` as a word: in text of 8 or 16 bits a character, in
    values of Parquet, in files packed by zip or gzip, and in names. Of the vault names alone."""
    found = Searched()
    if not words:
        return found
    word = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")
    providers = sorted({contract.provider for contract in exchange.contracts.values()})
    with exchange.duckdb() as connection, exchange.workplace("search") as folder:
        for bucket in (*SHARED_BUCKETS, *map(landing_bucket, providers)):
            for entry in exchange.lake.list(bucket):
                found.objects += 1
                found.bytes += entry.size
                # Random bytes, in which a short id may stand by chance; `erase` asks the vault itself.
                read = bucket != VAULT
                if word.search(entry.key) or (read and _holds(exchange, connection, entry, words, folder)):
                    found.hits.append(f"{bucket}/{entry.key}")
    return found


def _holds(
    exchange: Exchange, connection: duckdb.DuckDBPyConnection, entry: Entry, words: Sequence[str], folder: Path
) -> bool:
    path = exchange.lake.local_path(entry.bucket, entry.key)
    if path is None:
        path = exchange.lake.download(entry.bucket, entry.key, folder / "object")
    return file_holds(connection, path, words, folder)


def file_holds(connection: duckdb.DuckDBPyConnection, path: Path, words: Sequence[str], folder: Path) -> bool:
    """Whether a file holds one of the words; what is packed is unpacked into ``folder``."""
    with path.open("rb") as source:
        head = source.read(4)
        if head == b"PAR1":
            return _parquet_holds(connection, path, words)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as unpacked:
                return _stream_holds(unpacked, words)
        if head == b"PK\x03\x04":
            return any(_each_member(connection, path, words, folder))
        source.seek(0)
        return _stream_holds(source, words)


def _each_member(
    connection: duckdb.DuckDBPyConnection, path: Path, words: Sequence[str], folder: Path
) -> Iterator[bool]:
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(dir=folder) as inner:
        for info in archive.infolist():
            plain = Path(inner) / "member"
            with archive.open(info) as source, plain.open("wb") as copy:
                shutil.copyfileobj(source, copy, CHUNK)
            yield file_holds(connection, plain, words, Path(inner))


def _stream_holds(source: Readable, words: Sequence[str]) -> bool:
    """A piece at a time, with as much of the piece before as a word and its neighbours take up."""
    needles = [_bytes_pattern(words, encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1")]
    overlap = 2 * max(len(word.encode("utf-16-le")) for word in words) + 8
    before = b""
    while chunk := source.read(CHUNK):
        piece = before + chunk
        if any(needle.search(piece) for needle in needles):
            return True
        before = piece[-overlap:]
    return False


def _bytes_pattern(words: Sequence[str], encoding: str) -> re.Pattern[bytes]:
    text = b"(?:" + b"|".join(re.escape(word.encode(encoding, errors="replace")) for word in words) + b")"
    if encoding.startswith("utf-16"):
        return re.compile(text)
    return re.compile(rb"(?<![0-9A-Za-z_])" + text + rb"(?![0-9A-Za-z_])")


def _parquet_holds(connection: duckdb.DuckDBPyConnection, path: Path, words: Sequence[str]) -> bool:
    """Any value, as text, that has one of the words: whole numbers too, fractions and times not."""
    source = f"read_parquet({literal(str(path))}, hive_partitioning=false)"
    columns = [
        name
        for name, type_, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        if not type_.startswith(("TIME", "DATE", "DOUBLE", "FLOAT", "DECIMAL", "BOOL"))
    ]
    word = literal(word_pattern(words))
    asked = " OR ".join(f"regexp_matches({identifier(name)}::VARCHAR, {word})" for name in columns) or "false"
    return connection.execute(f"SELECT 1 FROM {source} WHERE {asked} LIMIT 1").fetchone() is not None
