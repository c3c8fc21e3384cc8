"""What a test asks of a connector."""

import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.sources.connector import Asked, Page, Watermark, connector_for
from lakehouse.sources.loopback_server import LoopbackServer
from tests.served import DAY, FIRST

# Goes with the process, and all pages in it.
_PAGES = tempfile.TemporaryDirectory(prefix="pages-")


def asked(start: datetime, end: datetime, watermark: Watermark | None = None, folder: Path | None = None) -> Asked:
    """An interval, with a new folder for its pages unless one is given."""
    place = folder or Path(tempfile.mkdtemp(dir=_PAGES.name))
    return Asked(start=start, end=end, watermark=watermark, folder=place)


def pages(
    source: LoopbackServer,
    arguments: dict[str, Any],
    *,
    watermark: Watermark | None = None,
    credential: str | None = None,
) -> list[Page]:
    """All that a connector with these arguments brings of the first day."""
    given = TypeAdapter[ExtractArguments](ExtractArguments).validate_python(arguments)
    connector = connector_for(given, address=source.base_url, credential=credential, sleep=lambda _: None)
    return list(connector.pages(asked(FIRST, FIRST + DAY, watermark)))


def ids(found: list[Page]) -> list[str]:
    """Of the rows in pages of JSON with `records`."""
    return [row["id"] for page in found for row in json.loads(page.path.read_bytes())["records"]]
