"""What every connector offers, and which one a contract asks for."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from lakehouse.contracts.extract import (
    Ckan,
    ExtractArguments,
    Gbfs,
    Gtfs,
    HttpFile,
    NgsiLd,
    OgcFeatures,
    PagedJsonApi,
    S3Bucket,
    Sftp,
    SqlInterval,
    SqlTable,
)
from lakehouse.sources.ckan import CkanConnector
from lakehouse.sources.gbfs import GbfsConnector
from lakehouse.sources.http_file import GtfsConnector, HttpFileConnector
from lakehouse.sources.ngsi_ld import NgsiLdConnector
from lakehouse.sources.ogc_features import OgcFeaturesConnector
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

        Pages come as they are fetched, in the folder of what was asked. An error may come after some of them;
        those up to the last with a watermark are kept. Raises SourceError.
        """
        ...


def connector_for(
    extract: ExtractArguments,
    *,
    address: str,
    credential: str | None = None,
    columns: Sequence[str] = (),
    sleep: Callable[[float], None] = time.sleep,
) -> Connector:
    """The connector that `extract` names, reading from the server at `address`; every pause goes through `sleep`.

    `columns` are the physical names of the contract's columns, for a source that is asked for them by name.
    Raises SourceError if `address` is none of its kind, or carries credentials.
    """
    match extract:
        case PagedJsonApi():
            return PagedJsonConnector(arguments=extract, address=address, credential=credential, sleep=sleep)
        case Ckan():
            return CkanConnector(arguments=extract, address=address, credential=credential, sleep=sleep)
        case OgcFeatures():
            return OgcFeaturesConnector(arguments=extract, address=address, credential=credential, sleep=sleep)
        case Gbfs():
            return GbfsConnector(arguments=extract, address=address, credential=credential, sleep=sleep)
        case NgsiLd():
            return NgsiLdConnector(arguments=extract, address=address, credential=credential, sleep=sleep)
        case Gtfs():
            return GtfsConnector(arguments=extract, address=address, credential=credential, sleep=sleep)
        case HttpFile():
            return HttpFileConnector(arguments=extract, address=address, credential=credential, sleep=sleep)
        case SqlTable() | SqlInterval():
            return SqlConnector(arguments=extract, address=address, credential=credential, columns=columns, sleep=sleep)
        case Sftp():
            return SftpConnector(arguments=extract, address=address, credential=credential, sleep=sleep)
        case S3Bucket():
            return S3BucketConnector(arguments=extract, address=address, credential=credential, sleep=sleep)
