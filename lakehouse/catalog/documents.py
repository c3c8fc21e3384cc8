"""Every document of the catalogue by its name, for a folder and for the doors alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from rdflib import Graph

from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.contract import contract_yaml, mart_contract
from lakehouse.catalog.croissant import croissant
from lakehouse.catalog.dcat import catalog_graph, json_ld, turtle
from lakehouse.catalog.entries import Entry, read_entries
from lakehouse.catalog.feed import MEDIA, atom_feed
from lakehouse.catalog.glimpse import Glimpse, glimpse
from lakehouse.catalog.happenings import happenings
from lakehouse.catalog.offer import offer_graph
from lakehouse.catalog.package import data_package
from lakehouse.catalog.pages import index_page, mart_page
from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange
from lakehouse.privacy.statement import privacy_statement

HTML, TURTLE, JSON_LD = "text/html; charset=utf-8", "text/turtle; charset=utf-8", "application/ld+json"
WHOLE = {
    "index.html": HTML,
    "dcat.ttl": TURTLE,
    "dcat.jsonld": JSON_LD,
    "feed.atom": MEDIA,
}
OF_A_MART = {
    "croissant.json": JSON_LD,
    "contract.odcs.yaml": "application/yaml",
    "datapackage.json": "application/json",
    "offer.jsonld": JSON_LD,
}


@dataclass(frozen=True)
class Catalog:
    """The catalogue as things stand when it is made; each document is made when it is asked for."""

    exchange: Exchange
    now: datetime
    glimpses: dict[str, Glimpse] = field(default_factory=dict)

    @cached_property
    def entries(self) -> list[Entry]:
        return read_entries(self.exchange)

    @cached_property
    def graph(self) -> Graph:
        return catalog_graph(self.entries, settings=self.exchange.settings)

    def entry(self, mart: str, major: int) -> Entry | None:
        return next((one for one in self.entries if (one.name, one.manifest.major) == (mart, major)), None)

    def whole(self, name: str) -> bytes:
        """A document of :data:`WHOLE`."""
        settings = self.exchange.settings
        if name == "feed.atom":
            return atom_feed(happenings(self.exchange), settings)
        if name == "index.html":
            return index_page(self.entries, settings, now=self.now).encode()
        return (turtle(self.graph) if name == "dcat.ttl" else json_ld(self.graph)).encode()

    def page(self, entry: Entry) -> bytes:
        """A mart for people. Its rows are looked at only where they are for everybody."""
        settings, prefix = self.exchange.settings, entry.manifest.prefix
        if entry.open and prefix not in self.glimpses:
            self.glimpses[prefix] = glimpse(self.exchange, entry.manifest)
        seen = self.glimpses[prefix] if entry.open else None
        return mart_page(entry, seen, settings, now=self.now, ledger=self._ledger(entry)).encode()

    def of_mart(self, entry: Entry, name: str) -> bytes:
        """A document of :data:`OF_A_MART`."""
        settings, manifest = self.exchange.settings, entry.manifest
        at = Addresses.of(settings)
        if name == "offer.jsonld":
            return json_ld(offer_graph(entry, at)).encode()
        if name == "contract.odcs.yaml":
            return contract_yaml(mart_contract(entry, settings)).encode()
        if name == "croissant.json":
            return _json(croissant(manifest, at, publisher=settings.publisher))
        base = at.pinned_files(manifest.mart, manifest.major, manifest.release)
        return _json(data_package(manifest, base=base))

    def all(self) -> Iterator[tuple[str, bytes]]:
        """Each document with its path in a folder."""
        for name in WHOLE:
            yield name, self.whole(name)
        for entry in self.entries:
            yield f"{entry.key}.html", self.page(entry)
            for name in OF_A_MART:
                yield f"{entry.key}/{name}", self.of_mart(entry, name)

    def _ledger(self, entry: Entry) -> list[dict[str, str]]:
        """What the privacy ledger has of the population of a mart with noise."""
        policy = entry.manifest.privacy
        if policy["kind"] != "dp":
            return []
        marts = read_marts(self.exchange.settings.marts_path)
        rows = privacy_statement(self.exchange, marts)["populations"]
        return [row for row in rows if row["population"] == policy["population"]]


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode()
