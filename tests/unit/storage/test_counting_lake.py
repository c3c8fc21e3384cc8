"""The account that other tests rely on."""

from pathlib import Path

import pytest

from lakehouse.storage.lake import ObjectNotFound, open_lake
from tests.counting_lake import Call, CountingLake


@pytest.fixture
def lake(tmp_path: Path) -> CountingLake:
    lake = CountingLake(open_lake((tmp_path / "lake").as_uri()))
    for bucket in ("raw", "marts"):
        lake.ensure_bucket(bucket)
    lake.calls.clear()
    return lake


def test_notes_what_is_read_and_written(lake: CountingLake, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"12345")
    lake.write_bytes("raw", "a/x", b"123")
    lake.upload("raw", "a/y", tmp_path / "source")
    lake.write_if("marts", "latest", b"1", expected=None)
    lake.copy("raw", "a/x", "marts", "x")
    assert lake.bytes_written() == 9
    assert lake.bytes_written(bucket="raw") == 8
    assert lake.bytes_read() == 0
    assert lake.keys("write_bytes", "upload", bucket="raw") == {"a/x", "a/y"}
    lake.calls.clear()

    lake.read_bytes("raw", "a/x")
    lake.open_read("raw", "a/y").close()
    lake.download("marts", "x", tmp_path / "x")
    assert lake.bytes_read() == 3 + 5 + 3
    lake.duckdb_url("raw", "a")
    lake.local_path("raw", "a/y")
    assert lake.bytes_read(bucket="raw") == 8 + 8 + 5
    assert lake.bytes_written() == 0
    lake.calls.clear()

    assert [entry.key for entry in lake.list("raw", "a/")] == ["a/x", "a/y"]
    lake.delete("raw", "a/x")
    assert lake.stat("raw", "a/x") is None
    assert lake.calls == [
        Call(operation="list", bucket="raw", key="a/", bytes=0),
        Call(operation="delete", bucket="raw", key="a/x", bytes=0),
        Call(operation="stat", bucket="raw", key="a/x", bytes=0),
    ]


def test_does_not_note_what_failed(lake: CountingLake) -> None:
    with pytest.raises(ObjectNotFound):
        lake.read_bytes("raw", "a")
    assert lake.calls == []
