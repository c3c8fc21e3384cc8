"""From the delivered bytes to plain files: gzip and zip opened, the format seen from the content."""

from __future__ import annotations

import errno
import gzip
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Protocol

from lakehouse.contracts.forms import FileForm
from lakehouse.landing.formats import NOT_TEXT, ZIP, form_of, head_of
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.text import LongLine, is_plain, plain_text, refuse_other_encoding

CHUNK = 1 << 20
# Lines are numbered through all files of an archive: see PART_LINES.
MAX_MEMBERS = 1000
ENCRYPTED = 1
# An empty zip begins with its end.
EMPTY_ZIP = b"PK\x05\x06"
# What the readers of archives raise at bytes that are none, are encrypted or packed in an unknown way; at a place
# that is none in the file the system does (EINVAL). A full disk is none of these: that delivery waits.
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
# What a Mac knows of the file of the same name.
IGNORED_PREFIX = "._"
# What belongs to the .shp of the same name: what is read of a shapefile, and its indexes, styles and descriptions.
SHAPEFILE_PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
BESIDE_SHAPEFILES = (
    ".sbn", ".sbx", ".qix", ".idx", ".fbn", ".fbx", ".ain", ".aih", ".ixs", ".mxs", ".qpj", ".qmd", ".qml", ".cst",
    ".lyr", ".sld", ".shp.xml", ".dbf.xml", ".shp.iso.xml", ".shp.ea.iso.xml", ".pdf", ".htm", ".html",
)  # fmt: skip
# A description likewise, unless the dataset takes its form as data.
DESCRIPTIONS = {".xml": {"xml"}, ".txt": {"csv", "fixed_width"}}
SHOWN_MEMBERS = 20


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class PlainFile:
    """One readable file of a delivery; ``member`` is its name inside an archive, else ``None``.

    Text is in UTF-8 with one kind of line end; ``lines``, ``damaged`` and ``longest`` as in
    :class:`lakehouse.landing.text.PlainText`. ``scratch`` is a folder for what reading it needs. ``whole``: not only
    the lines of a file that are left to be looked at. ``surveyed``: else nothing of that is known but what its form
    states, see :func:`surveyed`.
    """

    path: Path
    name: str
    member: str | None
    form: FileForm
    scratch: Path
    lines: int = 0
    damaged: bool = False
    longest: LongLine | None = None
    whole: bool = True
    surveyed: bool = True


