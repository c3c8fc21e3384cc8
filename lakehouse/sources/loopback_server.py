"""A small HTTP server on loopback that can be told to go wrong, and remembers what it was asked."""

import hashlib
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Self

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How one answer goes wrong: another status, other headers or body, late, byte by byte with a pause before each,
    or cut off in the middle.

    What is not given stays as in the honest answer, so `Fault()` is no fault.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay_seconds: float = 0.0
    byte_seconds: float = 0.0
    truncate: bool = False


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The honest answer to a request."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(frozen=True, kw_only=True)
class Exchanged:
    """One request as it came (path and query), and status and sha256 of the whole body meant for it."""

    target: str
    headers: Mapping[str, str]
    status: int
    sha256: str


class LoopbackServer(ABC):
    """Context manager: answers at `base_url` on 127.0.0.1 until it is left.

    `port` 0 takes a free one. The first requests meet `faults` one by one, those after them none.
    `exchanged` keeps the last 1,000 requests.
    """

    def __init__(self, *, port: int = 0, faults: Sequence[Fault] = ()) -> None:
        """Bind the port. Raises OSError."""
        self.faults = deque(faults)
        self._lock = Lock()
        self.exchanged: deque[Exchanged] = deque(maxlen=1000)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @abstractmethod
    def answer(self, target: str, headers: Mapping[str, str]) -> Answered:
        """What is answered to a path with its query. May be called from any thread."""

    @property
    def base_url(self) -> str:
        """Where it listens, such as http://127.0.0.1:40123."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take_fault(self) -> Fault:
        """The next fault, or none."""
        with self._lock:
            return self.faults.popleft() if self.faults else Fault()


def _handler_of(server: LoopbackServer) -> type[BaseHTTPRequestHandler]:
    """A request handler that answers for `server`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are two writes: 40 ms a request otherwise
        timeout = 30

        def do_GET(self) -> None:
            fault = server.take_fault()
            asked = {name.lower(): value for name, value in self.headers.items()}
            honest = server.answer(self.path, asked)
            status = fault.status or honest.status
            body = honest.body if fault.body is None else fault.body
            sha256 = hashlib.sha256(body).hexdigest()
            # Kept before it is sent: who has read the answer finds it here.
            server.exchanged.append(Exchanged(target=self.path, headers=asked, status=status, sha256=sha256))
            time.sleep(fault.delay_seconds)
            self.send_response(status)
            for name, value in {**honest.headers, **fault.headers}.items():
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.close_connection = self.close_connection or fault.truncate
            if status == 304:
                return
            sent = body[: len(body) // 2] if fault.truncate else body
            size = 1 if fault.byte_seconds else len(sent) or 1
            try:
                for at in range(0, len(sent), size):
                    time.sleep(fault.byte_seconds)
                    self.wfile.write(sent[at : at + size])
            except ConnectionError:  # the client gave up on a late answer, as it should
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            _log.debug(format, *args)

    return Handler
