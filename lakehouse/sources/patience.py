"""How a connector waits: no more requests a second than it may make, and growing pauses after a lost connection."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)
from tenacity.wait import wait_base

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Patience:
    """`sleep` takes seconds; every pause, of back-off or of rate, goes through it."""

    def __init__(
        self,
        *,
        attempts: int,
        max_requests_per_second: float | None,
        passes: Callable[[BaseException], bool],
        sleep: Callable[[float], None],
        besides: wait_base | None = None,
        masked: Callable[[str], str] = str,
    ) -> None:
        """`passes` tells a fault that may pass by itself from one that will not; `besides` is waited on top of the
        growing pauses; `masked` takes out of a fault's words what no log may hold."""
        self._rate = max_requests_per_second
        self._sleep = sleep
        self._masked = masked
        self._last_request = float("-inf")
        growing = wait_exponential_jitter(initial=1, max=60)
        self._retrying = Retrying(
            stop=stop_after_attempt(attempts),
            retry=retry_if_exception(passes),
            wait=growing if besides is None else besides + growing,
            sleep=sleep,
            before=self._pace,
            before_sleep=self._log_fault,
            reraise=True,
        )

    def __call__(self, request: Callable[[], T]) -> T:
        """What the request returns; raises what it raised last."""
        return self._retrying(request)

    @property
    def attempts(self) -> int:
        """How often the last request was tried."""
        return int(self._retrying.statistics["attempt_number"])

    def _pace(self, _: RetryCallState) -> None:
        if self._rate:
            pause = self._last_request + 1 / self._rate - time.monotonic()
            if pause > 0:
                self._sleep(pause)
            self._last_request = time.monotonic()

    def _log_fault(self, state: RetryCallState) -> None:
        fault = state.outcome.exception() if state.outcome else None
        words = self._masked(f"{type(fault).__name__}: {fault}")
        pause = state.next_action.sleep if state.next_action else 0
        _log.warning("attempt %d failed, the next one in %.1f s: %s", state.attempt_number, pause, words)
