"""The connector for paged JSON APIs over HTTP: complete, in order, verbatim, or a SourceError."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NoReturn

import httpx
from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception,
    stop_after_attempt,
    wait_exception,
    wait_exponential_jitter,
)

from lakehouse.contracts.extract import PagedJsonApi
from lakehouse.sources.page import Asked, Page, SourceError
from lakehouse.sources.retry_after import retry_after_seconds, worth_retrying

_log = logging.getLogger(__name__)

# The loopback server must be reached where the environment names a proxy for everything else.
_NEVER_BY_PROXY: dict[str, httpx.BaseTransport | None] = {"all://127.0.0.1": None, "all://localhost": None}

_NEXT_STEP = {
    401: "the source wants credentials, or others: see its terms",
    403: "the source does not let us in: see its terms",
    404: "check `path` in the contract's exchange.extract, and the base URL",
    429: "the source wants fewer requests: lower max_requests_per_second or raise page_size, and run again",
}


class PagedJsonConnector:
    """Pages of one dataset by offset and limit, each row once.

    A page is asked for again, with growing and jittered pauses, after 429, 5xx, a lost connection or a
    timeout; a Retry-After is waited out on top. Redirects are followed on the same host only.
    If the set moves between two pages (another total, a page of another length) the extract is refused
    rather than patched: the caller runs it again.
    """

    def __init__(self, *, arguments: PagedJsonApi, base_url: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """`sleep` takes seconds; every pause, of back-off or of rate, goes through it.

        Raises SourceError if `base_url` is not http or https, or carries credentials.
        """
        url = httpx.URL(base_url)
        if url.scheme not in ("http", "https") or not url.host:
            raise SourceError(f"base URL {url!r}: give one such as https://api.example.org")
        if url.userinfo:
            raise SourceError(f"base URL {url!r}: take the credentials out, they would end in logs")
        self._arguments = arguments
        self._url = url.copy_with(path=url.path.rstrip("/") + arguments.path, query=None, fragment=None)
        self._sleep = sleep
        self._last_request = float("-inf")

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the pages of the interval, whose bounds must have a time zone and fit `time_format`.

        No page comes when the interval holds no rows. Raises SourceError.
        """
        start, end = asked.start, asked.end
        bounds = self._bounds(start=start, end=end)
        stem = f"{_file_stem(self._arguments.path)}_{_compact(start)}_{_compact(end)}"
        with httpx.Client(
            timeout=self._arguments.timeout_seconds,
            follow_redirects=True,
            max_redirects=5,
            mounts=_NEVER_BY_PROXY,
            event_hooks={"request": [self._stay_on_host]},
        ) as client:
            offset, total = 0, None
            while total is None or offset < total:
                url = self._page_url(bounds=bounds, offset=offset)
                content = self._fetch(client=client, url=url)
                fetched_at = datetime.now(UTC)
                rows, total = self._count(content=content, url=url, offset=offset, total_before=total)
                if rows:
                    name = f"{stem}_{offset:06d}.json"
                    path = asked.folder / name
                    path.write_bytes(content)
                    yield Page(name=name, path=path, rows=rows, url=str(url), fetched_at=fetched_at)
                offset += rows

    def _bounds(self, *, start: datetime, end: datetime) -> dict[str, str]:
        """The interval as query parameters."""
        if start.tzinfo is None or end.tzinfo is None or start >= end:
            raise SourceError(f"interval [{start}, {end}): give a start before an end, both with a time zone")
        form = self._arguments.time_format
        bounds = {}
        for key, bound in (
            (self._arguments.start_parameter, start.astimezone(UTC)),
            (self._arguments.end_parameter, end.astimezone(UTC)),
        ):
            bounds[key] = bound.strftime(form)
            read_back = datetime.strptime(bounds[key], form)
            if (read_back if read_back.tzinfo else read_back.replace(tzinfo=UTC)) != bound:
                # A rounded bound would ask for another interval than the one that is recorded.
                raise SourceError(f"{key} {bound} cannot be written as {form!r}: choose bounds that fit")
        return bounds

    def _page_url(self, *, bounds: dict[str, str], offset: int) -> httpx.URL:
        """The request for one page; the same for the same interval and offset."""
        return self._url.copy_merge_params(
            self._arguments.parameters
            | bounds
            | {
                self._arguments.offset_parameter: str(offset),
                self._arguments.limit_parameter: str(self._arguments.page_size),
            }
        )

    def _fetch(self, *, client: httpx.Client, url: httpx.URL) -> bytes:
        """The body of a successful answer. Raises SourceError when the attempts are used up."""
        retrying = Retrying(
            stop=stop_after_attempt(self._arguments.attempts),
            retry=retry_if_exception(worth_retrying),
            wait=wait_exception(retry_after_seconds) + wait_exponential_jitter(initial=1, max=60),
            sleep=self._sleep,
            before_sleep=before_sleep_log(_log, logging.WARNING),
            reraise=True,
        )
        try:
            return retrying(self._get, client=client, url=url)
        except httpx.HTTPError as error:
            _give_up(error=error, url=url, attempts=retrying.statistics["attempt_number"])

    def _get(self, *, client: httpx.Client, url: httpx.URL) -> bytes:
        """One request, no sooner after the one before than the rate allows."""
        if rate := self._arguments.max_requests_per_second:
            pause = self._last_request + 1 / rate - time.monotonic()
            if pause > 0:
                self._sleep(pause)
            self._last_request = time.monotonic()
        return client.get(url).raise_for_status().content

    def _stay_on_host(self, request: httpx.Request) -> None:
        """Refuse a redirect that leads to another host, or from https to http."""
        if request.url.host != self._url.host or (self._url.scheme, request.url.scheme) == ("https", "http"):
            raise SourceError(
                f"GET {self._url} was redirected to {request.url.scheme}://{request.url.host}: not followed; "
                "if the source has moved, change the base URL"
            )

    def _count(self, *, content: bytes, url: httpx.URL, offset: int, total_before: int | None) -> tuple[int, int]:
        """Rows of the page and of the interval, both as the answer has them and as they must be."""
        rows, total = _read_counts(content=content, url=url, arguments=self._arguments)
        if total_before is not None and total != total_before:
            raise SourceError(
                f"GET {url} counts {total} rows where the page before counted {total_before}: "
                "the set moved while paging; run the extract again"
            )
        expected = min(self._arguments.page_size, total - offset)
        if rows != expected:
            raise SourceError(
                f"GET {url} gave {rows} rows of {total} where {expected} were due: the set moved while "
                f"paging (run the extract again) or the source caps its pages (set page_size to its cap)"
            )
        return rows, total


