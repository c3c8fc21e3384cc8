"""Which of a contract's forms a file has, by its first bytes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from lakehouse.contracts.forms import FileForm, JsonForm
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.text import seems

HEAD = 4096
# A document is looked at whole up to here, and so is a first record: a longer line is refused as one.
MOST_LOOKED_AT = 8 << 20
# Never within a document: no text of JSON goes over a line's end.
RECORDS_IN_LINES = re.compile(r"\}[ \t]*[\r\n]\s*\{")
FEATURES = "FeatureCollection"
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
# What may begin with a brace.
OF_OBJECTS = ["json", "ndjson", "geojson"]
PACK_ANEW = "Pack it with gzip or zip, or not at all, and deliver it anew."
SAVE_ANEW = "Save it as an .xlsx workbook without a password, or as csv, and deliver that."


def form_of(source: BinaryIO, name: str, forms: Sequence[FileForm]) -> FileForm:
    """Of a file that is open at its first byte. Raises :class:`DeliveryRefused` for one of none of these forms."""
    by_format: dict[str, FileForm] = {form.format: form for form in forms}
    encodings = {getattr(form, "encoding", "utf-8") for form in forms}
    head = source.read(HEAD)
    seen = _formats_seen(head, encodings)
    if seen == OF_OBJECTS and sum(one in by_format for one in seen) > 1:
        seen = _of_object(source, _encoding_seen(head, encodings) or "utf-8", by_format.get("json"))
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
    encoding = _encoding_seen(head, encodings)
    if encoding is None:
        return ["binary"]
    start = head.decode(encoding, errors="ignore").lstrip("\ufeff \t\r\n")
    if start.startswith("{"):
        return OF_OBJECTS
    if re.match(r"\[\s*(?:[{\[\]]|null\b|$)", start):
        return ["json"]
    if start[:14].lower().startswith(("<!doctype html", "<html")):
        return ["html"]
    if start.startswith("<"):
        return ["xml"]
    return ["csv", "fixed_width"]


def _encoding_seen(head: bytes, encodings: set[str]) -> str | None:
    """One in which the first bytes are text; ``None`` where they are none."""
    if head.startswith((b"\x89PNG", b"%PDF", b"\xff\xd8\xff", b"\x1f\x8b")):
        return None
    wide = {name for name in encodings if name.lower().replace("_", "-").startswith(("utf-16", "utf-32"))}
    for encoding in (seems(head), *sorted(wide), "latin-1"):
        if encoding and "\0" not in head.decode(encoding, errors="ignore"):
            return encoding
    return None


def _of_object(source: BinaryIO, encoding: str, form: FileForm | None) -> list[str]:
    """What begins with ``{``: a record a line, or one document; ``form``: that of documents."""
    source.seek(0)
    text = source.read(MOST_LOOKED_AT).decode(encoding, errors="ignore")
    if RECORDS_IN_LINES.search(text):
        return ["ndjson", "json", "geojson"]
    if not source.read(1):
        try:
            document = json.loads(text.lstrip("\ufeff"))
        except (ValueError, RecursionError):
            pass
        else:
            return _of_whole_object(document, text, form)
    # A document too long to be looked at, or a broken one, says of what kind it is before its list or behind it.
    source.seek(-min(HEAD, source.seek(0, os.SEEK_END)), os.SEEK_END)
    tail = source.read().decode(encoding, errors="ignore")
    return ["geojson", "json", "ndjson"] if f'"{FEATURES}"' in text[:HEAD] + tail else OF_OBJECTS


def _of_whole_object(document: dict[str, object], text: str, form: FileForm | None) -> list[str]:
    if document.get("type") == FEATURES:
        return ["geojson", "json", "ndjson"]
    records: object = document
    for step in form.records.split(".") if isinstance(form, JsonForm) else ():
        records = records.get(step) if isinstance(records, dict) and step else records
    one_record = not isinstance(records, list) and not re.search(r"[\r\n]", text.strip())
    return ["ndjson", "json", "geojson"] if one_record else OF_OBJECTS
