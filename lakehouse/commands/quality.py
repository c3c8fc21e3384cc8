"""Commands that say how good deliveries are, and what was known when: scorecard and history."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lakehouse.commands.console import (
    AsJson,
    WrongUse,
    app,
    moment,
    out,
    print_json,
    print_table,
    require_provider,
    writing,
)
from lakehouse.exchange import Exchange


@app.command()
def scorecard(
    provider: Annotated[str | None, typer.Argument(metavar="[PROVIDER]")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the provider's page to this file too.")] = None,
    as_json: AsJson = False,
) -> None:
    """How good each dataset's deliveries are over time, with a grade and its reasons."""
    from lakehouse.landing.scorecard import scorecard as score
    from lakehouse.landing.scorecard import write_pages

    exchange = Exchange.from_environment()
    exchange.init()
    require_provider(exchange, provider)
    if html is not None and provider is None:
        raise WrongUse("a page is of one provider: name it, as `exchange scorecard aarhus --html aarhus.html`")
    scores = score(exchange, provider=provider)
    pages = write_pages(exchange, scores)
    if html is not None:
        with writing(html):
            html.write_bytes(*pages.values())
    if as_json:
        print_json([asdict(entry) for entry in scores])
        return
    rows = []
    for entry in scores:
        share = f"{entry.refused_share:.2%}" if entry.deliveries else "–"
        last = entry.last_delivery[:16].replace("T", " ") if entry.last_delivery else "never"
        numbers = [f"{entry.deliveries:,}", f"{entry.rows:,}", share, last, entry.freshness, f"{len(entry.alarms)}"]
        rows.append([f"{entry.provider}/{entry.dataset}", *numbers, entry.grade or "–"])
    headings = [("dataset", False), ("deliveries", True), ("rows", True), ("refused", True), ("last, UTC", False)]
    print_table("", [*headings, ("freshness", False), ("alarms, 30 days", True), ("grade", False)], rows)
    for entry in scores:
        for reason in entry.reasons:
            out.print(f"{entry.provider}/{entry.dataset}: {reason}")
    for key in pages:
        out.print(f"page: {exchange.lake.duckdb_url('reports', key)}")


@app.command()
def history(
    source: Annotated[str, typer.Argument(metavar="PROVIDER/DATASET")],
    where: Annotated[list[str], typer.Option(metavar="COLUMN=VALUE", help="May be repeated.")],
    as_of: Annotated[str | None, typer.Option(help="As it was at this time, as 2024-10-10.")] = None,
    private: Annotated[
        bool, typer.Option("--private", help="You are staff of the exchange, and may read private data.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Every version of the rows that match: when observed, when known, by which delivery, which one stands."""
    from lakehouse.landing.history import NoSuchValue
    from lakehouse.landing.history import history as versions

    conditions = dict(text.partition("=")[::2] for text in where if "=" in text)
    if len(conditions) < len(where):
        raise WrongUse("say each condition once, as --where station=S1")
    exchange = Exchange.from_environment()
    exchange.index.create()
    contract = exchange.contract(source)
    if contract.private and not private:
        raise WrongUse(f"{source} holds private data, for staff of the exchange alone: say --private if you are")
    try:
        found = versions(exchange, contract, where=conditions, as_of=moment(as_of) if as_of else None)
    except NoSuchValue as error:
        raise WrongUse(str(error)) from None
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("no row has these values")
        return
    observed = next(name for name in ("exchange_observed_at", "observed_at") if name in found[0])
    *names, stands = (name for name in found[0] if name != observed)
    rows = [[*(f"{row[name]}" for name in names), "stands" if row[stands] else ""] for row in found]
    print_table("", [*((name, False) for name in names), ("", False)], rows)
