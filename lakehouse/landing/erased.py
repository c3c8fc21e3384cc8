"""Rows of people who were erased: found in a delivery by keyed hashes, and taken out of its bytes.

The exchange keeps no id of a person who was erased. What it keeps is a hash of the id under a secret key, by
which a later delivery of that person's rows is known again.
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
import sqlalchemy as sa

from lakehouse.contracts.forms import CsvForm, FixedWidthForm, NdjsonForm, ParquetForm, shares_lines
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.read import read_file
from lakehouse.landing.unpack import PlainFile, unpack
from lakehouse.landing.values import BLANKS
from lakehouse.privacy.keys import Scope, open_keys
from lakehouse.privacy.pseudonyms import digests
from lakehouse.storage.index import erasures
from lakehouse.storage.sql import identifier, literal

CHUNK = 1 << 20
TOKENS = r"[^\s,;|\"'{}\[\]()=<>]+"
Span = tuple[int, int]


def erasure_key(exchange: Exchange, contract: Contract) -> bytes:
    """The key of a provider's erasures. It is never changed, or those who were erased would be forgotten."""
    return open_keys(exchange).key(Scope(provider=contract.provider, purpose="erasure"))


def subject_digests(values: list[str], key: bytes, contract: Contract) -> list[str]:
    """By what the index knows that somebody was erased from a dataset: 32 hex digits each."""
    return [digest.hex() for digest in digests(values, key, column=contract.dataset)]


def subject_text(value: str) -> str:
    """An id as it is hashed and compared: without blanks around it."""
    return value.strip(BLANKS)


@dataclass(frozen=True)
class Erased:
    """Who was erased from a dataset, as hashes."""

    contract: Contract
    digests: frozenset[str]
    key: bytes = field(repr=False)

    def among(self, values: set[str]) -> list[str]:
        """Those of the values that name somebody who was erased."""
        listed = sorted(values)
        hashed = subject_digests(listed, self.key, self.contract)
        return [value for value, digest in zip(listed, hashed, strict=True) if digest in self.digests]


def erased_from(exchange: Exchange, contract: Contract) -> Erased | None:
    """Who was erased from the dataset; ``None`` where nobody was, which is where no key is asked for."""
    rows = exchange.index.rows(
        sa.select(erasures.c.subject).where(
            erasures.c.provider == contract.provider, erasures.c.dataset == contract.dataset
        )
    )
    if not rows:
        return None
    key = erasure_key(exchange, contract)
    return Erased(contract=contract, key=key, digests=frozenset(row["subject"] for row in rows))


@dataclass(kw_only=True)
class Cut:
    """What was taken out of a delivered file. ``rows``: records of the erased. ``spans``: the lines that they
    took up, of each file in it (by its name in the archive). ``path``: the file without them, ``None`` where its
    format has no lines to leave out, so that it must go whole."""

    rows: int = 0
    spans: dict[str | None, list[Span]] = field(default_factory=dict)
    path: Path | None = None


def cut_out(
    *,
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    erased: Erased,
    path: Path,
    name: str,
    folder: Path,
    max_bytes: int,
) -> Cut | None:
    """The delivered file without the rows of those who were erased; ``None`` where it holds none of them.

    In text each line of such a row becomes an empty one, so that all others keep their number, and their bytes.
    Raises :class:`lakehouse.landing.refusal.DeliveryRefused` and DuckDB's errors where the file cannot be read.
    """
    delivery = contract.exchange.delivery
    files = unpack(
        path=path,
        name=name,
        forms=delivery.forms,
        folder=folder / "unpacked",
        max_bytes=max_bytes,
        members=delivery.members,
    )
    cut = Cut()
    for file in files:
        read_file(connection=connection, file=file, contract=contract)
        rows, spans = _spans(connection, contract, erased)
        if rows:
            cut.rows += rows
            cut.spans[file.member] = spans
    if not cut.rows:
        return None
    if all(_has_lines(file) for file in files if file.member in cut.spans):
        cut.path = folder / "without"
        _rewrite(connection, path, cut.path, files, cut.spans, folder)
    return cut


def names_subject(
    *,
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    column: str,
    value: str,
    path: Path,
    name: str,
    folder: Path,
    max_bytes: int,
) -> bool:
    """Whether a delivered file has an id in a column, or as a word of a row that cannot be read in columns.

    Raises :class:`lakehouse.landing.refusal.DeliveryRefused` and DuckDB's errors where the file cannot be read.
    """
    delivery = contract.exchange.delivery
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        files = unpack(
            path=path,
            name=name,
            forms=delivery.forms,
            folder=Path(unpacked),
            max_bytes=max_bytes,
            members=delivery.members,
        )
        for file in files:
            read_file(connection=connection, file=file, contract=contract)
            if connection.execute(
                f"SELECT 1 FROM delivered WHERE trim({identifier(column)}::VARCHAR, {literal(BLANKS)}) = $value "
                "UNION ALL SELECT 1 FROM malformed WHERE regexp_matches(text, $word) LIMIT 1",
                {"value": value, "word": token_pattern([value])},
            ).fetchone():
                return True
    return False


def token_pattern(values: Sequence[str]) -> str:
    """A regular expression of DuckDB (RE2) for one of the values between what parts values in a row."""
    parting = r"[\s,;|\"'{}\[\]()=<>:]"
    return f"(^|{parting})({'|'.join(map(re.escape, values))})({parting}|$)"