def unpack(
    *,
    path: Path,
    name: str,
    forms: Sequence[FileForm],
    folder: Path,
    max_bytes: int,
    members: Sequence[str] = (),
    survey: bool = True,
) -> list[PlainFile]:
    """Opens a delivery into ``folder`` and finds the contract's form for each file in it.

    Of a zip only the files that match one of the patterns ``members`` are taken, where there are any; a shapefile
    is taken with its parts, as one file. Without ``survey`` records in lines of a plain encoding may be left for
    :func:`surveyed`. Raises :class:`DeliveryRefused` for what is empty, damaged, larger than
    ``max_bytes`` unpacked, or of a format that the contract does not know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        taken = {form.format for form in forms}
        described = [ending for ending, formats in DESCRIPTIONS.items() if not formats & taken]
        found = _members(path, name, folder, max_bytes, members, (*BESIDE_SHAPEFILES, *described))
    except (*DAMAGED, OSError) as error:
        if not isinstance(error, DAMAGED) and error.errno != errno.EINVAL:
            raise
        raise DeliveryRefused(
            "damaged_archive", f"The archive cannot be opened: {error}.", "Make it again and deliver it anew."
        ) from None
    if not found:
        raise DeliveryRefused("empty_archive", "The archive holds no file.", "Deliver it with its data in it.")
    return [
        _plain_file(plain, plain_name, member, forms, folder / f"plain-{number}", survey)
        for number, (plain, plain_name, member) in enumerate(found)
    ]


def _plain_file(
    path: Path, name: str, member: str | None, forms: Sequence[FileForm], scratch: Path, survey: bool
) -> PlainFile:
    if path.stat().st_size == 0:
        raise DeliveryRefused("empty_file", f"{name} holds no bytes.", "Deliver the file anew.")
    with path.open("rb") as source:
        form = form_of(source, name, forms)
    scratch.mkdir()
    text = form.format not in NOT_TEXT
    file = PlainFile(path=path, name=name, member=member, form=form, scratch=scratch, surveyed=not text)
    if text:
        refuse_other_encoding(path, name, encoding_of(form))
    later = not survey and form.format in ("csv", "ndjson") and is_plain(encoding_of(form))
    return file if later else surveyed(file)


def surveyed(file: PlainFile) -> PlainFile:
    """A text, looked through to its end if it has not been."""
    if file.surveyed:
        return file
    text = plain_text(file.path, encoding=encoding_of(file.form), target=file.scratch / "text")
    return replace(file, path=text.path, lines=text.lines, damaged=text.damaged, longest=text.longest, surveyed=True)


def encoding_of(form: FileForm) -> str:
    return str(getattr(form, "encoding", "utf-8"))


def _members(
    path: Path, name: str, folder: Path, max_bytes: int, members: Sequence[str], beside: Sequence[str]
) -> list[tuple[Path, str, str | None]]:
    head = head_of(path)
    if head.startswith(b"\x1f\x8b"):
        inner = name[:-3] if name.lower().endswith(".gz") else name
        target = folder / "gunzipped"
        with gzip.open(path, "rb") as source:
            _copy(source, target, max_bytes)
        _refuse_archive(target, inner)
        return [(target, inner, None)]
    if head.startswith((ZIP, EMPTY_ZIP)):
        with zipfile.ZipFile(path) as archive:
            if "[Content_Types].xml" not in archive.namelist():
                return _zip_members(archive, folder, max_bytes, members, beside)
            # An Excel workbook is opened by its reader, whole.
            if sum(info.file_size for info in archive.infolist()) > max_bytes:
                raise _too_large(max_bytes)
    return [(path, name, None)]


def _zip_members(
    archive: zipfile.ZipFile, folder: Path, max_bytes: int, members: Sequence[str], beside: Sequence[str]
) -> list[tuple[Path, str, str | None]]:
    infos = sorted(
        (
            info
            for info in archive.infolist()
            if not info.is_dir()
            and not any(part in info.filename for part in IGNORED_MEMBERS)
            and not PurePosixPath(info.filename).name.startswith(IGNORED_PREFIX)
        ),
        key=lambda info: info.filename,
    )
    chosen = _chosen([info.filename for info in infos], members)
    shapes = sorted({stem for name in chosen for stem, ending in [_part(name, beside)] if ending == ".shp"})
    found: list[tuple[Path, str, str | None]] = []
    left = max_bytes
    if len(infos) > MAX_MEMBERS:
        raise DeliveryRefused(
            "too_many_files",
            f"The archive holds {len(infos):,} files, more than {MAX_MEMBERS:,}.",
            "Deliver it in several archives, or join the files.",
        )
    for number, info in enumerate(infos):
        name = PurePosixPath(info.filename).name
        target = folder / f"member-{number}"
        stem, ending = _part(info.filename, beside)
        if ending and stem in shapes:
            if ending in beside:
                continue
            # GDAL finds the parts of a shapefile by their common name.
            target = folder / f"shape-{shapes.index(stem)}{ending}"
            if target.exists():
                raise DeliveryRefused(
                    "damaged_archive", f"The archive holds {info.filename} twice.", "Make it anew with one of each."
                )
        elif info.filename not in chosen:
            continue
        # Written under a number, never under the member's own name: no path can climb out.
        left -= _take_member(archive, info, target, left)
        if target.suffix in ("", ".shp") and info.filename in chosen:
            found.append((target, name, info.filename))
    return found


def _take_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Unpacks one file; returns its size. Raises :class:`DeliveryRefused` for what is no plain file."""
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DeliveryRefused(
            "link_in_archive",
            f"{info.filename} in the archive is a link, not a file.",
            "Make the archive anew with the file itself in it.",
        )
    if info.flag_bits & ENCRYPTED:
        raise DeliveryRefused(
            "damaged_archive", f"{info.filename} in the archive is encrypted.", "Pack it without a password."
        )
    with archive.open(info) as source:
        size = _copy(source, target, left)
    _refuse_archive(target, info.filename)
    return size


def _refuse_archive(path: Path, name: str) -> None:
    if _is_archive(path):
        raise DeliveryRefused(
            "nested_archive",
            f"{name} in the archive is an archive itself.",
            "Put the files straight into one archive, and deliver it anew.",
        )


def _is_archive(path: Path) -> bool:
    """Whether a file is packed, and no Excel workbook."""
    head = head_of(path)
    if head.startswith(ZIP) and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "[Content_Types].xml" not in archive.namelist()
    return head.startswith((b"\x1f\x8b", EMPTY_ZIP))


def _chosen(names: Sequence[str], members: Sequence[str]) -> set[str]:
    """The files of an archive that are this dataset's. Raises :class:`DeliveryRefused` where none is."""
    if not members:
        return set(names)
    chosen = {
        name
        for name in names
        if any(fnmatchcase(name, pattern) or fnmatchcase(PurePosixPath(name).name, pattern) for pattern in members)
    }
    if names and not chosen:
        raise DeliveryRefused(
            "no_such_member",
            f"The archive has no file {_listed(members, ' or ')}. It has: {_listed(names[:SHOWN_MEMBERS], ', ')}.",
            "Is it the right archive for this dataset? If the files were renamed, tell the exchange first.",
        )
    return chosen


def _listed(names: Iterable[str], between: str) -> str:
    return between.join(repr(name) for name in names)


def _part(name: str, beside: Sequence[str]) -> tuple[str, str]:
    """Of what could be part of a shapefile, its name without the ending, and the ending, else an empty one: in small
    letters, for Windows writes ``A.SHP`` beside ``a.dbf``."""
    small = name.lower()
    ending = next((one for one in (*SHAPEFILE_PARTS, *beside) if small.endswith(one)), "")
    return small.removesuffix(ending), ending


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
