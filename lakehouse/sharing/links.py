"""Signed links: an address that lets whoever holds it take a release, or a file of it, until a moment; and one that
opens the reviewers' desk to one reviewer."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from itsdangerous import BadData, URLSafeSerializer

from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import EXCHANGE, Scope, open_keys
from lakehouse.sharing.entitlement import Link
from lakehouse.sharing.tables import link_epoch

PARAMETER = "link"
LONGEST_HOURS = 31 * 24
# What a link of one kind says opens nothing of the other.
_RELEASES, _DESK = "lakehouse.sharing.links", "lakehouse.sharing.desk"


class BadLink(ValueError):
    """A link that is not good, or no longer; the message says what to do."""


def address_of(base_url: str, link: Link, *, signed: str) -> str:
    """What its holder opens: the file, or the list of the release's files, in which each address has the link too."""
    place = quote(link.path or "files.txt", safe="/=")
    return f"{base_url}/marts/{link.mart}/v{link.major}/releases/{link.release}/{place}?{PARAMETER}={signed}"


class Links:
    """Makes and reads links. The key is the exchange's own; its epoch, a number in the index, ends all links of the
    epochs before when it is raised."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._keys: dict[int, bytes] = {}

    def sign(self, link: Link, *, until: datetime) -> str:
        """What is put behind ``?link=`` in an address."""
        fields = [link.mart, link.major, link.release, link.path, link.recipient, link.door, int(until.timestamp())]
        return str(self._serializer(_RELEASES).dumps(fields))

    def sign_desk(self, reviewer: str, *, until: datetime) -> str:
        """What opens the desk to a reviewer of that name."""
        return str(self._serializer(_DESK).dumps([reviewer, int(until.timestamp())]))

    def read_desk(self, text: str, *, now: datetime) -> str:
        """The reviewer's name. Raises :class:`BadLink`."""
        [reviewer] = self._fields(_DESK, text, now)
        return str(reviewer)

    def read(self, text: str, *, now: datetime) -> Link:
        """Raises :class:`BadLink` for one that was tampered with, has run out, or was made under an earlier key."""
        mart, major, release, path, recipient, door = self._fields(_RELEASES, text, now)
        return Link(mart=mart, major=major, release=release, path=path, recipient=recipient, door=door)

    def end_all(self) -> int:
        """Every link made so far is refused from now on, by every process. Returns the new epoch."""
        with self._exchange.index.begin() as connection:
            if connection.execute(sa.update(link_epoch).values(epoch=link_epoch.c.epoch + 1)).rowcount == 0:
                connection.execute(sa.insert(link_epoch).values(epoch=2))
        return self.epoch()

    def epoch(self) -> int:
        """Under which key links are made and read now."""
        row = self._exchange.index.row(sa.select(link_epoch.c.epoch))
        return int(row["epoch"]) if row else 1

    def _fields(self, kind: str, text: str, now: datetime) -> list[Any]:
        """What was signed, without the moment of its end, which stands last."""
        try:
            signed: list[Any] = self._serializer(kind).loads(text)
        except BadData:
            raise BadLink(
                "the link is not whole, or the exchange has ended all links of its time: ask for a new one"
            ) from None
        *fields, until = signed
        if until <= now.timestamp():
            raise BadLink("the link has run out: ask for a new one")
        return fields

    def _serializer(self, kind: str) -> URLSafeSerializer:
        epoch = self.epoch()
        if epoch not in self._keys:
            scope = Scope(provider=EXCHANGE, purpose="links", epoch=epoch)
            self._keys = {epoch: open_keys(self._exchange).key(scope)}
        return URLSafeSerializer(
            self._keys[epoch],
            salt=kind,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
