"""A text file whose lines are its records, in pieces of whole lines: bounded memory, and work for several threads."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

# Large enough that what is done once a piece does not count, small enough that several fit into memory.
PIECE_BYTES = 16 << 20
LINE_END = 10
# Pieces read ahead of the one that is worked on.
AHEAD = 2
# Of the lines: more that may lack fields than this are counted one by one.
FEW_SHORT = 0.02

Given = TypeVar("Given")
Made = TypeVar("Made")
Places = np.ndarray[Any, np.dtype[np.int64]]
Marks = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Piece:
    """Whole lines, each with its end."""

    text: bytes

    @cached_property
    def lines(self) -> int:
        return len(self.ends)

    def first(self, size: int) -> bytes:
        """So many bytes, or a few more, up to the end of a line."""
        return self.text[: self.text.find(b"\n", min(size, len(self.text) - 1)) + 1]

    @cached_property
    def bytes_(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.frombuffer(self.text, np.uint8)

    @cached_property
    def ends(self) -> Places:
        """Where each line ends, in bytes."""
        return np.flatnonzero(self.bytes_ == LINE_END)

    def gathered(self, places: Places) -> bytes:
        """The lines at these places, counted from 0, in their order."""
        ends = self.ends[places]
        starts = np.where(places > 0, self.ends[places - 1] + 1, 0)
        lengths = ends + 1 - starts
        before = np.cumsum(lengths) - lengths
        wanted = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
        return bytes(self.bytes_[wanted])

    def count_each(self, byte: bytes) -> Places:
        """How often a byte stands in each line."""
        found = np.flatnonzero(self.bytes_ == byte[0])
        return np.diff(np.searchsorted(found, self.ends), prepend=0)


def pieces(path: Path, *, skip: int) -> Iterator[Piece]:
    """The file's lines after the first ``skip``, without a mark of its encoding; the last has an end in any case."""
    with path.open("rb") as file:
        for _ in range(skip):
            file.readline()
        start = file.tell()
        if start == 0 and file.read(len(BOM_UTF8)) == BOM_UTF8:
            start = len(BOM_UTF8)
        size = os.fstat(file.fileno()).st_size
        while start < size:
            end = _line_end(file, min(start + PIECE_BYTES, size))
            text = os.pread(file.fileno(), end - start, start)
            yield Piece(text if text.endswith(b"\n") else text + b"\n")
            start = end


def _line_end(file: BufferedReader, place: int) -> int:
    """The first place from here on behind the end of a line, or the end of the file."""
    file.seek(place - 1)
    return place - 1 + len(file.readline())


def wrong_fields(
    piece: Piece, delimiter: bytes, between: int, short: Marks, within: Callable[[], Places] | None = None
) -> Marks:
    """Lines with more delimiters or fewer than ``between``. All that are not ``short`` have as many at least.

    ``within``: how many of each line stand within quotes, and do not count.
    """
    places = np.flatnonzero(short)
    if len(places) <= FEW_SHORT * piece.lines:
        # Then the sum tells whether one has more.
        found = int((pl.Series(piece.bytes_) == delimiter[0]).sum()) - piece.gathered(places).count(delimiter)
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