def _read_counts(*, content: bytes, url: httpx.URL, arguments: PagedJsonApi) -> tuple[int, int]:
    """Length of the list of records and the total that the answer states."""
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise SourceError(
            f"GET {url} did not answer JSON ({error}) but {content[:300]!r}: "
            "check `path` in the contract's exchange.extract, and the base URL"
        ) from error
    if not isinstance(answer, dict):
        raise SourceError(f"GET {url} answered a JSON {type(answer).__name__} where an object was due")
    records, total = answer.get(arguments.records), answer.get(arguments.total)
    if not isinstance(records, list) or type(total) is not int:
        raise SourceError(
            f"GET {url} answered an object with the keys {sorted(answer)}, where {arguments.records!r} "
            f"should be a list and {arguments.total!r} a whole number: "
            "set `records` and `total` in the contract's exchange.extract"
        )
    return len(records), total


def _give_up(*, error: httpx.HTTPError, url: httpx.URL, attempts: int) -> NoReturn:
    """Say what came of the last attempt and what to do about it."""
    tries = f"{attempts} attempt{'s' if attempts > 1 else ''}"
    if isinstance(error, httpx.HTTPStatusError):
        status, body = error.response.status_code, error.response.text[:300]
        step = _NEXT_STEP.get(status, "check `parameters` in the contract's exchange.extract")
        if status >= 500:
            step = "the source is out of order: run the extract again later"
        wait = retry_after_seconds(error)
        asked = f", asking to wait {wait:.0f} s" if wait else ""
        message = f"GET {url} answered {status}{asked} ({tries}): {body!r}; {step}"
    else:
        message = (
            f"GET {url} failed ({tries}): {type(error).__name__}: {error}; "
            "check the base URL and the network, or raise timeout_seconds"
        )
    raise SourceError(message) from error


def _file_stem(path: str) -> str:
    """The last part of the path, safe as a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", path.rstrip("/").rsplit("/", 1)[-1])


def _compact(moment: datetime) -> str:
    """A moment in UTC for a file name: 20240101T0000Z, with seconds where it has any."""
    utc = moment.astimezone(UTC)
    return utc.strftime("%Y%m%dT%H%M%SZ" if utc.second or utc.microsecond else "%Y%m%dT%H%MZ")
