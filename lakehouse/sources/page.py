"""What is asked of a source, one answer as it came, and the error that says why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

# How far a source was read, in its connector's own words: a change time, a key, a file's version, an ETag.
Watermark = Mapping[str, Any]


class SourceError(Exception):
    """A source could not be read; the message names the request, what came, and the next step."""


class NotThere(SourceError):
    """The source answered that nothing is at the place asked for (204, 404, 410), or that it is no place (400, 416,
    422)."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def empty(self) -> bool:
        """Whether it is a place, with nothing there, not yet, or no more."""
        return self.status in (204, 404, 410)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an extract asks for.

    `start` (included) and `end` (excluded) are the data interval, both with a time zone. `watermark` is what
    the last sealed page carried, `None` at the first extract. Pages are written into `folder`.
    """

    start: datetime
    end: datetime
    watermark: Watermark | None
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Page:
    """One file to seal, byte for byte as the source sent it (transfer encodings undone, nothing else).

    `name` is the same for the same request, so that a repeated extract delivers under the same names; `path`
    is in the folder of what was asked; `rows` counts the records in it, where that is known without parsing
    it twice; `url` carries no credentials; `fetched_at` is in UTC.

    A page with a `watermark` closes what came before it: all that is sealed at once, and the next extract begins
    behind it. Pages with none after them are sealed together, once the last of their interval has come.
    """

    name: str
    path: Path
    rows: int | None
    url: str
    fetched_at: datetime
    watermark: Watermark | None = None
