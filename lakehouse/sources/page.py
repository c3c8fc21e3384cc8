"""One answer of a source, as it came, and the error that says why there is none."""

from dataclasses import dataclass
from datetime import datetime


class SourceError(Exception):
    """A source could not be read; the message names the request, what came, and the next step."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One file to seal, byte for byte as the source sent it (transfer encodings undone, nothing else).

    `name` is the same for the same request, so that a repeated extract delivers under the same names;
    `rows` counts the records in it; `url` carries no credentials; `fetched_at` is in UTC.
    """

    name: str
    content: bytes
    rows: int
    url: str
    fetched_at: datetime
