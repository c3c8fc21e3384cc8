"""What is asked of the plain rows alone, answered by one thread while another goes the exact way with the rest."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.contested import own_contested
from lakehouse.landing.pieces import Places
from lakehouse.landing.plain_measures import Measured, measure_plain
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.profile import spread_of


class PlainLook:
    """Looks at all plain rows as they are when it begins: once every file is read that has any."""

    def __init__(self, contract: Contract, plain: PlainRows) -> None:
        self._contract, self._plain = contract, plain
        self._pool = ThreadPoolExecutor(1)
        self._contested: Future[Places] | None = None
        self._measured: Future[dict[str, Measured]] | None = None

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
        self._measured = self._pool.submit(measure_plain, frames, self._contract, spread=spread_of(self._contract))

    def begin_again(self) -> None:
        """Looks anew, at the rows as they are now."""
        self._contested = self._measured = None
        self.begin()

    def contested(self) -> Places | None:
        """The lines, sorted, of rows that share their key with another of them."""
        self.begin()
        return None if self._contested is None else self._contested.result()

    def measured(self) -> dict[str, Measured]:
        """What a profile asks of them."""
        self.begin()
        return {} if self._measured is None else self._measured.result()
