"""The doors as DCAT describes them: services, and of each dataset the distributions that they serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rdflib import DCTERMS, FOAF, ODRL2, RDF, RDFS, SKOS, XSD, Graph, Literal, URIRef

from lakehouse.catalog import vocabulary
from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.entries import Entry
from lakehouse.catalog.nodes import DCAT, DCATAP, SPDX, document, legal, licence_node, name_term, resource, text


@dataclass(frozen=True)
class Service:
    """One door. ``path`` below the doors' address is its endpoint; ``standard`` what it conforms to."""

    name: str
    title: str
    description: str
    path: str
    standard: vocabulary.Term

    def node(self, at: Addresses) -> URIRef:
        return URIRef(f"{at.catalog}#{self.name}")


SERVICES = (
    Service(
        "files",
        "Parquet over HTTP",
        "Files of each release under addresses that do not change, with range requests.",
        "/marts",
        vocabulary.Term("https://parquet.apache.org/docs/file-format/", "Apache Parquet"),
    ),
    Service(
        "iceberg",
        "Apache Iceberg",
        "Iceberg REST catalogue, read only: each release is a snapshot, and a tag of its name.",
        "/iceberg",
        vocabulary.Term("https://iceberg.apache.org/rest-catalog-spec/", "Iceberg REST catalogue"),
    ),
    Service(
        "delta-sharing",
        "Delta Sharing",
        "Delta Sharing server, read by profile.",
        "/delta-sharing",
        vocabulary.Term("https://github.com/delta-io/delta-sharing/blob/main/PROTOCOL.md", "Delta Sharing protocol"),
    ),
    Service(
        "export",
        "Exports",
        "Rows of a release, all or those that a filter leaves, as csv, streamed.",
        "/marts",
        vocabulary.Term("https://www.rfc-editor.org/rfc/rfc4180", "RFC 4180"),
    ),
)


def add_services(graph: Graph, entries: Sequence[Entry], at: Addresses) -> None:
    """Each door with the datasets that it serves."""
    valued = sorted({entry.high_value for entry in entries if entry.high_value})
    for service in SERVICES:
        node = service.node(at)
        graph.add((node, RDF.type, DCAT.DataService))
        graph.add((node, DCTERMS.title, text(service.title)))
        graph.add((node, DCTERMS.description, text(service.description)))
        graph.add((node, DCTERMS.publisher, URIRef(at.publisher)))
        graph.add((node, DCAT.contactPoint, URIRef(at.contact)))
        graph.add((node, DCAT.endpointURL, resource(graph, f"{at.base}{service.path}")))
        graph.add((node, DCAT.endpointDescription, resource(graph, f"{at.base}/openapi.json")))
        graph.add((node, DCTERMS.conformsTo, name_term(graph, service.standard, DCTERMS.Standard)))
        graph.add((node, FOAF.page, document(graph, at.index, "Pages of the catalogue")))
        for entry in entries:
            graph.add((node, DCAT.servesDataset, URIRef(at.mart(entry.manifest.mart, entry.manifest.major))))
        for category in valued:
            graph.add((node, DCATAP.hvdCategory, name_term(graph, vocabulary.HIGH_VALUE[category], SKOS.Concept)))
            graph.add((node, DCATAP.applicableLegislation, legal(graph)))


def add_distributions(graph: Graph, entry: Entry, at: Addresses) -> None:
    """The newest release through each door, and each release that stands as Parquet."""
    manifest = entry.manifest
    dataset = at.mart(manifest.mart, manifest.major)
    files = at.files(manifest.mart, manifest.major)
    through = {
        "files": f"{files}/files.json",
        "iceberg": at.iceberg,
        "delta-sharing": at.delta_sharing,
        "export": at.export(manifest.mart, manifest.major, "csv"),
    }
    for service in SERVICES:
        node = _distribution(graph, entry, at, dataset, service.name, through[service.name])
        graph.add((node, DCTERMS.title, text(f"{manifest.title}: {service.title}")))
        graph.add((node, DCTERMS.description, text(service.description)))
        graph.add((node, DCAT.accessService, service.node(at)))
        graph.add((node, DCTERMS.modified, Literal(manifest.created_at.isoformat(), datatype=XSD.dateTime)))
        if service.name == "export":
            graph.add((node, DCAT.downloadURL, resource(graph, through["export"])))
    for version in entry.versions:
        release = at.release(manifest.mart, manifest.major, version.release)
        pinned = f"{at.pinned_files(manifest.mart, manifest.major, version.release)}/files.json"
        node = _distribution(graph, entry, at, release, "files", pinned)
        graph.add((node, DCTERMS.title, text(f"{manifest.title}, release {version.release}: Parquet")))
        graph.add((node, DCAT.accessService, SERVICES[0].node(at)))
        graph.add((node, DCAT.byteSize, Literal(version.bytes, datatype=XSD.nonNegativeInteger)))
        if version.release == manifest.release:
            _add_checksum(graph, node, entry.manifest_sha256)


def _distribution(graph: Graph, entry: Entry, at: Addresses, dataset: str, name: str, address: str) -> URIRef:
    node, manifest = URIRef(f"{dataset}#{name}"), entry.manifest
    form, media = vocabulary.PARQUET, vocabulary.PARQUET_MEDIA
    if name == "export":
        form, media = vocabulary.CSV, vocabulary.CSV_MEDIA
    graph.add((URIRef(dataset), DCAT.distribution, node))
    graph.add((node, RDF.type, DCAT.Distribution))
    graph.add((node, DCAT.accessURL, resource(graph, address)))
    graph.add((node, DCTERMS.license, licence_node(graph, manifest.licence["id"], manifest.licence["url"])))
    graph.add((node, DCTERMS.format, name_term(graph, form, DCTERMS.MediaTypeOrExtent)))
    graph.add((node, DCAT.mediaType, name_term(graph, media, DCTERMS.MediaType)))
    graph.add((node, DCATAP.availability, name_term(graph, vocabulary.AVAILABLE, SKOS.Concept)))
    graph.add((node, ODRL2.hasPolicy, URIRef(at.offer(manifest.mart, manifest.major))))
    rights = URIRef(f"{dataset}#rights")
    graph.add((rights, RDF.type, DCTERMS.RightsStatement))
    graph.add((rights, RDFS.label, text(f"Name: {'; '.join(manifest.attribution)}.")))
    graph.add((node, DCTERMS.rights, rights))
    if entry.high_value is not None:
        graph.add((node, DCATAP.applicableLegislation, legal(graph)))
    return node


def _add_checksum(graph: Graph, node: URIRef, sha256: str) -> None:
    """Of the manifest, which names the checksum of every file."""
    checksum = URIRef(f"{node}-checksum")
    graph.add((checksum, RDF.type, SPDX.Checksum))
    graph.add((checksum, SPDX.algorithm, SPDX.checksumAlgorithm_sha256))
    graph.add((SPDX.checksumAlgorithm_sha256, RDF.type, SPDX.ChecksumAlgorithm))
    graph.add((checksum, SPDX.checksumValue, Literal(sha256, datatype=XSD.hexBinary)))
    graph.add((node, SPDX.checksum, checksum))
