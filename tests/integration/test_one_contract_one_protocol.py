"""A dataset of a known protocol is one contract and one sample, and no Python: for every protocol over HTTP."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa
import yaml

from lakehouse.contracts.load import contract_paths
from lakehouse.exchange import Exchange
from lakehouse.landing.extract import extract
from lakehouse.landing.intake import intake
from lakehouse.landing.trial import try_sample
from lakehouse.settings import Settings
from lakehouse.sources.connector import connector_for
from lakehouse.storage.index import clean_files
from tests.asking import asked
from tests.integration.conftest import PROJECT
from tests.served import DAY, FIRST
from tests.unit.sources.cases import CASES, Case

# Of each case: what the contract says of the files that come, and where the id, time and count stand in them.
ENTITY = {"row_id": "id", "at": "occupancy.observedAt", "count": "occupancy.value"}
FEATURE = {"row_id": "id", "at": "observed", "count": "value"}
STATION = {"row_id": "station_id", "count": "num_docks_available"}
FORMS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "paged by offset": ({"format": "json", "records": "records"}, {}),
    "paged by number": ({"format": "json", "records": "items"}, {}),
    "paged by cursor": ({"format": "json", "records": "data"}, {}),
    "paged by url": ({"format": "json", "records": "results"}, {}),
    "paged by link header": ({"format": "json"}, {}),
    "changes in order": ({"format": "json"}, {}),
    "ckan datastore": ({"format": "json", "records": "result.records"}, {}),
    "ckan datastore that only grows": ({"format": "json", "records": "result.records"}, {}),
    "ckan file": ({"format": "csv"}, {}),
    "ogc features": ({"format": "geojson"}, FEATURE),
    "gbfs 2.3": ({"format": "json", "records": "data.stations"}, STATION),
    "gbfs 3.0": ({"format": "json", "records": "data.stations"}, STATION),
    "gtfs": ({"format": "csv"}, {"row_id": "stop_id"}),
    "ngsi-ld": ({"format": "json"}, ENTITY),
    "ngsi-ld modified": ({"format": "json"}, ENTITY),
    "file": ({"format": "csv"}, {}),
    "file a day": ({"format": "csv"}, {}),
}
# The past of an entity is a list in each of its attributes: a form of its own, which the tests of formats have.
TRIED = [case for case in CASES if case.name in FORMS]


def contract_of(case: Case, address: str) -> str:
    form, places = FORMS[case.name]
    places = places or {"row_id": "id", "at": "at", "count": "count"}
    kinds = {"row_id": "string", "at": "timestamp", "count": "integer"}
    columns = []
    for name, place in places.items():
        custom: list[dict[str, Any]] = [{"property": "parse", "value": {"path": place}}]
        if form["format"] == "csv":
            custom = []
        if kinds[name] == "integer":
            custom.append({"property": "unit", "value": "1"})
        columns.append(
            {
                "name": name,
                "physicalName": place,
                "logicalType": kinds[name],
                "required": True,
                "classification": "public",
                "description": name,
                **({"primaryKey": True, "primaryKeyPosition": 1} if name == "row_id" else {}),
                **({"customProperties": custom} if custom else {}),
            }
        )
    dated = "at" in places
    delivery = {"kind": "events" if dated else "snapshot", "forms": [form]}
    ignored = {
        "ckan": ["_id"],
        "ngsi_ld": ["type", "modifiedAt"],
        "ogc_features": ["parameterId"],
        "gtfs": ["stop_name", "stop_lat", "stop_lon"],
    }
    if unread := ignored.get(case.arguments["connector"]):
        delivery["ignored_columns"] = unread if case.name != "ckan file" else []
    if case.name == "gtfs":
        delivery["members"] = ["stops.txt"]
    extension = {
        "delivery": delivery,
        **({"time": {"column": "at"}} if dated else {}),
        "extract": case.arguments,
        "history_start": f"{FIRST:%Y-%m-%d}",
        "licence": {"id": "CC0-1.0", "url": "https://creativecommons.org", "attribution": "Newtown"},
    }
    return yaml.safe_dump(
        {
            "apiVersion": "v3.1.0",
            "kind": "DataContract",
            "id": "newtown.arrivals",
            "name": "Arrivals",
            "version": "1.0.0",
            "status": "active",
            "tenant": "newtown",
            "description": {"purpose": "A test."},
            "servers": [{"server": "publisher", "type": "api", "location": address}],
            "schema": [{"name": "arrivals", "properties": columns}],
            "customProperties": [{"property": "exchange", "value": extension}],
        },
        sort_keys=False,
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, under git."""
    project = tmp_path_factory.mktemp("original") / "project"
    shutil.copytree(PROJECT / "contracts", project / "contracts")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "as it is")
    return project


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("case", TRIED, ids=lambda case: case.name)
def test_a_new_dataset_is_one_contract_and_one_sample(
    case: Case, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(original, project)
    monkeypatch.setenv("EXCHANGE_EXTRACTS", "live")
    exchange = Exchange(Settings(project=project, home=tmp_path / "home", lake=(tmp_path / "lake").as_uri()))
    with case.source() as source:
        path = project / "contracts" / "newtown" / "arrivals.odcs.yaml"
        (path.parent / "samples").mkdir(parents=True)
        path.write_text(contract_of(case, source.base_url))
        contract = exchange.contract("newtown/arrivals")
        assert contract.exchange.extract is not None
        connector = connector_for(contract.exchange.extract, address=source.base_url)
        page = next(iter(connector.pages(asked(FIRST, FIRST + 2 * DAY, folder=tmp_path))))
        page.path.rename(path.parent / "samples" / f"arrivals{page.path.suffix}")
        assert path in contract_paths(project / "contracts")
        assert try_sample(contract, path) == []
        exchange.init()
        extract(exchange, contract, start=FIRST, end=FIRST + 2 * DAY)
        receipts = intake(exchange, contract)
        source.grow()
        extract(exchange, contract, start=FIRST + 2 * DAY, end=FIRST + 3 * DAY)
        receipts += intake(exchange, contract)
    assert [receipt["errors"] for receipt in receipts if receipt["errors"]] == []
    assert sum(receipt["accepted"] for receipt in receipts) >= len(source.rows)
    files = exchange.index.rows(sa.select(clean_files.c.key).where(clean_files.c.dataset == "arrivals"))
    urls = [exchange.lake.duckdb_url("clean", row["key"]) for row in files]
    rows = duckdb.sql(f"SELECT DISTINCT row_id FROM read_parquet({urls}) ORDER BY ALL").fetchall()
    assert [name.rpartition(":")[2] for (name,) in rows] == [row["id"] for row in source.rows]
    assert len(git(project, "status", "--porcelain", "--untracked-files=all").splitlines()) == 2
