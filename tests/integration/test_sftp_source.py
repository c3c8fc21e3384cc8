"""The SFTP connector against a real server."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from lakehouse.contracts.extract_stores import Sftp
from lakehouse.sources.connector import Page, SourceError
from lakehouse.sources.sftp import SftpConnector
from tests.asking import asked
from tests.sftp_server import SftpServer

pytestmark = pytest.mark.integration

DAY = datetime(2024, 10, 1, tzinfo=UTC)
HOUR_AGO = time.time() - 3600


def put(folder: Path, name: str, content: bytes, *, at: float = HOUR_AGO) -> Path:
    path = folder / name
    path.write_bytes(content)
    os.utime(path, (at, at))
    return path


def connector(
    server: SftpServer,
    *,
    credential: str = "provider:secret",
    address: str | None = None,
    sleep: Callable[[float], None] = lambda _: None,
    **change: Any,
) -> SftpConnector:
    extract = Sftp.model_validate(
        {"connector": "sftp", "pattern": "*.csv", "attempts": 3, "host_key": server.host_key, **change}
    )
    return SftpConnector(arguments=extract, address=address or server.address, credential=credential, sleep=sleep)


def ask(source: SftpConnector, watermark: Any = None) -> list[Page]:
    return list(source.pages(asked(DAY, DAY, watermark)))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SftpServer]:
    folder = tmp_path / "files"
    folder.mkdir()
    put(folder, "b.csv", b"second\n", at=HOUR_AGO + 1)
    put(folder, "a.csv", b"first\n")
    put(folder, "notes.txt", b"no\n")
    (folder / "old.csv").mkdir()
    with SftpServer(folder) as running:
        yield running


def test_files_that_fit_come_oldest_first_and_once(server: SftpServer) -> None:
    pages = ask(connector(server))
    assert [(page.name, page.path.read_bytes()) for page in pages] == [("a.csv", b"first\n"), ("b.csv", b"second\n")]
    assert pages[0].url == f"{server.address}a.csv"
    assert ask(connector(server), pages[-1].watermark) == []
    assert [page.name for page in ask(connector(server), pages[0].watermark)] == ["b.csv"]


def test_a_file_that_changed_comes_again_under_its_name_and_one_that_is_gone_is_forgotten(server: SftpServer) -> None:
    watermark = ask(connector(server))[-1].watermark
    put(server.folder, "a.csv", b"first, corrected\n")
    (server.folder / "b.csv").unlink()
    [page] = ask(connector(server), watermark)
    assert (page.name, page.path.read_bytes()) == ("a.csv", b"first, corrected\n")
    assert list((page.watermark or {})["files"]) == ["a.csv"]


def test_a_file_that_is_still_written_to_waits(server: SftpServer) -> None:
    put(server.folder, "young.csv", b"half a li", at=time.time())
    assert [page.name for page in ask(connector(server))] == ["a.csv", "b.csv"]
    assert len(ask(connector(server, settle_seconds=0))) == 3


def test_a_file_whose_clock_is_far_ahead_and_a_link_to_one_are_read(server: SftpServer) -> None:
    put(server.folder, "ahead.csv", b"third\n", at=time.time() + 400 * 86_400)
    put(server.folder, "kept.txt", b"fourth\n")
    (server.folder / "link.csv").symlink_to(server.folder / "kept.txt")
    (server.folder / "nowhere.csv").symlink_to(server.folder / "nothing")
    pages = ask(connector(server))
    assert {page.name for page in pages} == {"a.csv", "b.csv", "ahead.csv", "link.csv"}
    assert ask(connector(server), pages[-1].watermark) == []


def test_names_of_what_is_not_whole_or_hidden_are_left(server: SftpServer) -> None:
    for name in (".profile", "up.csv.tmp", "x.PART", "y.filepart", ".DS_Store"):
        put(server.folder, name, b"no\n")
    assert {page.name for page in ask(connector(server, pattern="*"))} == {"notes.txt", "a.csv", "b.csv"}


@pytest.mark.parametrize("refusal", [asyncssh.SFTPPermissionDenied("no"), asyncssh.SFTPFailure("broken")])
def test_a_file_that_may_not_be_read_holds_up_no_other(server: SftpServer, refusal: asyncssh.SFTPError) -> None:
    server.refused = {"a.csv": refusal}
    found: list[Page] = []
    with pytest.raises(SourceError, match=f"sftp://127.0.0.1:{server.port}/a.csv could not be read .*ask the provider"):
        found.extend(connector(server).pages(asked(DAY, DAY)))
    pages = connector(server).pages(asked(DAY, DAY))
    page = next(pages)
    assert (page.name, list((page.watermark or {})["files"])) == ("b.csv", ["b.csv"])
    pages.close()
    server.refused = {}
    assert [page.name for page in ask(connector(server), page.watermark)] == ["a.csv"]


def test_a_name_that_is_not_utf_8_is_refused_by_what_to_do(server: SftpServer) -> None:
    Path(os.fsdecode(os.fsencode(server.folder) + b"/m\xe5ler.txt")).write_bytes(b"")
    with pytest.raises(SourceError, match="the name of a file there is not in UTF-8.*ask the provider to rename"):
        ask(connector(server))


def test_a_host_key_that_is_none_is_refused(server: SftpServer) -> None:
    for key in ("ssh-ed25519 notbase64!!", "ssh-rsa AAAA", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAA=="):
        with pytest.raises(SourceError, match="its host key cannot be read: set host_key"):
            ask(connector(server, host_key=key))


def test_a_file_that_grew_since_it_was_listed_is_left_for_the_next_time(server: SftpServer) -> None:
    pages = connector(server).pages(asked(DAY, DAY))
    next(pages)
    put(server.folder, "b.csv", b"second\nand more\n", at=HOUR_AGO + 2)
    assert list(pages) == []


def test_a_transfer_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    content = os.urandom(40 << 20)
    put(tmp_path, "large.csv", content)
    sleeps: list[float] = []
    with SftpServer(tmp_path, break_after=32 << 20) as server:
        [page] = ask(connector(server, sleep=sleeps.append))
        assert page.path.read_bytes() == content
        assert server.connections == 2
        # What was under way is read twice, up to a piece's requests; not all from the beginning again.
        assert server.bytes_read < (32 + 40) << 20
    assert len(sleeps) == 1


def test_a_private_key_opens_the_door_and_a_large_file_passes_through_little_memory(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    content = os.urandom(1 << 20) * 24
    put(tmp_path, "large.csv", content)
    with SftpServer(tmp_path, authorized=key.export_public_key().decode()) as server:
        known = f"[127.0.0.1]:{server.port} {server.host_key}\n"
        private = key.export_private_key().decode()
        credential = json.dumps({"user": "provider", "private_key": private, "known_hosts": known})
        source = connector(server, credential=credential, host_key=None)
        pages = source.pages(asked(DAY, DAY))
        tracemalloc.start()
        page = next(pages)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        pages.close()
    assert page.path.stat().st_size == 24 << 20
    assert peak < 16 << 20  # the server's share is in it


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"credential": "provider:hush"}, "AuthenticationException.*EXCHANGE_CREDENTIAL"),
        ({"host_key": None}, "its host key is not known.*ssh-keyscan"),
        (
            {"host_key": asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()},
            "another host key.*do not connect",
        ),
        ({"address": "sub/"}, "no such folder"),
    ],
)
def test_what_cannot_be_read_is_refused_with_where_what_and_the_next_step(
    server: SftpServer, change: dict[str, Any], says: str
) -> None:
    if "address" in change:
        change = {"address": server.address + change["address"]}
    sleeps: list[float] = []
    with pytest.raises(SourceError, match=f"sftp://127.0.0.1:{server.port}/.*{says}") as refused:
        ask(connector(server, sleep=sleeps.append, **change))
    assert sleeps == []
    assert "hush" not in str(refused.value)


def test_nobody_who_answers_is_named_after_the_stated_attempts(server: SftpServer) -> None:
    sleeps: list[float] = []
    with pytest.raises(SourceError, match=r"sftp://127.0.0.1:9/out.*the network"):
        ask(connector(server, address="sftp://127.0.0.1:9/out", sleep=sleeps.append))
    assert len(sleeps) == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"address": "https://files.example.org/"}, "no SFTP server"),
        ({"address": "sftp://files.example.org:abc/"}, "the port is none"),
        ({"address": "sftp://files.example.org:99999/"}, "the port is none"),
        ({"credential": "hush"}, "has no colon"),
        ({"address": "sftp://me:hush@files.example.org/"}, "take the credentials out"),
        ({"credential": '{"user": "me", "pasword": "hush"}'}, "no JSON object with the keys user, password"),
        ({"credential": ""}, "needs a credential"),
    ],
)
def test_an_address_or_a_credential_of_another_form_is_refused_before_anything_is_asked(
    server: SftpServer, given: dict[str, str], says: str
) -> None:
    with pytest.raises(SourceError, match=says) as refused:
        connector(server, **given)
    assert "hush" not in str(refused.value)
    assert server.connections == 0
