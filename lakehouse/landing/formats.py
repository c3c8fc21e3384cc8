"""Which of a contract's forms a file has, by its first bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lakehouse.contracts.forms import FileForm
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.text import seems

HEAD = 4096
ZIP = b"PK\x03\x04"
# A shapefile and its index begin alike.
SHAPEFILE = b"\x00\x00\x27\x0a"
# Of a kind that its reader opens by itself, so that it is not made plain text before.
NOT_TEXT = frozenset({"parquet", "xlsx", "xml", "geopackage", "shapefile"})
# Ways of packing that are not opened, by how their files begin.
PACKED = {
    "bzip2": rb"BZh[1-9]1AY&SY",
    "xz": rb"\xfd7zXZ\0",
    "zstd": rb"\x28\xb5\x2f\xfd",
    "7z": rb"7z\xbc\xaf\x27\x1c",
    "rar": rb"Rar!\x1a\x07",
    "tar": rb".{257}ustar[\0 ]",
}
PACK_ANEW = "Pack it with gzip or zip, or not at all, and deliver it anew."
SAVE_ANEW = "Save it as an .xlsx workbook without a password, or as csv, and deliver that."


def form_of(path: Path, name: str, forms: Sequence[FileForm]) -> FileForm:
    """Raises :class:`DeliveryRefused` for a file of none of these forms."""
    return form_of_head(head_of(path), name, forms)


def form_of_head(head: bytes, name: str, forms: Sequence[FileForm]) -> FileForm:
    """The same of a file that begins with ``head``, of :data:`HEAD` bytes where it has as many."""
    by_format: dict[str, FileForm] = {form.format: form for form in forms}
    encodings = {getattr(form, "encoding", "utf-8") for form in forms}
    seen = _formats_seen(head, encodings)
    for found in seen:
        if found in by_format:
            return by_format[found]
    taken = f"This dataset is delivered as {', '.join(sorted(by_format))}."
    if seen[0] in PACKED:
        problem, taken = f"{name} is packed with {seen[0]}", PACK_ANEW
    elif seen == ["binary"]:
        problem = f"{name} is not text, nor of a binary format that this dataset takes"
    elif seen == ["old excel"]:
        problem, taken = f"{name} is an Excel workbook of the old kind (.xls), or one with a password", SAVE_ANEW
    else:
        problem = f"{name} looks like {' or '.join(seen)}"
    raise DeliveryRefused("unknown_format", f"{problem}.", taken)


def head_of(path: Path) -> bytes:
    with path.open("rb") as source:
        return source.read(HEAD)


def _formats_seen(head: bytes, encodings: set[str]) -> list[str]:
    """Formats that the first bytes allow, the likeliest first."""
    if head.startswith(b"PAR1"):
        return ["parquet"]
    if head.startswith(ZIP):
        return ["xlsx"]
    if head.startswith(b"SQLite format 3\0"):
        return ["geopackage"]
    if head.startswith(SHAPEFILE):
        return ["shapefile"]
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return ["old excel"]
    for kind, pattern in PACKED.items():
        if re.match(pattern, head, re.DOTALL):
            return [kind]
    text = _as_text(head, encodings)
    if text is None:
        return ["binary"]
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("{"):
        return _of_object(start)
    if start.startswith("[") and start[1:].lstrip()[:1] in ("{", "[", "]", ""):
        return ["json"]
    if start[:14].lower().startswith(("<!doctype html", "<html")):
        return ["html"]
    if start.startswith("<"):
        return ["xml"]
    return ["csv", "fixed_width"]


def _as_text(head: bytes, encodings: set[str]) -> str | None:
    if head.startswith((b"\x89PNG", b"%PDF", b"\xff\xd8\xff", b"\x1f\x8b")):
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
