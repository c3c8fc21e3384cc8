"""What every command shares: the application, its two outputs, and how it ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lakehouse.exchange import Exchange

app = typer.Typer(
    help="The City Data Exchange: contracts in, releases out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
# Piped output is not folded at 80 columns: it goes to files and to other programs.
WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
out = Console(soft_wrap=True, highlight=False, markup=False, width=WIDTH)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
REFUSED, WRONG_USE = 1, 2


class Refused(Exception):
    """Ends the command with status 1 and a reason."""


class WrongUse(Exception):
    """Ends the command with status 2 and a reason."""


def require_provider(exchange: Exchange, provider: str | None) -> None:
    """Raises :class:`WrongUse` where one is named that no contract has."""
    providers = sorted({contract.provider for contract in exchange.contracts.values()})
    if provider is not None and provider not in providers:
        raise WrongUse(f"no provider {provider!r}; there are: {', '.join(providers)}")


@contextmanager
def writing(to: Path) -> Iterator[None]:
    """What cannot be written below a place that was typed is wrong use. Raises :class:`WrongUse`."""
    try:
        yield
    except OSError as error:
        named, asked = Path(os.fsdecode(error.filename or "")).absolute(), to.absolute()
        if error.filename is None or not (named.is_relative_to(asked) or asked.is_relative_to(named)):
            raise
        raise WrongUse(f"nothing can be written to {to} ({error.strerror}): name another place") from None


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def print_table(title: str, columns: list[tuple[str, bool]], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name, right in columns:
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def print_progress(text: str) -> None:
    err.print(f"  {text}")


def moment(text: str) -> datetime:
    """A day or a time that was typed, aware; UTC where it names no offset. Raises :class:`WrongUse`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUse(f"{text!r} is no time, as 2024-10-10 or 2024-10-10T13:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
