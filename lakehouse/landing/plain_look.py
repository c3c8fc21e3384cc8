"""What is done with the plain rows alone, by one thread, while another goes the exact way with the rest."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from types import TracebackType
from typing import Any

import numpy as np

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.contested import own_contested
from lakehouse.landing.moves import rows_move
from lakehouse.landing.pieces import Places
from lakehouse.landing.plain_measures import Measured, Measuring
from lakehouse.landing.plain_rows import PlainFrame, PlainRows
from lakehouse.landing.profile import spread_of
from lakehouse.landing.write_plain import Writing
from lakehouse.privacy.pseudonyms import hidden_columns


class PlainLook:
    """Looks at all plain rows as they are when it begins, once every file is read that has any, and writes below
    ``folder`` those that share their key with no other of them: mostly these are the ones to be stored."""

    def __init__(self, contract: Contract, delivery: dict[str, Any], plain: PlainRows, folder: Path) -> None:
        self._contract, self._delivery, self._plain, self._folder = contract, delivery, plain, folder
        # Ids are hidden in no draft, and a row that moves is written otherwise.
        self._drafts = not rows_move(contract) and not list(hidden_columns(contract))
        self._pool = ThreadPoolExecutor(1)
        self._contested: Future[Places] | None = None
        self._drafting: Future[Writing] | None = None
        self._drafted: Future[None] | None = None
        self._measuring: Measuring | None = None
        self._measured: Future[None] | None = None

    def __enter__(self) -> PlainLook:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self) -> None:
        """Does nothing where it has begun, or there is no row to look at."""
        if self._contested is not None or not self._plain.rows:
            return
        frames = list(self._plain.frames)
        self._plain.taken = []
        self._contested = self._pool.submit(own_contested, self._contract, frames)
        if self._drafts:
            self._drafting = self._pool.submit(self._draft, frames, self._contested)
            self._drafted = self._pool.submit(self._write, self._drafting)
        self._measuring = Measuring(frames, self._contract, spread=spread_of(self._contract))
        self._measured = self._pool.submit(self._measuring.join)

    def begin_again(self) -> None:
        """Looks anew, at the rows as they are now."""
        self._contested = self._drafting = self._drafted = self._measured = None
        self.begin()

    def contested(self) -> Places | None:
        """The lines, sorted, of rows that share their key with another of them."""
        self.begin()
        return None if self._contested is None else self._contested.result()

    def drafted(self) -> dict[Path, int] | None:
        """The files that hold the plain rows, each with its number of rows, where no others than those with the key of
        another plain one were taken out."""
        if self._contested is None or self._drafting is None or self._drafted is None:
            return None
        taken = np.sort(np.concatenate(self._plain.taken)) if self._plain.taken else np.empty(0, np.int64)
        writing = self._drafting.result()
        if not np.array_equal(taken, self._contested.result()):
            writing.give_up()
            return None
        # Who asks has nothing else to do.
        writing.join()
        if self._measuring is not None:
            self._measuring.join()
        self._drafted.result()
        return writing.rows

    def measured(self) -> dict[str, Measured]:
        """What a profile asks of them."""
        self.begin()
        if self._measuring is None or self._measured is None:
            return {}
        self._measuring.join()
        if not self._measured.cancel():
            self._measured.result()
        return self._measuring.found

    def _draft(self, frames: list[PlainFrame], contested: Future[Places]) -> Writing:
        lines = contested.result()
        kept = [frame.without(frame.places_of(lines)) for frame in frames]
        rmtree(self._folder, ignore_errors=True)
        return Writing(
            self._contract, self._delivery, [frame for frame in kept if frame.rows], self._folder, "part-0", {}
        )

    def _write(self, drafting: Future[Writing]) -> None:
        drafting.result().join()
