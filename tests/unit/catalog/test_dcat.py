"""The catalogue is held to the official shapes of its standards, and each check is seen to fail."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from pyshacl import validate
from rdflib import DCTERMS, RDF, SH, Graph, Literal, URIRef
from rdflib.compare import isomorphic

from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.dcat import catalog_graph, json_ld, new_graph, turtle
from lakehouse.catalog.entries import Entry
from lakehouse.catalog.nodes import DCAT, DCATAP
from tests.mini_exchange import TRAFFIC, Mini

BASE = "http://127.0.0.1:8090/catalog"
CORE = ("dcat-ap-3.0.1-shapes.ttl", "dcat-ap-3.0.1-range.ttl", "dcat-ap-3.0.1.ttl")
# What the Danish profile 2.0.2, which is of DCAT-AP 2, asks for in another way than DCAT-AP 3.0.1 does.
OLDER = {DCAT.byteSize, DCTERMS.language, DCATAP.availability, URIRef("http://spdx.org/rdf/terms#algorithm")}


@pytest.fixture(scope="module")
def graph(catalogued: Mini, entries: list[Entry]) -> Graph:
    return catalog_graph(entries, settings=catalogued.exchange.settings)


def read_shapes(path: Path) -> Graph:
    """As published, but for two properties that the published file names and does not hold, on which pyshacl stops."""
    shapes = Graph().parse(path)
    for shape, named in list(shapes.subject_objects(SH.property)):
        if shapes.value(named, SH.path) is None:
            assert str(shape).endswith("dcat:DataServiceShape"), named
            shapes.remove((shape, SH.property, named))
    return shapes


def violations(graph: Graph, path: Path, *, focus: Sequence[URIRef] | None = None) -> list[tuple[str, str]]:
    """Each place that breaks a rule: the node and the property."""
    _, report, _ = validate(graph, shacl_graph=read_shapes(path), inference="none", focus_nodes=focus)
    found = report.subjects(RDF.type, SH.ValidationResult)
    return sorted((str(report.value(one, SH.focusNode)), str(report.value(one, SH.resultPath))) for one in found)


@pytest.mark.parametrize("name", CORE)
def test_the_catalogue_has_no_violation(graph: Graph, shapes: Path, name: str) -> None:
    assert violations(graph, shapes / name) == []


@pytest.mark.parametrize(
    ("node", "field"),
    [
        ("", DCTERMS.publisher),
        ("", DCTERMS.title),
        (f"/{TRAFFIC}/v1", DCTERMS.description),
        (f"/{TRAFFIC}/v1#files", DCAT.accessURL),
        ("#iceberg", DCAT.endpointURL),
    ],
)
def test_a_mandatory_field_that_is_missing_is_seen(graph: Graph, shapes: Path, node: str, field: URIRef) -> None:
    broken = new_graph() + graph
    broken.remove((URIRef(BASE + node), field, None))
    assert violations(broken, shapes / CORE[0]) == [(BASE + node, str(field))]


def test_a_value_of_the_wrong_kind_is_seen(graph: Graph, shapes: Path) -> None:
    broken = new_graph() + graph
    node = URIRef(f"{BASE}/{TRAFFIC}/v1#files")
    broken.set((node, DCTERMS.license, Literal("CC BY")))
    assert (str(node), str(DCTERMS.license)) in violations(broken, shapes / CORE[1])


def test_a_mart_of_high_value_keeps_the_extension(graph: Graph, shapes: Path) -> None:
    dataset = URIRef(f"{BASE}/{TRAFFIC}/v1")
    focus = [dataset, *graph.objects(dataset, DCAT.distribution), *graph.objects(URIRef(BASE), DCAT.service)]
    assert len(focus) == 9
    nodes = [URIRef(str(node)) for node in focus]
    assert violations(graph, shapes / "dcat-ap-hvd.ttl", focus=nodes) == []
    broken = new_graph() + graph
    broken.remove((dataset, DCATAP.hvdCategory, None))
    assert violations(broken, shapes / "dcat-ap-hvd.ttl", focus=nodes) == [(str(dataset), str(DCATAP.hvdCategory))]


def test_no_other_mart_claims_high_value(graph: Graph) -> None:
    assert set(graph.subjects(DCATAP.hvdCategory)) & set(graph.subjects(RDF.type, DCAT.Dataset)) == {
        URIRef(f"{BASE}/{TRAFFIC}/v1")
    }


def test_the_danish_profile_differs_only_where_it_is_of_an_older_standard(graph: Graph, shapes: Path) -> None:
    paths = {URIRef(path) for _, path in violations(graph, shapes / "dcat-ap-dk-2.0.2.ttl")}
    assert paths == OLDER


def test_both_forms_hold_the_same_graph_and_come_out_the_same_again(
    catalogued: Mini, entries: list[Entry], graph: Graph
) -> None:
    again = catalog_graph(entries, settings=catalogued.exchange.settings)
    assert (turtle(again), json_ld(again)) == (turtle(graph), json_ld(graph))
    assert isomorphic(Graph().parse(data=turtle(graph), format="turtle"), graph)
    assert isomorphic(Graph().parse(data=json_ld(graph), format="json-ld"), graph)


def test_every_input_is_named_with_its_licence(entries: list[Entry], graph: Graph) -> None:
    for entry in entries:
        node = URIRef(Addresses("http://127.0.0.1:8090").mart(entry.name, entry.manifest.major))
        sources = set(graph.objects(node, DCTERMS.source))
        assert sources == {URIRef(f"{BASE}/inputs/{one.dataset}") for one in entry.manifest.inputs}
        assert all(graph.value(source, DCTERMS.license) for source in sources)
    said = turtle(graph)
    assert "Name: The city." in said
    assert "Name: The water utility." in said


def test_what_a_reader_asks_of_a_mart_is_there(entries: list[Entry], graph: Graph) -> None:
    node = URIRef(f"{BASE}/{TRAFFIC}/v1")
    period = graph.value(node, DCTERMS.temporal)
    assert str(graph.value(period, DCAT.startDate)) == "2024-10-01"
    assert str(graph.value(period, DCAT.endDate)) == "2024-10-30"
    assert str(graph.value(node, DCTERMS.spatial)).endswith("/place/DNK_CPH")
    assert str(graph.value(node, DCTERMS.accrualPeriodicity)).endswith("/frequency/DAILY")
    [entry] = [entry for entry in entries if entry.name == TRAFFIC]
    assert str(graph.value(node, DCAT.version)) == entry.manifest.release
    assert str(graph.value(node, DCAT.hasCurrentVersion)).endswith(entry.manifest.release)
    assert "Each number is a sum over at least so many of a household" in turtle(graph)
