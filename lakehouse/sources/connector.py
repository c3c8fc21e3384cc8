"""What every connector offers, and which one a contract asks for."""

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.sources.page import Page, SourceError
from lakehouse.sources.paged_json import PagedJsonConnector

__all__ = ["Connector", "Page", "SourceError", "connector_for"]


class Connector(Protocol):
    """Reads one dataset of one source, by data interval."""

    def pages(self, *, start: datetime, end: datetime) -> Iterator[Page]:
        """Yield what the source holds for [start, end), both with a time zone; nothing when it has no rows.

        Pages come as they are fetched, one in memory at a time. An error may come after some of them:
        they are verbatim and may be kept, but only an iterator that ended has given the whole interval.
        Raises SourceError.
        """
        ...


def connector_for(extract: ExtractArguments, *, base_url: str) -> Connector:
    """The connector that `extract` names, reading from the server at `base_url` (http or https).

    Raises SourceError if `base_url` is not one, or carries credentials.
    """
    return PagedJsonConnector(arguments=extract, base_url=base_url)
