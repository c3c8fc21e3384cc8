"""`exchange iceberg`: releases as Iceberg tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.commands.console import AsJson, Refused, app, out, print_json
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
    for one in found:
        changed = ", ".join([*(f"+{name}" for name in one.added), *(f"-{name}" for name in one.removed)])
        name = ".".join(table_name(one.mart, one.major))
        out.print(f"{name}: {one.release or 'no release stands'}, {changed or 'as it was'}", soft_wrap=True)
        if one.metadata is not None:
            # A person or a program copies it: it stays in one line.
            out.print(f"  {one.metadata}", soft_wrap=True)
    if not found:
        out.print("nothing is published yet; `exchange run` releases")
