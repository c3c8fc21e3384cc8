"""What every connector offers, and which one a contract asks for."""

from collections.abc import Iterator
from typing import Protocol

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.sources.page import Asked, Page, SourceError, Watermark
from lakehouse.sources.paged_json import PagedJsonConnector

__all__ = ["Asked", "Connector", "Page", "SourceError", "Watermark", "connector_for"]


class Connector(Protocol):
    """Reads one dataset of one source."""

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield what the source holds and was asked for; nothing when there is nothing (new).

        Pages come as they are fetched, one on disk at a time. An error may come after some of them; those
        with a watermark are kept. Raises SourceError.
        """
        ...


def connector_for(extract: ExtractArguments, *, address: str, credential: str | None = None) -> Connector:
    """The connector that `extract` names, reading from the server at `address`.

    Raises SourceError if `address` is none of its kind, or carries credentials.
    """
    return PagedJsonConnector(arguments=extract, base_url=address)
