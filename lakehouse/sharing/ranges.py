"""Conditions and ranges of HTTP (RFC 9110) on an object whose bytes and tag are known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_RANGE = re.compile(r"bytes\s*=\s*(?:(?P<first>\d+)\s*-\s*(?P<last>\d*)|-\s*(?P<suffix>\d+))\s*", re.ASCII)


class Unsatisfiable(ValueError):
    """A range that begins behind the end."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """``length`` bytes from ``start``."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def is_unchanged(headers: Mapping[str, str], tag: str) -> bool:
    """Whether the reader has these bytes already (``If-None-Match``)."""
    asked = headers.get("if-none-match")
    return asked is not None and (asked.strip() == "*" or tag in _tags(asked))


def is_other(headers: Mapping[str, str], tag: str) -> bool:
    """Whether the reader wants other bytes than these or none (``If-Match``)."""
    asked = headers.get("if-match")
    return asked is not None and asked.strip() != "*" and tag not in [t.strip() for t in asked.split(",")]


def asked_span(headers: Mapping[str, str], *, size: int, tag: str) -> Span | None:
    """The part that is asked for, or ``None`` for the whole: where no range is asked for, where what the reader has
    is of other bytes (``If-Range``), and where several are asked for at once, which a server may answer so.

    Raises :class:`Unsatisfiable`.
    """
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or headers.get("if-range", tag).strip() != tag:
        return None
    if found["suffix"] is not None:
        length = min(int(found["suffix"]), size)
        if length == 0:
            raise Unsatisfiable
        return Span(start=size - length, length=length)
    first = int(found["first"])
    last = int(found["last"]) if found["last"] else size - 1
    if last < first and found["last"]:
        return None  # no range at all, and to be ignored
    if first >= size:
        raise Unsatisfiable
    return Span(start=first, length=min(last, size - 1) - first + 1)


def _tags(text: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in text.split(",")]
