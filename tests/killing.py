"""Death for real: a process of its own that ends itself by SIGKILL at its so-manieth call of the lake or the index."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

from lakehouse.exchange import Exchange
from lakehouse.settings import Settings
from tests.dying import Fuse, mortal

Work = Callable[[Exchange, Any], None]
_SECONDS = 120


class _Killing(Fuse):
    """Where others raise, this one leaves no time for anything: no handler, no `finally`, no other thread."""

    def burn(self) -> None:
        with self._lock:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def killed(settings: Settings, work: Work, argument: Any, *, calls: int) -> bool:
    """Runs `work(exchange, argument)` in a process that is killed at the call after so many. Whether it was; one
    that ended otherwise than well fails the test."""
    # A server that has imported all, and forks once for each: no process of many threads is forked, and none begins
    # with a second of imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.killing", "lakehouse.storage.s3", work.__module__])
    process = context.Process(target=_die, args=(settings, work, argument, calls, dict(os.environ)))
    process.start()
    process.join(_SECONDS)
    assert process.exitcode in (0, -signal.SIGKILL), f"the process ended with {process.exitcode}"
    return process.exitcode != 0


def _die(settings: Settings, work: Work, argument: Any, calls: int, environment: dict[str, str]) -> None:
    # The server has that of its first death, which may have been on another store.
    os.environ.update(environment)
    exchange, _ = mortal(Exchange(settings), calls, fuse=_Killing(calls))
    work(exchange, argument)
