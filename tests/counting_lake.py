"""A lake that keeps account of what is asked of it, so that a test can say what a run read and wrote."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lakehouse.storage.lake import Entry, Lake

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

READS = frozenset({"read_bytes", "open_read", "open_range", "download", "local_path", "duckdb_url"})
WRITES = frozenset({"write_bytes", "upload", "write_if"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a lake's method; `key` is the prefix of a list and the target of a copy.

    `bytes` is the size of the whole object, even if less of it was read. DuckDB reads behind the lake's back:
    for `local_path` and `duckdb_url` it is the size of all that stands there, in a folder too.
    """

    operation: str
    bucket: str
    key: str
    bytes: int


class CountingLake(Lake):
    """Passes everything on to another lake and notes each call that succeeds."""

    def __init__(self, lake: Lake) -> None:
        self.url = lake.url
        self.calls: list[Call] = []
        self._lake = lake

    def keys(self, *operations: str, bucket: str) -> set[str]:
        """The keys in the bucket that any of these operations touched."""
        return {call.key for call in self.calls if call.operation in operations and call.bucket == bucket}

    def bytes_read(self, *, bucket: str | None = None) -> int:
        """Bytes of the objects that were read, in one bucket or in all; a list and a copy read none."""
        return self._sum(READS, bucket)

    def bytes_written(self, *, bucket: str | None = None) -> int:
        """Bytes that were written, in one bucket or in all; a copy writes none."""
        return self._sum(WRITES, bucket)

    def ensure_bucket(self, bucket: str) -> None:
        self._lake.ensure_bucket(bucket)
        self._note("ensure_bucket", bucket, "", 0)

    def list(self, bucket: str, prefix: str = "") -> Iterator[Entry]:
        entries = self._lake.list(bucket, prefix)
        self._note("list", bucket, prefix, 0)
        return entries

    def stat(self, bucket: str, key: str) -> Entry | None:
        entry = self._lake.stat(bucket, key)
        self._note("stat", bucket, key, 0)
        return entry

    def read_bytes(self, bucket: str, key: str) -> bytes:
        data = self._lake.read_bytes(bucket, key)
        self._note("read_bytes", bucket, key, len(data))
        return data

    def open_read(self, bucket: str, key: str) -> BinaryIO:
        stream = self._lake.open_read(bucket, key)
        self._note("open_read", bucket, key, self._size(bucket, key))
        return stream

    def open_range(self, bucket: str, key: str, *, start: int, length: int) -> BinaryIO:
        stream = self._lake.open_range(bucket, key, start=start, length=length)
        self._note("open_range", bucket, key, self._size(bucket, key))
        return stream

    def write_bytes(self, bucket: str, key: str, data: bytes, *, content_type: str | None = None) -> Entry:
        entry = self._lake.write_bytes(bucket, key, data, content_type=content_type)
        self._note("write_bytes", bucket, key, entry.size)
        return entry

    def upload(self, bucket: str, key: str, source: Path) -> Entry:
        entry = self._lake.upload(bucket, key, source)
        self._note("upload", bucket, key, entry.size)
        return entry

    def download(self, bucket: str, key: str, target: Path) -> Path:
        path = self._lake.download(bucket, key, target)
        self._note("download", bucket, key, path.stat().st_size)
        return path

    def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> Entry:
        entry = self._lake.copy(source_bucket, source_key, bucket, key)
        self._note("copy", bucket, key, entry.size)
        return entry

    def write_if(self, bucket: str, key: str, data: bytes, *, expected: str | None) -> Entry:
        entry = self._lake.write_if(bucket, key, data, expected=expected)
        self._note("write_if", bucket, key, entry.size)
        return entry

    def delete(self, bucket: str, key: str) -> None:
        self._lake.delete(bucket, key)
        self._note("delete", bucket, key, 0)

    def local_path(self, bucket: str, key: str) -> Path | None:
        path = self._lake.local_path(bucket, key)
        if path is not None:
            self._note("local_path", bucket, key, self._size(bucket, key))
        return path

    def duckdb_url(self, bucket: str, key: str) -> str:
        url = self._lake.duckdb_url(bucket, key)
        self._note("duckdb_url", bucket, key, self._size(bucket, key))
        return url

    def configure_duckdb(self, connection: "DuckDBPyConnection") -> None:
        self._lake.configure_duckdb(connection)

    def pyiceberg_properties(self) -> dict[str, str]:
        return self._lake.pyiceberg_properties()

    def _note(self, operation: str, bucket: str, key: str, size: int) -> None:
        self.calls.append(Call(operation=operation, bucket=bucket, key=key, bytes=size))

    def _size(self, bucket: str, key: str) -> int:
        entry = self._lake.stat(bucket, key)
        return entry.size if entry else sum(below.size for below in self._lake.list(bucket, f"{key}/"))

    def _sum(self, operations: frozenset[str], bucket: str | None) -> int:
        return sum(call.bytes for call in self.calls if call.operation in operations and bucket in (None, call.bucket))
