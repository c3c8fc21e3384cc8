"""What a contract says of an extract: the typed arguments of each connector (`exchange.extract`).

Nothing but types lives here, so that a contract can be validated without any client library.
"""

from typing import Annotated

from pydantic import Field

from lakehouse.contracts.extract_base import Extract
from lakehouse.contracts.extract_http import Ckan, Gbfs, Gtfs, HttpFile, NgsiLd, OgcFeatures, PagedJsonApi
from lakehouse.contracts.extract_stores import S3Bucket, Sftp, SqlInterval, SqlTable

__all__ = [
    "Ckan",
    "Extract",
    "ExtractArguments",
    "Gbfs",
    "Gtfs",
    "HttpFile",
    "NgsiLd",
    "OgcFeatures",
    "PagedJsonApi",
    "S3Bucket",
    "Sftp",
    "SqlInterval",
    "SqlTable",
]

# One member for each connector.
ExtractArguments = Annotated[
    PagedJsonApi | Ckan | OgcFeatures | Gbfs | Gtfs | NgsiLd | HttpFile | SqlTable | SqlInterval | Sftp | S3Bucket,
    Field(discriminator="connector"),
]
