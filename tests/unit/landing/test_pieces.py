"""Pieces of a file in memory that is used again."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from lakehouse.landing import pieces
from lakehouse.landing.pieces import Extent, Piece, Room, extents

LINES = [b"%d,%s\n" % (n, b"x" * (n % 13)) for n in range(1000)]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1 << 10)
    path = tmp_path / "a.csv"
    path.write_bytes(b"".join(LINES))
    return path


def test_pieces_read_one_behind_the_other_are_the_file(file: Path) -> None:
    room = Room()
    found = b"".join(bytes(bytearray(extent.read(room).text)) for extent in extents(file, skip=3))
    assert found == b"".join(LINES[3:])


def test_a_piece_that_somebody_holds_stays_as_it_is(file: Path) -> None:
    room = Room()
    held = [extent.read(room) for extent in extents(file, skip=0)]
    assert len(held) > 5
    assert b"".join(piece.text for piece in held) == b"".join(LINES)


def test_what_looks_at_bytes_holds_them_too(file: Path) -> None:
    room = Room()
    first, second = list(extents(file, skip=0))[:2]
    # The piece itself is gone then.
    seen = first.read(room).bytes_
    again = second.read(room).text
    assert seen.tobytes() + again == file.read_bytes()[: second.end]


def test_each_thread_has_a_room_of_its_own(file: Path) -> None:
    room = Room()
    first, second = list(extents(file, skip=0))[:2]
    kept, other = first.read(room), list[Piece]()
    thread = Thread(target=lambda: other.append(second.read(room)))
    thread.start()
    thread.join()
    assert kept.text + other[0].text == file.read_bytes()[: second.end]


def test_bytes_that_are_gone_are_not_those_of_the_piece_before(file: Path) -> None:
    room = Room()
    first = next(extents(file, skip=0))
    length = len(first.read(room).text)
    cut = Extent(file, file.stat().st_size - 5, file.stat().st_size - 5 + length)
    assert cut.read(room).text == file.read_bytes()[-5:]