def _has_lines(file: PlainFile) -> bool:
    with_lines = isinstance(file.form, CsvForm | FixedWidthForm | NdjsonForm | ParquetForm)
    return with_lines and not shares_lines(file.form)


def _spans(connection: duckdb.DuckDBPyConnection, contract: Contract, erased: Erased) -> tuple[int, list[Span]]:
    """How many records name an erased person, and the first and last line of each."""
    subject = identifier(contract.exchange.subject or "")
    named = {
        subject_text(value)
        for (value,) in connection.execute(
            f"SELECT DISTINCT {subject} FROM delivered WHERE {subject} IS NOT NULL"
        ).fetchall()
    }
    # A row that could not be parsed may still hold an id.
    words = {
        word
        for (text,) in connection.execute("SELECT text FROM malformed WHERE text IS NOT NULL").fetchall()
        for word in re.findall(TOKENS, text)
    }
    found = erased.among(named | words)
    if not found:
        return 0, []
    listed = ", ".join(literal(value) for value in found)
    within = f"regexp_matches(text, {literal(token_pattern(found))})"
    rows = connection.execute(
        f"""
        WITH records AS (
            SELECT exchange_line AS line, coalesce(trim({subject}, {literal(BLANKS)}) IN ({listed}), false) AS erased
            FROM delivered
            UNION ALL SELECT exchange_line, {within} FROM malformed
        )
        SELECT line, coalesce(lead(line) OVER (ORDER BY line), 2147483648) - 1 AS last, erased
        FROM records QUALIFY erased ORDER BY line
        """
    ).fetchall()
    return len(rows), [(line, last) for line, last, _ in rows]


def _rewrite(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    target: Path,
    files: list[PlainFile],
    spans: dict[str | None, list[Span]],
    folder: Path,
) -> None:
    """``path`` again at ``target``, packed in the same way, without those lines."""
    with path.open("rb") as source:
        head = source.read(4)
    if head.startswith(b"\x1f\x8b"):
        plain, without = folder / "member", folder / "member-without"
        with gzip.open(path) as source, plain.open("wb") as copy:
            shutil.copyfileobj(source, copy, CHUNK)
        _rewrite_plain(connection, plain, without, files[0], spans[None])
        # No name and no time in it: a second try writes the same bytes.
        with (
            without.open("rb") as copy,
            target.open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as sink,
        ):
            shutil.copyfileobj(copy, sink, CHUNK)
    elif files[0].member is not None:
        _rewrite_zip(connection, path, target, files, spans, folder)
    else:
        _rewrite_plain(connection, path, target, files[0], spans[None])


def _rewrite_zip(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    target: Path,
    files: list[PlainFile],
    spans: dict[str | None, list[Span]],
    folder: Path,
) -> None:
    members = {file.member: file for file in files}
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as rewritten:
        for info in archive.infolist():
            with (
                archive.open(info) as source,
                rewritten.open(zipfile.ZipInfo(info.filename, info.date_time), "w") as sink,
            ):
                if info.filename not in spans:
                    shutil.copyfileobj(source, sink, CHUNK)
                    continue
                plain, without = folder / "member", folder / "member-without"
                with plain.open("wb") as copy:
                    shutil.copyfileobj(source, copy, CHUNK)
                _rewrite_plain(connection, plain, without, members[info.filename], spans[info.filename])
                with without.open("rb") as copy:
                    shutil.copyfileobj(copy, sink, CHUNK)


def _rewrite_plain(
    connection: duckdb.DuckDBPyConnection, path: Path, target: Path, file: PlainFile, spans: list[Span]
) -> None:
    if isinstance(file.form, ParquetForm):
        lines = ", ".join(str(line) for line, _ in spans)
        # Not by file_row_number: a provider's file may have a column of any likely name.
        place = identifier("place of the row in this file")
        numbered = f"SELECT *, row_number() OVER () AS {place} FROM read_parquet({literal(str(path))})"
        connection.execute(
            f"COPY (SELECT * EXCLUDE ({place}) FROM ({numbered}) WHERE {place} NOT IN ({lines})) "
            f"TO {literal(str(target))} (FORMAT parquet, COMPRESSION zstd)"
        )
        return
    _blank(path, target, getattr(file.form, "encoding", "utf-8"), iter(spans))


def _blank(path: Path, target: Path, encoding: str, spans: Iterator[Span]) -> None:
    """Copies text, each line of a span as an empty one; what is no text in the encoding is kept as it is."""
    with path.open(encoding=encoding, errors="surrogateescape", newline="\n") as text:
        # A file of lone returns has lines by them; in any other they are no ends.
        end = "\r" if "\r" in (start := text.read(CHUNK)) and "\n" not in start else "\n"
    first, last = next(spans, (0, 0))
    with (
        path.open(encoding=encoding, errors="surrogateescape", newline=end) as text,
        target.open("w", encoding=encoding, errors="surrogateescape", newline="") as copy,
    ):
        for number, line in enumerate(text, start=1):
            if number > last:
                first, last = next(spans, (0, 0)) if first else (0, 0)
            copy.write(line[len(line.rstrip("\r\n")) :] if first and first <= number <= last else line)
