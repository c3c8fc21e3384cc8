"""Each mart in the standards that others read, held to their own checkers; each check is seen to fail."""

import json
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import frictionless
import jsonschema
import mlcroissant
import pyarrow.parquet as pq
import pytest
import yaml
from lxml import etree
from open_data_contract_standard.model import OpenDataContractStandard
from pyshacl import validate
from rdflib import ODRL2, Graph, URIRef

from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.beside import describe_folder
from lakehouse.catalog.contract import mart_contract
from lakehouse.catalog.croissant import croissant
from lakehouse.catalog.dcat import catalog_graph, turtle
from lakehouse.catalog.documents import OF_A_MART, WHOLE, Catalog
from lakehouse.catalog.entries import Entry
from lakehouse.catalog.feed import ATOM, atom_feed
from lakehouse.catalog.happenings import happenings
from lakehouse.catalog.offer import offer_graph
from lakehouse.catalog.package import data_package
from lakehouse.catalog.pages import mart_page
from lakehouse.contracts.policy import DpPolicy
from lakehouse.release.fetch import fetch
from lakehouse.release.manifest import Notice
from lakehouse.release.pointer import move_pointer, read_pointer
from lakehouse.release.withdraw import yank
from lakehouse.settings import Settings
from tests.mini_exchange import TRAFFIC, WATER, Mini

AT = Addresses("http://127.0.0.1:8090")
NOW = datetime(2024, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def written(catalogued: Mini) -> dict[str, bytes]:
    return dict(Catalog(catalogued.exchange, NOW).all())


def entry_of(entries: list[Entry], mart: str = TRAFFIC) -> Entry:
    [found] = [entry for entry in entries if entry.name == mart]
    return found


# Croissant


def croissant_faults(document: dict[str, Any], tmp_path: Path) -> list[str]:
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(document))
    try:
        dataset = mlcroissant.Dataset(str(path))
    except mlcroissant.ValidationError as error:
        return str(error).splitlines()
    return [*dataset.metadata.ctx.issues.errors, *dataset.metadata.ctx.issues.warnings]


def test_croissant_has_no_fault(entries: list[Entry], tmp_path: Path) -> None:
    for entry in entries:
        document = croissant(entry.manifest, AT, publisher="Town")
        assert croissant_faults(document, tmp_path) == []
        assert {file["sha256"] for file in document["distribution"][:-1]} == {f.sha256 for f in entry.manifest.files}
    broken = croissant(entry_of(entries).manifest, AT, publisher="Town")
    broken["recordSet"][0]["field"][0]["source"]["fileSet"]["@id"] = "nowhere"
    assert croissant_faults(broken, tmp_path)


def test_a_fetched_release_is_read_by_its_croissant(catalogued: Mini, entries: list[Entry], tmp_path: Path) -> None:
    manifest, exchange = entry_of(entries).manifest, catalogued.exchange
    folder = fetch(exchange, manifest, to=tmp_path)
    describe_folder(manifest, folder, exchange.settings)
    records = list(mlcroissant.Dataset(str(folder / "croissant.json")).records("rows"))
    assert len(records) == manifest.rows
    assert sum(record["rows/vehicles"] for record in records) == sum(
        pq.read_table(folder / file.path)["vehicles"].to_pandas().sum() for file in manifest.files
    )
    newest = folder / max(file.path for file in manifest.files)
    document = json.loads((folder / "croissant.json").read_text())
    for file in document["distribution"][:-1]:
        file["contentUrl"] = file["@id"]
    (folder / "local.json").write_text(json.dumps(document))
    found = list(mlcroissant.Dataset(str(folder / "local.json")).records("newest"))
    assert len(found) == pq.read_metadata(newest).num_rows


# The contract


def test_the_contract_keeps_the_standard(catalogued: Mini, entries: list[Entry], written: dict[str, bytes]) -> None:
    schema = json.loads(OpenDataContractStandard.json_schema())
    for entry in entries:
        document = yaml.safe_load(written[f"{entry.key}/contract.odcs.yaml"])
        jsonschema.validate(document, schema)
        OpenDataContractStandard.from_string(written[f"{entry.key}/contract.odcs.yaml"].decode())
        assert [one["name"] for one in document["schema"][0]["properties"]] == [c.name for c in entry.manifest.columns]
    broken = mart_contract(entry_of(entries), catalogued.exchange.settings)
    broken["schema"][0]["properties"][0]["logicalType"] = "word"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


