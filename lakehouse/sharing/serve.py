"""The doors as a process: uvicorn over the application, on loopback unless told otherwise."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import uvicorn

from lakehouse.exchange import Exchange
from lakehouse.sharing.app import create_app


def serve(
    exchange: Exchange,
    *,
    host: str,
    port: int,
    certificate: Path | None = None,
    key: Path | None = None,
    answered: Callable[[Exchange], object] = lambda _: None,
) -> None:
    """Serves until it is told to stop (Ctrl-C, SIGTERM); with a certificate and its key over TLS.

    Who comes over a proxy is told by the proxy's headers only where the proxy is on this machine. Uvicorn's own log
    of requests is off: it writes addresses with their query, in which links stand.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    uvicorn.run(
        create_app(exchange, answered=answered),
        host=host,
        port=port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        access_log=False,
        log_level="info",
        log_config=None,
        server_header=False,
    )
