"""A text file whose lines are its records, in pieces of whole lines: bounded memory, and work for several threads."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from io import BufferedReader, BytesIO
from pathlib import Path
from threading import local
from typing import Any, TypeVar

import numpy as np
import polars as pl

from lakehouse.landing.lines import MAX_LINE_BYTES
from lakehouse.landing.text import NotPlain, refuse_no_text

# Large enough that what is done once a piece does not count, small enough that several fit into memory.
PIECE_BYTES = 24 << 20
# Of fewer pieces that are longer some threads would have none.
SEVERAL = 4
LINE_END = 10
LAST_ASCII = 127
# Below it are the signs that control, line ends among them.
USUAL = 14
# Without an end in so many bytes a line may be too long to be read.
WINDOW = MAX_LINE_BYTES // 2
# Pieces read ahead of the one that is worked on.
AHEAD = 3
# Of the lines: more that may lack fields than this are counted one by one.
FEW_SHORT = 0.02
# Of the lines: with more to be found, all are looked for.
FEW_LINES = 0.05

Given = TypeVar("Given")
Made = TypeVar("Made")
Places = np.ndarray[Any, np.dtype[np.int64]]
Marks = np.ndarray[Any, np.dtype[np.bool_]]


class Room(local):
    """Memory for the bytes of a piece, each thread's own: used again once nobody holds these, for fresh memory is
    dear. Where somebody does, they are left to him."""

    def __init__(self) -> None:
        self._bytes = BytesIO()

    def filled(self, file: int, start: int, size: int) -> bytes:
        """So many bytes of an open file, or fewer at its end."""
        known = self._bytes.seek(0, os.SEEK_END)
        if known < size // 2:
            # To make so much room would fill it with zeros first, and hold Python's lock meanwhile.
            self._bytes = BytesIO(os.pread(file, size, start))
            return self._bytes.getvalue()
        if known < size:
            self._bytes.seek(size - 1)
            self._bytes.write(b"\0")
        self._bytes.truncate(size)
        with self._bytes.getbuffer() as memory:
            found = os.preadv(file, [memory], start)
        self._bytes.truncate(found)
        return self._bytes.getvalue()


@dataclass(frozen=True)
class Extent:
    """Where in a file some whole lines are, in bytes."""

    path: Path
    start: int
    end: int

    def read(self, room: Room | None = None) -> Piece:
        """``room``: where its bytes are to be."""
        with self.path.open("rb", buffering=0) as file:
            text = (room or Room()).filled(file.fileno(), self.start, self.end - self.start)
            if text.endswith(b"\n"):
                return Piece(text)
            before = os.pread(file.fileno(), min(self.start, 2), max(self.start - 2, 0)) + text
        # As the others': DuckDB gives up a file whose last line alone ends otherwise.
        end = b"\r\n" if before[: before.rfind(b"\n") + 1].endswith(b"\r\n") else b"\n"
        return Piece(text + end, given=len(end))

    def first(self, size: int) -> Piece:
        """Of so many bytes, or a few more, up to the end of a line."""
        with self.path.open("rb") as file:
            return replace(self, end=_line_end(file, min(self.start + size, self.end))).read()


@dataclass(frozen=True)
class Piece:
    """Whole lines, each with its end; ``given``: of how many bytes the last one's is where the file has none."""

    text: bytes
    given: int = 0

    @cached_property
    def lines(self) -> int:
        return int(self._ended[-1]) if len(self._ended) else 0

    @cached_property
    def bytes_(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.frombuffer(self.text, np.uint8)

    @cached_property
    def ends(self) -> Places:
        """Where each line ends, in bytes."""
        return np.flatnonzero(self.bytes_ == LINE_END)

    @cached_property
    def _end_bits(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """A bit for each byte, the first one the lowest of a word: whether a line ends there."""
        found = (pl.Series(self.bytes_) == LINE_END).to_arrow().buffers()[1]
        size = -(-len(self.text) // 8)
        words = np.zeros(-(-size // 8), np.uint64)
        words.view(np.uint8)[:size] = np.frombuffer(found, np.uint8)[:size]
        return words

    @cached_property
    def _ended(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """How many lines end up to each word's end."""
        return np.cumsum(np.bitwise_count(self._end_bits), dtype=np.int32)

    def ends_of(self, places: Places) -> Places:
        """Where the lines at these places end, in bytes: where they are few, without looking for all."""
        if len(places) > FEW_LINES * self.lines:
            return self.ends[places]
        # Of one type: all of the others would be made of the wider one first.
        words = np.searchsorted(self._ended, places.astype(np.int32), side="right")
        bits = self._end_bits[words]
        before = places - (self._ended[words] - np.bitwise_count(bits))
        # Ends before the wanted one in its word are the lowest bits: these are taken away, the lowest of each at once.
        for number in range(int(before.max(initial=0))):
            bits = np.where(before > number, bits & (bits - 1), bits)
        ends: Places = words * 64 + np.bitwise_count((bits & -bits) - 1)
        return ends

    @cached_property
    def _is_usual(self) -> bool:
        """Whether line ends are all that is beyond ASCII or controls something. One look tells: of bytes as whole
        numbers with a sign, those beyond ASCII are the least, and then come the signs that control."""
        return int((pl.Series(self.bytes_.view(np.int8)) < USUAL).sum()) == self.lines

    def count(self, byte: bytes) -> int:
        """As that of ``text``, which holds Python's lock meanwhile."""
        return int((pl.Series(self.bytes_) == byte[0]).sum())

    def has(self, byte: bytes) -> bool:
        """As ``in``, which holds Python's lock meanwhile."""
        if byte in b"\0\r" and self._is_usual:
            return False
        return bool((pl.Series(self.bytes_) == byte[0]).any())

    def plain_end(self, encoding: str) -> bytes | None:
        """The end of its lines, of a file that has not been surveyed; ``None`` where its one line has none.

        ``encoding``: one that is plain. Raises :class:`NotPlain` where bytes are no text, ends are of two kinds, or a
        line may be a long one.
        """
        # A line twice as long as a window takes in a whole one.
        windows = self._ended[:: WINDOW // 64]
        if (windows[1:] == windows[:-1]).any():
            raise NotPlain
        if not self._is_usual and self.bytes_.max(initial=0) > LAST_ASCII:
            refuse_no_text(self.text, encoding)
        ends = self.lines - (self.given > 0)
        if not self.has(b"\r"):
            return b"\n" if ends else None
        text = self.text[: len(self.text) - self.given]
        if not text.count(b"\r") == text.count(b"\r\n") == ends:
            raise NotPlain
        return b"\r\n"

    def gathered(self, places: Places) -> bytes:
        """The lines at these places, counted from 0, in their order."""
        behind = self.ends_of(places) + 1
        starts = np.where(places > 0, self.ends_of(np.maximum(places - 1, 0)) + 1, 0)
        # Slices by the interpreter's own map: places of single bytes would take twenty times as long.
        return b"".join(map(self.text.__getitem__, map(slice, starts.tolist(), behind.tolist())))

    def count_each(self, byte: bytes) -> Places:
        """How often a byte stands in each line."""
        found = np.flatnonzero(self.bytes_ == byte[0])
        return np.diff(np.searchsorted(found, self.ends), prepend=0)


def head_of(path: Path, lines: int) -> bytes:
    """The first lines of a file. Raises :class:`NotPlain` where one is too long, or there are fewer whole ones."""
    with path.open("rb") as file:
        found = [bounded_line(file) for _ in range(lines)]
    if found and not found[-1].endswith(b"\n"):
        raise NotPlain
    return b"".join(found)


def extents(path: Path, *, skip: int, longer: float = 1) -> Iterator[Extent]:
    """Where the pieces are of the file's lines after the first ``skip``, without a mark of its encoding; the last line
    has an end in any case. ``longer``: than usual, so many times, in a file that gives several of such. Raises
    :class:`NotPlain` where a line is too long."""
    with path.open("rb") as file:
        for _ in range(skip):
            bounded_line(file)
        start = file.tell()
        if start == 0 and file.read(len(BOM_UTF8)) == BOM_UTF8:
            start = len(BOM_UTF8)
        size = os.fstat(file.fileno()).st_size
        length = int(min(longer * PIECE_BYTES, max(PIECE_BYTES, size / SEVERAL)))
        while start < size:
            end = _line_end(file, min(start + length, size))
            yield Extent(path, start, end)
            start = end


def _line_end(file: BufferedReader, place: int) -> int:
    """The first place from here on behind the end of a line, or the end of the file."""
    file.seek(place - 1)
    return place - 1 + len(bounded_line(file))


def bounded_line(file: BufferedReader) -> bytes:
    """The next line. Raises :class:`NotPlain` where it is too long: a file may be one line, and larger than memory."""
    line = file.readline(MAX_LINE_BYTES + 1)
    if len(line) > MAX_LINE_BYTES:
        raise NotPlain
    return line


def one_end(known: bytes | None, found: bytes | None) -> bytes | None:
    """The line end that parts of a file have, if any. Raises :class:`NotPlain` where these are two."""
    if known and found and known != found:
        raise NotPlain
    return known or found


def wrong_fields(
    piece: Piece, delimiter: bytes, between: int, short: Marks, within: Callable[[], Places] | None = None
) -> Marks:
    """Lines with more delimiters or fewer than ``between``. All that are not ``short`` have as many at least.

    ``within``: how many of each line stand within quotes, and do not count.
    """
    places = np.flatnonzero(short)
    if len(places) <= FEW_SHORT * piece.lines:
        # Then the sum tells whether one has more.
        found = piece.count(delimiter) - piece.gathered(places).count(delimiter)
        if found == between * (piece.lines - len(places)):
            return np.array(short, bool)
    counts = piece.count_each(delimiter)
    return np.not_equal(counts - within() if within else counts, between)


def in_turn(pool: ThreadPoolExecutor, work: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """What comes of each, in order; a few are worked on beside each other."""
    waiting: deque[Future[Made]] = deque()
    for one in given:
        waiting.append(pool.submit(work, one))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
