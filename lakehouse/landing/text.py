"""From text in any encoding to UTF-8 with one kind of line end, which is all that the readers know."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lakehouse.landing.refusal import DeliveryRefused

CHUNK = 1 << 20
LINE_END = 10
# What stands for bytes that are no text in the file's encoding; rows that hold it are refused.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True, kw_only=True)
class LongLine:
    """The longest of the lines that go beyond one piece of reading, in bytes of UTF-8."""

    line: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class PlainText:
    """``lines``: how many the file has, the last one also where it has no end. ``damaged``: some bytes were no
    text and became :data:`REPLACEMENT`."""

    path: Path
    lines: int
    damaged: bool
    longest: LongLine | None


@dataclass(frozen=True, kw_only=True)
class _Survey:
    """Which line ends a file has, how many lines, and the longest that begins in one piece and ends in another.

    ``returns_end``: a return without a line feed ends a line, else it is a blank: in a file of other ends it is taken
    for one only where most lines end so. Those that are left then make rows of too many fields, which are told of.
    """

    ends: frozenset[str]
    lines: int
    longest: LongLine | None
    returns_end: bool = False


class NotPlain(Exception):
    """The text has to be surveyed whole, and perhaps written anew, before it is read."""


def is_plain(encoding: str) -> bool:
    """Whether text in it may be read as it is."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


def refuse_no_text(text: bytes, encoding: str) -> None:
    """Raises :class:`NotPlain` where bytes are no text."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for first in range(0, len(text), CHUNK):
            decoder.decode(text[first : first + CHUNK], final=first + CHUNK >= len(text))
    except UnicodeDecodeError:
        raise NotPlain from None


def plain_text(path: Path, *, encoding: str, target: Path) -> PlainText:
    """The file itself where it is plain already, else ``target``, written anew. Memory is bounded."""
    try:
        errors, found = "strict", _survey(path, encoding, "strict")
    except UnicodeDecodeError:
        errors, found = "replace", _survey(path, encoding, "replace")
    damaged = errors == "replace"
    if is_plain(encoding) and not damaged and found.ends in (set(), {"\n"}, {"\r\n"}):
        return PlainText(path=path, lines=found.lines, damaged=False, longest=found.longest)
    with (
        path.open(encoding=encoding, errors=errors, newline="") as source,
        target.open("w", encoding="utf-8", newline="") as sink,
    ):
        while text := source.read(CHUNK):
            # A line end of two characters is not taken apart.
            sink.write(_one_line_end(text + source.read(1) if text.endswith("\r") else text, found))
    return PlainText(path=target, lines=found.lines, damaged=damaged, longest=found.longest)


def seems(head: bytes) -> str | None:
    """The encoding that a file's first bytes are marked with."""
    return next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), None)


def _survey(path: Path, encoding: str, errors: str) -> _Survey:
    if errors == "strict" and is_plain(encoding):
        quickly = _survey_bytes(path, encoding)
        if quickly is not None:
            return quickly
    ended = lone = open_bytes = 0
    longest: LongLine | None = None
    last = "\n"
    with path.open(encoding=encoding, errors=errors, newline="") as source:
        while text := source.read(CHUNK):
            first, behind = min(_place(text.find(end), text) for end in "\n\r"), max(text.rfind("\n"), text.rfind("\r"))
            reached = open_bytes + len(text[:first].encode())
            if open_bytes and (longest is None or reached > longest.bytes):
                longest = LongLine(line=(ended or lone) + 1, bytes=reached)
            open_bytes = reached if behind < 0 else len(text[behind + 1 :].encode())
            ended += text.count("\n")
            lone += text.count("\r") - text.count("\r\n") - (last == "\r" and text[0] == "\n")
            last = text[-1]
        found = source.newlines or ()
    ends = frozenset({found} if isinstance(found, str) else found)
    returns_end = lone > ended
    open_end = last not in "\r\n" or (last == "\r" and not returns_end)
    return _Survey(ends=ends, lines=ended + lone * returns_end + open_end, longest=longest, returns_end=returns_end)


def _survey_bytes(path: Path, encoding: str) -> _Survey | None:
    """The same of text whose bytes are its characters' in UTF-8, without making characters of them; ``None`` where
    returns stand without a line feed. Raises ``UnicodeDecodeError``."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = returns = open_bytes = 0
    longest: LongLine | None = None
    behind = b"\n"
    with path.open("rb") as source:
        while text := source.read(CHUNK):
            # Where all is ASCII, which is quick to see, nothing is left of a character.
            if not text.isascii() or decoder.getstate()[0]:
                decoder.decode(text)
            if b"\r" in text:
                returns += text.count(b"\r\n") + (behind == b"\r" and text[:1] == b"\n")
                if text.count(b"\r") != text.count(b"\r\n") + text.endswith(b"\r"):
                    return None
            if behind == b"\r" and text[:1] != b"\n":
                return None
            first = text.find(b"\n")
            reached = open_bytes + (len(text) if first < 0 else first)
            if open_bytes and (longest is None or reached > longest.bytes):
                longest = LongLine(line=lines + 1, bytes=reached)
            open_bytes = reached if first < 0 else len(text) - text.rfind(b"\n") - 1
            # A third of what bytes.count takes where there are many.
            lines += int(np.count_nonzero(np.frombuffer(text, np.uint8) == LINE_END))
            behind = text[-1:]
    decoder.decode(b"", final=True)
    if behind == b"\r" or returns not in (0, lines):
        return None
    ends = {"\r\n"} if returns else {"\n"} if lines else set()
    return _Survey(ends=frozenset(ends), lines=lines + (behind != b"\n"), longest=longest)


def _place(found: int, text: str) -> int:
    return len(text) if found < 0 else found


def _one_line_end(text: str, found: _Survey) -> str:
    if found.returns_end or len(found.ends) > 1:
        return text.replace("\r\n", "\n").replace("\r", "\n" if found.returns_end else " ")
    return text


def refuse_other_encoding(path: Path, name: str, encoding: str) -> None:
    """Raises :class:`DeliveryRefused` where a file is plainly of another encoding than the contract's."""
    with path.open("rb") as source:
        head = source.read(4)
    stated = codecs.lookup(encoding).name
    found = seems(head)
    if found is None and not stated.startswith("utf") and _is_utf8(path):
        found = "utf-8"
    if found is not None and not stated.startswith(found):
        raise DeliveryRefused(
            "wrong_encoding",
            f"{name} is in {found}, but the contract says {encoding}.",
            f"Save it as {encoding}, or ask for the contract to be changed.",
        )
    if found is None and head and stated in ("utf-16", "utf-32"):
        raise DeliveryRefused(
            "wrong_encoding",
            f"{name} is not in {encoding}, as the contract says: it does not begin with that encoding's mark.",
            f"Save it as {encoding} with a byte order mark, or ask for the contract to be changed.",
        )


def _is_utf8(path: Path) -> bool:
    """Whether the first bytes beyond ASCII, wherever they stand, are UTF-8, and all near them: by chance that hardly
    happens."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as source:
            return any(not decoder.decode(text).isascii() for text in iter(lambda: source.read(CHUNK), b""))
    except UnicodeDecodeError:
        return False
