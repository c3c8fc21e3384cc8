"""`exchange keys …`: which secret keys there are, never the keys; and taking the next one into use."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.commands.console import AsJson, Refused, WrongUse, app, out, print_json, print_progress, print_table
from lakehouse.exchange import Exchange

keys = typer.Typer(help="Secret keys, by what they are for; never the keys.", invoke_without_command=True)
app.add_typer(keys, name="keys")

# Why a key of another purpose stays.
KEPT = {
    "record": "trips and the like would lose their corrections: their ids have no salt by which to write them anew",
    "vault": "the vault would find nobody again",
    "erasure": "those who were erased would be forgotten",
    "audit": "releases could not be audited together with earlier ones",
    "signing": "certificates and manifests are held to it",
    "links": "links that were given out are ended by a command of their own",
}


@keys.callback()
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """Which secret keys there are: provider, purpose, epoch, when made, and whether in use."""
    if context.invoked_subcommand is not None:
        return
    from lakehouse.privacy.kept_keys import list_kept_keys

    exchange = Exchange.from_environment()
    exchange.init()
    found = list_kept_keys(exchange)
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("no key has been made yet; the first delivery with ids of people makes some")
        return
    rows = [
        [key["provider"], key["purpose"], str(key["epoch"]), key["created_at"][:19], "yes" if key["in_use"] else "no"]
        for key in found
    ]
    headings = [("provider", False), ("purpose", False), ("epoch", True), ("made, UTC", False), ("in use", False)]
    print_table("", headings, rows)


@keys.command("rotate")
def rotate_key(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER")],
    purpose: Annotated[str, typer.Option(help="What the key is for; only pseudonym can be rotated.")] = "pseudonym",
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, only say what would be written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a provider's next pseudonym key into use: its clean data is written anew. Releases stay as they are."""
    from lakehouse.landing.rotate import UnknownPerson, rotate

    if purpose in KEPT:
        raise WrongUse(f"a key for {purpose} is not rotated: {KEPT[purpose]}")
    if purpose != "pseudonym":
        raise WrongUse(f"no key is for {purpose!r}; keys are for: pseudonym, {', '.join(KEPT)}")
    exchange = Exchange.from_environment()
    exchange.init()
    known = sorted({contract.provider for contract in exchange.contracts.values()})
    if provider not in known:
        raise WrongUse(f"no provider {provider!r}; there are: {', '.join(known)}")
    try:
        found = rotate(exchange, provider, dry_run=not apply, progress=print_progress)
    except UnknownPerson as error:
        raise Refused(str(error)) from None
    if as_json:
        print_json(asdict(found))
        return
    what = f"{found.files:,} clean files of {found.rows:,} rows ({found.bytes:,} bytes), {found.people:,} people"
    if found.done:
        out.print(f"{provider} is under the key of epoch {found.epoch}: {what}")
    else:
        out.print(f"epoch {found.epoch} would write {what} anew; nothing was changed. With --apply it is done.")
