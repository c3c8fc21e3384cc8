"""`exchange recipients …`: who reads by a token, what they agreed to, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from lakehouse.commands.console import AsJson, WrongUse, app, moment, out, print_json, print_table
from lakehouse.exchange import Exchange
from lakehouse.sharing.recipients import (
    NewToken,
    RecipientFault,
    add_recipient,
    list_recipients,
    new_token,
    revoke,
    ungrant,
)
from lakehouse.sharing.recipients import grant as record_grant

recipients = typer.Typer(help="Who reads by a token, and what they agreed to.", no_args_is_help=True)
app.add_typer(recipients, name="recipients")

Name = Annotated[str, typer.Argument(metavar="RECIPIENT")]
Days = Annotated[int, typer.Option(min=1, max=3660, help="Days that the token holds.")]


@contextmanager
def _exchange() -> Iterator[Exchange]:
    exchange = Exchange.from_environment()
    exchange.init()
    try:
        yield exchange
    except RecipientFault as error:
        raise WrongUse(str(error)) from None


@recipients.command()
def add(
    name: Name,
    title: Annotated[str, typer.Option(help="Who that is, for people.")] = "",
    days: Days = 365,
    as_json: AsJson = False,
) -> None:
    """Make a recipient and its first token, which is shown this once."""
    with _exchange() as exchange:
        _show(add_recipient(exchange, name, title=title or name, valid=timedelta(days=days)), as_json)


@recipients.command("list")
def list_all(as_json: AsJson = False) -> None:
    """All recipients with their tokens and grants."""
    with _exchange() as exchange:
        found = list_recipients(exchange)
    if as_json:
        print_json(found)
        return
    now = datetime.now(UTC).isoformat()
    rows = [
        [state["recipient"], state["title"], _standing(state["revoked_at"], None, now),
         ", ".join(f"{t['token']} {_standing(t['revoked_at'], t['expires_at'], now)}" for t in state["tokens"]),
         ", ".join(f"{g['mart']} (terms {g['terms']}) {_standing(g['revoked_at'], g['until'], now)}"
                   for g in state["grants"])]
        for state in found
    ]  # fmt: skip
    headings = ("recipient", "title", "", "tokens", "grants")
    print_table("", [(heading, False) for heading in headings], rows or [["none yet", *[""] * 4]])


@recipients.command()
def rotate(
    name: Name,
    days: Days = 365,
    overlap_hours: Annotated[int, typer.Option(min=0, help="Hours that the tokens before it still hold.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Make a new token, shown this once; those before it end after the overlap."""
    with _exchange() as exchange:
        overlap = timedelta(hours=overlap_hours)
        _show(new_token(exchange, name, valid=timedelta(days=days), overlap=overlap), as_json)


@recipients.command("revoke")
def revoke_one(name: Name) -> None:
    """Refuse every token of a recipient from now on."""
    with _exchange() as exchange:
        revoke(exchange, name)
    out.print(f"{name} may no longer read")


@recipients.command()
def grant(
    name: Name,
    mart: str,
    terms: Annotated[str, typer.Option(help="Version of the mart's terms that was accepted, as 2026-01.")],
    until: Annotated[str | None, typer.Option(help="Last moment of the agreement, as 2027-12-31.")] = None,
) -> None:
    """Let a recipient read a mart whose access is `agreement`, and record which terms were accepted."""
    with _exchange() as exchange:
        known = sorted(path.stem for path in exchange.settings.marts_path.glob("*.yml"))
        if mart not in known:
            raise WrongUse(f"no mart {mart!r}; there are: {', '.join(known)}")
        record_grant(exchange, name, mart=mart, terms=terms, until=moment(until) if until else None)
    out.print(f"{name} may read {mart}{f' until {until}' if until else ''}, having accepted its terms {terms}")


@recipients.command("ungrant")
def end_grant(name: Name, mart: str) -> None:
    """End a recipient's agreement on a mart."""
    with _exchange() as exchange:
        ungrant(exchange, name, mart=mart)
    out.print(f"{name} may no longer read {mart}")


@recipients.command()
def profile(name: Name, days: Days = 365) -> None:
    """Print a profile file of Delta Sharing with one more token, as `exchange recipients profile NAME > config.share`.

    It holds the token: give it to its recipient only. RECIPIENT may be `anonymous`, to read what is open to anyone.
    """
    from lakehouse.sharing.profile import delta_profile

    with _exchange() as exchange:
        print_json(delta_profile(exchange, name, valid=timedelta(days=days)))


def _show(made: NewToken, as_json: bool) -> None:
    if as_json:
        facts: dict[str, Any] = {"recipient": made.recipient, "token": made.secret}
        print_json({**facts, "expires_at": made.expires_at.isoformat()})
        return
    out.print(made.secret)
    out.print(
        f"the token of {made.recipient} until {made.expires_at:%Y-%m-%d}. It is shown this once: hand it over by a way "
        "that nobody else reads"
    )


def _standing(revoked: str | None, until: str | None, now: str) -> str:
    if revoked:
        return f"revoked {revoked[:10]}"
    if until:
        return f"{'ended' if until <= now else 'until'} {until[:10]}"
    return ""
