"""The connector for S3 buckets of others: objects below a prefix, each version once."""

import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urlsplit

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lakehouse.contracts.extract_stores import S3Bucket
from lakehouse.sources.listed import FileRefused, Listed, fetched, file_page, new_files
from lakehouse.sources.page import Asked, Page, SourceError
from lakehouse.sources.patience import Patience
from lakehouse.storage.lake import is_unfinished

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2RequestTypeDef, ObjectTypeDef

# Four parts of 8 MiB in flight: what one transfer holds in memory.
_TRANSFER = TransferConfig(multipart_chunksize=8 << 20, max_concurrency=4)
_STEPS = {
    "403": "set EXCHANGE_CREDENTIAL_<PROVIDER> to access key:secret key of somebody who may list and read it",
    "InvalidObjectState": "it is in an archive: ask the provider to restore it, or leave it out by `pattern`",
    "404": "there is no such bucket: correct the location of the contract's server",
}


class S3BucketConnector:
    """Objects one by one, in the order of their keys, so that each is sealed before the next is fetched.

    Without a credential requests are not signed; the exchange's own keys are never shown to others. Lost
    connections and 5xx are repeated by boto3.
    """

    def __init__(
        self, *, arguments: S3Bucket, address: str, credential: str | None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`address` is `s3://bucket/prefix`, or `https://endpoint/bucket/prefix`; `credential` is
        `access key:secret key`. Raises SourceError if `address` is neither, or carries credentials."""
        parts = urlsplit(address)
        if parts.username or parts.password:
            raise SourceError(f"{parts.scheme}://…@{parts.hostname}: take the credentials out, they would end in logs")
        place = address.partition("://")[2] if parts.scheme == "s3" else parts.path.lstrip("/")
        bucket, _, prefix = unquote(place).partition("/")
        if parts.scheme not in ("s3", "https", "http") or not bucket:
            raise SourceError(
                f"{address!r} is no bucket: state a server of type s3 with its location, such as "
                "s3://bucket/prefix, in the contract, and set EXCHANGE_EXTRACTS=live"
            )
        self.address = address
        self._bucket, self._prefix = bucket, prefix
        self._arguments = arguments
        endpoint = None if parts.scheme == "s3" else f"{parts.scheme}://{parts.netloc}"
        self._client = _client(arguments, endpoint, credential)
        self._patiently = Patience(
            attempts=1,
            max_requests_per_second=arguments.max_requests_per_second,
            passes=lambda _: False,
            sleep=sleep,
        )

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the objects that are new. Raises SourceError."""
        try:
            if self._arguments.growing_keys:
                yield from self._behind(asked)
            else:
                yield from new_files(self._list(), asked, address=self._root, fetch=self._fetch)
        except (ClientError, BotoCoreError, Boto3Error) as error:
            self._give_up(error)

    @property
    def _root(self) -> str:
        return self.address.removesuffix(self._prefix)

    def _behind(self, asked: Asked) -> Iterator[Page]:
        last = (asked.watermark or {}).get("start_after")
        for file, none_refused in fetched(self._list(start_after=last), asked, self._fetch):
            # One that was refused is asked for again, and so is what lies behind it.
            last = file.name if none_refused else last
            yield file_page(file, asked, address=self._root, watermark={"start_after": last})

    def _list(self, start_after: str | None = None) -> Iterator[Listed]:
        """Objects in the order of their keys, a thousand a request."""
        asked: ListObjectsV2RequestTypeDef = {"Bucket": self._bucket, "Prefix": self._prefix}
        if self._arguments.requester_pays:
            asked["RequestPayer"] = "requester"
        if start_after:
            asked["StartAfter"] = start_after
        while True:
            answer = self._patiently(partial(self._client.list_objects_v2, **asked))
            for entry in answer.get("Contents", []):
                name = entry["Key"].rpartition("/")[2]
                if name and not is_unfinished(entry["Key"]) and fnmatchcase(name, self._arguments.pattern):
                    yield Listed(name=entry["Key"], version=_version(entry))
            if not answer["IsTruncated"]:
                return
            asked["ContinuationToken"] = answer["NextContinuationToken"]

    def _fetch(self, file: Listed, path: Path) -> bool:
        """Of an object that was replaced since it was listed the new version comes, now and once more."""
        get = partial(
            self._client.download_file,
            self._bucket,
            file.name,
            str(path),
            ExtraArgs={"RequestPayer": "requester"} if self._arguments.requester_pays else {},
            Config=_TRANSFER,
        )
        try:
            self._patiently(get)
        except ClientError as error:
            code, status = error.response["Error"]["Code"], _status(error)
            if code in ("404", "NoSuchKey", "412", "PreconditionFailed"):
                return False
            if status != "403":
                raise
            step = _STEPS.get(code, _STEPS[status])
            raise FileRefused(f"{self._root}{file.name} could not be read ({_told(error)}); {step}") from None
        return True

    def _give_up(self, error: Exception) -> NoReturn:
        what, step = type(error).__name__, "check the server in the contract and the network, or run it again later"
        if isinstance(error, ClientError):
            what = _told(error)
            step = _STEPS.get(_status(error), step)
        raise SourceError(f"{self.address} could not be read ({what}); {step}") from None


def _status(error: ClientError) -> str:
    return str(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _told(error: ClientError) -> str:
    return f"{_status(error)} {error.response['Error'].get('Code', '')}"


def _client(arguments: S3Bucket, endpoint: str | None, credential: str | None) -> "S3Client":
    access, _, secret = (credential or "").partition(":")
    if credential and not (access and secret):
        raise SourceError(f"the credential of a bucket is access key:secret key: {_STEPS['403']}")
    config = Config(
        signature_version=None if credential else UNSIGNED,
        connect_timeout=arguments.timeout_seconds,
        read_timeout=arguments.timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": arguments.attempts},
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=arguments.region,
        aws_access_key_id=access or None,
        aws_secret_access_key=secret or None,
        config=config,
    )


def _version(entry: "ObjectTypeDef") -> str:
    return f"{entry['ETag']}@{entry['LastModified'].isoformat()}"
