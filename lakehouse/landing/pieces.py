"""A text file whose lines are its records, in pieces of whole lines: bounded memory, and work for several threads."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

# Large enough that what is done once a piece does not count, small enough that several fit into memory.
PIECE_BYTES = 16 << 20
LINE_END = 10

Places = np.ndarray[Any, np.dtype[np.int64]]
Marks = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Piece:
    """Whole lines, each with its end."""

    text: bytes

    @cached_property
    def lines(self) -> int:
        return self.text.count(b"\n")

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
