"""Death at any moment: after so many calls of the lake and the index, nothing is done any more."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lakehouse.exchange import Exchange


class Died(BaseException):
    """Not an Exception, for a process that is killed handles none."""


class Fuse:
    """Burns down by one a call; from then on every call dies."""

    def __init__(self, calls: int) -> None:
        self.left = calls
        self._lock = threading.Lock()

    @property
    def dead(self) -> bool:
        return self.left < 0

    def burn(self) -> None:
        with self._lock:
            if self.left >= 0:
                self.left -= 1
            if self.left < 0:
                raise Died


class _Mortal:
    """Passes every call on to another object, while the fuse lasts."""

    def __init__(self, whole: Any, fuse: Fuse) -> None:
        self._whole, self._fuse = whole, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._whole, name)
        if not callable(found):
            return found
        if name == "begin":
            return lambda: self._transaction(found)

        def call(*arguments: Any, **named: Any) -> Any:
            self._fuse.burn()
            return found(*arguments, **named)

        return call

    @contextmanager
    def _transaction(self, begin: Callable[[], Any]) -> Iterator[Any]:
        self._fuse.burn()
        with begin() as connection:
            yield connection
            # Death before the commit: what was done in it is undone.
            self._fuse.burn()


def mortal(exchange: Exchange, calls: int, *, fuse: Fuse | None = None) -> tuple[Exchange, Fuse]:
    """The same exchange in a process that dies at the call after so many."""
    fuse, opened = fuse or Fuse(calls), Exchange(exchange.settings)
    opened.__dict__["lake"] = _Mortal(exchange.lake, fuse)
    opened.__dict__["index"] = _Mortal(exchange.index, fuse)
    return opened, fuse


class Stage(Protocol):
    """Where something is done: an exchange in a folder."""

    @property
    def exchange(self) -> Exchange: ...


At = TypeVar("At", bound=Stage)


def dies_everywhere(
    folder: Path, make: Callable[[Path], At], work: Callable[[Exchange, At], Any], after: Callable[[At], Any], *,
    step: int = 1,
) -> int:  # fmt: skip
    """Runs `work` on a stage of its own each time, dying `step` calls later than before, until it ends alive. `after`
    judges each, the one that nothing befell too. Returns at how many calls it ended alive."""
    calls = 0
    while True:
        place = folder / str(calls)
        stage = make(place)
        exchange, fuse = mortal(stage.exchange, calls)
        with suppress(Died):
            work(exchange, stage)
        try:
            after(stage)
        except BaseException as error:
            error.add_note(f"killed after {calls} calls")
            raise
        stage.exchange.index.close()
        shutil.rmtree(place)
        if not fuse.dead:
            return calls
        calls += step
