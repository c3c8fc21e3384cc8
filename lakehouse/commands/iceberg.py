"""`exchange iceberg`: releases as Iceberg tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.commands.console import AsJson, Refused, app, out, print_json, print_table
from lakehouse.exchange import Exchange


@app.command()
def iceberg(
    mart: Annotated[str | None, typer.Argument(metavar="[MART]")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the Iceberg tables to what is published, and say where each is read."""
    from lakehouse.sharing.iceberg_register import NotRegistered, register_releases
    from lakehouse.sharing.iceberg_tables import table_name

    exchange = Exchange.from_environment()
    exchange.index.create()
    try:
        found = register_releases(exchange, mart=mart)
    except NotRegistered as error:
        raise Refused(str(error)) from None
    if as_json:
        print_json([{"table": ".".join(table_name(one.mart, one.major)), **asdict(one)} for one in found])
        return
    rows = [
        [
            ".".join(table_name(one.mart, one.major)),
            one.release or "none stands",
            ", ".join([*(f"+{name}" for name in one.added), *(f"-{name}" for name in one.removed)]) or "as it was",
            one.metadata or "",
        ]
        for one in found
    ]
    headings = [("table", False), ("release", False), ("changed", False), ("metadata", False)]
    if rows:
        print_table("", headings, rows)
    else:
        out.print("nothing is published yet; `exchange run` releases")
