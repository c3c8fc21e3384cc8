"""What every lake does. A module that collects the class has a fixture `lake`: empty, its buckets made."""

import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from lakehouse.storage.lake import BucketNotFound, Conflict, Entry, InvalidKey, Lake, ObjectNotFound

BUCKETS = ("raw", "marts", "landing-aalborg_heat")
MIB = 1 << 20

BAD_KEYS = (
    *("", "/absolute", "folder/", "a//b", "..", "a/../b", "a/./b", "nul\0", "m\udce6ling"),
    *(
        ".hidden",
        "a/.hidden/b",
        "x.part",
        "X.TMP",
        "x.crdownload",
        "a/x.filepart",
        "x" * 256,
        "y/" * 512 + "y",
    ),
)


class LakeSuite:
    """Shared by the local lake and the one in S3."""

    @pytest.mark.parametrize("data", [b"", b"kWh\0\xff", b"x" * 3 * MIB], ids=["empty", "bytes", "3 MiB"])
    def test_reads_what_was_written(self, lake: Lake, data: bytes) -> None:
        before = datetime.now(tz=UTC) - timedelta(seconds=2)
        written = lake.write_bytes("raw", "a/b.json", data, content_type="application/json")
        assert lake.read_bytes("raw", "a/b.json") == data
        assert (written.bucket, written.key, written.size) == ("raw", "a/b.json", len(data))
        assert written == lake.stat("raw", "a/b.json") == next(lake.list("raw"))
        for entry in (written, *lake.list("raw")):
            assert before < entry.modified < datetime.now(tz=UTC) + timedelta(seconds=2)

    def test_times_are_in_utc_wherever_one_is(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        lake.write_bytes("raw", "a", b"1")
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "Europe/Copenhagen")
            time.tzset()
            entries = [lake.stat("raw", "a"), *lake.list("raw"), lake.copy("raw", "a", "marts", "a")]
        time.tzset()
        assert [entry and entry.modified.tzinfo for entry in entries] == [UTC] * 3

    @pytest.mark.parametrize(
        ("start", "length", "found"),
        [(0, 4, b"0123"), (3, 1, b"3"), (8, 2, b"89"), (6, 100, b"6789"), (0, 10, b"0123456789")],
    )
    def test_reads_a_part(self, lake: Lake, start: int, length: int, found: bytes) -> None:
        lake.write_bytes("raw", "part", b"0123456789")
        with lake.open_range("raw", "part", start=start, length=length) as stream:
            assert stream.read() == found

    def test_a_part_is_read_in_bounded_memory(self, lake: Lake) -> None:
        lake.write_bytes("raw", "large", b"x" * MIB + b"y" * 40 * MIB)
        tracemalloc.start()
        try:
            with lake.open_range("raw", "large", start=MIB, length=32 * MIB) as stream:
                read = sum(len(piece) for piece in iter(lambda: stream.read(MIB), b"") if piece[:1] == b"y")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert read == 32 * MIB
        assert peak < 8 * MIB

    def test_streams(self, lake: Lake) -> None:
        lake.write_bytes("raw", "lines.csv", b"time;value\n1;2\n" + b"x" * 3 * MIB)
        with lake.open_read("raw", "lines.csv") as stream:
            assert stream.readline() == b"time;value\n"
            assert stream.read(3) == b"1;2"
            assert len(stream.read()) == 3 * MIB + 1
        assert stream.closed

    @pytest.mark.parametrize(
        "key",
        [
            "æ ø/å 2026.csv",
            "a+b%25&c=d#e.csv",
            'it\'s "q";@,:!~$(1).csv',
            "a[1]*?\\b.csv",
            "p/e=2026-01-01/x",
        ],
    )
    def test_keys_are_taken_to_the_letter(self, lake: Lake, key: str) -> None:
        lake.write_bytes("raw", key, b"1")
        lake.copy("raw", key, "marts", key)
        assert [entry.key for entry in lake.list("raw", key[:1])] == [key]
        assert lake.read_bytes("marts", key) == b"1"

    def test_lists_in_the_order_of_keys(self, lake: Lake) -> None:
        keys = ["a-b", "a.b", "a/b/c", "a/c", "a0", "aa/d", "b", "é"]
        for key in reversed(keys):
            lake.write_bytes("raw", key, key.encode())
        assert [entry.key for entry in lake.list("raw")] == keys
        assert [entry.key for entry in lake.list("raw", "a/")] == ["a/b/c", "a/c"]
        assert [entry.key for entry in lake.list("raw", "a")] == keys[:6]
        assert [entry.key for entry in lake.list("raw", "a/b/c")] == ["a/b/c"]
        assert [entry.size for entry in lake.list("raw", "aa/")] == [4]

    def test_finds_nothing_where_nothing_is(self, lake: Lake) -> None:
        for bucket in ("raw", "never-made"):
            assert list(lake.list(bucket)) == []
            assert list(lake.list(bucket, "a/b")) == []
            assert lake.stat(bucket, "a/b") is None
            lake.delete(bucket, "a/b")
        lake.write_bytes("raw", "a/b/c", b"")
        assert lake.stat("raw", "a/b") is None
        assert lake.stat("raw", "a/b/c/d") is None
        assert list(lake.list("raw", "a/b/c/d")) == []

    @pytest.mark.parametrize("bucket", ["raw", "never-made"])
    def test_reading_what_is_not_there_names_it(self, lake: Lake, bucket: str, tmp_path: Path) -> None:
        lake.write_bytes("raw", "a/b/c", b"")
        for read in (
            lambda: lake.read_bytes(bucket, "a/b"),
            lambda: lake.open_read(bucket, "a/b"),
            lambda: lake.open_range(bucket, "a/b", start=0, length=1),
            lambda: lake.download(bucket, "a/b", tmp_path / "target"),
            lambda: lake.copy(bucket, "a/b", "marts", "a"),
        ):
            with pytest.raises(ObjectNotFound, match=f"^{bucket}/a/b: "):
                read()
        assert list(tmp_path.glob("target*")) == []

    def test_writing_into_a_bucket_that_was_not_made_is_refused(self, lake: Lake, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"1")
        lake.write_bytes("raw", "a", b"1")
        writes: list[Callable[[], Entry]] = [
            lambda: lake.write_bytes("never-made", "a", b"1"),
            lambda: lake.write_if("never-made", "a", b"1", expected=None),
            lambda: lake.upload("never-made", "a", tmp_path / "source"),
            lambda: lake.copy("raw", "a", "never-made", "a"),
        ]
        for write in writes:
            with pytest.raises(BucketNotFound, match=r"^never-made: .*exchange init"):
                write()

    def test_making_a_bucket_again_keeps_what_is_in_it(self, lake: Lake) -> None:
        lake.write_bytes("raw", "a", b"1")
        lake.ensure_bucket("raw")
        assert lake.read_bytes("raw", "a") == b"1"

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_refuses_keys_that_cannot_name_an_object(self, lake: Lake, key: str, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"1")
        lake.write_bytes("raw", "a", b"1")
        for use in (
            lambda: lake.stat("raw", key),
            lambda: lake.read_bytes("raw", key),
            lambda: lake.open_read("raw", key),
            lambda: lake.open_range("raw", key, start=0, length=1),
            lambda: lake.write_bytes("raw", key, b""),
            lambda: lake.write_if("raw", key, b"", expected=None),
            lambda: lake.upload("raw", key, tmp_path / "source"),
            lambda: lake.download("raw", key, tmp_path / "target"),
            lambda: lake.copy("raw", key, "raw", "b"),
            lambda: lake.copy("raw", "a", "raw", key),
            lambda: lake.delete("raw", key),
            lambda: lake.local_path("raw", key),
            lambda: lake.duckdb_url("raw", key),
        ):
            with pytest.raises(InvalidKey, match="cannot name an object"):
                use()
        assert [entry.key for entry in lake.list("raw")] == ["a"]

    @pytest.mark.parametrize("bucket", ["", "Raw", "../raw", "raw/a", "raw_", "-raw", "raw.b", "r a w", "ræw"])
    def test_refuses_bad_buckets(self, lake: Lake, bucket: str) -> None:
        for use in (
            lambda: lake.ensure_bucket(bucket),
            lambda: lake.list(bucket),
            lambda: lake.write_bytes(bucket, "a", b""),
            lambda: lake.stat(bucket, "a"),
        ):
            with pytest.raises(InvalidKey, match="cannot name a bucket"):
                use()

    @pytest.mark.parametrize("prefix", ["/", "/a", "../", "a/../b", "a//", "./a", "nul\0"])
    def test_refuses_bad_prefixes(self, lake: Lake, prefix: str) -> None:
        with pytest.raises(InvalidKey, match="begins no key"):
            lake.list("raw", prefix)

    def test_replacing_changes_the_version(self, lake: Lake) -> None:
        versions = [lake.write_bytes("raw", "a", b"%d" % n).version for n in range(50)]
        assert len(set(versions)) == 50
        assert lake.read_bytes("raw", "a") == b"49"
        standing = lake.stat("raw", "a")
        assert standing is not None
        assert standing.version == versions[-1]

    def test_deletes(self, lake: Lake) -> None:
        lake.write_bytes("raw", "a/b", b"1")
        lake.delete("raw", "a/b")
        lake.delete("raw", "a/b")
        assert lake.stat("raw", "a/b") is None
        assert list(lake.list("raw")) == []

    def test_moves_large_files_in_bounded_memory(self, lake: Lake, tmp_path: Path) -> None:
        source, chunk = tmp_path / "source", os.urandom(MIB)
        with source.open("wb") as file:
            for _ in range(160):
                file.write(chunk)
        tracemalloc.start()
        written = lake.upload("raw", "large", source)
        target = lake.download("raw", "large", tmp_path / "new/folder/target")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert written.size == 160 * MIB
        assert written == lake.stat("raw", "large")
        assert peak < 80 * MIB
        with source.open("rb") as left, target.open("rb") as right:
            assert all(
                a == b
                for a, b in zip(iter(lambda: left.read(MIB), b""), iter(lambda: right.read(MIB), b""), strict=True)
            )
        assert sorted(path.name for path in target.parent.iterdir()) == ["target"]

    def test_a_copy_outlives_its_source(self, lake: Lake) -> None:
        lake.write_bytes("raw", "a", b"old")
        lake.write_bytes("marts", "x/b", b"in the way")
        copied = lake.copy("raw", "a", "marts", "x/b")
        assert copied == lake.stat("marts", "x/b")
        lake.write_bytes("raw", "a", b"new")
        assert lake.read_bytes("marts", "x/b") == b"old"
        lake.write_bytes("marts", "x/b", b"newer")
        assert lake.read_bytes("raw", "a") == b"new"
        lake.delete("raw", "a")
        assert lake.read_bytes("marts", "x/b") == b"newer"

    def test_copying_again_changes_nothing(self, lake: Lake) -> None:
        lake.write_bytes("raw", "a", b"1")
        first = lake.copy("raw", "a", "marts", "a")
        assert lake.copy("raw", "a", "marts", "a") == first
        assert lake.copy("raw", "a", "raw", "a") == lake.stat("raw", "a")
        assert lake.read_bytes("marts", "a") == lake.read_bytes("raw", "a") == b"1"

    def test_writes_only_over_the_expected_version(self, lake: Lake) -> None:
        first = lake.write_if("marts", "latest.json", b"1", expected=None)
        second = lake.write_if("marts", "latest.json", b"2", expected=first.version)
        assert second == lake.stat("marts", "latest.json")
        for stale in (None, first.version):
            with pytest.raises(Conflict, match=r"marts/latest\.json"):
                lake.write_if("marts", "latest.json", b"3", expected=stale)
        assert lake.read_bytes("marts", "latest.json") == b"2"
        lake.delete("marts", "latest.json")
        with pytest.raises(Conflict, match=r"marts/latest\.json"):
            lake.write_if("marts", "latest.json", b"3", expected=second.version)
        assert lake.stat("marts", "latest.json") is None

    @pytest.mark.parametrize("standing", [False, True], ids=["create", "replace"])
    def test_of_many_writers_one_wins(self, lake: Lake, standing: bool) -> None:
        writers = 16
        gate = threading.Barrier(writers)

        def write(key: str, writer: int, expected: str | None) -> bytes | None:
            data = b"writer %d" % writer
            gate.wait()
            try:
                lake.write_if("marts", key, data, expected=expected)
            except Conflict:
                return None
            return data

        with ThreadPoolExecutor(writers) as pool:
            for round_ in range(10):
                key = f"pointer-{round_}"
                expected = lake.write_bytes("marts", key, b"first").version if standing else None
                done = list(pool.map(write, [key] * writers, range(writers), [expected] * writers))
                assert [data for data in done if data] == [lake.read_bytes("marts", key)]

    def test_no_update_is_lost(self, lake: Lake) -> None:
        lake.write_bytes("marts", "count", b"100")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, [lake] * 4, [10] * 4))
        assert lake.read_bytes("marts", "count") == b"140"

    def test_readers_see_whole_objects(self, lake: Lake, tmp_path: Path) -> None:
        size, stop = 2 * MIB, threading.Event()
        (tmp_path / "b").write_bytes(b"b" * size)
        lake.write_bytes("raw", "a", b"a" * size)

        def replace() -> None:
            while not stop.is_set():
                lake.upload("raw", "a", tmp_path / "b")
                lake.write_bytes("raw", "a", b"a" * size)

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(replace)
            seen = [lake.read_bytes("raw", "a") for _ in range(40)]
            stop.set()
            writing.result()
        assert {data.count(data[:1]) for data in seen} == {size}

    def test_duckdb_reads_and_writes(self, lake: Lake) -> None:
        with duckdb.connect() as connection:
            lake.configure_duckdb(connection)
            for key in ("m/e=1/a.parquet", "m/e=2/b+æ %25.parquet", "it's.parquet"):
                path = lake.local_path("marts", key)
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                connection.sql("SELECT 42 AS value").write_parquet(lake.duckdb_url("marts", key))
            found = connection.read_parquet(lake.duckdb_url("marts", "m") + "/*/*.parquet", hive_partitioning=True)
            assert found.order("e").fetchall() == [(42, 1), (42, 2)]
            assert connection.read_parquet(lake.duckdb_url("marts", "it's.parquet")).fetchall() == [(42,)]
        assert len(list(lake.list("marts"))) == 3

    @pytest.mark.parametrize("key", ["a*b", "a?b", "a[1]", "a\\b"])
    def test_duckdb_is_not_given_an_accidental_pattern(self, lake: Lake, key: str) -> None:
        with pytest.raises(InvalidKey, match="pattern"):
            lake.duckdb_url("raw", key)


def add(lake: Lake, times: int) -> None:
    """Counts up in `marts/count`, however often others come in between."""
    while times:
        standing = lake.stat("marts", "count")
        assert standing is not None
        number = int(lake.read_bytes("marts", "count"))
        try:
            lake.write_if("marts", "count", b"%d" % (number + 1), expected=standing.version)
        except Conflict:
            continue
        times -= 1
