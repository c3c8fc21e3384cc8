"""`exchange serve`: the doors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lakehouse.commands.console import WrongUse, app, out
from lakehouse.exchange import Exchange


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; loopback unless you name another.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port; default EXCHANGE_DOORS_PORT.")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate (PEM) for HTTPS.", exists=True, dir_okay=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).", exists=True, dir_okay=False)] = None,
) -> None:
    """Open the doors: releases over HTTP or HTTPS, until Ctrl-C."""
    from lakehouse.sharing.serve import serve as run

    if (certificate is None) is not (key is None):
        raise WrongUse("HTTPS needs both --certificate and --key")
    exchange = Exchange.from_environment()
    exchange.init()
    port = exchange.settings.doors_port if port is None else port
    out.print(f"the doors are at {'https' if certificate else 'http'}://{host}:{port}/ until Ctrl-C")
    run(exchange, host=host, port=port, certificate=certificate, key=key)
