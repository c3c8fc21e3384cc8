"""Delta Sharing: the protocol's answers, hints that leave files out, and the stock client."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
import sqlalchemy as sa

from lakehouse.sharing.app import create_app
from lakehouse.sharing.hints import Span, from_json, from_sql
from lakehouse.sharing.kinds import Kind, read_value
from lakehouse.sharing.meter import usage_statement
from lakehouse.sharing.profile import delta_profile
from lakehouse.sharing.tables import file_statistics
from tests.checkers import checker
from tests.doors_server import served
from tests.mini_exchange import TRAFFIC, WATER, Mini
from tests.unit.sharing.conftest import House, publish

TABLE = f"/delta-sharing/shares/exchange/schemas/v1/tables/{TRAFFIC}"


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def files(house: House, **asked: Any) -> list[dict[str, Any]]:
    return [line["file"] for line in lines(house.client.post(f"{TABLE}/query", json=asked))[2:]]


# The protocol


def test_lists_shares_schemas_and_tables_by_pages(house: House) -> None:
    def ask(path: str, **query: Any) -> dict[str, Any]:
        answer = house.client.get(f"/delta-sharing{path}", params=query)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found

    assert ask("/shares") == {"items": [{"name": "exchange", "id": "exchange"}]}
    assert ask("/shares/Exchange")["share"]["name"] == "exchange"
    assert ask("/shares/exchange/schemas")["items"] == [{"name": "v1", "share": "exchange"}]
    whole = ask("/shares/exchange/all-tables")["items"]
    assert [table["name"] for table in whole] == [TRAFFIC, WATER]
    assert ask("/shares/exchange/schemas/V1/tables")["items"] == whole
    first = ask("/shares/exchange/all-tables", maxResults=1)
    rest = ask("/shares/exchange/all-tables", maxResults=1, pageToken=first["nextPageToken"])
    assert first["items"] + rest["items"] == whole
    assert "nextPageToken" not in rest
    assert ask("/shares/exchange/all-tables", maxResults=0) == {"items": [], "nextPageToken": "0"}


def test_licence_and_whom_to_name_travel_with_the_table(house: House) -> None:
    described = lines(house.client.get(f"{TABLE}/metadata"))[1]["metaData"]
    url = "https://creativecommons.org/licenses/by/4.0/"
    assert described["configuration"] == {"licence": "CC-BY-4.0", "licence-url": url, "attribution": "The city"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/shares/other/schemas", 404),
        ("/shares/exchange/schemas/public/tables", 404),
        ("/shares/exchange/schemas/v1/tables/none/metadata", 404),
        ("/shares/exchange/all-tables?pageToken=x", 400),
        ("/shares/exchange/all-tables?maxResults=-1", 400),
        (f"/shares/exchange/schemas/v1/tables/{TRAFFIC}/changes?startingVersion=0", 400),
        (f"/shares/exchange/schemas/v1/tables/{TRAFFIC}/version?startingTimestamp=2099-01-01T00:00:00Z", 400),
        (f"/shares/exchange/schemas/v1/tables/{TRAFFIC}/version?startingTimestamp=tomorrow", 400),
    ],
)
def test_what_cannot_be_is_answered_in_the_protocols_form(house: House, path: str, status: int) -> None:
    answer = house.client.get(f"/delta-sharing{path}")
    assert (answer.status_code, set(answer.json())) == (status, {"errorCode", "message"})


@pytest.mark.parametrize(
    "asked", [{"version": 7}, {"timestamp": "2001-01-01T00:00:00Z"}, {"startingVersion": 1}, {"limitHint": -1},
              {"version": 1, "timestamp": "2099-01-01T00:00:00Z"}, {"timestamp": "x"}]
)  # fmt: skip
def test_a_query_that_cannot_be_is_refused(house: House, asked: dict[str, Any]) -> None:
    assert house.client.post(f"{TABLE}/query", json=asked).status_code == 400


def test_a_table_has_the_marts_columns_with_their_meaning(house: House) -> None:
    answer = house.client.get(f"{TABLE}/metadata")
    protocol, metadata = lines(answer)
    assert answer.headers["Delta-Table-Version"] == "1"
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert protocol == {"protocol": {"minReaderVersion": 1}}
    described = metadata["metaData"]
    fields = json.loads(described["schemaString"])["fields"]
    assert [(f["name"], f["type"]) for f in fields] == [
        ("road", "string"), ("hour_utc", "timestamp"), ("sensors", "long"), ("vehicles", "long"),
        ("vehicles_mean", "decimal(9,2)"), ("day", "date"),
    ]  # fmt: skip
    assert fields[3]["metadata"]["comment"] == "Vehicles that all of them counted. [vehicles]"
    assert (described["partitionColumns"], described["numFiles"]) == (["day"], 30)
    assert house.client.head(TABLE).headers["Delta-Table-Version"] == "1"


def test_a_file_is_given_with_its_statistics_once_read(own_house: House) -> None:
    manifest = own_house.mini.latest(TRAFFIC)
    found = files(own_house)
    assert [(f["id"], f["size"], f["partitionValues"]) for f in found] == [
        (f.sha256, f.bytes, {"day": f.partition}) for f in manifest.files
    ]
    stats = json.loads(found[0]["stats"])
    assert stats == {
        "numRecords": 48,
        "minValues": {
            "road": "Amagerbrogade", "hour_utc": "2024-10-01T00:00:00.000Z", "sensors": 1, "vehicles": 12,
            "vehicles_mean": 6.0,
        },
        "maxValues": {
            "road": "Vesterbrogade", "hour_utc": "2024-10-01T23:00:00.000Z", "sensors": 2, "vehicles": 58,
            "vehicles_mean": 44.0,
        },
        "nullCount": dict.fromkeys(("road", "hour_utc", "sensors", "vehicles", "vehicles_mean"), 0),
    }  # fmt: skip
    index = own_house.mini.exchange.index
    assert len(index.rows(sa.select(file_statistics))) == 30
    with index.begin() as connection:
        connection.execute(sa.update(file_statistics).values(statistics={"minValues": {}, "nullCount": {}, "kept": 1}))
    assert json.loads(files(own_house)[0]["stats"])["kept"] == 1


def test_a_files_link_opens_it_and_is_counted_to_the_door(own_house: House) -> None:
    own_house.set_access("registered")
    headers = own_house.readers.headers("right")
    answer = own_house.client.post(f"{TABLE}/query", json={}, headers=headers)
    file = lines(answer)[2]["file"]
    assert hashlib.sha256(own_house.client.get(file["url"]).content).hexdigest() == file["id"]
    assert file["expirationTimestamp"] / 1000 > datetime.now(UTC).timestamp() + 3000
    path, _, link = file["url"].partition("?link=")
    assert own_house.client.get(path).status_code == 401
    assert own_house.client.get(f"{path}?link={link[:-2]}xx").status_code == 401
    own_house.doors.meter.flush()
    doors = {(row["door"], row["recipient"], row["rows"]) for row in usage_statement(own_house.mini.exchange)}
    assert doors == {("delta-sharing", "right", 48)}


def test_versions_are_releases_and_so_are_times(own_house: House) -> None:
    mini = own_house.mini
    before = mini.latest(TRAFFIC)
    second = before.model_copy(
        update={
            "release": "0002-feedbeef",
            "created_at": before.created_at + timedelta(hours=1),
            "files": before.files[:3],
        }
    )
    publish(mini, second)
    between = (before.created_at + timedelta(minutes=30)).isoformat()

    def version(path: str = "/version", **query: str) -> str:
        return str(own_house.client.get(f"{TABLE}{path}", params=query).headers["Delta-Table-Version"])

    assert version() == "2"
    assert version(startingTimestamp=between) == "2"
    assert version(startingTimestamp="2001-01-01T00:00:00Z") == "1"
    assert [len(files(own_house, **asked)) for asked in ({}, {"version": 1}, {"version": 2}, {"timestamp": between})] == [
        3, 30, 3, 30,
    ]  # fmt: skip


# Hints


def column(name: str, kind: str = "string") -> dict[str, Any]:
    return {"op": "column", "name": name, "valueType": kind}


def value(text: str, kind: str = "string") -> dict[str, Any]:
    return {"op": "literal", "value": text, "valueType": kind}


def test_hints_leave_out_what_cannot_hold_a_row(house: House) -> None:
    def days(**asked: Any) -> list[int]:
        return [int(file["partitionValues"]["day"][-2:]) for file in files(house, **asked)]

    def tree(op: str, *children: Any) -> dict[str, str]:
        return {"jsonPredicateHints": json.dumps({"op": op, "children": children})}

    everything = list(range(1, 31))
    assert days(**tree("equal", column("day", "date"), value("2024-10-05", "date"))) == [5]
    assert days(**tree("lessThan", value("2024-10-28", "date"), column("DAY", "date"))) == [29, 30]
    assert days(predicateHints=["day >= '2024-10-29'"]) == [29, 30]
    assert days(predicateHints=["hour_utc >= '2024-10-29T12:00:00Z'", "hour_utc < '2024-10-30'"]) == [29]
    assert days(predicateHints=["`vehicles_mean` > 69.5"]) == [27, 28, 29, 30]
    assert days(predicateHints=["road = 'Zinkvej'"]) == []
    assert days(predicateHints=["road IS NULL"]) == []
    assert days(predicateHints=["day IN ('2024-10-03', '2024-10-09')"]) == [3, 9]
    for ignored in (["upper(road) = 'X'"], ["nothing = 1"], ["day = 'x'"], ["1 = 1; DROP TABLE x"], ["day ="]):
        assert days(predicateHints=ignored) == everything
    for broken in ("{", "[]", '{"op": "like"}', json.dumps({"op": "and", "children": []}), "[" * 100_000):
        assert days(jsonPredicateHints=broken) == everything
    assert len(days(limitHint=100)) == 3
    assert days(limitHint=0) == []


KINDS: dict[str, Kind] = {"n": "integer"}
ATOMS = ["n = 2", "n < 2", "n <= 2", "n > 2", "n >= 2", "n <> 2", "n is null", "n is not null", "n in (1, 3)"]


def test_no_hint_leaves_out_a_row_that_it_is_about() -> None:
    """Every small file, each predicate and its negation, against what a database says of the rows."""
    values = [None, 1, 2, 3]
    with duckdb.connect() as connection:
        for size in (1, 2, 3):
            for rows in itertools.combinations_with_replacement(values, size):
                known = [row for row in rows if row is not None]
                span = Span(
                    low=min(known, default=None), high=max(known, default=None), nulls=size - len(known), rows=size
                )
                listed = ", ".join(f"({'NULL' if row is None else row}::INTEGER)" for row in rows)
                for atom in ATOMS:
                    [predicate] = from_sql([atom], KINDS)
                    verdict = predicate({"n": span})
                    [(true, false)] = connection.execute(
                        f"SELECT count(*) FILTER ({atom}), count(*) FILTER (NOT ({atom})) FROM (VALUES {listed}) t(n)"
                    ).fetchall()
                    assert verdict.true or not true, (atom, rows)
                    assert verdict.false or not false, (atom, rows)


def test_a_hint_leaves_out_what_it_can() -> None:
    spans = {"n": Span(low=1, high=3, nulls=0, rows=5)}
    judged = {
        atom: from_sql([atom], KINDS)[0](spans) for atom in ("n = 4", "n < 1", "n >= 1", "n is null", "n in (0, 9)")
    }
    assert {atom: tuple(verdict) for atom, verdict in judged.items()} == {
        "n = 4": (False, True),
        "n < 1": (False, True),
        "n >= 1": (True, False),
        "n is null": (False, True),
        "n in (0, 9)": (False, True),
    }
    deep: dict[str, Any] = {"op": "isNull", "children": [column("n")]}
    for _ in range(200):
        deep = {"op": "not", "children": [deep]}
    assert from_json(json.dumps(deep), KINDS) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [("1.5", "integer"), ("1e3", "integer"), ("nan", "decimal"), ("x", "date"), ("yes", "boolean"), ("1", "other")],
)
def test_a_value_that_a_column_cannot_hold_is_refused(text: str, kind: Kind) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is not"):
        read_value(text, kind)


# The stock client

READ = """
import hashlib, json, sys
import delta_sharing
import pandas as pd

