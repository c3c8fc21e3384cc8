"""Iceberg's REST catalogue: read only, behind the same entitlements, and read by clients that we did not write."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import polars as pl
import pytest
import sqlalchemy as sa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import ForbiddenError, NoSuchTableError, UnauthorizedError

from lakehouse.sharing.app import create_app
from lakehouse.sharing.entitlement import Link
from lakehouse.sharing.iceberg_register import register_releases
from lakehouse.sharing.iceberg_rest import DOOR
from lakehouse.storage.index import releases
from tests.checkers import checker
from tests.doors_server import served
from tests.mini_exchange import DAYS, TRAFFIC, WATER, Mini
from tests.unit.sharing.conftest import ADMITTED, FORBIDDEN, House, checksum, make_readers

TABLE = f"{TRAFFIC}_v1"
TABLES = "/iceberg/v1/namespaces/marts/tables"


def load(house: House, case: str = "no token") -> Any:
    return house.client.get(f"{TABLES}/{TABLE}", headers=house.readers.headers(case))


def object_path(house: House, name: str, case: str = "no token") -> str:
    """The address at the doors of something that belongs to the newest snapshot."""
    [snapshot] = load(house, case).json()["metadata"]["snapshots"]
    return str(snapshot["manifest-list"]).removeprefix("s3:/").rpartition("/")[0] + f"/{name}"


# The protocol


def test_it_says_what_it_can_do_and_that_is_reading(house: House) -> None:
    found = house.client.get("/iceberg/v1/config").json()
    assert {endpoint.split()[0] for endpoint in found["endpoints"]} == {"GET", "HEAD"}
    assert house.client.get("/iceberg/v1/namespaces").json() == {"namespaces": [["marts"]]}
    assert house.client.get("/iceberg/v1/namespaces", params={"parent": "marts"}).json() == {"namespaces": []}
    assert house.client.get("/iceberg/v1/namespaces/marts").json()["namespace"] == ["marts"]
    names = [one["name"] for one in house.client.get(TABLES).json()["identifiers"]]
    assert names == [TABLE, f"{WATER}_v1"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{TABLES}/{TABLE}"),
        ("DELETE", f"{TABLES}/{TABLE}"),
        ("POST", TABLES),
        ("POST", "/iceberg/v1/namespaces"),
        ("POST", "/iceberg/v1/tables/rename"),
        ("POST", "/iceberg/v1/transactions/commit"),
    ],
)
def test_every_change_is_refused_in_the_specifications_form(house: House, method: str, path: str) -> None:
    answer = house.client.request(method, path, json={})
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("ForbiddenException", 403)
    assert "read only" in error["message"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/iceberg/v1/namespaces/other", "NoSuchNamespaceException"),
        ("/iceberg/v1/namespaces/other/tables", "NoSuchNamespaceException"),
        (f"{TABLES}/none_v1", "NoSuchTableException"),
        (f"{TABLES}/{TRAFFIC}", "NoSuchTableException"),
        (f"{TABLES}/{TRAFFIC}_v9", "NoSuchTableException"),
    ],
)
def test_what_is_not_there_is_said_in_the_specifications_form(house: House, path: str, kind: str) -> None:
    answer = house.client.get(path)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, kind)


@pytest.mark.parametrize("level", ADMITTED)
def test_each_level_admits_just_whom_every_other_door_does(house: House, level: str) -> None:
    house.set_access(level)
    for case in house.readers.tokens:
        expected = 200 if case in ADMITTED[level] else 403 if case in FORBIDDEN else 401
        answer = load(house, case)
        assert answer.status_code == expected, case
        if expected != 200:
            assert answer.json()["error"]["code"] == expected
    listed = house.client.get(TABLES).json()["identifiers"]
    assert (TABLE in [one["name"] for one in listed]) is (level == "open")


def test_no_address_of_the_lake_leaves_the_doors(house: House) -> None:
    answer = load(house)
    assert str(house.mini.root) not in answer.text
    assert "file://" not in answer.text
    for name in ("snapshot.avro", "manifest.avro"):
        content = house.client.get(object_path(house, name)).content
        assert str(house.mini.root).encode() not in content
        assert b"s3://iceberg-files/" in content


# Links


def test_a_link_is_good_for_its_release_alone_and_runs_out(house: House) -> None:
    good = object_path(house, "snapshot.avro")
    assert house.client.get(good).status_code == 200
    _, store, link, *rest = good.split("/")
    assert house.client.get("/".join(["", store, f"{link}x", *rest])).status_code == 401
    other = Link(mart=WATER, major=1, release="0001-x", door=DOOR)
    later, before = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(seconds=1)
    wrong = house.doors.links.sign(other, until=later)
    assert house.client.get("/".join(["", store, wrong, *rest])).status_code == 403
    release = house.mini.latest(TRAFFIC).release
    ended = house.doors.links.sign(Link(mart=TRAFFIC, major=1, release=release, door=DOOR), until=before)
    assert house.client.get("/".join(["", store, ended, *rest])).status_code == 401


def test_a_link_is_in_no_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    path = object_path(house, "snapshot.avro")
    with caplog.at_level(logging.INFO, logger="lakehouse.doors"):
        house.client.get(path)
        house.client.get(path.replace("snapshot", "nothing"))
    said = [record.getMessage() for record in caplog.records if record.name == "lakehouse.doors"]
    assert len(said) == 2
    assert all("/iceberg-files/…/" in line and path.split("/")[2] not in line for line in said)


def test_parts_of_what_was_made_are_given_as_an_object_store_does(house: House) -> None:
    path = object_path(house, "manifest.avro")
    whole = house.client.get(path)
    head = house.client.head(path)
    assert (head.status_code, int(head.headers["content-length"]), head.content) == (200, len(whole.content), b"")
    assert head.headers["etag"] == whole.headers["etag"]
    part = house.client.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert house.client.get(path, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert house.client.get(path.replace("manifest.avro", "none.avro")).status_code == 404


# Clients that we did not write


@pytest.fixture(scope="module")
def open_doors(
    released_once: Mini, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Mini, str, dict[str, Any]]]:
    mini = released_once.copy(tmp_path_factory.mktemp("iceberg-rest"))
    readers = make_readers(mini)
    with served(create_app(mini.exchange)) as address:
        yield mini, address, dict(readers.tokens)


def catalog_at(address: str, token: str | None = None) -> Catalog:
    return load_catalog("doors", type="rest", uri=f"{address}/iceberg", **({"token": token} if token else {}))


def test_pyiceberg_and_polars_read_the_same_rows_over_http(
    open_doors: tuple[Mini, str, dict[str, Any]], truth: tuple[int, str]
) -> None:
    mini, address, tokens = open_doors
    for token in (None, tokens["right"]):
        catalog = catalog_at(address, token)
        assert catalog.list_tables("marts") == [("marts", TABLE), ("marts", f"{WATER}_v1")]
        table = catalog.load_table(f"marts.{TABLE}")
        assert checksum(table.scan().to_pandas()) == truth
    release = mini.latest(TRAFFIC).release
    assert table.current_snapshot() == table.snapshot_by_name(release)
    lazy = pl.scan_iceberg(table, storage_options=table.config)
    assert checksum(lazy.collect().to_pandas()) == truth
    one = lazy.filter(pl.col("hour_utc") >= pl.datetime(2024, 10, DAYS, time_zone="UTC")).select(pl.len()).collect()
    assert one.item() == 48


def test_pyiceberg_is_told_what_it_may_not(open_doors: tuple[Mini, str, dict[str, Any]]) -> None:
    mini, address, tokens = open_doors
    house = House(mini, None, None, None)  # type: ignore[arg-type]
    house.set_access("agreement")
    try:
        with pytest.raises(UnauthorizedError, match="is read with a token"):
            catalog_at(address).load_table(f"marts.{TABLE}")
        with pytest.raises(ForbiddenError, match="is read under an agreement"):
            catalog_at(address, tokens["without agreement"]).load_table(f"marts.{TABLE}")
        assert catalog_at(address, tokens["right"]).load_table(f"marts.{TABLE}").scan(limit=1).to_arrow().num_rows == 1
    finally:
        house.set_access("open")
    with pytest.raises(NoSuchTableError, match="there is no mart 'none' v1"):
        catalog_at(address).load_table("marts.none_v1")


def test_a_release_that_is_withdrawn_is_gone_at_once(own_house: House) -> None:
    path = object_path(own_house, "snapshot.avro")
    assert own_house.client.get(path).status_code == 200
    with own_house.mini.exchange.index.begin() as connection:
        connection.execute(sa.update(releases).where(releases.c.mart == TRAFFIC).values(status="yanked"))
    assert own_house.client.get(path).status_code == 410
    answer = load(own_house)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NoSuchTableException")


DUCKDB = """
import json, sys
from importlib.resources import files
import duckdb

