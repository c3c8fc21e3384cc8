"""From the delivered bytes to plain files: gzip and zip opened, the format seen from the content."""

from __future__ import annotations

import gzip
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lakehouse.contracts.extension import FileForm, ParquetForm, XlsxForm
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.text import plain_text, seems

CHUNK = 1 << 20
# Lines are numbered through all files of an archive: see PART_LINES.
MAX_MEMBERS = 1000
ENCRYPTED = 1
HEAD = 4096
# What the readers of archives raise at bytes that are none, are encrypted or packed in an unknown way. A full
# disk is none of these: that delivery waits.
DAMAGED = (
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)
IGNORED_MEMBERS = ("__MACOSX/", ".DS_Store", "Thumbs.db")


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class PlainFile:
    """One readable file of a delivery; ``member`` is its name inside an archive, else ``None``.

    Text is in UTF-8 with one kind of line end; ``lines`` and ``damaged`` as in
    :class:`lakehouse.landing.text.PlainText`. ``scratch`` is a folder for what reading it needs.
    """

    path: Path
    name: str
    member: str | None
    form: FileForm
    scratch: Path
    lines: int = 0
    damaged: bool = False


def unpack(*, path: Path, name: str, forms: Sequence[FileForm], folder: Path, max_bytes: int) -> list[PlainFile]:
    """Opens a delivery into ``folder`` and finds the contract's form for each file in it.

    Raises :class:`DeliveryRefused` for what is empty, damaged, larger than ``max_bytes`` unpacked, or of a
    format that the contract does not know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        members = _members(path, name, folder, max_bytes)
    except DAMAGED as error:
        raise DeliveryRefused(
            "damaged_archive", f"The archive cannot be opened: {error}.", "Make it again and deliver it anew."
        ) from None
    if not members:
        raise DeliveryRefused("empty_archive", "The archive holds no file.", "Deliver it with its data in it.")
    return [
        _plain_file(plain, plain_name, member, forms, folder / f"plain-{number}")
        for number, (plain, plain_name, member) in enumerate(members)
    ]


def _plain_file(path: Path, name: str, member: str | None, forms: Sequence[FileForm], scratch: Path) -> PlainFile:
    if path.stat().st_size == 0:
        raise DeliveryRefused("empty_file", f"{name} holds no bytes.", "Deliver the file anew.")
    form = _form_of(path, name, forms)
    scratch.mkdir()
    if isinstance(form, ParquetForm | XlsxForm):
        return PlainFile(path=path, name=name, member=member, form=form, scratch=scratch)
    encoding = getattr(form, "encoding", "utf-8")
    text = plain_text(path, name=name, encoding=encoding, target=scratch / "text")
    return PlainFile(
        path=text.path,
        name=name,
        member=member,
        form=form,
        scratch=scratch,
        lines=text.lines,
        damaged=text.damaged,
    )


def _members(path: Path, name: str, folder: Path, max_bytes: int) -> list[tuple[Path, str, str | None]]:
    head = _head(path)
    if head.startswith(b"\x1f\x8b"):
        inner = name[:-3] if name.lower().endswith(".gz") else name
        target = folder / "gunzipped"
        with gzip.open(path, "rb") as source:
            _copy(source, target, max_bytes)
        return [(target, inner, None)]
    # An empty zip begins with its end.
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with zipfile.ZipFile(path) as archive:
            if "[Content_Types].xml" not in archive.namelist():
                return _zip_members(archive, folder, max_bytes)
            # An Excel workbook is opened by its reader, whole.
            if sum(info.file_size for info in archive.infolist()) > max_bytes:
                raise _too_large(max_bytes)
    return [(path, name, None)]


def _zip_members(archive: zipfile.ZipFile, folder: Path, max_bytes: int) -> list[tuple[Path, str, str | None]]:
    found: list[tuple[Path, str, str | None]] = []
    left = max_bytes
    members = [
        info
        for info in archive.infolist()
        if not info.is_dir() and not any(part in info.filename for part in IGNORED_MEMBERS)
    ]
    if len(members) > MAX_MEMBERS:
        raise DeliveryRefused(
            "too_many_files",
            f"The archive holds {len(members):,} files, more than {MAX_MEMBERS:,}.",
            "Deliver it in several archives, or join the files.",
        )
    for number, info in enumerate(sorted(members, key=lambda entry: entry.filename)):
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DeliveryRefused(
                "link_in_archive",
                f"{info.filename} in the archive is a link, not a file.",
                "Make the archive anew with the file itself in it.",
            )
        # Written under a number, never under the member's own name: no path can climb out.
        target = folder / f"member-{number}"
        if info.flag_bits & ENCRYPTED:
            raise DeliveryRefused(
                "damaged_archive", f"{info.filename} in the archive is encrypted.", "Pack it without a password."
            )
        with archive.open(info) as source:
            left -= _copy(source, target, left)
        if _is_archive(target):
            raise DeliveryRefused(
                "nested_archive",
                f"{info.filename} in the archive is an archive itself.",
                "Put the files straight into one archive, and deliver it anew.",
            )
        found.append((target, Path(info.filename).name, info.filename))
    return found


def _is_archive(path: Path) -> bool:
    """Whether a file is packed, and no Excel workbook."""
    head = _head(path)
    if head.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "[Content_Types].xml" not in archive.namelist()
    return head.startswith((b"\x1f\x8b", b"PK\x05\x06"))


def _copy(source: Readable, target: Path, max_bytes: int) -> int:
    written = 0
    with target.open("wb") as sink:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > max_bytes:
                raise _too_large(max_bytes)
            sink.write(chunk)
    return written


def _too_large(max_bytes: int) -> DeliveryRefused:
    return DeliveryRefused(
        "unpacks_too_large",
        f"The archive unpacks to more than {max_bytes:,} bytes.",
        "Deliver it in parts, or ask the exchange to raise EXCHANGE_MAX_UNPACKED_BYTES.",
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as source:
        return source.read(HEAD)


def _form_of(path: Path, name: str, forms: Sequence[FileForm]) -> FileForm:
    by_format: dict[str, FileForm] = {form.format: form for form in forms}
    encodings = {getattr(form, "encoding", "utf-8") for form in forms}
    seen = _formats_seen(_head(path), encodings)
    for found in seen:
        if found in by_format:
            return by_format[found]
    if seen == ["binary"]:
        problem = f"{name} is not text, nor of a binary format that this dataset takes"
    else:
        problem = f"{name} looks like {' or '.join(seen)}"
    raise DeliveryRefused(
        "unknown_format", f"{problem}.", f"This dataset is delivered as {', '.join(sorted(by_format))}."
    )


def _formats_seen(head: bytes, encodings: set[str]) -> list[str]:
    """Formats that the first bytes allow, the likeliest first."""
    if head.startswith(b"PAR1"):
        return ["parquet"]
    if head.startswith(b"PK\x03\x04"):
        return ["xlsx"]
    text = _as_text(head, encodings)
    if text is None:
        return ["binary"]
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("{"):
        return _of_object(start)
    if start.startswith("[") and start[1:].lstrip()[:1] in ("{", "[", "]", ""):
        return ["json"]
    if start[:5].lower() in ("<!doc", "<html", "<?xml"):
        return ["html or xml"]
    return ["csv"]


def _as_text(head: bytes, encodings: set[str]) -> str | None:
    if head.startswith((b"\x89PNG", b"%PDF", b"\xff\xd8\xff", b"\xd0\xcf\x11\xe0", b"\x1f\x8b")):
        return None
    wide = {name for name in encodings if name.lower().replace("_", "-").startswith(("utf-16", "utf-32"))}
    for encoding in (seems(head), *sorted(wide), "latin-1"):
        text = head.decode(encoding, errors="ignore") if encoding else "\0"
        if "\0" not in text:
            return text
    return None


def _of_object(start: str) -> list[str]:
    """What begins with ``{``: one document, or a record a line where a second line begins so too."""
    if '"FeatureCollection"' in start:
        return ["geojson", "json", "ndjson"]
    first, _, rest = start.partition("\n")
    closed = first.rstrip().endswith("}") and first.count("{") == first.count("}")
    if closed and rest.lstrip().startswith("{"):
        return ["ndjson", "json", "geojson"]
    return ["json", "ndjson", "geojson"]