profile, table = sys.argv[1:]
client = delta_sharing.SharingClient(profile)
found = {"tables": sorted(t.name for t in client.list_all_tables())}
url = profile + "#" + table

def checksum(frame):
    plain = frame[["road", "hour_utc", "sensors", "vehicles", "vehicles_mean"]].copy()
    plain["hour_utc"] = pd.to_datetime(plain["hour_utc"], utc=True).map(lambda at: at.isoformat())
    plain["vehicles_mean"] = plain["vehicles_mean"].map(lambda value: f"{float(value):.2f}")
    rows = sorted(plain.astype(str).itertuples(index=False, name=None))
    return [len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()]

found["parquet"] = checksum(delta_sharing.load_as_pandas(url))
found["delta"] = checksum(delta_sharing.load_as_pandas(url, use_delta_format=True))
found["limit"] = len(delta_sharing.load_as_pandas(url, limit=7))
found["version"] = delta_sharing.get_table_version(url)
day = json.dumps({"op": "equal", "children": [{"op": "column", "name": "day", "valueType": "date"},
                                              {"op": "literal", "value": "2024-10-05", "valueType": "date"}]})
hinted = delta_sharing.load_as_pandas(url, jsonPredicateHints=day)
found["hinted"] = [len(hinted), sorted(map(str, set(hinted["day"])))]
try:
    delta_sharing.load_table_changes_as_pandas(url, starting_version=0)
except Exception as error:
    found["changes"] = "cdf is not enabled" in str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def stock() -> Path:
    return checker("delta-sharing", "delta-sharing==1.4.2")


@pytest.fixture(scope="module")
def address(released_once: Mini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mini, str]]:
    mini = released_once.copy(tmp_path_factory.mktemp("stock"))
    with served(create_app(mini.exchange)) as found:
        yield mini, found


def test_the_stock_client_reads_the_same_rows(
    stock: Path, address: tuple[Mini, str], truth: tuple[int, str], tmp_path: Path
) -> None:
    mini, url = address
    profile = delta_profile(mini.exchange, "anonymous", valid=timedelta(days=1))
    (tmp_path / "config.share").write_text(json.dumps({**profile, "endpoint": f"{url}/delta-sharing/"}))
    done = subprocess.run(
        [stock, "-c", READ, tmp_path / "config.share", f"exchange.v1.{TRAFFIC}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "tables": [TRAFFIC, WATER],
        "parquet": list(truth),
        "delta": list(truth),
        "limit": 7,
        "version": 1,
        "hinted": [48, ["2024-10-05"]],
        "changes": True,
    }
