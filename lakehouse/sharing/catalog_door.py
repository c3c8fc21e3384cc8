"""The catalogue at the doors: one address for people and programs, which asks for what they read."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from threading import Lock

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from lakehouse.catalog.dcat import json_ld, mart_graph, turtle
from lakehouse.catalog.documents import HTML, JSON_LD, OF_A_MART, TURTLE, WHOLE, Catalog
from lakehouse.catalog.entries import Entry
from lakehouse.catalog.glimpse import Glimpse
from lakehouse.exchange import Exchange
from lakehouse.sharing.doors import doors_of
from lakehouse.sharing.pages import ALONE
from lakehouse.sharing.published import NotPublished
from lakehouse.storage.index import releases

_GLIMPSES_HELD = 64
_FORMS = {"text/html": HTML, "text/turtle": TURTLE, "application/ld+json": JSON_LD}

router = APIRouter(prefix="/catalog", tags=["catalogue"])


@router.get("")
def catalog(request: Request) -> Response:
    """The whole catalogue as HTML, Turtle or JSON-LD, by what the reader accepts."""
    form = _accepted(request)
    if form == HTML:
        return RedirectResponse("/catalog/index.html", status_code=303, headers={"Vary": "Accept"})
    made = _desk(request).catalog()
    return _answer(made.whole("dcat.ttl" if form == TURTLE else "dcat.jsonld"), form, vary=True)


@router.get("/{name}")
def document(name: str, request: Request) -> Response:
    """`index.html`, `dcat.ttl`, `dcat.jsonld` or `feed.atom`."""
    kind = WHOLE.get(name)
    if kind is None:
        raise NotPublished(f"the catalogue has no document {name!r}; there are: {', '.join(WHOLE)}")
    return _answer(_desk(request).catalog().whole(name), kind)


@router.get("/{mart}/v{major:int}.html")
def page(mart: str, major: int, request: Request) -> Response:
    """One mart for people."""
    made = _desk(request).catalog()
    return _answer(made.page(_entry(made, mart, major)), HTML)


@router.get("/{mart}/v{major:int}")
def described(mart: str, major: int, request: Request) -> Response:
    """One mart as HTML, Turtle or JSON-LD, by what the reader accepts."""
    form = _accepted(request)
    if form == HTML:
        return RedirectResponse(f"/catalog/{mart}/v{major}.html", status_code=303, headers={"Vary": "Accept"})
    made = _desk(request).catalog()
    graph = mart_graph(_entry(made, mart, major), settings=made.exchange.settings)
    return _answer((turtle(graph) if form == TURTLE else json_ld(graph)).encode(), form, vary=True)


@router.get("/{mart}/v{major:int}/{name}")
def of_mart(mart: str, major: int, name: str, request: Request) -> Response:
    """`croissant.json`, `contract.odcs.yaml`, `datapackage.json` or `offer.jsonld` of one mart."""
    kind = OF_A_MART.get(name)
    if kind is None:
        raise NotPublished(f"a mart has no document {name!r} in the catalogue; there are: {', '.join(OF_A_MART)}")
    made = _desk(request).catalog()
    return _answer(made.of_mart(_entry(made, mart, major), name), kind)


class Desk:
    """Holds the catalogue for as long as nothing was published, withdrawn or stated anew."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._lock = exchange, Lock()
        self._state: object = None
        self._made: Catalog | None = None
        self._glimpses: OrderedDict[str, Glimpse] = OrderedDict()

    def catalog(self) -> Catalog:
        """As things stand. A withdrawn release is gone from it at the next question."""
        state = self._now()
        with self._lock:
            while len(self._glimpses) > _GLIMPSES_HELD:
                self._glimpses.popitem(last=False)
            if self._made is None or state != self._state:
                self._state, self._made = state, Catalog(self._exchange, datetime.now(UTC), self._glimpses)
            return self._made

    def _now(self) -> object:
        rows = self._exchange.index.rows(
            sa.select(releases.c.mart, releases.c.major, releases.c.release, releases.c.status, releases.c.latest)
        )
        stated = sorted(
            (path.name, path.stat().st_mtime_ns) for path in self._exchange.settings.marts_path.glob("*.yml")
        )
        # Pages say how old the newest rows are: by the hour is often enough.
        return sorted(tuple(row.values()) for row in rows), stated, datetime.now(UTC).strftime("%Y-%m-%dT%H")


def _desk(request: Request) -> Desk:
    state = request.app.state
    if not hasattr(state, "catalog_desk"):
        state.catalog_desk = Desk(doors_of(request).exchange)
    desk: Desk = state.catalog_desk
    return desk


def _entry(made: Catalog, mart: str, major: int) -> Entry:
    found = made.entry(mart, major)
    if found is None:
        listed = ", ".join(f"{one.name} v{one.manifest.major}" for one in made.entries)
        raise NotPublished(f"there is no mart {mart!r} v{major}; there are: {listed or 'none yet'}")
    return found


def _accepted(request: Request) -> str:
    """The first of the forms that the reader names, by its weights; HTML for who names none of them."""
    wanted = []
    for place, part in enumerate(request.headers.get("accept", "").split(",")):
        kind, *parameters = [piece.strip() for piece in part.split(";")]
        weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        if kind in _FORMS:
            wanted.append((-_number(weight), place, _FORMS[kind]))
    return min(wanted)[2] if wanted else HTML


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _answer(content: bytes, kind: str, *, vary: bool = False) -> Response:
    headers = {"Cache-Control": "no-cache", **({"Vary": "Accept"} if vary else {}), **(ALONE if kind == HTML else {})}
    return Response(content, media_type=kind, headers=headers)
