"""What every connector offers, and which one a contract asks for."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.contracts.extract_stores import S3Bucket, Sftp, SqlInterval, SqlTable
from lakehouse.sources.page import Asked, Page, SourceError, Watermark
from lakehouse.sources.paged_json import PagedJsonConnector
from lakehouse.sources.s3_bucket import S3BucketConnector
from lakehouse.sources.sftp import SftpConnector
from lakehouse.sources.sql_table import SqlConnector

__all__ = ["Asked", "Connector", "Page", "SourceError", "Watermark", "connector_for"]


class Connector(Protocol):
    """Reads one dataset of one source."""

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield what the source holds and was asked for; nothing when there is nothing (new).

        Pages come as they are fetched, one on disk at a time. An error may come after some of them; those
        with a watermark are kept. Raises SourceError.
        """
        ...


def connector_for(
    extract: ExtractArguments, *, address: str, credential: str | None = None, columns: Sequence[str] = ()
) -> Connector:
    """The connector that `extract` names, reading from the server at `address`.

    `columns` are the physical names of the contract's columns, for a source that is asked for them by name.
    Raises SourceError if `address` is none of its kind, or carries credentials.
    """
    match extract:
        case SqlTable() | SqlInterval():
            return SqlConnector(arguments=extract, address=address, credential=credential, columns=columns)
        case Sftp():
            return SftpConnector(arguments=extract, address=address, credential=credential)
        case S3Bucket():
            return S3BucketConnector(arguments=extract, address=address, credential=credential)
        case _:
            return PagedJsonConnector(arguments=extract, base_url=address)
