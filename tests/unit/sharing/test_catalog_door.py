"""The catalogue at the doors: by what the reader accepts, and never behind what is published."""

import sqlalchemy as sa
from lxml import etree
from rdflib import RDF, Graph, Namespace, URIRef

from lakehouse.catalog.documents import OF_A_MART, WHOLE
from lakehouse.storage.index import releases
from tests.mini_exchange import TRAFFIC, WATER
from tests.unit.sharing.conftest import House

DCAT = Namespace("http://www.w3.org/ns/dcat#")
MART = f"/catalog/{TRAFFIC}/v1"


def marts(text: str, form: str) -> set[str]:
    graph = Graph().parse(data=text, format=form)
    return {str(node).rpartition("/catalog/")[2] for node in graph.objects(None, DCAT.dataset)}


def test_one_address_answers_people_and_programs(house: House) -> None:
    for accept, form in (("text/turtle", "turtle"), ("application/ld+json", "json-ld")):
        answer = house.client.get("/catalog", headers={"Accept": accept})
        assert answer.headers["content-type"].startswith(accept)
        assert answer.headers["vary"] == "Accept"
        assert marts(answer.text, form) == {f"{TRAFFIC}/v1", f"{WATER}/v1"}
    weighed = house.client.get("/catalog", headers={"Accept": "text/html;q=0.5, text/turtle;q=0.9, */*;q=0.1"})
    assert weighed.headers["content-type"].startswith("text/turtle")
    for headers in ({"Accept": "text/html,application/xhtml+xml"}, {"Accept": "*/*"}):
        page = house.client.get("/catalog", headers=headers)
        assert page.url.path == "/catalog/index.html"
        assert "Traffic by road" in page.text


def test_a_mart_is_described_alone(house: House) -> None:
    answer = house.client.get(MART, headers={"Accept": "text/turtle"})
    graph = Graph().parse(data=answer.text, format="turtle")
    assert (URIRef(f"http://127.0.0.1:8090{MART}"), RDF.type, DCAT.Dataset) in graph
    assert WATER not in answer.text
    assert house.client.get(MART).url.path == f"{MART}.html"


def test_every_document_is_served_as_what_it_is(house: House) -> None:
    for name, kind in WHOLE.items():
        assert house.client.get(f"/catalog/{name}").headers["content-type"].startswith(kind.split(";")[0])
    for name, kind in OF_A_MART.items():
        answer = house.client.get(f"{MART}/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
    for path in ("/catalog/none.ttl", f"{MART}/none.json", "/catalog/none/v1.html", f"/catalog/{TRAFFIC}/v9"):
        assert house.client.get(path).status_code == 404, path


def test_links_of_the_pages_lead_somewhere(house: House) -> None:
    checked = 0
    for path in ("/catalog/index.html", f"{MART}.html"):
        page = house.client.get(path)
        for link in etree.HTML(page.text).iter("a"):
            target = page.url.join(str(link.get("href")))
            if target.host == page.url.host:
                assert house.client.get(target).status_code == 200, target
                checked += 1
    assert checked >= 9


def test_rows_are_shown_to_whom_the_doors_would_give_them(house: House) -> None:
    assert "Amagerbrogade" in house.client.get(f"{MART}.html").text
    house.set_access("registered")
    page = house.client.get(f"{MART}.html").text
    assert "They are shown to those who may read the mart." in page
    assert "Amagerbrogade" not in page


def test_what_is_withdrawn_is_gone_at_the_next_question(own_house: House) -> None:
    def listed() -> set[str]:
        return marts(own_house.client.get("/catalog/dcat.ttl").text, "turtle")

    assert listed() == {f"{TRAFFIC}/v1", f"{WATER}/v1"}
    with own_house.mini.exchange.index.begin() as connection:
        connection.execute(sa.update(releases).where(releases.c.mart == TRAFFIC).values(status="yanked"))
    assert listed() == {f"{WATER}/v1"}
    assert own_house.client.get(f"{MART}.html").status_code == 404