asked = json.load(sys.stdin)
connection = duckdb.connect()
connection.execute("SET autoinstall_known_extensions = false")
for name in ("httpfs", "avro", "iceberg"):
    folder = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
    connection.load_extension(str(folder / f"{name}.duckdb_extension"))
for statement in asked["before"]:
    connection.execute(statement)
print(json.dumps([[int(cell) for cell in connection.sql(query).fetchone()] for query in asked["queries"]]))
"""


def duckdb_says(*, before: list[str], queries: list[str]) -> list[list[int]]:
    """The first row of each query, of a DuckDB with its own Iceberg extension."""
    version = duckdb.__version__
    wanted = [f"duckdb-extension-{name}=={version}" for name in ("avro", "httpfs", "iceberg")]
    python = checker("duckdb-iceberg", f"duckdb=={version}", *wanted)
    asked = json.dumps({"before": before, "queries": queries})
    done = subprocess.run([python, "-c", DUCKDB], input=asked, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[list[int]] = json.loads(done.stdout)
    return found


def test_duckdb_reads_the_same_rows_from_the_lake_and_over_http(open_doors: tuple[Mini, str, dict[str, Any]]) -> None:
    mini, address, _ = open_doors
    said = "count(*), sum(vehicles), count(DISTINCT hour_utc)"
    release = mini.latest(TRAFFIC)
    with mini.exchange.duckdb() as connection:
        files = [str(mini.root / "lake" / "marts" / release.prefix / file.path) for file in release.files]
        truth = [
            int(cell) for cell in connection.execute(f"SELECT {said} FROM read_parquet(?)", [files]).fetchone() or ()
        ]
    [found] = register_releases(mini.exchange, mart=TRAFFIC)
    snapshot = catalog_at(address).load_table(f"marts.{TABLE}").metadata.current_snapshot_id
    host = address.removeprefix("http://")
    before = [
        f"CREATE SECRET (TYPE s3, KEY_ID 'link', SECRET 'link', ENDPOINT '{host}', USE_SSL false, URL_STYLE 'path')",
        f"ATTACH 'exchange' AS lake (TYPE iceberg, ENDPOINT '{address}/iceberg', TOKEN 'anonymous')",
    ]
    queries = [
        f"SELECT {said} FROM iceberg_scan('{found.metadata}')",
        f"SELECT {said} FROM iceberg_scan('{found.metadata}', snapshot_from_id = {snapshot})",
        f"SELECT {said} FROM lake.marts.{TABLE}",
        f"SELECT {said} FROM lake.marts.{TABLE} AT (VERSION => {snapshot})",
    ]
    assert duckdb_says(before=before, queries=queries) == [truth] * 4
