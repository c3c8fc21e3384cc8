"""A lake in a local directory: a bucket is a folder, an object a file.

What this class writes is never modified afterwards: a write makes a new, read-only file beside the buckets
and renames it into place. So a hard link is as good as a copy, and a reader never sees half a file.
"""

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from uuid import uuid4

from lakehouse.storage.lake import (
    AccessRefused,
    BucketNotFound,
    Conflict,
    Entry,
    Lake,
    ObjectNotFound,
    StorageError,
    check_bucket,
    check_key,
    check_literal,
    check_prefix,
    is_listed,
    is_unfinished,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from duckdb import DuckDBPyConnection

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
# A file under .tmp that nothing has touched for so long was left by a process that was killed.
_ABANDONED_SECONDS = 24 * 3600
# Providers write here themselves, and in place: a file in or from such a bucket never shares its bytes.
_OPEN_TO_PROVIDERS = "landing-"
# Who delivers may still change a file's times by its name once it is there.
_AT_REST_SECONDS = 60
# Another device, a file system without links, a file of another user's, or too many links already.
_CANNOT_LINK = {errno.EXDEV, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK}


class _Part(RawIOBase):
    """So many bytes of an open file from where it stands."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream, self._left = stream, length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        into = memoryview(buffer).cast("B")
        data = self._stream.read(min(len(into), self._left))
        into[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


class LocalLake(Lake):
    """A lake below `root`, an absolute path on one Linux file system.

    To list an inbox gives a file there a name in UTF-8, where it has none.
    """

    def __init__(self, *, root: Path) -> None:
        self._root = root
        self.url = root.as_uri()

    def ensure_bucket(self, bucket: str) -> None:
        self._bucket(bucket).mkdir(parents=True, exist_ok=True)
        self._sweep()

    def list(self, bucket: str, prefix: str = "") -> Iterator[Entry]:
        check_prefix(prefix)
        folder = prefix[: prefix.rfind("/") + 1]
        return self._walk(bucket, self._bucket(bucket) / folder, folder, prefix)

    def stat(self, bucket: str, key: str) -> Entry | None:
        with _faults(bucket, key):
            try:
                info = os.lstat(self.local_path(bucket, key))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _entry(bucket, key, info) if stat.S_ISREG(info.st_mode) else None

    def read_bytes(self, bucket: str, key: str) -> bytes:
        with self.open_read(bucket, key) as stream:
            return stream.read()

    def open_read(self, bucket: str, key: str) -> BinaryIO:
        self._standing(bucket, key)
        with _faults(bucket, key):
            return open(self.local_path(bucket, key), "rb", opener=_open_no_link)

    def open_range(self, bucket: str, key: str, *, start: int, length: int) -> BinaryIO:
        stream = self.open_read(bucket, key)
        stream.seek(start)
        return BufferedReader(_Part(stream, length), _CHUNK_BYTES)

    def write_bytes(self, bucket: str, key: str, data: bytes, *, content_type: str | None = None) -> Entry:
        return self._put(bucket, key, BytesIO(data))

    def upload(self, bucket: str, key: str, source: Path) -> Entry:
        with source.open("rb") as stream:
            return self._put(bucket, key, stream)

    def download(self, bucket: str, key: str, target: Path) -> Path:
        with self.open_read(bucket, key) as stream:
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = target.with_name(f".{uuid4().hex}.part")
            try:
                with staged.open("xb") as copy:
                    shutil.copyfileobj(stream, copy, _CHUNK_BYTES)
                return staged.replace(target)
            finally:
                staged.unlink(missing_ok=True)

    def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> Entry:
        source = self._standing(source_bucket, source_key)
        if (source_bucket, source_key) == (bucket, key):
            return source
        if not any(name.startswith(_OPEN_TO_PROVIDERS) for name in (source_bucket, bucket)):
            linked = self._link(source, bucket, key)
            if linked is not None:
                return linked
        with self.open_read(source_bucket, source_key) as stream:
            return self._put(bucket, key, stream)

    def write_if(self, bucket: str, key: str, data: bytes, *, expected: str | None) -> Entry:
        def refuse_other_version() -> None:
            standing = self.stat(bucket, key)
            if (standing.version if standing else None) != expected:
                raise Conflict(bucket, key, expected)

        return self._put(bucket, key, BytesIO(data), check=refuse_other_version)

    def delete(self, bucket: str, key: str) -> None:
        if self.stat(bucket, key) is not None:
            with _faults(bucket, key), self._locked(bucket, key):
                self.local_path(bucket, key).unlink(missing_ok=True)

    def local_path(self, bucket: str, key: str) -> Path:
        check_key(key)
        return self._bucket(bucket) / key

    def duckdb_url(self, bucket: str, key: str) -> str:
        return check_literal(str(self.local_path(bucket, key)))

    def configure_duckdb(self, connection: "DuckDBPyConnection") -> None:
        """DuckDB reads local files as it is."""

    def _bucket(self, bucket: str) -> Path:
        check_bucket(bucket)
        return self._root / bucket

    def _standing(self, bucket: str, key: str) -> Entry:
        entry = self.stat(bucket, key)
        if entry is None:
            raise ObjectNotFound(bucket, key)
        return entry

    def _walk(self, bucket: str, folder: Path, above: str, prefix: str) -> Iterator[Entry]:
        """The entries below `folder`, whose keys begin with `above`; holds one folder's names a level."""
        with _faults(bucket, above):
            try:
                with os.scandir(folder) as found:
                    # A folder sorts with its slash, as its keys do: a-b, a.b, a/b.
                    names = sorted(
                        _renamed_if_unreadable(e, bucket) + ("/" if e.is_dir(follow_symlinks=False) else "")
                        for e in found
                    )
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in names:
            key = above + name
            if name.endswith("/"):
                if (key.startswith(prefix) or prefix.startswith(key)) and not name.startswith("."):
                    yield from self._walk(bucket, folder / name, key, prefix)
            elif key.startswith(prefix) and is_listed(key):
                entry = self.stat(bucket, key)
                if entry is not None:
                    yield entry

    def _put(self, bucket: str, key: str, stream: BinaryIO, *, check: Callable[[], None] | None = None) -> Entry:
        """Writes the stream under the key, on disk when this returns; `check` may still refuse at the end."""
        target = self._target(bucket, key)
        with _faults(bucket, key), self._staged() as staged:
            _write_new(staged, stream)
            entry = self._place(staged, bucket, key, check=check)
            _sync_folder(target.parent)
            return entry

    def _link(self, source: Entry, bucket: str, key: str) -> Entry | None:
        """The object under a second key by a hard link, or None where that cannot be.

        The folder is not synced: the bytes are on disk already, and in a journalled file system the sync of
        the pointer that is written after thousands of links takes them along.
        """
        self._target(bucket, key)
        with _faults(source.bucket, source.key), self._staged() as staged:
            try:
                os.link(self.local_path(source.bucket, source.key), staged, follow_symlinks=False)
            except OSError as fault:
                if fault.errno in _CANNOT_LINK:
                    return None
                raise
            return self._place(staged, bucket, key)

    def _target(self, bucket: str, key: str) -> Path:
        path = self.local_path(bucket, key)
        if not self._bucket(bucket).is_dir():
            raise BucketNotFound(bucket)
        return path

    def _place(self, staged: Path, bucket: str, key: str, *, check: Callable[[], None] | None = None) -> Entry:
        target = self.local_path(bucket, key)
        written = _entry(bucket, key, os.lstat(staged))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(bucket, key):
                if check is not None:
                    check()
                os.replace(staged, target)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as fault:
            raise StorageError(
                f"{bucket}/{key}: no name can be an object and a folder in a local lake; use another key"
            ) from fault
        return written

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        """A free name on the lake's file system; what still stands there at the end is removed."""
        path = self._root / ".tmp" / uuid4().hex
        path.parent.mkdir(exist_ok=True)
        try:
            yield path
        finally:
            # Also after success: renaming one of two links to the same file onto the other leaves both.
            path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, bucket: str, key: str) -> Iterator[None]:
        """Keeps every other thread and process of this machine from replacing the object meanwhile."""
        folder = self._root / ".locks"
        folder.mkdir(exist_ok=True)
        # A few lock files for all keys, never removed: to remove one that somebody waits on lets two in.
        name = hashlib.sha256(f"{bucket}/{key}".encode()).hexdigest()[:2]
        with (folder / name).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Closing is not enough where a child process has inherited the descriptor.
                fcntl.flock(lock, fcntl.LOCK_UN)

    def _sweep(self) -> None:
        oldest = time.time() - _ABANDONED_SECONDS
        for path in (self._root / ".tmp").glob("*"):
            with suppress(FileNotFoundError):
                # Not the time of modification: a link that was made just now has that of its old bytes.
                if path.stat().st_ctime < oldest:
                    path.unlink()


