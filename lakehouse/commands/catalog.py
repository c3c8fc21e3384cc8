"""`exchange catalog`: what is published, described in the standards that others read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from lakehouse.commands.console import AsJson, app, out, print_json, writing
from lakehouse.exchange import Exchange


@app.command()
def catalog(
    to: Annotated[Path, typer.Option(help="Folder to write to.", file_okay=False)] = Path("catalog"),
    as_json: AsJson = False,
) -> None:
    """Write the catalogue: pages, DCAT-AP, change feed, and of each mart Croissant, ODCS, data package and terms."""
    from lakehouse.catalog.documents import Catalog

    exchange = Exchange.from_environment()
    exchange.index.create()
    made = Catalog(exchange, datetime.now(UTC))
    written = []
    for name, content in made.all():
        path = to / name
        with writing(to):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        written.append({"document": name, "bytes": len(content)})
    if as_json:
        print_json(written)
        return
    out.print(f"{len(made.entries)} marts in {len(written)} documents: open {to / 'index.html'}")
