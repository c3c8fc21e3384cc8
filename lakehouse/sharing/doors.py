"""What every door stands on: who asks, whether they may, and the account of what they took.

A door is a router; its endpoints take :data:`Doorway` and pass through :meth:`Visit.admit`, which finds the release,
decides, and has the answer metered. So none can forget to ask or to count.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lakehouse.exchange import Exchange
from lakehouse.sharing.entitlement import Caller, Denied, Forbidden, Unknown, entitle, may_read
from lakehouse.sharing.links import PARAMETER, BadLink, Links
from lakehouse.sharing.meter import Meter, Taken
from lakehouse.sharing.published import NotPublished, Publications, Published, Withdrawn
from lakehouse.sharing.recipients import NOBODY, caller_by_name, caller_by_token

_log = logging.getLogger("lakehouse.doors")


class BadRequest(ValueError):
    """What was asked cannot be; the message says what can."""


class TooMuch(ValueError):
    """More is asked for than is given at once; the message says what to do."""


class Busy(RuntimeError):
    """As much is being given as the exchange gives at once; the message says when to come again."""


@dataclass(frozen=True)
class Doors:
    """Made once for an application."""

    exchange: Exchange
    publications: Publications
    links: Links
    meter: Meter

    @classmethod
    def open(cls, exchange: Exchange) -> Doors:
        return cls(exchange, Publications(exchange), Links(exchange), Meter(exchange))


@dataclass(frozen=True)
class Visit:
    """One request at a door."""

    doors: Doors
    request: Request
    caller: Caller

    @property
    def base_url(self) -> str:
        """The doors' address as the reader knows it, without a slash at its end."""
        return (self.doors.exchange.settings.doors_url or str(self.request.base_url)).rstrip("/")

    def admit(
        self, *, door: str, mart: str, major: int, release: str | None = None, path: str | None = None
    ) -> Published:
        """The release (``None``: the newest) that the caller may read, metered as taken through ``door``.

        Raises :class:`NotPublished`, :class:`Withdrawn` and :class:`Denied`, which the application answers.
        """
        publications = self.doors.publications
        if release is None:
            found = publications.latest(mart=mart, major=major)
        else:
            found = publications.release(mart=mart, major=major, release=release)
        name = found.manifest.release
        entitle(
            self.caller, mart=mart, major=major, release=name, path=path, access=found.access, now=datetime.now(UTC)
        )
        link = self.caller.link
        self.request.state.taken = Taken(
            door=link.door if link else door, recipient=self.caller.recipient, mart=mart, major=major, release=name
        )
        return found

    @property
    def taken(self) -> Taken:
        """The account of this request, once it was admitted."""
        return cast(Taken, self.request.state.taken)

    def readable(self) -> list[Published]:
        """The newest release of each mart and major that the caller may read, for lists."""
        now, found = datetime.now(UTC), []
        for mart, major in self.doors.publications.majors():
            try:
                newest = self.doors.publications.latest(mart=mart, major=major)
            except (NotPublished, Withdrawn):
                continue
            if may_read(self.caller, mart=mart, major=major, access=newest.access, now=now):
                found.append(newest)
        return found


def doors_of(request: Request) -> Doors:
    return cast(Doors, request.app.state.doors)


def caller_by_link(doors: Doors, text: str, *, now: datetime) -> Caller:
    """Whoever holds the link; with a fault where it is not good."""
    try:
        link = doors.links.read(text, now=now)
    except BadLink as error:
        return Caller(fault=str(error))
    known = link.recipient not in (None, NOBODY)
    holder = caller_by_name(doors.exchange, str(link.recipient)) if known else Caller()
    return Caller(recipient=holder.recipient, grants=holder.grants, fault=holder.fault, link=link)


def caller_of(request: Request) -> Caller:
    """Who asks, by a link or by a token; with a fault where what they show is not good."""
    doors, now = doors_of(request), datetime.now(UTC)
    if text := request.query_params.get(PARAMETER):
        return caller_by_link(doors, text, now=now)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return Caller()
    if scheme.lower() != "bearer" or not token.strip():
        return Caller(fault="the doors take Authorization: Bearer and a token; no other scheme")
    return caller_by_token(doors.exchange, token.strip(), now=now)


def visit_of(request: Request) -> Visit:
    return Visit(doors_of(request), request, caller_of(request))


Doorway = Annotated[Visit, Depends(visit_of)]


def fault(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error in the one form that all doors have, which is that of the Delta Sharing protocol."""
    return JSONResponse({"errorCode": code, "message": message}, status_code=status, headers=headers)


def answer_faults(app: FastAPI) -> None:
    """Gives the answers of an application to what :meth:`Visit.admit` raises."""

    @app.exception_handler(Denied)
    def denied(_request: Request, error: Denied) -> JSONResponse:
        if isinstance(error, Forbidden):
            return fault(403, "PERMISSION_DENIED", str(error))
        assert isinstance(error, Unknown)
        return fault(401, "UNAUTHENTICATED", str(error), {"WWW-Authenticate": 'Bearer realm="exchange"'})

    @app.exception_handler(BadRequest)
    def bad_request(_request: Request, error: BadRequest) -> JSONResponse:
        return fault(400, "INVALID_PARAMETER_VALUE", str(error))

    @app.exception_handler(TooMuch)
    def too_much(_request: Request, error: TooMuch) -> JSONResponse:
        return fault(413, "TOO_LARGE", str(error))

    @app.exception_handler(Busy)
    def busy(_request: Request, error: Busy) -> JSONResponse:
        return fault(429, "TOO_MANY_REQUESTS", str(error), {"Retry-After": "10"})

    @app.exception_handler(NotPublished)
    def not_published(_request: Request, error: NotPublished) -> JSONResponse:
        return fault(404, "RESOURCE_DOES_NOT_EXIST", str(error))

    @app.exception_handler(Withdrawn)
    def withdrawn(_request: Request, error: Withdrawn) -> JSONResponse:
        return fault(410, "RESOURCE_WITHDRAWN", str(error))


class Accounts:
    """Counts the bytes of each answer for the meter, and writes one line about it: without the query, in which a
    link may stand, and without the token. A door whose addresses hold a link shows its own form of them."""

    def __init__(self, app: ASGIApp, *, meter: Meter) -> None:
        self._app, self._meter = app, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        sent, status = 0, 0

        async def counted(message: Message) -> None:
            nonlocal sent, status
            await send(message)
            status = message.get("status", status)
            sent += len(message.get("body", b""))

        try:
            await self._app(scope, receive, counted)
        finally:
            taken: Taken | None = state.get("taken")
            if taken is not None and 0 < status < 400:
                taken.bytes += sent
                self._meter.count(taken)
            who = (taken.recipient or "anonymous") if taken else "-"
            shown = _on_one_line(str(state.get("shown", scope["path"])))
            _log.info("%s %s %d %d %s", scope["method"], shown, status, sent, who)


def _on_one_line(path: str) -> str:
    """Nobody writes a line of the log by the address that they ask for."""
    return "".join(letter if letter.isprintable() else f"%{ord(letter):02X}" for letter in path)
