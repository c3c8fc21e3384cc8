"""From the delivered bytes to plain files: gzip and zip opened, the format seen from the content."""

from __future__ import annotations

import codecs
import gzip
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lakehouse.contracts.extension import FileForm
from lakehouse.landing.refusal import DeliveryRefused

CHUNK = 1 << 20
IGNORED_MEMBERS = ("__MACOSX/", ".DS_Store", "Thumbs.db")


@dataclass(frozen=True, kw_only=True)
class PlainFile:
    """One readable file of a delivery; ``member`` is its name inside an archive, else ``None``."""

    path: Path
    name: str
    member: str | None
    form: FileForm


def unpack(
    *, path: Path, name: str, forms: Sequence[FileForm], folder: Path, max_bytes: int
) -> list[PlainFile]:
    """Opens a delivery into ``folder`` and finds the contract's form for each file in it.

    Raises :class:`DeliveryRefused` for what is empty, damaged, larger than ``max_bytes`` unpacked, or of a
    format that the contract does not know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        members = _members(path, name, folder, max_bytes)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DeliveryRefused(
            "damaged_archive", f"The archive cannot be opened: {error}.", "Make it again and deliver it anew."
        ) from None
    if not members:
        raise DeliveryRefused("empty_archive", "The archive holds no file.", "Deliver it with its data in it.")
    files = []
    for number, (plain, plain_name, member) in enumerate(members):
        if plain.stat().st_size == 0:
            raise DeliveryRefused("empty_file", f"{plain_name} holds no bytes.", "Deliver the file anew.")
        form = _form_of(plain, plain_name, forms)
        encoding = getattr(form, "encoding", "utf-8")
        if codecs.lookup(encoding).name != "utf-8":
            plain = _to_utf8(plain, encoding, folder / f"utf8-{number}")
        files.append(PlainFile(path=plain, name=plain_name, member=member, form=form))
    return files


def _members(path: Path, name: str, folder: Path, max_bytes: int) -> list[tuple[Path, str, str | None]]:
    head = _head(path)
    if head.startswith(b"\x1f\x8b"):
        inner = name[:-3] if name.lower().endswith(".gz") else name
        target = folder / "gunzipped"
        with gzip.open(path, "rb") as source:
            _copy(source, target, max_bytes)
        return [(target, inner, None)]
    if head.startswith(b"PK\x03\x04") and not _is_xlsx(path):
        return _zip_members(path, folder, max_bytes)
    return [(path, name, None)]


def _zip_members(path: Path, folder: Path, max_bytes: int) -> list[tuple[Path, str, str | None]]:
    found: list[tuple[Path, str, str | None]] = []
    left = max_bytes
    with zipfile.ZipFile(path) as archive:
        for number, info in enumerate(sorted(archive.infolist(), key=lambda entry: entry.filename)):
            if info.is_dir() or any(part in info.filename for part in IGNORED_MEMBERS):
                continue
            # Written under a number, never under the member's own name: no path can climb out.
            target = folder / f"member-{number}"
            with archive.open(info) as source:
                left -= _copy(source, target, left)
            found.append((target, Path(info.filename).name, info.filename))
    return found


def _copy(source: IO[bytes], target: Path, max_bytes: int) -> int:
    written = 0
    with target.open("wb") as sink:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > max_bytes:
                raise DeliveryRefused(
                    "unpacks_too_large",
                    f"The archive unpacks to more than {max_bytes:,} bytes.",
                    "Deliver it in parts, or ask the exchange to raise EXCHANGE_MAX_UNPACKED_BYTES.",
                )
            sink.write(chunk)
    return written


def _is_xlsx(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return "[Content_Types].xml" in archive.namelist()


def _head(path: Path, size: int = 4096) -> bytes:
    with path.open("rb") as source:
        return source.read(size)


def _form_of(path: Path, name: str, forms: Sequence[FileForm]) -> FileForm:
    by_format = {form.format: form for form in forms}
    head = _head(path)
    for found in _formats_seen(head):
        if found in by_format:
            return by_format[found]
    seen = _formats_seen(head)
    if "binary" in seen:
        problem = f"{name} is not text, nor of a binary format that this dataset takes"
    else:
        problem = f"{name} looks like {' or '.join(seen)}"
    raise DeliveryRefused(
        "unknown_format", f"{problem}.", f"This dataset is delivered as {', '.join(sorted(by_format))}."
    )


def _formats_seen(head: bytes) -> list[str]:
    """Formats that the first bytes allow, the likeliest first."""
    if head.startswith(b"PAR1"):
        return ["parquet"]
    if head.startswith(b"PK\x03\x04"):
        return ["xlsx"]
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"{"):
        if b'"FeatureCollection"' in head:
            return ["geojson", "json", "ndjson"]
        first_line = text.split(b"\n", 1)
        return ["ndjson", "json"] if len(first_line) == 2 and _closed(first_line[0]) else ["json", "ndjson"]
    if text.startswith(b"["):
        return ["json"]
    utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not utf16 and (b"\x00" in head or head.startswith((b"\x89PNG", b"%PDF", b"\xff\xd8\xff"))):
        return ["binary"]
    return ["csv"]


def _closed(line: bytes) -> bool:
    return line.rstrip().endswith(b"}") and line.count(b"{") == line.count(b"}")


def _to_utf8(path: Path, encoding: str, target: Path) -> Path:
    try:
        with (
            path.open("r", encoding=encoding, newline="", errors="strict") as source,
            target.open("w", encoding="utf-8", newline="") as sink,
        ):
            shutil.copyfileobj(source, sink, CHUNK)
    except UnicodeDecodeError as error:
        raise DeliveryRefused(
            "wrong_encoding",
            f"The file is not {encoding}: {error.reason} at byte {error.start} of a block.",
            f"Save it as {encoding}, as the contract says, and deliver it anew.",
        ) from None
    return target
