"""The command that takes a person out of everything."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

import typer

from lakehouse.commands.console import AsJson, Refused, WrongUse, app, out, print_json, print_progress, print_table
from lakehouse.exchange import Exchange


@app.command()
def erase(
    dataset: Annotated[str, typer.Argument(metavar="PROVIDER/DATASET")],
    subject: Annotated[str, typer.Option(help="The person's id; - reads it from standard input.")],
    reason: Annotated[str, typer.Option(help="Why, for the certificate; no personal data.")] = "request of the person",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say where the person is found.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a person out of everything that is kept of a dataset, and prove it."""
    from lakehouse.erasure.erase import NoSubject, preview
    from lakehouse.erasure.erase import erase as take_out

    exchange = Exchange.from_environment()
    exchange.init()
    contract = exchange.contract(dataset)
    person = (sys.stdin.readline() if subject == "-" else subject).strip()
    if not person:
        raise WrongUse("name the person: the id, as the provider delivers it, is empty")
    if re.search(rf"(?<!\w){re.escape(person)}(?!\w)", reason):
        raise WrongUse("the reason has the id in it, and is kept in the certificate: say it without")
    try:
        if dry_run:
            found = preview(exchange, contract, subject=person)
        else:
            found = take_out(exchange, contract, subject=person, reason=reason, progress=print_progress)
    except NoSubject as error:
        raise WrongUse(str(error)) from None
    if as_json:
        print_json(found)
    elif dry_run:
        out.print(f"found in {len(found['found_in'])} of {found['objects']:,} objects; nothing was changed")
        for key in found["found_in"]:
            out.print(f"  {key}")
        for key in found["undecided"]:
            out.print(f"  {key}, perhaps: it has the id as a word, and no contract reads it")
    else:
        taken = [[place, f"{count:,}"] for place, count in found["taken_out"].items() if count]
        print_table(
            "", [("taken out of", False), ("", True)], taken or [["nothing: no row of this person was found", ""]]
        )
        out.print(f"searched {found['searched']['objects']:,} objects after; {found['released']}")
        out.print(f"certificate: reports/_erasures/{found['erasure']}.json")
    if not dry_run and not found["proven_absent"]:
        raise Refused(_left(found["searched"]))


def _left(searched: dict[str, Any]) -> str:
    said = []
    if searched["still_in"]:
        said.append("the id still stands in: " + ", ".join(searched["still_in"]))
    if searched["undecided"]:
        said.append(
            "no contract reads these, and they have the id as a word, which may be another number; see for yourself, "
            "and delete what is of the person: " + ", ".join(searched["undecided"])
        )
    return "; ".join(said) or "the exchange still knows a pseudonym of the person: run the command again"
