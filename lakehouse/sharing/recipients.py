"""Recipients: who reads by a token, what they agreed to, and until when.

A token is shown once, when it is made; only its hash is kept. Each change is also written to the lake's bucket
``access`` as the whole of what is known of the recipient, so that the index can be made again from it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lakehouse.exchange import Exchange
from lakehouse.sharing.entitlement import Caller, Grant
from lakehouse.sharing.tables import grants, recipient_tokens, recipients

BUCKET = "access"
# Shown in the place of a token by clients that cannot do without one, to read what is open to anyone.
NOBODY = "anonymous"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TOKEN = re.compile(r"cdx_(?P<token>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
_NO_HASH = "0" * 64
_ASK = "ask the exchange for a new one, or leave it out to read what is open"


class RecipientFault(ValueError):
    """Something about a recipient that cannot be; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token in clear, to be handed to its recipient and kept nowhere."""

    recipient: str
    token: str
    secret: str
    expires_at: datetime


def add_recipient(
    exchange: Exchange, name: str, *, title: str, valid: timedelta, now: datetime | None = None
) -> NewToken:
    """Raises :class:`RecipientFault` for a name that cannot be or is taken."""
    if not _NAME.fullmatch(name) or name == NOBODY:
        raise RecipientFault(f"{name!r} cannot name a recipient: up to 63 small letters and digits, with - between")
    now = now or datetime.now(UTC)
    with exchange.index.begin() as connection:
        if _row(connection, name) is not None:
            raise RecipientFault(
                f"{name} is a recipient already; `exchange recipients rotate {name}` makes a new token"
            )
        connection.execute(sa.insert(recipients).values(recipient=name, title=title, created_at=now))
        made = _make_token(connection, name, valid=valid, now=now)
    _keep(exchange, name)
    return made


def new_token(
    exchange: Exchange, name: str, *, valid: timedelta, overlap: timedelta | None = None, now: datetime | None = None
) -> NewToken:
    """One more token; those before it end after ``overlap``, or go on. Raises :class:`RecipientFault`."""
    now = now or datetime.now(UTC)
    with exchange.index.begin() as connection:
        _active(connection, name)
        tokens = recipient_tokens
        if overlap is not None:
            connection.execute(
                sa.update(tokens)
                .where(tokens.c.recipient == name, tokens.c.expires_at > now + overlap)
                .values(expires_at=now + overlap)
            )
        made = _make_token(connection, name, valid=valid, now=now)
    _keep(exchange, name)
    return made


def revoke(exchange: Exchange, name: str, *, now: datetime | None = None) -> None:
    """Every token of the recipient is refused from now on, and every link that was made with one.

    Raises :class:`RecipientFault`.
    """
    now = now or datetime.now(UTC)
    with exchange.index.begin() as connection:
        _active(connection, name)
        connection.execute(sa.update(recipients).where(recipients.c.recipient == name).values(revoked_at=now))
        tokens = recipient_tokens
        connection.execute(
            sa.update(tokens).where(tokens.c.recipient == name, tokens.c.revoked_at.is_(None)).values(revoked_at=now)
        )
    _keep(exchange, name)


def grant(
    exchange: Exchange, name: str, *, mart: str, terms: str, until: datetime | None, now: datetime | None = None
) -> None:
    """Records that the recipient accepted that version of the mart's terms, and may read it.

    An earlier grant of the same mart ends. Raises :class:`RecipientFault`.
    """
    now = now or datetime.now(UTC)
    if until is not None and until <= now:
        raise RecipientFault(f"{until:%Y-%m-%d} is over: name a day to come")
    with exchange.index.begin() as connection:
        _active(connection, name)
        _end_grants(connection, name, mart, now)
        connection.execute(
            sa.insert(grants).values(recipient=name, mart=mart, granted_at=now, terms=terms, until=until)
        )
    _keep(exchange, name)


def ungrant(exchange: Exchange, name: str, *, mart: str, now: datetime | None = None) -> None:
    """Raises :class:`RecipientFault` where there is no such grant."""
    with exchange.index.begin() as connection:
        _active(connection, name)
        if not _end_grants(connection, name, mart, now or datetime.now(UTC)):
            raise RecipientFault(f"{name} has no grant of {mart}")
    _keep(exchange, name)


def list_recipients(exchange: Exchange) -> list[dict[str, Any]]:
    """All that is known of each, by name: ``{recipient, title, created_at, revoked_at, tokens, grants}``. A token is
    there by the part that names it, and no part of it opens anything."""
    names = [row["recipient"] for row in exchange.index.rows(sa.select(recipients).order_by(recipients.c.recipient))]
    found = [_state(exchange, name) for name in names]
    for state in found:
        for token in state["tokens"]:
            del token["sha256"]
    return found


def caller_by_token(exchange: Exchange, text: str, *, now: datetime) -> Caller:
    """Who shows this token; with a ``fault`` where it is not good. Never held: a revoked token ends at once."""
    if text == NOBODY:
        return Caller()
    parts = _TOKEN.fullmatch(text)
    tokens, secret = recipient_tokens, parts["secret"] if parts else ""
    row = exchange.index.row(sa.select(tokens).where(tokens.c.token == parts["token"])) if parts else None
    # Compared in constant time, and also where there is nothing to compare with.
    if not hmac.compare_digest(_hash(secret), row["sha256"] if row else _NO_HASH) or row is None:
        return Caller(fault=f"this is not a token of the exchange: {_ASK}")
    if row["revoked_at"] is not None:
        return Caller(fault=f"the token {row['token']} was revoked on {row['revoked_at']:%Y-%m-%d}: {_ASK}")
    if row["expires_at"] <= now:
        return Caller(fault=f"the token {row['token']} ended on {row['expires_at']:%Y-%m-%d %H:%M} UTC: {_ASK}")
    return caller_by_name(exchange, row["recipient"])


def caller_by_name(exchange: Exchange, name: str) -> Caller:
    """The recipient of that name with its grants; with a ``fault`` where it was revoked."""
    row = exchange.index.row(sa.select(recipients).where(recipients.c.recipient == name))
    if row is None or row["revoked_at"] is not None:
        return Caller(fault=f"the recipient {name} may no longer read: {_ASK}")
    held = exchange.index.rows(sa.select(grants).where(grants.c.recipient == name, grants.c.revoked_at.is_(None)))
    return Caller(
        recipient=name,
        grants={
            g["mart"]: Grant(mart=g["mart"], terms=g["terms"], granted_at=g["granted_at"], until=g["until"])
            for g in held
        },
    )


def restore_recipients(exchange: Exchange) -> int:
    """Adds to the index the recipients that stand in the lake and not in it. Returns how many."""
    added = 0
    for state in _kept(exchange):
        with exchange.index.begin() as connection:
            if _row(connection, state["recipient"]) is None:
                _restore(connection, state)
                added += 1
    return added


def _kept(exchange: Exchange) -> Iterator[dict[str, Any]]:
    for entry in exchange.lake.list(BUCKET, "recipients/"):
        yield json.loads(exchange.lake.read_bytes(BUCKET, entry.key))


def _restore(connection: Connection, state: dict[str, Any]) -> None:
    name = state["recipient"]
    pieces = [(recipients, [{key: state[key] for key in ("recipient", "title", "created_at", "revoked_at")}])]
    pieces += [(recipient_tokens, state["tokens"]), (grants, state["grants"])]
    for table, rows in pieces:
        for row in rows:
            values = {
                key: datetime.fromisoformat(value) if value and isinstance(table.c[key].type, _time()) else value
                for key, value in row.items()
            }
            connection.execute(sa.insert(table).values(**{"recipient": name, **values}))


def _time() -> type:
    return type(recipients.c.created_at.type)


def _state(exchange: Exchange, name: str) -> dict[str, Any]:
    def rows(table: sa.Table, order: sa.Column[Any]) -> list[dict[str, Any]]:
        found = exchange.index.rows(sa.select(table).where(table.c.recipient == name).order_by(order))
        return [
            {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
            for row in found
        ]

    [state] = rows(recipients, recipients.c.recipient)
    tokens = rows(recipient_tokens, recipient_tokens.c.created_at)
    held = rows(grants, grants.c.granted_at)
    for row in (*tokens, *held):
        del row["recipient"]
    return {**state, "tokens": tokens, "grants": held}


def _keep(exchange: Exchange, name: str) -> None:
    state = json.dumps(_state(exchange, name), indent=1, ensure_ascii=False)
    exchange.lake.write_bytes(BUCKET, f"recipients/{name}.json", state.encode(), content_type="application/json")


def _make_token(connection: Connection, name: str, *, valid: timedelta, now: datetime) -> NewToken:
    token, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    connection.execute(
        sa.insert(recipient_tokens).values(
            token=token, recipient=name, sha256=_hash(secret), created_at=now, expires_at=now + valid
        )
    )
    return NewToken(recipient=name, token=token, secret=f"cdx_{token}_{secret}", expires_at=now + valid)


def _hash(secret: str) -> str:
    # A secret of 32 random bytes cannot be guessed from its hash: it needs no salt and no slow hash.
    return hashlib.sha256(secret.encode()).hexdigest()


def _row(connection: Connection, name: str) -> Any:
    return connection.execute(sa.select(recipients).where(recipients.c.recipient == name)).mappings().first()


def _active(connection: Connection, name: str) -> None:
    row = _row(connection, name)
    if row is None:
        query = sa.select(recipients.c.recipient).order_by(recipients.c.recipient)
        known = [row["recipient"] for row in connection.execute(query).mappings()]
        raise RecipientFault(f"no recipient {name!r}; there are: {', '.join(known) or 'none yet'}")
    if row["revoked_at"] is not None:
        raise RecipientFault(
            f"{name} was revoked on {row['revoked_at']:%Y-%m-%d}: add the recipient under another name"
        )


def _end_grants(connection: Connection, name: str, mart: str, now: datetime) -> int:
    standing = (grants.c.recipient == name, grants.c.mart == mart, grants.c.revoked_at.is_(None))
    return connection.execute(sa.update(grants).where(*standing).values(revoked_at=now)).rowcount
