"""The lake in a directory: what every lake does, and what only files can suffer."""

import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from lakehouse.storage.lake import Lake, ObjectNotFound, StorageError, open_lake
from lakehouse.storage.local import LocalLake
from tests.unit.storage.suite import BUCKETS, LakeSuite, add

INBOX = "landing-aalborg_heat"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "the lake"


@pytest.fixture
def lake(root: Path) -> Lake:
    lake = open_lake(root.as_uri())
    for bucket in BUCKETS:
        lake.ensure_bucket(bucket)
    return lake


class TestLocalLake(LakeSuite):
    """The shared suite."""


def test_opens_only_addresses_of_lakes(root: Path) -> None:
    assert isinstance(open_lake(root.as_uri()), LocalLake)
    assert open_lake(root.as_uri()).url == root.as_uri()
    for url in (
        "/a/b",
        "file://a/b",
        "file:a",
        "http://a",
        "s3://",
        "s3://a/b",
        "file:///a?b",
        "file:///a#b",
        "",
    ):
        with pytest.raises(StorageError, match="a lake"):
            open_lake(url)


def test_shows_what_a_provider_copied_but_nothing_unfinished(root: Path, lake: Lake) -> None:
    folder = root / INBOX / "inbox/readings"
    folder.mkdir(parents=True)
    for name in ("b.csv", "a.csv.gz", ".hidden", "c.csv.part", "d.tmp", "e.CRDOWNLOAD", "f.filepart"):
        (folder / name).write_bytes(b"1;2\n")
    (folder / ".cache").mkdir()
    (folder / ".cache/g.csv").write_bytes(b"")
    keys = [entry.key for entry in lake.list(INBOX, "inbox/")]
    assert keys == ["inbox/readings/a.csv.gz", "inbox/readings/b.csv"]
    assert lake.read_bytes(INBOX, keys[1]) == b"1;2\n"
    before = lake.stat(INBOX, keys[1])
    with (folder / "b.csv").open("ab") as file:
        file.write(b"3;4\n")
    assert lake.stat(INBOX, keys[1]) != before


