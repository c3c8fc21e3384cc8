"""The catalogue in DCAT-AP 3.0.1, with its extension for High-Value Datasets, as one RDF graph.

A mart's major is a dataset; its releases are that dataset's versions. Nothing is a blank node, so the same catalogue
gives the same text. What a term of another vocabulary is stands beside it, so the graph can be judged alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rdflib import DCTERMS, FOAF, ODRL2, PROV, RDF, RDFS, SKOS, XSD, Graph, Literal, Namespace, URIRef

from lakehouse.catalog import vocabulary
from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.dcat_services import SERVICES, add_distributions, add_services
from lakehouse.catalog.entries import Entry, Version
from lakehouse.catalog.nodes import DCAT, DCATAP, VCARD, document, legal, licence_node, name_term, resource, text
from lakehouse.catalog.offer import offer_graph
from lakehouse.catalog.privacy_words import privacy_words
from lakehouse.contracts.mart import Place
from lakehouse.contracts.odcs import Contract
from lakehouse.settings import Settings

DQV = Namespace("http://www.w3.org/ns/dqv#")
TITLE = "City Data Exchange"


def catalog_graph(entries: Sequence[Entry], *, settings: Settings) -> Graph:
    """The whole catalogue. Its addresses are those at which readers know the doors."""
    at = Addresses.of(settings)
    graph = new_graph()
    _add_catalog(graph, entries, settings, at)
    add_services(graph, entries, at)
    for entry in entries:
        _add_mart(graph, entry, at)
    return graph


def mart_graph(entry: Entry, *, settings: Settings) -> Graph:
    """One mart alone, with its doors and inputs."""
    at, graph = Addresses.of(settings), new_graph()
    _add_publisher(graph, settings, at)
    add_services(graph, [entry], at)
    _add_mart(graph, entry, at)
    return graph


def _add_mart(graph: Graph, entry: Entry, at: Addresses) -> None:
    _add_dataset(graph, entry, at)
    add_distributions(graph, entry, at)
    graph += offer_graph(entry, at)
    for contract in entry.inputs:
        _add_input(graph, contract, at)


def turtle(graph: Graph) -> str:
    """The same graph gives the same text."""
    return graph.serialize(format="turtle")


def json_ld(graph: Graph) -> str:
    """The same graph gives the same text: what stands in a set is put in order."""
    return json.dumps(
        _ordered(json.loads(graph.serialize(format="json-ld", auto_compact=True))), indent=1, ensure_ascii=False
    )


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return sorted(map(_ordered, value), key=lambda inner: json.dumps(inner, sort_keys=True))
    return value


def new_graph() -> Graph:
    """An empty graph that knows the prefixes by which the standards call their terms."""
    graph = Graph()
    for prefix, namespace in {
        "dcat": DCAT, "dct": DCTERMS, "foaf": FOAF, "odrl": ODRL2, "prov": PROV, "skos": SKOS,
        "dcatap": DCATAP, "vcard": VCARD, "dqv": DQV, "spdx": "http://spdx.org/rdf/terms#",
        "eli": "http://data.europa.eu/eli/ontology#",
    }.items():  # fmt: skip
        graph.bind(prefix, namespace)
    return graph


def _add_publisher(graph: Graph, settings: Settings, at: Addresses) -> None:
    publisher, contact = URIRef(at.publisher), URIRef(at.contact)
    graph.add((publisher, RDF.type, FOAF.Agent))
    graph.add((publisher, FOAF.name, text(settings.publisher)))
    graph.add((contact, RDF.type, VCARD.Organization))
    graph.add((contact, RDF.type, VCARD.Kind))
    graph.add((contact, VCARD.fn, text(settings.publisher)))
    graph.add((contact, VCARD.hasEmail, resource(graph, f"mailto:{settings.contact}")))


def _add_catalog(graph: Graph, entries: Sequence[Entry], settings: Settings, at: Addresses) -> None:
    _add_publisher(graph, settings, at)
    catalog = URIRef(at.catalog)
    graph.add((catalog, RDF.type, DCAT.Catalog))
    graph.add((catalog, DCTERMS.title, text(TITLE)))
    graph.add((catalog, DCTERMS.description, text("Data of a city, checked, made anonymous where it has to be.")))
    graph.add((catalog, DCTERMS.publisher, URIRef(at.publisher)))
    graph.add((catalog, DCAT.contactPoint, URIRef(at.contact)))
    graph.add((catalog, FOAF.homepage, document(graph, at.index, f"Pages of the {TITLE}")))
    graph.add((catalog, DCTERMS.language, name_term(graph, vocabulary.ENGLISH, DCTERMS.LinguisticSystem)))
    scheme = name_term(graph, vocabulary.THEME_SCHEME, SKOS.ConceptScheme)
    graph.add((scheme, DCTERMS.title, text(vocabulary.THEME_SCHEME.label)))
    graph.add((catalog, DCAT.themeTaxonomy, scheme))
    if entries:
        moments = [version.created_at for entry in entries for version in entry.versions]
        graph.add((catalog, DCTERMS.modified, Literal(max(moments).isoformat(), datatype=XSD.dateTime)))
    for entry in entries:
        graph.add((catalog, DCAT.dataset, dataset_node(entry, at)))
        for place in _places(entry):
            graph.add((catalog, DCTERMS.spatial, URIRef(place.uri)))
    for service in SERVICES:
        graph.add((catalog, DCAT.service, service.node(at)))


def dataset_node(entry: Entry, at: Addresses) -> URIRef:
    return URIRef(at.mart(entry.manifest.mart, entry.manifest.major))


def _add_dataset(graph: Graph, entry: Entry, at: Addresses) -> None:
    node, manifest = dataset_node(entry, at), entry.manifest
    _describe(graph, node, entry, at)
    graph.add((node, DCTERMS.identifier, Literal(entry.key)))
    graph.add((node, DCAT.version, Literal(manifest.release)))
    graph.add((node, DCTERMS.issued, _moment(entry.versions[-1]) if entry.versions else _created(entry)))
    graph.add((node, DCTERMS.modified, _created(entry)))
    theme = name_term(graph, vocabulary.THEMES[manifest.theme], SKOS.Concept)
    graph.add((theme, SKOS.inScheme, URIRef(vocabulary.THEME_SCHEME.uri)))
    graph.add((node, DCAT.theme, theme))
    for keyword in manifest.keywords:
        graph.add((node, DCAT.keyword, text(keyword)))
    renewed = vocabulary.frequency(entry.mart.exchange.freshness_hours if entry.mart else None)
    graph.add((node, DCTERMS.accrualPeriodicity, name_term(graph, renewed, DCTERMS.Frequency)))
    graph.add((node, DCTERMS.language, URIRef(vocabulary.ENGLISH.uri)))
    graph.add((node, DCTERMS.temporal, _period(graph, node, entry)))
    for place in _places(entry):
        location = URIRef(place.uri)
        graph.add((location, RDF.type, DCTERMS.Location))
        graph.add((location, SKOS.prefLabel, text(place.name)))
        graph.add((node, DCTERMS.spatial, location))
    graph.add((node, DCAT.landingPage, document(graph, at.page(manifest.mart, manifest.major), manifest.title)))
    graph.add((node, ODRL2.hasPolicy, URIRef(at.offer(manifest.mart, manifest.major))))
    _add_high_value(graph, node, entry)
    _add_provenance(graph, node, entry, at)
    _add_quality(graph, node, entry)
    _add_versions(graph, node, entry, at)


def _describe(graph: Graph, node: URIRef, entry: Entry, at: Addresses) -> None:
    """What a mart and each of its releases say alike."""
    manifest = entry.manifest
    graph.add((node, RDF.type, DCAT.Dataset))
    graph.add((node, DCTERMS.title, text(manifest.title)))
    graph.add((node, DCTERMS.description, text(manifest.description)))
    graph.add((node, DCTERMS.publisher, URIRef(at.publisher)))
    graph.add((node, DCAT.contactPoint, URIRef(at.contact)))
    access = vocabulary.PUBLIC if manifest.access == "open" else vocabulary.RESTRICTED
    graph.add((node, DCTERMS.accessRights, name_term(graph, access, DCTERMS.RightsStatement)))


def _period(graph: Graph, node: URIRef, entry: Entry) -> URIRef:
    first, last = entry.coverage
    period = URIRef(f"{node}#period")
    graph.add((period, RDF.type, DCTERMS.PeriodOfTime))
    graph.add((period, DCAT.startDate, Literal(first.isoformat(), datatype=XSD.date)))
    graph.add((period, DCAT.endDate, Literal(last.isoformat(), datatype=XSD.date)))
    return period


def _add_high_value(graph: Graph, node: URIRef, entry: Entry) -> None:
    if entry.high_value is None:
        return
    category = vocabulary.HIGH_VALUE[entry.high_value]
    graph.add((node, DCATAP.hvdCategory, name_term(graph, category, SKOS.Concept)))
    graph.add((node, DCATAP.applicableLegislation, legal(graph)))


def _add_provenance(graph: Graph, node: URIRef, entry: Entry, at: Addresses) -> None:
    """Where it comes from and how it was made, whom to name, and what was done for privacy."""
    manifest = entry.manifest
    for contract in entry.inputs:
        source = URIRef(at.input(contract.key))
        graph.add((node, DCTERMS.source, source))
        graph.add((node, PROV.wasDerivedFrom, source))
    simulated = f" Simulated: {', '.join(manifest.simulated_inputs)}." if manifest.simulated_inputs else ""
    deliveries, code = len(manifest.inputs), f"{manifest.code} ({manifest.code_version})"
    said = {
        "made": f"Made of {deliveries} deliveries by code {code}.{simulated}",
        "attribution": f"Name: {'; '.join(manifest.attribution)}.",
        "privacy": privacy_words(manifest),
    }
    for name, words in said.items():
        statement = URIRef(f"{node}#{name}")
        graph.add((statement, RDF.type, DCTERMS.ProvenanceStatement))
        graph.add((statement, RDFS.label, text(words)))
        graph.add((node, DCTERMS.provenance, statement))


def _add_quality(graph: Graph, node: URIRef, entry: Entry) -> None:
    """How many checks the newest release's gate made; a release that is there passed all that block."""
    checks = entry.manifest.gates.get("checks")
    if checks is None:
        return
    measured, metric = URIRef(f"{node}#gate"), URIRef(f"{node}#gate-checks")
    graph.add((metric, RDF.type, DQV.Metric))
    graph.add((metric, SKOS.definition, text("Checks that the release gate made; those that block all passed.")))
    graph.add((metric, DQV.expectedDataType, XSD.integer))
    graph.add((measured, RDF.type, DQV.QualityMeasurement))
    graph.add((measured, DQV.computedOn, node))
    graph.add((measured, DQV.isMeasurementOf, metric))
    graph.add((measured, DQV.value, Literal(checks)))
    graph.add((node, DQV.hasQualityMeasurement, measured))