# The data package


def test_the_package_is_valid_and_its_files_are_those_of_the_release(catalogued: Mini, entries: list[Entry]) -> None:
    manifest = entry_of(entries).manifest
    folder = catalogued.root / "lake" / "marts" / manifest.prefix
    descriptor = data_package(manifest, base="")
    assert list(frictionless.Package.metadata_validate(deepcopy(descriptor))) == []
    package = frictionless.Package.from_descriptor(deepcopy(descriptor), basepath=str(folder))
    assert len(package.resources) == len(manifest.files)
    for resource, file in zip(package.resources, manifest.files, strict=True):
        assert (folder / str(resource.path)).stat().st_size == resource.bytes == file.bytes
        assert resource.hash == f"sha256:{file.sha256}"
    broken = deepcopy(descriptor)
    del broken["resources"][0]["path"]
    assert list(frictionless.Package.metadata_validate(broken))


# Terms


def offer_conforms(graph: Graph, shapes: Path) -> bool:
    conforms, _, _ = validate(graph, shacl_graph=Graph().parse(shapes / "odrl-shapes-v2.ttl"), inference="none")
    return bool(conforms)


def test_the_terms_keep_the_standards_shapes(entries: list[Entry], shapes: Path) -> None:
    for entry in entries:
        graph = offer_graph(entry, AT)
        assert offer_conforms(graph, shapes)
        # The shapes pass an offer without a rule; ours has some.
        assert len(list(graph.objects(None, ODRL2.permission))) == 4
    rule = next(graph.objects(None, ODRL2.permission))
    graph.remove((rule, ODRL2.assigner, None))
    assert not offer_conforms(graph, shapes)


def as_stated(entry: Entry, **changes: Any) -> Entry:
    return Entry(
        manifest=entry.manifest.model_copy(update=changes), manifest_sha256="0", mart=entry.mart, versions=entry.versions,
        inputs=entry.inputs,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        ({}, ["duty-attribution"], ["duty-pay", "duty-agree", "duty-share-alike", "prohibition"]),
        ({"licence": {"id": "CC-BY-SA-4.0", "url": "https://x.org"}}, ["duty-share-alike"], ["prohibition"]),
        ({"licence": {"id": "CC-BY-NC-4.0", "url": "https://x.org"}}, ["prohibition-commercialize"], []),
        ({"licence": {"id": "CC0-1.0", "url": "https://x.org"}}, ["permission-derive"], ["duty-attribution"]),
        ({"access": "registered"}, ["duty-register"], ["duty-agree"]),
        ({"access": "agreement"}, ["duty-agree"], ["duty-register"]),
        ({"price": {"amount": 5, "currency": "EUR", "unit": "month"}}, ["duty-pay", "#price"], []),
    ],
)
def test_the_terms_say_what_the_mart_states(
    entries: list[Entry], shapes: Path, changes: dict[str, Any], present: list[str], absent: list[str]
) -> None:
    graph = offer_graph(as_stated(entry_of(entries), **changes), AT)
    said = graph.serialize(format="turtle")
    assert [word for word in present if word not in said] == []
    assert [word for word in absent if word in said] == []
    assert offer_conforms(graph, shapes)


def test_nobody_may_find_out_whom_a_private_mart_is_about(entries: list[Entry]) -> None:
    forbidden = URIRef("http://127.0.0.1:8090/catalog#reidentify")
    assert list(offer_graph(entry_of(entries, WATER), AT).subjects(ODRL2.action, forbidden))
    assert not list(offer_graph(entry_of(entries), AT).subjects(ODRL2.action, forbidden))


# The feed