def test_follows_no_links_out_of_the_lake(root: Path, lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/key").write_bytes(b"secret")
    (root / INBOX / "key").symlink_to(tmp_path / "secrets/key")
    (root / INBOX / "folder").symlink_to(tmp_path / "secrets")
    assert list(lake.list(INBOX)) == []
    assert lake.stat(INBOX, "key") is None
    for use in (lambda: lake.read_bytes(INBOX, "key"), lambda: lake.copy(INBOX, "key", "raw", "key")):
        with pytest.raises(ObjectNotFound):
            use()


def old(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (1e9, 1e9))
    return path


def test_what_a_provider_named_in_no_utf8_gets_the_name_that_was_meant(
    root: Path, lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = root / INBOX
    old(inbox / os.fsdecode(b"m\xe5ling.csv"), b"1")
    old(inbox / os.fsdecode(b"m\xe5ling.csv.gz"), b"2")
    old(inbox / os.fsdecode(b"\x81\xe6.csv"), b"3")
    old(inbox / os.fsdecode(b"stra\xdfe/readings.csv"), b"4")
    os.utime(inbox / os.fsdecode(b"stra\xdfe"), (1e9, 1e9))
    (inbox / "ok.csv").write_bytes(b"5")
    with caplog.at_level(logging.WARNING):
        found = {entry.key: lake.read_bytes(INBOX, entry.key) for entry in lake.list(INBOX)}
    assert found == {
        "måling.csv": b"1", "måling.csv.gz": b"2", "\x81æ.csv": b"3", "straße/readings.csv": b"4", "ok.csv": b"5"
    }  # fmt: skip
    assert "ling.csv' in landing-aalborg_heat is no UTF-8, and is named måling.csv now" in caplog.text
    assert list(lake.list(INBOX)) == list(lake.list(INBOX))


def test_a_name_that_is_taken_is_not_given_a_second_time(root: Path, lake: Lake) -> None:
    (root / INBOX / "måling.csv").write_bytes(b"1")
    (root / INBOX / "2-måling.csv").write_bytes(b"2")
    old(root / INBOX / os.fsdecode(b"m\xe5ling.csv"), b"3")
    found = {entry.key: lake.read_bytes(INBOX, entry.key) for entry in lake.list(INBOX)}
    assert found == {"måling.csv": b"1", "2-måling.csv": b"2", "3-måling.csv": b"3"}


def test_what_may_still_be_written_keeps_its_name(root: Path, lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    names = [os.fsdecode(name) for name in (b"m\xe6ling.csv", b"m\xe6ling2.csv.part", b"m\xe6ling3.csv")]
    (root / INBOX / names[0]).write_bytes(b"1")
    old(root / INBOX / names[1], b"1")
    (root / INBOX / names[2]).symlink_to(root / INBOX / names[1])
    (root / INBOX / "ok.csv").write_bytes(b"1")
    with caplog.at_level(logging.WARNING):
        assert [entry.key for entry in lake.list(INBOX)] == ["ok.csv"]
    assert "ling.csv' is left out" in caplog.text
    assert all(os.path.lexists(root / INBOX / name) for name in names)


def test_a_name_that_cannot_be_changed_hides_no_other(root: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    name = os.fsdecode(b"m\xe6ling.csv")
    old(root / INBOX / name, b"1")
    (root / INBOX / "ok.csv").write_bytes(b"1")
    monkeypatch.setattr(os, "rename", refuse)
    assert [entry.key for entry in lake.list(INBOX)] == ["ok.csv"]
    assert (root / INBOX / name).exists()


def test_no_name_is_changed_outside_of_inboxes(root: Path, lake: Lake) -> None:
    name = os.fsdecode(b"m\xe6ling.csv")
    old(root / "marts" / name, b"1")
    assert list(lake.list("marts")) == []
    assert (root / "marts" / name).exists()


def test_a_carried_over_file_takes_no_new_space(root: Path, lake: Lake) -> None:
    lake.write_bytes("marts", "m/1", b"rows")
    assert lake.copy("marts", "m/1", "marts", "m/2") == lake.stat("marts", "m/2")
    assert (root / "marts/m/1").samefile(root / "marts/m/2")
    assert (root / "marts/m/1").stat().st_nlink == 2
    lake.copy("marts", "m/1", "marts", "m/2")
    assert (root / "marts/m/1").stat().st_nlink == 2


def test_copies_where_links_cannot_be(root: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    lake.write_bytes("marts", "a", b"rows")
    monkeypatch.setattr(os, "link", refuse)
    lake.copy("marts", "a", "marts", "b")
    assert lake.read_bytes("marts", "b") == b"rows"
    assert not (root / "marts/a").samefile(root / "marts/b")


def test_a_sealed_file_does_not_change_with_the_providers(root: Path, lake: Lake) -> None:
    delivered = root / INBOX / "inbox/a.csv"
    delivered.parent.mkdir()
    delivered.write_bytes(b"first")
    lake.copy(INBOX, "inbox/a.csv", "raw", "a.csv")
    lake.copy("raw", "a.csv", INBOX, "refused/a.csv")
    for path in (delivered, root / INBOX / "refused/a.csv"):
        path.chmod(0o644)
        with path.open("r+b") as file:  # as cp does over a file that is there
            file.write(b"other")
    assert lake.read_bytes("raw", "a.csv") == b"first"


def test_files_are_read_only(root: Path, lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1")
    lake.write_bytes("raw", "a", b"1")
    lake.upload("raw", "b", tmp_path / "source")
    lake.write_if("raw", "c", b"1", expected=None)
    assert {path.stat().st_mode & 0o222 for path in (root / "raw").iterdir()} == {0}


def test_versions_differ_however_fast_they_follow(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # as fast as a file system in memory
    versions = {lake.write_bytes("raw", "a", b"same size").version for _ in range(300)}
    assert len(versions) == 300


def test_a_folder_is_not_an_object(lake: Lake) -> None:
    lake.write_bytes("raw", "a/b", b"1")
    for key in ("a", "a/b/c"):
        with pytest.raises(StorageError, match="use another key"):
            lake.write_bytes("raw", key, b"2")
    lake.delete("raw", "a")
    assert lake.read_bytes("raw", "a/b") == b"1"


def test_a_write_that_fails_leaves_the_old_object_and_no_rest(
    root: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    old = lake.write_bytes("raw", "a", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        lake.write_bytes("raw", "a", b"new")
    assert lake.stat("raw", "a") == old
    assert list((root / ".tmp").iterdir()) == []


def test_a_killed_upload_leaves_nothing_to_see(
    root: Path, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = lake.write_bytes("raw", "a", b"old")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = (
        "import sys; from pathlib import Path; from lakehouse.storage.lake import open_lake; "
        "open_lake(sys.argv[1]).upload('raw', 'a', Path(sys.argv[2]))"
    )
    upload = subprocess.Popen([sys.executable, "-c", program, root.as_uri(), str(pipe)])
    with pipe.open("wb") as source:
        source.write(b"n" * 2 * (1 << 20))
        source.flush()
        deadline = time.monotonic() + 20
        while not any(path.stat().st_size for path in (root / ".tmp").glob("*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        upload.send_signal(signal.SIGKILL)
        upload.wait()
    assert list(lake.list("raw")) == [old]
    assert lake.read_bytes("raw", "a") == b"old"

    lake.ensure_bucket("raw")
    assert len(list((root / ".tmp").iterdir())) == 1, "may be somebody's who is still writing"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 24 * 3600)
    lake.ensure_bucket("raw")
    assert list((root / ".tmp").iterdir()) == []


def test_no_update_is_lost_between_processes(root: Path, lake: Lake) -> None:
    lake.write_bytes("marts", "count", b"1000")
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_open_and_add, [root.as_uri()] * 4, [50] * 4))
    assert lake.read_bytes("marts", "count") == b"1200"


def _open_and_add(url: str, times: int) -> None:
    add(open_lake(url), times)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_says_where_permission_is_wanting(root: Path, lake: Lake) -> None:
    (root / "raw").chmod(0o500)
    with pytest.raises(StorageError, match="who owns it"):
        lake.write_bytes("raw", "a/b", b"1")


def test_a_lake_can_be_moved(root: Path, lake: Lake, tmp_path: Path) -> None:
    lake.write_bytes("raw", "a/b", b"1")
    moved = shutil.move(root, tmp_path / "elsewhere")
    assert open_lake(Path(moved).as_uri()).read_bytes("raw", "a/b") == b"1"
