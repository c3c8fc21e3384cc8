"""`exchange ledger …`: what the exchange keeps accounts of."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.commands.console import AsJson, app, moment, out, print_json, print_table
from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange

ledger = typer.Typer(help="Accounts that the exchange keeps.", no_args_is_help=True)
app.add_typer(ledger, name="ledger")


@ledger.callback()
def _accounts() -> None:
    """Accounts that the exchange keeps."""


@ledger.command()
def usage(
    mart: Annotated[str | None, typer.Argument(metavar="[MART]")] = None,
    since: Annotated[str | None, typer.Option(help="Only from then on, as 2024-10-10.")] = None,
    until: Annotated[str | None, typer.Option(help="Only before then.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was taken of which release, through which door, and by whom."""
    from lakehouse.sharing.meter import usage_statement

    exchange = Exchange.from_environment()
    exchange.index.create()
    times = [moment(text) if text else None for text in (since, until)]
    found = usage_statement(exchange, mart=mart, since=times[0], until=times[1])
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("nothing was taken in that time")
        return
    rows = [
        [f"{row['mart']} v{row['major']}", row["release"], row["door"], row["recipient"] or "anonymous",
         *(f"{row[name]:,}" for name in ("requests", "bytes", "rows")), f"{row['last_at']:%Y-%m-%d %H:%M}"]
        for row in found
    ]  # fmt: skip
    headings = [("mart", False), ("release", False), ("door", False), ("by", False)]
    numbers = [("requests", True), ("bytes", True), ("rows", True)]
    print_table("", [*headings, *numbers, ("last, UTC", False)], rows)


@ledger.command()
def privacy(as_json: AsJson = False) -> None:
    """What was spent of whose privacy budget, on which mart, and what is left."""
    from lakehouse.privacy.statement import privacy_statement

    exchange = Exchange.from_environment()
    exchange.index.create()
    found = privacy_statement(exchange, read_marts(exchange.settings.marts_path))
    if as_json:
        print_json(found)
        return
    if not found["entries"]:
        out.print("nothing has been spent: no mart with noise has been built yet")
        return
    names = ("population", "period", "rho", "cap", "left", "epsilon", "delta")
    headings = ("population", "period", "rho spent", "cap", "left", "which is epsilon", "at delta")
    rows = [["–" if row[name] is None else str(row[name]) for name in names] for row in found["populations"]]
    print_table("", [(heading, False) for heading in headings], rows)
    out.print()
    columns = ("unit", "partitions", "first", "last", "rho", "charged", "drawn")
    named = ("mart", "unit", "partitions", "from", "to", "rho", "charged", "drawn")
    rows = [[f"{row['mart']} v{row['major']}", *(str(row[name]) for name in columns)] for row in found["marts"]]
    print_table("", [(heading, False) for heading in named], rows)