# What RFC 4287 asks of the elements that ours has.
RFC_4287 = """
<grammar xmlns="http://relaxng.org/ns/structure/1.0" ns="http://www.w3.org/2005/Atom"
         datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
<start><element name="feed"><interleave>
  <ref name="head"/><element name="author"><interleave><element name="name"><data type="string"/></element>
  <optional><element name="email"><data type="string"><param name="pattern">.+@.+</param></data></element></optional>
  </interleave></element><oneOrMore><ref name="link"/></oneOrMore>
  <zeroOrMore><element name="entry"><interleave><ref name="head"/>
    <optional><element name="published"><data type="dateTime"/></element></optional>
    <zeroOrMore><element name="category"><attribute name="term"/></element></zeroOrMore>
    <zeroOrMore><ref name="link"/></zeroOrMore>
    <optional><element name="summary"><data type="string"/></element></optional>
  </interleave></element></zeroOrMore>
</interleave></element></start>
<define name="head"><interleave><element name="id"><data type="anyURI"/></element>
  <element name="title"><data type="string"/></element><element name="updated"><data type="dateTime"/></element>
</interleave></define>
<define name="link"><element name="link"><attribute name="href"><data type="anyURI"/></attribute>
  <optional><attribute name="rel"/></optional><optional><attribute name="type"/></optional></element></define>
</grammar>
"""


def parsed(feed: bytes) -> etree._Element:
    root = etree.fromstring(feed)
    etree.RelaxNG(etree.fromstring(RFC_4287)).assertValid(root)
    return root


def test_the_feed_is_valid_and_tells_of_each_release_once(catalogued: Mini, written: dict[str, bytes]) -> None:
    root = parsed(written["feed.atom"])
    ids = [found.text or "" for found in root.iter(f"{{{ATOM}}}id")][1:]
    manifests = [catalogued.latest(mart) for mart in (TRAFFIC, WATER)]
    assert set(ids) == {f"tag:data@example.org,2016:{m.mart}/v1/{m.release}/released" for m in manifests}
    summaries = [found.text or "" for found in root.iter(f"{{{ATOM}}}summary")]
    assert any("First release of v1: 1,440 rows in 30 days." in summary for summary in summaries)
    moments = [found.text or "" for found in root.iter(f"{{{ATOM}}}updated")]
    assert moments[0] == max(moments[1:])
    root.remove(root[0])
    with pytest.raises(etree.DocumentInvalid):
        etree.RelaxNG(etree.fromstring(RFC_4287)).assertValid(root)


def test_the_feed_has_the_newest_hundred(catalogued: Mini) -> None:
    one = happenings(catalogued.exchange)[0]
    assert len(happenings(catalogued.exchange, newest=1)) == 1
    many = [replace(one, name=str(number)) for number in range(3)]
    assert len(parsed(atom_feed(many, Settings())).findall(f"{{{ATOM}}}entry")) == 3


def test_the_feed_tells_what_became_of_releases_and_of_majors(catalogued: Mini, tmp_path: Path) -> None:
    mini = catalogued.copy(tmp_path / "withdrawn")
    release = mini.latest(TRAFFIC).release
    yank(mini.exchange, mart=TRAFFIC, release=release, by="Somebody", reason="sensor 3 counted twice")
    until = datetime(2027, 1, 1, tzinfo=UTC)
    notice = Notice(
        mart=WATER, major=1, successor=2, since=NOW, until=until, changes=("households is gone.",), text="Read v2."
    )
    pointer, version = read_pointer(mini.exchange, mart=WATER, major=1)
    assert pointer is not None
    move_pointer(mini.exchange, pointer.model_copy(update={"notice": notice}), expected=version)
    feed = dict(Catalog(mini.exchange, NOW).all())["feed.atom"]
    root = parsed(feed)
    told = {str(one.get("term")) for one in root.iter(f"{{{ATOM}}}category")}
    assert {"released", "yanked", "deprecated"} <= told
    text = feed.decode()
    assert f"{release} was withdrawn: do not use it." in text
    assert "Why: sensor 3 counted twice" in text
    assert "Somebody" not in text
    assert f"{WATER}: v1 gives way to v2, until 2027-01-01" in text
    assert parsed(feed).findtext(f"{{{ATOM}}}entry/{{{ATOM}}}id", "").endswith(f"{TRAFFIC}/v1/{release}/yanked/1")


