"""Nodes that several parts of the catalogue's graph share, each typed and named where it is used."""

from __future__ import annotations

from rdflib import DCTERMS, FOAF, RDF, RDFS, SKOS, Graph, Literal, Namespace, URIRef

from lakehouse.catalog import vocabulary
from lakehouse.contracts.licences import LICENCES

# rdflib's own is of DCAT 2.
DCAT = Namespace("http://www.w3.org/ns/dcat#")
DCATAP = Namespace("http://data.europa.eu/r5r/")
ELI = Namespace("http://data.europa.eu/eli/ontology#")
SPDX = Namespace("http://spdx.org/rdf/terms#")
VCARD = Namespace("http://www.w3.org/2006/vcard/ns#")


def text(words: str) -> Literal:
    """English words, without the line breaks that YAML leaves in them."""
    return Literal(" ".join(words.split()), lang="en")


def name_term(graph: Graph, term: vocabulary.Term, kind: URIRef) -> URIRef:
    """A term of another vocabulary, with its kind and its label."""
    node = URIRef(term.uri)
    graph.add((node, RDF.type, kind))
    graph.add((node, SKOS.prefLabel, text(term.label)))
    return node


def document(graph: Graph, address: str, title: str) -> URIRef:
    """A page for people."""
    node = URIRef(address)
    graph.add((node, RDF.type, FOAF.Document))
    graph.add((node, DCTERMS.title, text(title)))
    return node


def legal(graph: Graph) -> URIRef:
    """The law on High-Value Datasets."""
    return name_term(graph, vocabulary.HIGH_VALUE_LAW, ELI.LegalResource)


def licence_node(graph: Graph, licence: str, url: str) -> URIRef:
    """The licence as the EU's table names it, else by the address that is stated."""
    terms = LICENCES.get(licence)
    node = URIRef(terms.uri if terms else url)
    graph.add((node, RDF.type, DCTERMS.LicenseDocument))
    graph.add((node, DCTERMS.title, text(terms.title if terms else licence)))
    graph.add((node, DCTERMS.identifier, Literal(licence)))
    if str(node) != url:
        graph.add((node, RDFS.seeAlso, URIRef(url)))
    return node


def resource(graph: Graph, address: str) -> URIRef:
    """An address of which no more is said than that it is one."""
    node = URIRef(address)
    graph.add((node, RDF.type, RDFS.Resource))
    return node
