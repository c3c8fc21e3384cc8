"""`exchange ledger …`: what the exchange keeps accounts of."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange

ledger = typer.Typer(help="Accounts that the exchange keeps.", no_args_is_help=True)


@ledger.callback()
def _accounts() -> None:
    """Accounts that the exchange keeps."""


@ledger.command()
def privacy(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """What was spent of whose privacy budget, on which mart, and what is left."""
    from lakehouse.privacy.statement import privacy_statement

    exchange = Exchange.from_environment()
    exchange.index.create()
    found = privacy_statement(exchange, read_marts(exchange.settings.marts_path))
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False, default=str))
        return
    # Piped output is not folded at 80 columns: it goes to files and to other programs.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    if not found["entries"]:
        console.print("nothing has been spent: no mart with noise has been built yet")
        return
    budgets = _table("population", "period", "rho spent", "cap", "left", "which is epsilon", "at delta")
    for row in found["populations"]:
        names = ("population", "period", "rho", "cap", "left", "epsilon", "delta")
        budgets.add_row(*("–" if row[name] is None else str(row[name]) for name in names))
    console.print(budgets)
    console.print()
    spendings = _table("mart", "unit", "partitions", "from", "to", "rho", "charged", "drawn")
    for row in found["marts"]:
        names = ("unit", "partitions", "first", "last", "rho", "charged", "drawn")
        spendings.add_row(f"{row['mart']} v{row['major']}", *(str(row[name]) for name in names))
    console.print(spendings)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in headings:
        table.add_column(name, overflow="fold")
    return table
