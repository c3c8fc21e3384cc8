"""Which failures of an HTTP source pass by themselves, and how long it asks us to wait."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

# A longer wait belongs to the scheduler, which can free the slot, and not to a sleeping task.
LONGEST_WAIT_SECONDS = 600.0
# Not ready yet, too slow a request, locked, too early, too many: each says by itself that it will pass.
_PASSING = (202, 408, 423, 425, 429)


def retry_after_seconds(error: BaseException) -> float:
    """Seconds that the answer's Retry-After asks for, given as seconds or as a date; 0 without one."""
    if not isinstance(error, httpx.HTTPStatusError):
        return 0.0
    value: str = error.response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def worth_retrying(error: BaseException) -> bool:
    """True for a lost connection, a timeout, 5xx and what passes, unless the source asks for too long a wait."""
    if isinstance(error, httpx.HTTPStatusError):
        passing = error.response.status_code in _PASSING or error.response.is_server_error
        return passing and retry_after_seconds(error) <= LONGEST_WAIT_SECONDS
    return isinstance(error, httpx.TransportError)