def _entry(bucket: str, key: str, info: os.stat_result) -> Entry:
    return Entry(
        bucket=bucket,
        key=key,
        size=info.st_size,
        modified=datetime.fromtimestamp(info.st_mtime, tz=UTC),
        version=f"{info.st_mtime_ns:x}-{info.st_size:x}-{info.st_ino:x}",
    )


def _renamed_if_unreadable(item: os.DirEntry[str], bucket: str) -> str:
    """The name of what lies in a folder. What a provider has named in no UTF-8, as old clients do, is given the name
    that it was meant to have: by its own it could be neither read nor answered."""
    name = item.name
    if not bucket.startswith(_OPEN_TO_PROVIDERS):
        return name
    with suppress(UnicodeEncodeError):
        name.encode()
        return name
    with suppress(OSError):
        resting = time.time() - item.stat(follow_symlinks=False).st_mtime >= _AT_REST_SECONDS
        if is_unfinished(name) or item.is_symlink() or not resting:
            return name
        given = _in_old_letters(os.fsencode(name))
        path, number = Path(item.path).with_name(given), 1
        while os.path.lexists(path):
            number += 1
            path = path.with_name(f"{number}-{given}")
        os.rename(item.path, path)
        _log.warning("%a in %s is no UTF-8, and is named %s now", name, bucket, path.name)
        return path.name
    return name


def _in_old_letters(name: bytes) -> str:
    try:
        return name.decode("cp1252")
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _write_new(path: Path, stream: BinaryIO) -> None:
    # Read-only, so that nothing that is handed its path can modify a file that releases share.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb") as file:
        shutil.copyfileobj(stream, file, _CHUNK_BYTES)
        file.flush()
        # The stamp of kernels before 6.13 moves every few milliseconds only; with that, and an inode number
        # used again, two versions written in quick succession could look the same.
        now = time.time_ns()
        os.utime(file.fileno(), ns=(now, now))
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_no_link(path: str, flags: int) -> int:
    """Refuses a symbolic link: one that a provider puts in its inbox could lead to any file here."""
    return os.open(path, flags | os.O_NOFOLLOW)


@contextmanager
def _faults(bucket: str, key: str) -> Iterator[None]:
    """Tells the lake's own errors from those of the file system."""
    try:
        yield
    except FileNotFoundError as fault:
        raise ObjectNotFound(bucket, key) from fault
    except PermissionError as fault:
        raise AccessRefused(f"{bucket}/{key}: {fault.strerror}: {fault.filename}; check who owns it") from fault