def _add_versions(graph: Graph, node: URIRef, entry: Entry, at: Addresses) -> None:
    """The releases that stand, the newest first, each a dataset of its own that says which came before it."""
    manifest = entry.manifest
    known = [URIRef(at.release(manifest.mart, manifest.major, version.release)) for version in entry.versions]
    for place, (version, release) in enumerate(zip(entry.versions, known, strict=True)):
        _describe(graph, release, entry, at)
        graph.add((release, DCTERMS.identifier, Literal(f"{manifest.mart}@{version.release}")))
        graph.add((release, DCAT.version, Literal(version.release)))
        graph.add((release, DCTERMS.issued, _moment(version)))
        graph.add((release, DCAT.isVersionOf, node))
        graph.add((node, DCAT.hasVersion, release))
        if place + 1 < len(known):
            graph.add((release, DCAT.previousVersion, known[place + 1]))
        if version.release == manifest.release:
            graph.add((node, DCAT.hasCurrentVersion, release))


def _add_input(graph: Graph, contract: Contract, at: Addresses) -> None:
    """A provider's dataset. It is described, and not given out."""
    node, provider = URIRef(at.input(contract.key)), URIRef(at.provider(contract.provider))
    licence = contract.exchange.licence
    rights = URIRef(f"{node}#attribution")
    graph.add((provider, RDF.type, FOAF.Agent))
    graph.add((provider, FOAF.name, text(contract.team.name if contract.team else contract.provider)))
    graph.add((node, RDF.type, DCAT.Dataset))
    graph.add((node, DCTERMS.title, text(contract.name)))
    graph.add((node, DCTERMS.description, text(contract.description.purpose)))
    graph.add((node, DCTERMS.publisher, provider))
    graph.add((node, DCTERMS.license, licence_node(graph, licence.id, licence.url)))
    graph.add((node, DCTERMS.rights, rights))
    graph.add((rights, RDF.type, DCTERMS.RightsStatement))
    graph.add((rights, RDFS.label, text(licence.attribution)))


def _places(entry: Entry) -> Sequence[Place]:
    return entry.mart.exchange.spatial if entry.mart else ()


def _created(entry: Entry) -> Literal:
    return Literal(entry.manifest.created_at.isoformat(), datatype=XSD.dateTime)


def _moment(version: Version) -> Literal:
    return Literal(version.created_at.isoformat(), datatype=XSD.dateTime)
