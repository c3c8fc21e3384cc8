"""A lake in S3: each bucket is one of the store's, whose name begins with the lake's prefix.

Needs strong consistency and conditional writes (If-None-Match, If-Match) as AWS and Ceph have them, Ceph only
in buckets without versioning.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict, cast
from urllib.parse import urlsplit

import boto3
import duckdb
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from lakehouse.storage.lake import (
    AccessRefused,
    BucketNotFound,
    Conflict,
    Entry,
    InvalidKey,
    Lake,
    ObjectNotFound,
    StorageError,
    check_bucket,
    check_key,
    check_literal,
    check_prefix,
    is_listed,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from duckdb import DuckDBPyConnection
    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_s3.type_defs import CopySourceTypeDef, GetObjectOutputTypeDef

_STORE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# What one CopyObject request takes; more is copied in parts.
_LARGEST_SINGLE_COPY_BYTES = 5 << 30
# Four parts of 8 MiB in flight: what one transfer holds in memory.
_TRANSFER = TransferConfig(multipart_chunksize=8 << 20, max_concurrency=4)
_READ_BYTES = 1 << 20
# As much goes in one request; boto3's transfers ask for the size first, and what came of it afterwards.
_SMALL_BYTES = 1 << 20
_ATTEMPTS = 5
_NO_CREDENTIALS = "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class _Place(TypedDict):
    """What boto3 calls an object."""

    Bucket: str
    Key: str


class _Body(io.RawIOBase):
    """An answer's body as a plain stream with the lake's errors; its end checks length and checksum."""

    def __init__(self, body: io.RawIOBase, *, bucket: str, key: str) -> None:
        self._body, self._bucket, self._key = body, bucket, key

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        with _faults(self._bucket, self._key):
            return self._body.readinto(buffer)

    def close(self) -> None:
        self._body.close()
        super().close()


class S3Lake(Lake):
    """A lake whose bucket `b_c` is the store's bucket `<prefix>-b-c`."""

    def __init__(self, *, prefix: str, endpoint: str | None, region: str) -> None:
        self.url = f"s3://{prefix}"
        self._prefix = prefix
        self._store_name("x")
        self._path_style = endpoint is not None
        self._session = boto3.session.Session()
        self._client = self._session.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            config=Config(
                max_pool_connections=32,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                # Of signed addresses too, which boto3 would else sign in the old way in one region.
                signature_version="s3v4",
                s3={"addressing_style": "path" if self._path_style else "auto"},
            ),
        )

    def ensure_bucket(self, bucket: str) -> None:
        name = self._store_name(bucket)
        try:
            with _faults(bucket, ""):
                self._client.head_bucket(Bucket=name)
        except ObjectNotFound:
            with _faults(bucket, ""):
                self._create(name)

    def announce(self, bucket: str, prefix: str, url: str) -> None:
        """By a topic and a notification as Ceph has them.

        Events wait in the store, so that nobody who puts an object waits for who listens; for a minute, so that
        they do not pile up where nobody does.
        """
        name = self._store_name(bucket)
        client = self._client.meta
        topics = self._session.client("sns", endpoint_url=client.endpoint_url, region_name=client.region_name)
        attributes = {"push-endpoint": url, "persistent": "true", "time_to_live": "60"}
        with _faults(bucket, ""):
            topic = topics.create_topic(Name=f"{name}-arrivals", Attributes=attributes)["TopicArn"]
            self._client.put_bucket_notification_configuration(
                Bucket=name,
                NotificationConfiguration={
                    "TopicConfigurations": [
                        {
                            "Id": "arrivals",
                            "TopicArn": topic,
                            "Events": ["s3:ObjectCreated:*"],
                            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}},
                        }
                    ]
                },
            )

    def list(self, bucket: str, prefix: str = "") -> Iterator[Entry]:
        check_prefix(prefix)
        return self._pages(bucket, self._store_name(bucket), prefix)

    def stat(self, bucket: str, key: str) -> Entry | None:
        try:
            with _faults(bucket, key):
                answer = self._client.head_object(**self._at(bucket, key))
        except ObjectNotFound:
            return None
        return _entry(bucket, key, answer["ContentLength"], answer["LastModified"], answer["ETag"])

    def read_bytes(self, bucket: str, key: str) -> bytes:
        with self.open_read(bucket, key) as stream:
            return stream.read()

    def open_read(self, bucket: str, key: str) -> BinaryIO:
        return self._open(bucket, key)

    def open_range(self, bucket: str, key: str, *, start: int, length: int) -> BinaryIO:
        return self._open(bucket, key, Range=f"bytes={start}-{start + length - 1}")

    def signed_url(self, bucket: str, key: str, *, seconds: int, head: bool = False) -> str:
        with _faults(bucket, key):
            operation, at = "head_object" if head else "get_object", dict(self._at(bucket, key))
            return str(self._client.generate_presigned_url(operation, Params=at, ExpiresIn=seconds))

    def write_bytes(self, bucket: str, key: str, data: bytes, *, content_type: str | None = None) -> Entry:
        options = {} if content_type is None else {"ContentType": content_type}
        with _faults(bucket, key):
            return self._put(bucket, key, data, **options)

    def upload(self, bucket: str, key: str, source: Path) -> Entry:
        if source.stat().st_size <= _SMALL_BYTES:
            return self.write_bytes(bucket, key, source.read_bytes())
        at = self._at(bucket, key)
        with _faults(bucket, key):
            self._client.upload_file(str(source), at["Bucket"], at["Key"], Config=_TRANSFER)
        return self._standing(bucket, key)

    def download(self, bucket: str, key: str, target: Path) -> Path:
        at = self._at(bucket, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        answer = self._get(bucket, key)
        with _Body(cast(io.RawIOBase, answer["Body"]), bucket=bucket, key=key) as body:
            if answer["ContentLength"] <= _SMALL_BYTES:
                with suppress(StorageError):
                    return _written(target, body.readall())
        with _faults(bucket, key):
            # It asks for parts, each again where its answer breaks off.
            self._client.download_file(at["Bucket"], at["Key"], str(target), Config=_TRANSFER)
        return target

    def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> Entry:
        source = self._standing(source_bucket, source_key)
        if (source_bucket, source_key) == (bucket, key):
            return source
        target = self._at(bucket, key)
        origin: CopySourceTypeDef = {"Bucket": self._store_name(source_bucket), "Key": source_key}
        with _faults(bucket, key):
            if source.size > _LARGEST_SINGLE_COPY_BYTES:
                self._client.copy(origin, target["Bucket"], target["Key"], Config=_TRANSFER)
                return self._standing(bucket, key)
            made = self._client.copy_object(**target, CopySource=origin)["CopyObjectResult"]
        return _entry(bucket, key, source.size, made["LastModified"], made["ETag"])

    def write_if(self, bucket: str, key: str, data: bytes, *, expected: str | None) -> Entry:
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": f'"{expected}"'}
        with _faults(bucket, key):
            try:
                return self._put(bucket, key, data, **condition)
            except ClientError as fault:
                # A writer that loses against one at the same moment gets 409 and not 412.
                if _status(fault) in (409, 412) or _code(fault) == "NoSuchKey":
                    raise Conflict(bucket, key, expected) from fault
                raise

    def delete(self, bucket: str, key: str) -> None:
        with suppress(BucketNotFound), _faults(bucket, key):
            self._client.delete_object(**self._at(bucket, key))

    def local_path(self, bucket: str, key: str) -> None:
        self._at(bucket, key)

    def duckdb_url(self, bucket: str, key: str) -> str:
        at = self._at(bucket, key)
        return check_literal(f"s3://{at['Bucket']}/{at['Key']}")

    def configure_duckdb(self, connection: "DuckDBPyConnection") -> None:
        """Loads httpfs from its wheel and makes a secret, kept in memory, for this lake's buckets alone.

        Raises StorageError where the wheel is not there for this version of DuckDB.
        """
        connection.load_extension(str(_httpfs()))
        # httpfs copies the environment's credentials into settings that any query can read and any address
        # would be asked with.
        for setting in ("s3_access_key_id", "s3_secret_access_key", "s3_session_token"):
            connection.execute(f"RESET {setting}")
        found = self._session.get_credentials()
        if found is None:
            raise AccessRefused(f"{self.url}: {_NO_CREDENTIALS}")
        credentials = found.get_frozen_credentials()
        endpoint = urlsplit(self._client.meta.endpoint_url)
        # Parameters, so that no secret stands in the statement, where DuckDB's query log would keep it.
        connection.execute(
            """CREATE OR REPLACE TEMPORARY SECRET lake (
                TYPE s3, SCOPE $scope, KEY_ID $key, SECRET $secret, SESSION_TOKEN $token,
                REGION $region, ENDPOINT $endpoint, USE_SSL $ssl, URL_STYLE $style)""",
            {
                "scope": f"s3://{self._prefix}-",
                "key": credentials.access_key,
                "secret": credentials.secret_key,
                "token": credentials.token or "",
                "region": self._client.meta.region_name,
                "endpoint": endpoint.netloc,
                "ssl": endpoint.scheme == "https",
                "style": "path" if self._path_style else "vhost",
            },
        )

    def pyiceberg_properties(self) -> dict[str, str]:
        found = self._session.get_credentials()
        if found is None:
            raise AccessRefused(f"{self.url}: {_NO_CREDENTIALS}")
        credentials = found.get_frozen_credentials()
        return {
            "s3.endpoint": self._client.meta.endpoint_url,
            "s3.region": self._client.meta.region_name,
            "s3.access-key-id": credentials.access_key or "",
            "s3.secret-access-key": credentials.secret_key or "",
            "s3.session-token": credentials.token or "",
            "s3.force-virtual-addressing": str(not self._path_style).lower(),
        }

    def _store_name(self, bucket: str) -> str:
        check_bucket(bucket)
        name = f"{self._prefix}-{bucket.replace('_', '-')}"
        if not _STORE_NAME.fullmatch(name):
            raise InvalidKey(
                f"{name!r} cannot name a bucket in S3: 3 to 63 lower-case letters, digits and - are allowed; "
                "choose another s3://prefix for the lake"
            )
        return name

    def _at(self, bucket: str, key: str) -> _Place:
        check_key(key)
        return {"Bucket": self._store_name(bucket), "Key": key}

    def _standing(self, bucket: str, key: str) -> Entry:
        entry = self.stat(bucket, key)
        if entry is None:
            raise ObjectNotFound(bucket, key)
        return entry

    def _open(self, bucket: str, key: str, **options: Any) -> BinaryIO:
        body = self._get(bucket, key, **options)["Body"]
        return io.BufferedReader(_Body(cast(io.RawIOBase, body), bucket=bucket, key=key), _READ_BYTES)

    def _get(self, bucket: str, key: str, **options: Any) -> "GetObjectOutputTypeDef":
        try:
            with _faults(bucket, key):
                return self._client.get_object(**self._at(bucket, key), **options)
        except BucketNotFound as fault:
            raise ObjectNotFound(bucket, key) from fault

    def _put(self, bucket: str, key: str, data: bytes, **options: Any) -> Entry:
        answer = self._client.put_object(**self._at(bucket, key), Body=data, **options)
        # The answer has no time of modification, and the request for it could meet another writer's object.
        return _entry(bucket, key, len(data), datetime.now(tz=UTC), answer["ETag"])

    def _pages(self, bucket: str, name: str, prefix: str) -> Iterator[Entry]:
        with suppress(BucketNotFound), _faults(bucket, prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix)
            for found in (item for page in pages for item in page.get("Contents", [])):
                # Consoles make empty objects that end in / to show a folder.
                if not found["Key"].endswith("/") and is_listed(found["Key"]):
                    yield _entry(bucket, found["Key"], found["Size"], found["LastModified"], found["ETag"])

    def _create(self, name: str) -> None:
        region = self._client.meta.region_name
        try:
            if region == "us-east-1":  # which S3 does not let one name
                self._client.create_bucket(Bucket=name)
            else:
                where = cast("BucketLocationConstraintType", region)
                self._client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": where})
        except ClientError as fault:
            if _code(fault) == "BucketAlreadyExists":
                raise StorageError(
                    f"{name}: this bucket is somebody else's; choose another s3://prefix for the lake"
                ) from fault
            if _code(fault) != "BucketAlreadyOwnedByYou":
                raise


def _written(target: Path, data: bytes) -> Path:
    """The file, whole or not at all."""
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(data)
    return part.replace(target)


def _entry(bucket: str, key: str, size: int, modified: datetime, etag: str) -> Entry:
    return Entry(bucket=bucket, key=key, size=size, modified=modified.astimezone(UTC), version=etag.strip('"'))


def _httpfs() -> Path:
    extension = Path("extensions", f"v{duckdb.__version__}", "httpfs.duckdb_extension")
    with suppress(ModuleNotFoundError):
        path = Path(str(files("duckdb_extension_httpfs"))) / extension
        if path.is_file():
            return path
    raise StorageError(
        f"DuckDB {duckdb.__version__} finds no httpfs; install duckdb-extension-httpfs=={duckdb.__version__}"
    )


def _status(fault: ClientError) -> int:
    return int(fault.response["ResponseMetadata"]["HTTPStatusCode"])


def _code(fault: ClientError) -> str:
    return str(fault.response["Error"].get("Code", ""))


@contextmanager
def _faults(bucket: str, key: str) -> Iterator[None]:
    """Tells the lake's own errors from those of boto3."""
    place = f"{bucket}/{key}"
    try:
        yield
    except ClientError as fault:
        raise _translated(fault, bucket, key) from fault
    except NoCredentialsError as fault:
        raise AccessRefused(f"{place}: {_NO_CREDENTIALS}") from fault
    except (BotoCoreError, Boto3Error) as fault:
        if isinstance(fault.__context__, ClientError):  # a managed transfer tells of it in words only
            raise _translated(fault.__context__, bucket, key) from fault
        raise StorageError(
            f"{place}: no answer from the object store: {fault}; see that EXCHANGE_S3_ENDPOINT is right"
        ) from fault


def _translated(fault: ClientError, bucket: str, key: str) -> StorageError:
    code, status = _code(fault), _status(fault)
    if code == "NoSuchBucket":
        return BucketNotFound(bucket)
    if status == 404:
        return ObjectNotFound(bucket, key)
    if status in (401, 403):
        return AccessRefused(
            f"{bucket}/{key}: the object store refused these credentials ({status} {code}); see that "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are right and may do this"
        )
    return StorageError(f"{bucket}/{key}: the object store answered: {fault}")
