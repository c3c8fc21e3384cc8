"""`exchange keys …`: which secret keys there are, never the keys; and taking the next one into use."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.commands.console import AsJson, Refused, WrongUse, app, out, print_json, print_progress, print_table
from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import EXCHANGE, KeyFault

keys = typer.Typer(help="Secret keys, by what they are for; never the keys.", invoke_without_command=True)
app.add_typer(keys, name="keys")

# Why a key of another purpose stays; decision 0021 says what to do where one became known.
KEPT = {
    "record": "trips and the like would lose their corrections: their ids have no salt by which to write them anew",
    "vault": "the vault would find nobody again",
    "erasure": "those who were erased would be forgotten",
    "audit": "releases could not be audited together with earlier ones",
    "links": "`exchange link --end-all` takes the next one, as nothing else stands under it",
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
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Of signing: exchange.")],
    purpose: Annotated[str, typer.Option(help="pseudonym or signing.")] = "pseudonym",
    leaked: Annotated[
        bool, typer.Option("--leaked", help="Of signing: somebody else may have a former key, so none vouches.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, only say what would be written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take the next key into use: a provider's clean data is written anew, or new releases are signed by another key.
    Releases stay as they are."""
    if purpose in KEPT:
        raise WrongUse(f"a key for {purpose} is not rotated here: {KEPT[purpose]}")
    if purpose not in ("pseudonym", "signing"):
        raise WrongUse(f"no key is for {purpose!r}; keys are for: pseudonym, signing, {', '.join(KEPT)}")
    if (purpose == "signing") is not (provider == EXCHANGE):
        raise WrongUse(f"keys for signing are those of `{EXCHANGE}`, keys for pseudonym a provider's")
    if leaked and purpose != "signing":
        raise WrongUse("--leaked is for keys of signing: of no other does one key vouch for another")
    exchange = Exchange.from_environment()
    exchange.init()
    if purpose == "signing":
        _rotate_signing(exchange, leaked=leaked, apply=apply, as_json=as_json)
    else:
        _rotate_pseudonyms(exchange, provider, apply=apply, as_json=as_json)


def _rotate_signing(exchange: Exchange, *, leaked: bool, apply: bool, as_json: bool) -> None:
    from lakehouse.release.signing import next_signing_epoch, public_key_name, rotate_signing

    try:
        epoch = next_signing_epoch(exchange)
        identity = rotate_signing(exchange, leaked=leaked) if apply else None
    except KeyFault as fault:
        raise Refused(str(fault)) from None
    vouched = "no other key vouches for it" if leaked else "each former key and it vouch for each other"
    if as_json:
        print_json({"purpose": "signing", "epoch": epoch, "key": identity, "vouched_for": not leaked, "done": apply})
    elif identity is None:
        out.print(f"releases would be signed by a key of epoch {epoch}; {vouched}. With --apply it is made.")
    else:
        out.print(f"releases are signed by {identity}, marts/{public_key_name(identity)}; {vouched}")


def _rotate_pseudonyms(exchange: Exchange, provider: str, *, apply: bool, as_json: bool) -> None:
    from lakehouse.landing.rotate import UnknownPerson, rotate

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
