"""File names of pages: safe, and the same for the same request."""

import re
from datetime import UTC, datetime


def file_stem(path: str) -> str:
    """The last part of a path, safe as a file name."""
    return safe(path.rstrip("/").rsplit("/", 1)[-1])


def safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def compact(moment: datetime) -> str:
    """A moment in UTC for a file name: 20240101T0000Z, with seconds where it has any."""
    utc = moment.astimezone(UTC)
    return utc.strftime("%Y%m%dT%H%M%SZ" if utc.second or utc.microsecond else "%Y%m%dT%H%MZ")
