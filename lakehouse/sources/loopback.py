"""A small server on loopback that answers as the Energi Data Service does, from deliveries on disk.

For tests, and for a run where no network is. What it follows of that API: `GET /dataset/<name>` with start
(included) and end (excluded) on the dataset's time column, Danish time unless `timezone=utc`; offset and
limit; sort; filter; the answer's keys; 404 for a dataset it does not have, 400 for a query it cannot read.
"""

import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

import duckdb

from lakehouse.sources.loopback_table import LoopbackDataset, LoopbackTable, QueryError

__all__ = ["Exchanged", "Fault", "LoopbackApi", "LoopbackDataset"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How one answer goes wrong: another status, other headers or body, late, or cut off in the middle.

    What is not given stays as in the honest answer, so `Fault()` is no fault.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay_seconds: float = 0.0
    truncate: bool = False


@dataclass(frozen=True, kw_only=True)
class Exchanged:
    """One request as it came (path and query), and status and sha256 of the whole body meant for it."""

    target: str
    status: int
    sha256: str


class LoopbackApi:
    """Context manager: serves `datasets` at `base_url` on 127.0.0.1 until it is left.

    `port` 0 takes a free one. The first requests meet `faults` one by one, those after them none.
    `exchanged` keeps the last 1,000 requests.
    """

    def __init__(self, *, datasets: Iterable[LoopbackDataset], port: int = 0, faults: Sequence[Fault] = ()) -> None:
        """Load the deliveries and bind the port. Raises ValueError (see LoopbackTable) and OSError."""
        self._database = duckdb.connect()
        self._tables = {d.name: LoopbackTable(dataset=d, database=self._database) for d in datasets}
        self._faults = deque(faults)
        self._lock = Lock()
        self.exchanged: deque[Exchanged] = deque(maxlen=1000)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

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
        self._database.close()

    def take_fault(self) -> Fault:
        """The next fault, or none."""
        with self._lock:
            return self._faults.popleft() if self._faults else Fault()

    def answer(self, target: str) -> tuple[int, bytes]:
        """Status and JSON body for a path with its query."""
        parts = urlsplit(target)
        room, _, name = parts.path.strip("/").partition("/")
        table = self._tables.get(unquote(name)) if room == "dataset" else None
        if table is None:
            return 404, _error(f"no dataset at {parts.path}; there are {', '.join(sorted(self._tables))}")
        try:
            return 200, table.answer(dict(parse_qsl(parts.query, keep_blank_values=True)))
        except QueryError as error:
            return 400, _error(str(error))


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


def _handler_of(api: LoopbackApi) -> type[BaseHTTPRequestHandler]:
    """A request handler that answers for `api`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are two writes: 40 ms a request otherwise
        timeout = 30

        def do_GET(self) -> None:
            fault = api.take_fault()
            status, body = api.answer(self.path)
            status = fault.status or status
            body = body if fault.body is None else fault.body
            # Kept before it is sent: who has read the answer finds it here.
            api.exchanged.append(Exchanged(target=self.path, status=status, sha256=hashlib.sha256(body).hexdigest()))
            time.sleep(fault.delay_seconds)
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **fault.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.close_connection = self.close_connection or fault.truncate
            try:
                self.wfile.write(body[: len(body) // 2] if fault.truncate else body)
            except ConnectionError:  # the client gave up on a late answer, as it should
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            _log.debug(format, *args)

    return Handler
