"""What a lake is: buckets of immutable objects under keys, the same over a local directory and over S3.

Objects are replaced whole or not at all. Every lake raises the errors of this module, so that nothing that
uses one needs to know which it is.
"""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_log = logging.getLogger(__name__)

# The narrower of what S3 and a Linux file system take, in bytes of UTF-8, so that a lake can be moved.
_KEY_BYTES = 1024
_SEGMENT_BYTES = 255

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
# What copying tools, browsers and SFTP clients call a file that is not whole yet.
_UNFINISHED = (".part", ".tmp", ".crdownload", ".filepart")
_PATTERN = re.compile(r"[*?\[\\]")


class StorageError(Exception):
    """Something that the lake was asked to do and could not; the message says what to do next."""


class InvalidKey(StorageError, ValueError):
    """A bucket, a key or a prefix that cannot stand in a lake."""


class ObjectNotFound(StorageError, LookupError):
    """No object stands under the key."""

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(f"{bucket}/{key}: there is no such object in the lake")
        self.bucket, self.key = bucket, key


class BucketNotFound(StorageError, LookupError):
    """A write into a bucket that has not been made."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"{bucket}: there is no such bucket in the lake; `exchange init` makes it")
        self.bucket = bucket


class Conflict(StorageError):
    """A conditional write that found another version than the expected one; nothing was written.

    After a broken connection S3 may also answer so to a retry of a write that did take effect: read what
    stands there before deciding.
    """

    def __init__(self, bucket: str, key: str, expected: str | None) -> None:
        wanted = "no object" if expected is None else f"version {expected}"
        super().__init__(f"{bucket}/{key}: {wanted} was expected, but somebody else wrote it; read it again")
        self.bucket, self.key = bucket, key


class AccessRefused(StorageError):
    """The file system or the object store refuses these credentials."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One object as it stood at one moment.

    `size` is in bytes. `modified` is aware, in UTC; in what a write to S3 returns it is this machine's
    clock, so it is not compared. `version` is opaque and changes whenever the content does: on S3 it is
    the ETag, so there the same bytes written again keep their version.
    """

    bucket: str
    key: str
    size: int
    modified: datetime = field(compare=False)
    version: str


class Lake(ABC):
    """A store of objects: `bucket` is the exchange's own name for a bucket, `key` a path without a host.

    Every method raises InvalidKey for a name that cannot stand in a lake, AccessRefused where permission
    is wanting and StorageError for a store that does not answer. A write into a bucket that was never made
    raises BucketNotFound; reading from one finds nothing.
    """

    url: str

    @abstractmethod
    def ensure_bucket(self, bucket: str) -> None:
        """Makes the bucket where it is not there yet."""

    def announce(self, bucket: str, prefix: str, url: str) -> None:
        """Has the store POST to `url` whenever an object is put under the prefix.

        Raises StorageError where the store cannot do so.
        """
        raise StorageError(f"{self.url}: this lake announces nothing; unset EXCHANGE_INBOX_EVENTS")

    @abstractmethod
    def list(self, bucket: str, prefix: str = "") -> Iterator[Entry]:
        """The objects whose key begins with `prefix`, in the order of their keys (bytes of UTF-8).

        Hidden names (`.x`) and unfinished ones (`x.part`, `.tmp`, `.crdownload`, `.filepart`) are left out.
        A file that somebody else is still copying into a local landing bucket under its final name does
        show: wait until `modified` has come to rest.
        """

    @abstractmethod
    def stat(self, bucket: str, key: str) -> Entry | None:
        """The object under the key, or None."""

    @abstractmethod
    def read_bytes(self, bucket: str, key: str) -> bytes:
        """The whole object; for small ones. Raises ObjectNotFound."""

    @abstractmethod
    def open_read(self, bucket: str, key: str) -> BinaryIO:
        """The object as a stream to be closed by the caller, not seekable on S3. Raises ObjectNotFound."""

    @abstractmethod
    def open_range(self, bucket: str, key: str, *, start: int, length: int) -> BinaryIO:
        """`length` bytes (at least one) of the object from `start` on, as a stream to be closed by the caller.

        It ends early where the object does; `start` must lie in it. Raises ObjectNotFound.
        """

    def signed_url(self, bucket: str, key: str, *, seconds: int, head: bool = False) -> str | None:
        """An address at which anybody may GET (or HEAD) the object over HTTP for so long; None where the store has
        none."""
        return None

    @abstractmethod
    def write_bytes(self, bucket: str, key: str, data: bytes, *, content_type: str | None = None) -> Entry:
        """Puts `data` under the key; a reader sees the old object or the new one, whole."""

    @abstractmethod
    def upload(self, bucket: str, key: str, source: Path) -> Entry:
        """Puts a copy of the file under the key as `write_bytes` does, in bounded memory."""

    @abstractmethod
    def download(self, bucket: str, key: str, target: Path) -> Path:
        """Copies the object to `target`, whole or not at all, in bounded memory, and returns `target`.

        Folders above it are made. Raises ObjectNotFound.
        """

    @abstractmethod
    def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> Entry:
        """Puts an object also under another key, without its bytes passing through this process.

        Raises ObjectNotFound.
        """

    @abstractmethod
    def write_if(self, bucket: str, key: str, data: bytes, *, expected: str | None) -> Entry:
        """Puts `data` under the key if its version is still `expected` (None: if nothing is there).

        Of any number of writers that expect the same and write different bytes, one succeeds; the others
        get Conflict.
        """

    @abstractmethod
    def delete(self, bucket: str, key: str) -> None:
        """Removes the object, if it is there."""

    @abstractmethod
    def local_path(self, bucket: str, key: str) -> Path | None:
        """Where the object would be on this machine, to be read in place and never written; None on S3."""

    @abstractmethod
    def duckdb_url(self, bucket: str, key: str) -> str:
        """What DuckDB reads the object by: an absolute path or an `s3://` address.

        Raises InvalidKey where DuckDB would take a part of it for a pattern and read other objects. A pattern
        that is meant (`/event_date=*/*.parquet`) is put behind the answer; on S3 DuckDB's patterns miss
        keys with any of & < > ' ".
        """

    @abstractmethod
    def configure_duckdb(self, connection: "DuckDBPyConnection") -> None:
        """Lets the connection read and write this lake by `duckdb_url`."""

    def pyiceberg_properties(self) -> dict[str, str]:
        """What pyiceberg reaches this lake by, secrets of a store among it: never written or shown."""
        return {}


def open_lake(url: str, *, endpoint: str | None = None, region: str = "us-east-1") -> Lake:
    """The lake at `file:///absolute/folder` or at `s3://<prefix of the names of its buckets>`.

    `endpoint` (http or https) and `region` are those of the object store; without an endpoint it is AWS.
    Credentials come from the environment in boto3's usual ways. Raises StorageError for any other `url`.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise StorageError(f"{url}: a lake's address has no query and no fragment; write %3F for ? and %23 for #")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        from lakehouse.storage.local import LocalLake

        return LocalLake(root=Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc and parts.path in ("", "/"):
        from lakehouse.storage.s3 import S3Lake  # boto3 takes half a second, which a local lake need not pay

        return S3Lake(prefix=parts.netloc, endpoint=endpoint, region=region)
    raise StorageError(f"{url}: a lake is at file:///absolute/folder or at s3://prefix-of-bucket-names")


def check_bucket(bucket: str) -> None:
    """Raises InvalidKey unless `bucket` has lower-case letters and digits only, and - or _ between."""
    if not _BUCKET.fullmatch(bucket):
        raise InvalidKey(
            f"{bucket!r} cannot name a bucket: use lower-case letters and digits, with - or _ between them"
        )


def check_key(key: str) -> None:
    """Raises InvalidKey unless `key` can name an object on every kind of lake and be listed again."""
    if problem := _problem(key):
        raise InvalidKey(f"{key!r} cannot name an object: {problem}")


def check_prefix(prefix: str) -> None:
    """Raises InvalidKey unless `prefix` can begin a key: empty, `folder/` or `folder/beginning of a name`."""
    folder, _, _ = prefix.rpartition("/")
    if "\0" in prefix or prefix.startswith("/") or (folder and _problem(folder)):
        raise InvalidKey(f"{prefix!r} begins no key: use folder/ or folder/beginning-of-name")


def check_literal(address: str) -> str:
    """The address, if DuckDB takes it to the letter. Raises InvalidKey for one that it reads as a pattern."""
    if _PATTERN.search(address):
        raise InvalidKey(
            f"{address!r}: DuckDB reads * ? [ and \\ as a pattern; rename it, or download the object first"
        )
    return address


def is_listed(key: str) -> bool:
    """Whether a list shows this key: not hidden, not unfinished, and readable again by its name."""
    if is_unfinished(key):
        return False
    if problem := _problem(key):
        _log.warning("%a is left out of the lake's lists: %s; rename it", key, problem)
        return False
    return True


def is_unfinished(key: str) -> bool:
    """Whether a name in it is hidden, or one of those that clients give to what they have not sent whole."""
    return any(name.startswith(".") or name.lower().endswith(_UNFINISHED) for name in key.split("/"))


def _problem(key: str) -> str | None:
    """What keeps `key` from naming an object, or None."""
    names = key.split("/")
    if "" in names:
        return "it is empty, begins or ends with /, or has // in it"
    if "\0" in key:
        return "it has a NUL in it"
    if ".." in names or "." in names:
        return "it has a . or .. segment in it"
    if is_unfinished(key):
        return "names like .x, x.part, x.tmp, x.crdownload and x.filepart are for unfinished files"
    try:
        sizes = [len(name.encode()) for name in names]
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if max(sizes) > _SEGMENT_BYTES or sum(sizes) + len(names) - 1 > _KEY_BYTES:
        return f"it is longer than {_KEY_BYTES} bytes, or a segment of it than {_SEGMENT_BYTES}"
    return None
