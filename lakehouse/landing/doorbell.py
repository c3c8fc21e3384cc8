"""Hears a store say that something was put into an inbox, so that a quiet one need not be listed again and again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

_log = logging.getLogger(__name__)
LARGEST_EVENT_BYTES = 1 << 20


class Doorbell:
    """Answers `POST /<provider>` at an address such as http://127.0.0.1:8090.

    What the event says is not read: it is a reason to look, and a look shows what is there. So whoever else rings
    costs one listing at most.
    """

    def __init__(self, url: str) -> None:
        """Raises OSError where the address is taken, or none of this machine's."""
        parts = urlsplit(url)
        self._rung: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}
        self._server = ThreadingHTTPServer((parts.hostname or "127.0.0.1", parts.port or 80), _handler_of(self))
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, daemon=True, name="doorbell").start()

    async def wait(self, provider: str, seconds: float) -> None:
        """Until somebody rings for the provider, or the seconds are over. What rang since the last wait counts."""
        _, event = self._rung.setdefault(provider, (asyncio.get_running_loop(), asyncio.Event()))
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
        event.clear()

    def ring(self, provider: str) -> bool:
        """From any thread. False where nobody waits for this provider."""
        if provider not in self._rung:
            return False
        loop, event = self._rung[provider]
        loop.call_soon_threadsafe(event.set)
        return True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler_of(bell: Doorbell) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > LARGEST_EVENT_BYTES:
                self.send_error(413)
                return
            self.rfile.read(int(length))
            self.send_response(204 if bell.ring(self.path.strip("/")) else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            _log.debug(format, *args)

    return Handler
