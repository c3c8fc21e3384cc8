"""In which encoding the texts of a shapefile are: its .cpg says so, or a byte of its .dbf, each in many spellings.

GDAL reads UTF-8 and ISO-8859-1. All others are of a byte a letter: they are read as the latter, and each letter becomes
the one that its byte stands for.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.storage.sql import literal

CHUNK = 1 << 20
# Byte 29 of a .dbf, by the code page that it stands for. 0 and 0x57 are whichever the machine had.
LANGUAGES = {
    "437": (0x01, 0x09, 0x0B, 0x0D, 0x0F, 0x11, 0x15, 0x18, 0x19, 0x1B),
    "737": (0x6A,),
    "850": (0x02, 0x0A, 0x0E, 0x10, 0x12, 0x14, 0x16, 0x1A, 0x1D, 0x25, 0x37),
    "852": (0x1F, 0x22, 0x23, 0x40, 0x64, 0x87),
    "857": (0x6B, 0x88),
    "860": (0x24,),
    "861": (0x67,),
    "863": (0x1C, 0x6C),
    "865": (0x08, 0x17, 0x66),
    "866": (0x26, 0x65),
    "874": (0x50, 0x7C),
    "1250": (0xC8,),
    "1251": (0xC9,),
    "1252": (0x03, 0x58, 0x59),
    "1253": (0xCB,),
    "1254": (0xCA,),
    "1257": (0xCC,),
}
NOT_SAID = (0x00, 0x57)
LIKELY = "cp1252"
# Encodings of a byte a letter, by Python's names.
OF_BYTES = re.compile(r"cp(?:437|720|737|775|85\d|86\d|874|125\d)|iso8859-\d+|mac-\w+|koi8-\w+|ascii")


def encoding_of_shapefile(path: Path, name: str) -> str:
    """UTF-8, or an encoding of a byte a letter, as Python calls it.

    Raises :class:`DeliveryRefused` where letters beyond ASCII are in another one, or not in the one that is said.
    """
    stated = path.with_suffix(".cpg")
    page = stated.read_text("latin-1").strip("\0 \t\r\n") if stated.exists() else ""
    driver, is_ascii, is_utf8 = _look_at(path.with_suffix(".dbf"))
    if not page and driver in NOT_SAID:
        return "utf-8" if is_utf8 else LIKELY
    by_driver = next((number for number, drivers in LANGUAGES.items() if driver in drivers), "")
    encoding = _python_name(page or by_driver)
    if encoding is None and is_ascii:
        return LIKELY
    said = f".cpg says {page[:40]!r}" if page else f".dbf has the language driver 0x{driver:02x}"
    if encoding is None:
        problem = f"The text of {name} is in an encoding that is not read: its {said}."
    elif encoding == "utf-8" and not is_utf8:
        problem = f"The text of {name} is not in UTF-8, and its {said}."
    else:
        return encoding
    raise DeliveryRefused(
        "wrong_encoding", problem, "Export the layer with its text in UTF-8, and with a .cpg that says UTF-8."
    )


def _look_at(table: Path) -> tuple[int, bool, bool]:
    """The language driver of a .dbf; whether its names and texts are ASCII, and whether UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_ascii = True
    with table.open("rb") as source:
        head = source.read(32).ljust(32, b"\0")
        fields = source.read(max(int.from_bytes(head[8:10], "little") - 32, 0))
        text = b"".join(fields[place : place + 11].partition(b"\0")[0] for place in range(0, len(fields), 32))
        while text:
            is_ascii = is_ascii and text.isascii()
            try:
                decoder.decode(text)
            except UnicodeDecodeError:
                return head[29], False, False
            text = source.read(CHUNK)
    return head[29], is_ascii, True


def _python_name(page: str) -> str | None:
    """Of ``UTF-8``, ``65001``, ``1252``, ``ANSI 1252``, ``windows-1252``, ``CP850``, ``ISO 88591``, ``8859-1`` and the
    like; ``None`` for what is no encoding of a byte a letter."""
    small = page.lower()
    if re.fullmatch(r"utf[-_ ]?8|65001", small):
        return "utf-8"
    if iso := re.fullmatch(r"(?:iso)?[-_ ]?8859[-_ ]?(\d{1,2})", small):
        small = f"iso8859-{iso[1]}"
    elif number := re.fullmatch(r"(?:ansi|oem|ibm|dos|cp|ms|windows)?[-_ ]?(\d{3,4})", small):
        small = f"cp{number[1]}"
    try:
        encoding = codecs.lookup(small).name
    except LookupError:
        return None
    return encoding if OF_BYTES.fullmatch(encoding) else None


def gdal_encoding(encoding: str) -> str:
    """In which GDAL is to read texts of an encoding."""
    return "UTF-8" if encoding == "utf-8" else "ISO-8859-1"


def decoded_name(name: str, encoding: str) -> str:
    """A column's name, of what GDAL read."""
    return name if encoding == "utf-8" else name.encode("latin-1", "replace").decode(encoding, "replace")


def decoded(text: str, encoding: str) -> str:
    """SQL of a text, of that of what GDAL read."""
    if encoding == "utf-8":
        return text
    read = {chr(byte): bytes([byte]).decode(encoding, "ignore") for byte in range(0x80, 0x100)}
    other = {letter: meant for letter, meant in read.items() if meant and meant != letter}
    return f"translate({text}, {literal(''.join(other))}, {literal(''.join(other.values()))})" if other else text
