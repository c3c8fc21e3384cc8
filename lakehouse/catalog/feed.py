"""The change feed, in Atom (RFC 4287): what happened, with stable names, for readers that ask again and again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lxml import etree

from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.happenings import Happening
from lakehouse.settings import Settings

ATOM = "http://www.w3.org/2005/Atom"
MEDIA = "application/atom+xml"
# Before the first release: the feed still needs a moment.
_BEGINNING = datetime(2016, 1, 1, tzinfo=UTC)


def atom_feed(found: Sequence[Happening], settings: Settings) -> bytes:
    """The newest first. An entry keeps its id for ever, wherever the doors move: it is made of what happened."""
    at = Addresses.of(settings)
    feed = etree.Element(f"{{{ATOM}}}feed", nsmap={None: ATOM})  # type: ignore[dict-item]
    _text(feed, "id", _tag(settings, "feed"))
    _text(feed, "title", "City Data Exchange: changes")
    _text(feed, "updated", _moment(max((one.at for one in found), default=_BEGINNING)))
    author = etree.SubElement(feed, f"{{{ATOM}}}author")
    _text(author, "name", settings.publisher)
    _text(author, "email", settings.contact)
    etree.SubElement(feed, f"{{{ATOM}}}link", rel="self", type=MEDIA, href=at.feed)
    etree.SubElement(feed, f"{{{ATOM}}}link", rel="alternate", type="text/html", href=at.index)
    for one in found:
        entry = etree.SubElement(feed, f"{{{ATOM}}}entry")
        _text(entry, "id", _tag(settings, one.name))
        _text(entry, "title", one.title)
        _text(entry, "updated", _moment(one.at))
        _text(entry, "published", _moment(one.at))
        etree.SubElement(entry, f"{{{ATOM}}}category", term=one.kind)
        etree.SubElement(entry, f"{{{ATOM}}}category", term=one.mart)
        page = at.page(one.mart, one.major)
        etree.SubElement(entry, f"{{{ATOM}}}link", rel="alternate", type="text/html", href=page)
        _text(entry, "summary", one.summary)
    return bytes(etree.tostring(feed, encoding="utf-8", xml_declaration=True, pretty_print=True))


def _tag(settings: Settings, name: str) -> str:
    """A name that nobody else gives (RFC 4151)."""
    return f"tag:{settings.contact},2016:{name}"


def _text(parent: etree._Element, name: str, words: str) -> None:
    etree.SubElement(parent, f"{{{ATOM}}}{name}").text = words


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