# Pages and folder


def test_everything_is_written_and_nothing_is_loaded_from_elsewhere(written: dict[str, bytes]) -> None:
    marts = [f"{mart}/v1" for mart in (TRAFFIC, WATER)]
    of_marts = [f"{mart}/{name}" for mart in marts for name in OF_A_MART]
    assert sorted(written) == sorted([*WHOLE, *(f"{mart}.html" for mart in marts), *of_marts])
    for name, content in written.items():
        if name.endswith(".html"):
            page = etree.HTML(content.decode())
            loaded = [*page.iter("script"), *page.iter("img"), *page.iter("iframe")]
            assert loaded == [], name
            assert b"@import" not in content
            assert b"url(" not in content


def test_a_page_links_to_documents_that_are_there(written: dict[str, bytes]) -> None:
    checked = 0
    for name, content in written.items():
        if name.endswith(".html"):
            for link in etree.HTML(content.decode()).iter("a", "link"):
                target = str(link.get("href"))
                if not target.startswith(("http", "mailto:")):
                    path = (Path("/") / Path(name).parent / target).as_posix()
                    assert str(Path(path).resolve()).lstrip("/") in written, f"{name}: {target}"
                    checked += 1
    assert checked > 15


def test_a_page_shows_what_a_reader_asks(written: dict[str, bytes]) -> None:
    page = written[f"{TRAFFIC}/v1.html"].decode()
    for wanted in (
        "Traffic by road", "Copenhagen", "2024-10-01 to 2024-10-30", "1,440", "CC-BY-4.0", "Vehicles that all of them",
        "Amagerbrogade", "<polyline", "The city", "promised: at most 48 hours", "Passed",
    ):  # fmt: skip
        assert wanted in page, wanted
    assert "a sum over at least so many of a household" in written[f"{WATER}/v1.html"].decode()


def test_what_noise_spends_is_shown(catalogued: Mini, entries: list[Entry]) -> None:
    policy = DpPolicy.model_validate(
        {
            "kind": "dp", "mechanism": "discrete_gaussian", "unit": "rider", "unit_column": "rider_id",
            "population": "city_riders", "measure": "vehicles", "contributions": "a.b", "key_set": "c.d",
            "cap": {"value": 3, "unit": "trips"},
            "budget": {"rho": "0.01", "partitions_a_year": 366, "year_rho": "4", "lifetime_rho": "8"},
        }
    ).model_dump(mode="json")  # fmt: skip
    policy["spent"] = {"partitions": {"2024-10-01": "0.01"}, "rho": "0.01", "epsilon": 0.75, "delta": "0.000001"}
    entry = as_stated(entry_of(entries), privacy=policy)
    ledger = [{"population": "city_riders", "period": "lifetime", "rho": "1.25", "left": "6.75"}]
    settings = catalogued.exchange.settings
    page = mart_page(entry, None, settings, now=NOW, ledger=ledger)
    assert "Every number has random noise (discrete gaussian" in page
    for wanted in ("Spent of the budget of city_riders", "epsilon 0.75 at delta 0.000001", "1.25", "6.75"):
        assert wanted in page, wanted
    said = turtle(catalog_graph([entry], settings=settings))
    assert "spend rho 0.01 (epsilon 0.75 at delta 0.000001) of the budget of city_riders" in said
    assert "Spent of the budget" not in mart_page(entry_of(entries), None, settings, now=NOW)
    old = as_stated(entry_of(entries), privacy={"kind": "aggregate", "of": "before"})
    assert "a privacy policy of kind &#39;aggregate&#39;" in mart_page(old, None, settings, now=NOW)


def test_rows_of_a_mart_that_is_not_open_are_not_shown(catalogued: Mini, tmp_path: Path) -> None:
    mini = catalogued.copy(tmp_path / "closed")
    mini.edit(f"{TRAFFIC}.yml", "access: open", "access: agreement")
    page = dict(Catalog(mini.exchange, NOW).all())[f"{TRAFFIC}/v1.html"].decode()
    assert "They are shown to those who may read the mart." in page
    assert "<polyline" not in page
    assert "Amagerbrogade" not in page
