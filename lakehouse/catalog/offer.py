"""The terms of a mart as an ODRL offer: what may be done with it, and on which duties."""

from __future__ import annotations

from rdflib import DCTERMS, ODRL2, RDF, RDFS, XSD, Graph, Literal, Namespace, URIRef

from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.entries import Entry
from lakehouse.catalog.nodes import text
from lakehouse.contracts.licences import LICENCES, Terms
from lakehouse.release.manifest import Manifest

CC = Namespace("http://creativecommons.org/ns#")
# Demands nothing that is not in the licence's table; one that is not known grants no more than reading.
_UNKNOWN = Terms(id="unknown", title="unknown", uri="", commercial=False, derivatives=False, closed=True)


def offer_graph(entry: Entry, at: Addresses) -> Graph:
    """One offer of the exchange on the mart's major. Every rule names target and assigner, so it can be read alone."""
    manifest = entry.manifest
    graph = Graph()
    for prefix, namespace in {"odrl": ODRL2, "cc": CC, "dct": DCTERMS}.items():
        graph.bind(prefix, namespace)
    offer = URIRef(at.offer(manifest.mart, manifest.major))
    for kind in (ODRL2.Policy, ODRL2.Offer):
        graph.add((offer, RDF.type, kind))
    graph.add((offer, ODRL2.uid, offer))
    graph.add((offer, DCTERMS.title, text(f"Terms of {manifest.title}")))
    graph.add((offer, DCTERMS.license, URIRef(manifest.licence["url"])))
    graph.add((URIRef(at.publisher), RDF.type, ODRL2.Party))
    graph.add((URIRef(at.mart(manifest.mart, manifest.major)), RDF.type, ODRL2.Asset))
    terms = LICENCES.get(manifest.licence["id"], _UNKNOWN)
    _add_permissions(graph, offer, entry, at, terms)
    if not terms.commercial:
        _rule(graph, offer, entry, at, ODRL2.prohibition, ODRL2.Prohibition, ODRL2.commercialize)
    if manifest.privacy["kind"] != "open":
        _rule(graph, offer, entry, at, ODRL2.prohibition, ODRL2.Prohibition, _reidentify(graph, at))
    return graph


def _add_permissions(graph: Graph, offer: URIRef, entry: Entry, at: Addresses, terms: Terms) -> None:
    read = _rule(graph, offer, entry, at, ODRL2.permission, ODRL2.Permission, ODRL2.use)
    for duty in _access_duties(graph, offer, entry.manifest, at):
        graph.add((read, ODRL2.duty, duty))
    if terms.closed:
        return
    actions = [ODRL2.reproduce, ODRL2.distribute, *([ODRL2.derive] if terms.derivatives else [])]
    for action in actions:
        permission = _rule(graph, offer, entry, at, ODRL2.permission, ODRL2.Permission, action)
        if terms.attribution:
            named = _duty(graph, f"{offer}#duty-attribution", ODRL2.attribute)
            graph.add((named, RDFS.comment, text(f"Name: {'; '.join(entry.manifest.attribution)}.")))
            graph.add((permission, ODRL2.duty, named))
        if terms.share_alike and action == ODRL2.derive:
            alike = _duty(graph, f"{offer}#duty-share-alike", CC.ShareAlike)
            graph.add((CC.ShareAlike, RDF.type, ODRL2.Action))
            graph.add((CC.ShareAlike, ODRL2.includedIn, ODRL2.use))
            graph.add((permission, ODRL2.duty, alike))


def _access_duties(graph: Graph, offer: URIRef, manifest: Manifest, at: Addresses) -> list[URIRef]:
    """What a reader does before reading: nothing, gets a token, accepts the terms; and pays, where it has a price."""
    duties = []
    if manifest.access == "registered":
        told = _duty(graph, f"{offer}#duty-register", ODRL2.inform)
        graph.add((told, ODRL2.informedParty, URIRef(at.publisher)))
        duties.append(told)
    elif manifest.access == "agreement":
        agreed = _duty(graph, f"{offer}#duty-agree", ODRL2.obtainConsent)
        graph.add((agreed, ODRL2.consentingParty, URIRef(at.publisher)))
        duties.append(agreed)
    if manifest.price:
        duties.append(_payment(graph, offer, manifest, at))
    return duties


def _payment(graph: Graph, offer: URIRef, manifest: Manifest, at: Addresses) -> URIRef:
    price = manifest.price or {}
    amount, pays = URIRef(f"{offer}#price"), _duty(graph, f"{offer}#duty-pay", ODRL2.compensate)
    graph.add((amount, RDF.type, ODRL2.Constraint))
    graph.add((amount, ODRL2.leftOperand, ODRL2.payAmount))
    graph.add((amount, ODRL2.operator, ODRL2.eq))
    graph.add((amount, ODRL2.rightOperand, Literal(str(price.get("amount", "")), datatype=XSD.decimal)))
    if currency := price.get("currency"):
        graph.add((amount, ODRL2.unit, URIRef(f"http://publications.europa.eu/resource/authority/currency/{currency}")))
    if unit := price.get("unit"):
        graph.add((amount, RDFS.comment, text(f"for each {unit}")))
    graph.add((pays, ODRL2.compensatedParty, URIRef(at.publisher)))
    graph.add((pays, ODRL2.constraint, amount))
    return pays


def _rule(
    graph: Graph, offer: URIRef, entry: Entry, at: Addresses, relation: URIRef, kind: URIRef, action: URIRef
) -> URIRef:
    rule = URIRef(f"{offer}#{str(relation).rpartition('/')[2]}-{str(action).rpartition('/')[2].rpartition('#')[2]}")
    graph.add((offer, relation, rule))
    for is_a in (ODRL2.Rule, kind):
        graph.add((rule, RDF.type, is_a))
    graph.add((rule, ODRL2.action, action))
    graph.add((rule, ODRL2.target, URIRef(at.mart(entry.manifest.mart, entry.manifest.major))))
    graph.add((rule, ODRL2.assigner, URIRef(at.publisher)))
    return rule


def _duty(graph: Graph, name: str, action: URIRef) -> URIRef:
    duty = URIRef(name)
    for is_a in (ODRL2.Rule, ODRL2.Duty):
        graph.add((duty, RDF.type, is_a))
    graph.add((duty, ODRL2.action, action))
    return duty


def _reidentify(graph: Graph, at: Addresses) -> URIRef:
    """No word of ODRL's own says it."""
    action = URIRef(f"{at.catalog}#reidentify")
    graph.add((action, RDF.type, ODRL2.Action))
    graph.add((action, ODRL2.includedIn, ODRL2.use))
    graph.add((action, RDFS.label, text("Find out whom a number is about, alone or with other data.")))
    return action
