"""What a test asks of a connector."""

import tempfile
from datetime import datetime
from pathlib import Path

from lakehouse.sources.connector import Asked, Watermark

# Goes with the process, and all pages in it.
_PAGES = tempfile.TemporaryDirectory(prefix="pages-")


def asked(start: datetime, end: datetime, watermark: Watermark | None = None, folder: Path | None = None) -> Asked:
    """An interval, with a new folder for its pages unless one is given."""
    place = folder or Path(tempfile.mkdtemp(dir=_PAGES.name))
    return Asked(start=start, end=end, watermark=watermark, folder=place)
