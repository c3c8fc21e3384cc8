"""Who may take what: one function decides, and every door asks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Access = Literal["open", "registered", "agreement"]
# From what anyone may read to what only those may who accepted its terms.
LEVELS: tuple[Access, ...] = ("open", "registered", "agreement")


class Denied(Exception):
    """Somebody may not take what was asked for; the message says why and what to do. Shown to whoever asked."""


class Unknown(Denied):
    """It is not known who asks: there is no credential, or it is not good."""


class Forbidden(Denied):
    """It is known who asks, and it is not allowed."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """The right to read a mart that asks for an agreement; ``terms`` is the version that was accepted."""

    mart: str
    terms: str
    granted_at: datetime
    until: datetime | None


@dataclass(frozen=True, kw_only=True)
class Link:
    """What a signed link lets its holder take: a release, or the one file ``path`` of it.

    ``recipient`` is who had it made (``anonymous``: nobody known), and it is good only as long as they may read the
    release themselves; a link without one was made by the exchange. ``door`` is the one through which it was given.
    """

    mart: str
    major: int
    release: str
    path: str | None = None
    recipient: str | None = None
    door: str = "link"

    def covers(self, *, mart: str, major: int, release: str | None, path: str | None) -> bool:
        return (mart, major, release) == (self.mart, self.major, self.release) and self.path in (None, path)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks: a recipient, or nobody known. ``fault``: why the credential that was shown is not good."""

    recipient: str | None = None
    grants: Mapping[str, Grant] = field(default_factory=dict)
    link: Link | None = None
    fault: str | None = None


def stricter(first: Access, second: Access) -> Access:
    return max(first, second, key=LEVELS.index)


def entitle(
    caller: Caller,
    *,
    mart: str,
    major: int,
    access: Access,
    now: datetime,
    release: str | None = None,
    path: str | None = None,
) -> None:
    """Lets the caller read the mart (the release, the file of it), or raises :class:`Unknown` or :class:`Forbidden`.

    ``open``: anyone. ``registered``: any recipient. ``agreement``: a recipient whose grant of that mart holds at
    ``now``. A credential that is shown must be good whatever the mart's level, so that nobody goes on with one that
    has run out and takes silence for consent.
    """
    if caller.fault is not None:
        raise Unknown(caller.fault)
    if caller.link is not None:
        if not caller.link.covers(mart=mart, major=major, release=release, path=path):
            raise Forbidden("the link was made for something else: ask for a link to this")
        if caller.link.recipient is None:
            return
    if access == "open":
        return
    if caller.recipient is None:
        raise Unknown(
            f"{mart} is read with a token, for its access is {access!r}: ask the exchange for one, and send it as "
            "Authorization: Bearer …"
        )
    if access == "agreement":
        _require_grant(caller, mart, now)


def _require_grant(caller: Caller, mart: str, now: datetime) -> None:
    grant = caller.grants.get(mart)
    if grant is None:
        raise Forbidden(
            f"{mart} is read under an agreement, and {caller.recipient} has none for it: accept its terms with the "
            "exchange"
        )
    if grant.until is not None and grant.until <= now:
        raise Forbidden(
            f"the agreement of {caller.recipient} on {mart} ended on {grant.until:%Y-%m-%d}: renew it with the exchange"
        )


def may_read(caller: Caller, *, mart: str, major: int, access: Access, now: datetime) -> bool:
    """Whether a list shows the mart to the caller."""
    try:
        entitle(caller, mart=mart, major=major, access=access, now=now)
    except Denied:
        return False
    return True
