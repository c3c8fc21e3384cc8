"""How every connector over HTTP asks: patiently, at the rate that is allowed, of no other host, into a file."""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx
from tenacity import wait_exception

from lakehouse.contracts.extract_http import HttpExtract
from lakehouse.sources.encoded import decoded, steady
from lakehouse.sources.http_credential import HttpCredential
from lakehouse.sources.link_header import links
from lakehouse.sources.page import NotThere, SourceError
from lakehouse.sources.patience import Patience
from lakehouse.sources.retry_after import retry_after_seconds, worth_retrying
from lakehouse.sources.secret import Secret
from lakehouse.sources.transfer import Transfer

# It writes down every URL, and those that a source redirects to may be signed.
logging.getLogger("httpx").setLevel(logging.WARNING)

# The loopback server must be reached where the environment names a proxy for everything else.
_NEVER_BY_PROXY: dict[str, httpx.BaseTransport | None] = {"all://127.0.0.1": None, "all://localhost": None}

_NEXT_STEP = {
    202: "the source has not made it ready yet: run the extract again later",
    204: "nothing is there: check `path` in the contract's exchange.extract, or run the extract again later",
    401: "the source wants credentials, or others: see its terms",
    403: "the source does not let us in: see its terms",
    404: "check `path` in the contract's exchange.extract, and the base URL",
    410: "it is there no more: correct `path` in the contract's exchange.extract, or the base URL",
    429: "the source wants fewer requests: lower max_requests_per_second or raise page_size, and run again",
    **dict.fromkeys((408, 423, 425), "the source cannot answer now: run the extract again later"),
}
# Without one of these "not changed" (304) says nothing.
_CONDITIONS = {"If-None-Match", "If-Modified-Since"}
_NO_PLACE = (204, 400, 404, 410, 416, 422)
# Successes, and yet nothing that was asked for: it is still being made, or there is nothing.
_WITHOUT_CONTENT = (202, 204, 205)
_READ_OF_A_REFUSAL = 16 << 10


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer; its body is in `path`, transfer encodings undone. `changed` is false for 304, without a body.

    `url` is what was asked, and is asked again for the next page by its place; `came_from` is where redirects led, and
    what relative links of the answer are relative to.
    """

    url: httpx.URL
    came_from: httpx.URL
    path: Path
    headers: httpx.Headers
    links: Mapping[str, str]
    fetched_at: datetime
    changed: bool


class _RefusedAnswer(httpx.HTTPStatusError):
    """An answer that is not what was asked for, by its status, and how its body begins."""

    def __init__(self, response: httpx.Response, *, seconds: float) -> None:
        super().__init__(f"status {response.status_code}", request=response.request, response=response)
        begins = bytearray()
        with suppress(httpx.DecodingError):  # the status says more
            for chunk in steady(response, decoded(response), seconds=seconds):
                begins += chunk
                if len(begins) > _READ_OF_A_REFUSAL:
                    break
        self.begins = bytes(begins)


class HttpSource:
    """One server, asked within a `with` block.

    A request is repeated, with growing and jittered pauses, after a lost connection, a timeout or a status that passes
    by itself (as 202, 429, 5xx); a Retry-After is waited out on top. A transfer that broke off goes on where it was, if
    the server names what it serves (a strong ETag, or Last-Modified) and takes ranges. Redirects and links are followed
    on the same host, and those that the contract names, only.

    `credential` is one that :class:`lakehouse.sources.http_credential.HttpCredential` knows. It is sent to the server
    at `address` only, and no message holds it.
    """

    def __init__(
        self,
        *,
        arguments: HttpExtract,
        address: str,
        credential: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`sleep` takes seconds; every pause, of back-off or of rate, goes through it.

        Raises SourceError if `address` is not http or https, or carries credentials or a query.
        """
        try:
            url = httpx.URL(address)
        except httpx.InvalidURL as error:
            raise SourceError(f"base URL {address!r}: {error}; give one such as https://api.example.org") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise SourceError(f"base URL {url!r}: give one such as https://api.example.org")
        if url.userinfo:
            raise SourceError(f"base URL {url!r}: take the credentials out, they would end in logs")
        self._base = url.copy_with(path=url.path.rstrip("/") or "/", query=None, fragment=None)
        if url.query or url.fragment:
            raise SourceError(f"base URL {self._base}: take out what stands behind ? or #, it would not be asked for")
        self._arguments = arguments
        self._credential = HttpCredential.of(credential) if credential else None
        self._secret = Secret(self._credential.words if self._credential else [])
        self._patiently = Patience(
            attempts=arguments.attempts,
            max_requests_per_second=arguments.max_requests_per_second,
            passes=worth_retrying,
            sleep=sleep,
            besides=wait_exception(retry_after_seconds),
            masked=self._secret.masked,
        )

    def __enter__(self) -> Self:
        headers = httpx.Headers({"User-Agent": "city-data-exchange", "Accept-Encoding": "gzip"})
        headers.update(self._arguments.headers)
        self._client = httpx.Client(
            timeout=self._arguments.timeout_seconds,
            follow_redirects=True,
            max_redirects=5,
            headers=headers,
            mounts=_NEVER_BY_PROXY,
            event_hooks={"request": [self._sign], "response": [self._lead]},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        if isinstance(error, SourceError):  # also one of what was read, by who does not know the credential
            error.args = (self._secret.masked(str(error)),)

    def url(self, path: str, parameters: Mapping[str, str] | None = None) -> httpx.URL:
        """A place on the server."""
        url = self._base.copy_with(path=self._base.path.rstrip("/") + path)
        return url.copy_merge_params(dict(parameters)) if parameters else url

    def follow(self, answer: Answer, link: str) -> httpx.URL:
        """Where a link of an answer leads. Raises SourceError if it is none, or leads where it must not."""
        try:
            url = answer.came_from.join(link)
        except httpx.InvalidURL:  # its words would show a part of what is masked as a whole
            raise self.error(f"GET {answer.url} links to {self.excerpt(link)}, which is no URL") from None
        if url.userinfo:
            raise self.error(f"GET {answer.url} links to {url.host} with credentials in the URL: not followed")
        if self._base.scheme == "https" and url.scheme == "http" and (url.host, url.port) == (self._base.host, None):
            url = url.copy_with(scheme="https")  # what serves behind a proxy does not know how it was asked
        self._may_ask(url, f"GET {answer.url} links to", link)
        return url.copy_with(fragment=None)

    def fetch(self, url: httpx.URL, to: Path, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Asks until there is an answer, and writes its body into `to` as it comes.

        Raises SourceError when the attempts are used up, or the body is larger than `max_bytes`.
        """
        transfer = Transfer(to)
        try:
            return self._patiently(lambda: self._get(url, transfer, dict(headers or {})))
        except httpx.HTTPError as error:  # not its cause: a traceback would show what the source repeated
            raise self._given_up(error, url=url, attempts=self._patiently.attempts) from None

    def document(self, answer: Answer) -> Any:
        """The body as JSON, read into memory. Raises SourceError if it is none."""
        content = answer.path.read_bytes()
        try:
            return json.loads(_decoded(content, answer.headers))
        except (ValueError, RecursionError) as error:
            raise self.error(
                f"GET {answer.url} did not answer JSON ({error}) but {self.excerpt(content[:_READ_OF_A_REFUSAL])}: "
                "check `path` in the contract's exchange.extract, and the base URL"
            ) from None

    def error(self, message: str) -> SourceError:
        """The error to raise: the message without the credential, should the source have repeated it."""
        return SourceError(self._secret.masked(message))

    def begins(self, answer: Answer) -> bytes:
        """As much of a body as tells what came in place of what was due."""
        with answer.path.open("rb") as file:
            return file.read(_READ_OF_A_REFUSAL)

    def excerpt(self, text: str | bytes) -> str:
        """How an answer begins, for a message."""
        return self._secret.excerpt(text)

    def shown(self, url: httpx.URL) -> str:
        """A URL for a record, without the credential, should the source have linked with it."""
        return self._secret.masked(str(url))

    def _get(self, url: httpx.URL, transfer: Transfer, headers: Mapping[str, str]) -> Answer:
        limit, seconds = self._arguments.max_bytes, self._arguments.timeout_seconds
        with self._client.stream("GET", url, headers={**headers, **transfer.headers()}) as response:
            status = response.status_code
            if status == 416 and transfer.received:
                transfer.start_over()
                raise httpx.RemoteProtocolError("the source has not the rest of what it sent")
            changed = response.is_success and status not in _WITHOUT_CONTENT
            if not changed and not (status == 304 and headers.keys() & _CONDITIONS):
                raise _RefusedAnswer(response, seconds=seconds)
            if changed:
                resumed = transfer.received > 0
                going_on = transfer.takes_up(response)
                if resumed and status == 206 and not going_on:
                    raise httpx.RemoteProtocolError("the source sent no rest of the version that was begun")
                if status == 206 and not going_on:
                    raise self.error(
                        f"GET {url} answered with a part of what was asked for (206, "
                        f"{response.headers.get('Content-Range', 'no Content-Range')}): ask for less at a time, "
                        "with window_days or page_size"
                    )
                with transfer.path.open("ab" if going_on else "wb") as file:
                    for chunk in steady(response, decoded(response), seconds=seconds):
                        transfer.received += len(chunk)
                        if transfer.received > limit:
                            raise self.error(
                                f"GET {url} answers more than {limit:,} bytes: raise max_bytes, or ask for less"
                            )
                        file.write(chunk)
                if going_on and not transfer.whole():
                    raise httpx.RemoteProtocolError("the source sent a part of the rest")
            return Answer(
                url=url,
                came_from=self._credential.out_of(response.url) if self._credential else response.url,
                path=transfer.path,
                headers=response.headers,
                links=links(response.headers.get("Link", "")),
                fetched_at=datetime.now(UTC),
                changed=changed,
            )

    def _sign(self, request: httpx.Request) -> None:
        """Gives the credential to the server itself only."""
        if self._credential is None:
            return
        if self._own(request.url) and self._own_port(request.url):
            self._credential.give(request)
        else:
            self._credential.withhold(request)

    def _lead(self, response: httpx.Response) -> None:
        """Refuses a redirect that leads away, or nowhere: of that httpx would say more than may be shown."""
        if not response.has_redirect_location:
            return
        location = response.headers["Location"]
        try:
            url = response.url.join(location)
        except httpx.InvalidURL:
            url = httpx.URL()
        if not url.host:
            raise self.error(
                f"GET {response.url} was redirected to {self.excerpt(location)}, which is no address: run the extract "
                "again later, or correct the base URL"
            )
        self._may_ask(url, f"GET {self._base} was redirected to", location)
        response.headers["Location"] = str(url)

    def _own(self, url: httpx.URL) -> bool:
        downgraded = (self._base.scheme, url.scheme) == ("https", "http")
        return url.host == self._base.host and not downgraded

    def _own_port(self, url: httpx.URL) -> bool:
        """Another port may be another's; https at its usual port is no less the server's than what led there."""
        return url.port == self._base.port or (url.scheme == "https" and url.port is None)

    def _may_ask(self, url: httpx.URL, how: str, link: str) -> None:
        also = url.host in self._arguments.also_hosts and (self._base.scheme, url.scheme) != ("https", "http")
        if url.scheme not in ("http", "https") or not (self._own(url) or also):
            # A host that was made of the credential is masked no more.
            where = f"{url.scheme}://{url.host}" if link == self._secret.masked(link) else self.excerpt(link)
            raise self.error(
                f"{how} {where}: not followed; if the source has moved, change the base URL, "
                "if it keeps files there, add the host to also_hosts"
            )

    def _given_up(self, error: httpx.HTTPError, *, url: httpx.URL, attempts: int) -> SourceError:
        """Says what came of the last attempt and what to do about it."""
        tries = f"{attempts} attempt{'s' if attempts > 1 else ''}"
        if isinstance(error, _RefusedAnswer):
            status = error.response.status_code
            step = _NEXT_STEP.get(status, "check `parameters` in the contract's exchange.extract")
            if status >= 500:
                step = "the source is out of order: run the extract again later"
            wait = retry_after_seconds(error)
            asked = f", asking to wait {wait:.0f} s" if wait else ""
            came = self.excerpt(error.begins)
            message = self._secret.masked(f"GET {url} answered {status}{asked} ({tries}): {came}; {step}")
            return NotThere(message, status=status) if status in _NO_PLACE else SourceError(message)
        step = "check the base URL and the network, or raise timeout_seconds"
        if isinstance(error, httpx.DecodingError):
            step = "set `headers: {Accept-Encoding: identity}` in the contract's exchange.extract"
        return self.error(f"GET {url} failed ({tries}): {type(error).__name__}: {error}; {step}")


A = TypeVar("A", bound=HttpExtract)


class HttpConnector(Generic[A]):
    """What the connectors over HTTP share: their arguments and the server that they ask."""

    def __init__(
        self,
        *,
        arguments: A,
        address: str,
        credential: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """See HttpSource."""
        self._arguments = arguments
        self._http = HttpSource(arguments=arguments, address=address, credential=credential, sleep=sleep)


def _decoded(content: bytes, headers: httpx.Headers) -> bytes | str:
    """The text of an answer in a charset that JSON does not know of by itself."""
    charset = re.search(r"charset=\"?([\w.:-]+)", headers.get("Content-Type", ""), re.IGNORECASE)
    if charset is None or charset[1].lower().startswith(("utf", "us-ascii")):
        return content
    try:
        return content.decode(charset[1])
    except (LookupError, UnicodeDecodeError):
        return content
