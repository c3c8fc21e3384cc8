"""Filtered parts as csv, GeoJSON and xlsx: the rows that a database would give, safely asked for, in bounded memory."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import duckdb
import httpx
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.release.manifest import Column, File, Manifest
from lakehouse.sharing import extract
from lakehouse.sharing.extract import TooLarge, check_size, csv_bytes, part_of, write_xlsx
from lakehouse.sharing.rows import _PLACES, AT_ONCE
from lakehouse.sharing.selection import Selection, WrongSelection, read_selection
from tests.mini_exchange import TRAFFIC, Mini
from tests.unit.sharing.conftest import House, checksum

MART = f"/marts/{TRAFFIC}/v1"


def ask(house: House, form: str = "csv", **query: Any) -> httpx.Response:
    return house.client.get(
        f"{MART}/latest/rows.{form}", params={key.replace("__", "."): v for key, v in query.items()}
    )


def rows(house: House, **query: Any) -> list[dict[str, str]]:
    answer = ask(house, **query)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_a_csv_of_the_whole_holds_the_same_rows(house: House, truth: tuple[int, str]) -> None:
    answer = ask(house)
    assert checksum(pd.read_csv(io.StringIO(answer.text))) == truth
    assert answer.headers["content-type"].startswith("text/csv")
    assert f'filename="{TRAFFIC}-v1-0001-' in answer.headers["Content-Disposition"]
    assert answer.text.splitlines()[:2] == [
        '"road","hour_utc","sensors","vehicles","vehicles_mean"',
        '"Amagerbrogade","2024-10-01T00:00:00Z",2,12,6.00',
    ]


def test_a_workbook_holds_the_same_rows_and_says_what_it_is(house: House, truth: tuple[int, str]) -> None:
    content = ask(house, "xlsx").content
    assert checksum(pd.read_excel(io.BytesIO(content), sheet_name="data")) == truth
    about = openpyxl.load_workbook(io.BytesIO(content))["about"]
    facts = {str(name.value): str(text.value) for name, text in about.iter_rows(max_col=2)}
    assert facts["title"] == "Traffic by road"
    assert facts["licence"].startswith("CC-BY-4.0")
    assert facts["vehicles"] == "Vehicles that all of them counted. [vehicles]"


# Each selection, and the same in SQL over the release.
SELECTIONS: list[tuple[dict[str, str], str]] = [
    ({"road": "Vesterbrogade"}, "road = 'Vesterbrogade'"),
    ({"road__ne": "Vesterbrogade", "vehicles__gt": "70"}, "road <> 'Vesterbrogade' AND vehicles > 70"),
    ({"vehicles__gte": "100"}, "vehicles >= 100"),
    ({"vehicles__lt": "20", "sensors": "1"}, "vehicles < 20 AND sensors = 1"),
    ({"vehicles_mean__lte": "6.5"}, "vehicles_mean <= 6.5"),
    ({"hour_utc__gte": "2024-10-29T12:00:00Z"}, "hour_utc >= TIMESTAMPTZ '2024-10-29T12:00:00Z'"),
    ({"hour_utc__gte": "2024-10-29", "hour_utc__lt": "2024-10-30T02:00:00+01:00"},
     "hour_utc >= TIMESTAMPTZ '2024-10-29' AND hour_utc < TIMESTAMPTZ '2024-10-30T01:00:00Z'"),
    ({"vehicles__in": "12, 14,9999"}, "vehicles IN (12, 14)"),
    ({"road__in": '"Amagerbrogade",x'}, "road = 'Amagerbrogade'"),
    ({"road__null": "true"}, "false"),
    ({"road__null": "false"}, "true"),
    ({"road": "x' OR 1=1 --"}, "false"),
    ({"road": "Robert'); DROP TABLE x; --"}, "false"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "sql"), SELECTIONS, ids=[sql for _, sql in SELECTIONS])
def test_a_selection_gives_what_a_database_would(house: House, asked: dict[str, str], sql: str) -> None:
    manifest, lake = house.mini.latest(TRAFFIC), house.mini.exchange.lake
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        wanted = connection.execute(
            "SELECT road, strftime(hour_utc, '%Y-%m-%dT%H:%M:%SZ'), sensors::VARCHAR, vehicles::VARCHAR, "
            f"vehicles_mean::VARCHAR FROM read_parquet('{lake.local_path('marts', manifest.prefix)}/*/*.parquet', "
            f"hive_partitioning=false) WHERE {sql}"
        ).fetchall()
    assert sorted(tuple(row.values()) for row in rows(house, **asked)) == sorted(wanted)


def test_columns_and_a_limit(house: House) -> None:
    found = rows(house, columns="vehicles,road", limit="3")
    assert [list(row) for row in found] == [["vehicles", "road"]] * 3
    assert rows(house, limit="0") == []
    assert rows(house, vehicles__gt="100000") == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"nothing": "1"}, "there is no column 'nothing'; there are: road, hour_utc"),
        ({"vehicles__like": "1"}, "there is no operator 'like'"),
        ({"vehicles": "many"}, "vehicles: 'many' is not a whole number"),
        ({"vehicles__in": ""}, "give from one to 1000 values"),
        ({"vehicles__in": "1,x"}, "'x' is not a whole number"),
        ({"hour_utc__gte": "yesterday"}, "is not a time"),
        ({"road__null": "maybe"}, "is not true or false"),
        ({"columns": "road,none"}, "there is no column 'none'"),
        ({"columns": ""}, "columns is empty"),
        ({"limit": "-1"}, "is not a whole number"),
        ({"limit": "1; DROP TABLE x"}, "is not a whole number"),
        ({"1=1": "1"}, "there is no column '1=1'"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(house: House, asked: dict[str, str], said: str) -> None:
    answer = ask(house, **asked)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_PARAMETER_VALUE")
    assert said in answer.json()["message"]


def test_a_mart_without_a_place_is_no_map_and_a_form_is_known(house: House) -> None:
    refused = ask(house, "geojson")
    assert (refused.status_code, "cannot be drawn on a map" in refused.json()["message"]) == (400, True)
    assert ask(house, "pdf").status_code == 404


def test_more_than_a_sheet_holds_is_refused_with_the_next_step(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "SHEET_ROWS", 1000)
    refused = ask(house, "xlsx")
    assert (refused.status_code, refused.json()["errorCode"]) == (413, "TOO_LARGE")
    assert refused.json()["message"].startswith("more than 1,000 rows of traffic_by_road_hour@0001-")
    assert "a sheet holds as xlsx: ask for fewer (as hour_utc.gte=…, or limit=1000)" in refused.json()["message"]
    assert ask(house, "xlsx", limit="1000").status_code == 200
    assert ask(house, "xlsx", road="Vesterbrogade").status_code == 200
    assert ask(house).status_code == 200


def test_only_so_many_parts_are_given_at_once_and_each_gives_its_place_back(house: House) -> None:
    for _ in range(2 * AT_ONCE):
        assert ask(house, limit="1").status_code == 200
    held = [_PLACES.acquire(blocking=False) for _ in range(AT_ONCE)]
    try:
        refused = ask(house, limit="1")
    finally:
        for _ in held:
            _PLACES.release()
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
    assert ask(house, limit="1").status_code == 200


def test_the_limit_of_the_exchange_is_a_setting(house: House) -> None:
    exchange, manifest = house.mini.exchange, house.mini.latest(TRAFFIC)
    whole = part_of(exchange, manifest, read_selection(manifest, []))
    check_size(whole, "csv", most=1440)
    with pytest.raises(TooLarge, match="which is the most that the exchange gives at once as csv"):
        check_size(whole, "csv", most=1439)
    one = part_of(exchange, manifest, read_selection(manifest, [("hour_utc.lt", "2024-10-02")]))
    assert (len(one.addresses), one.rows) == (1, 48)


# Marts that the small exchange has not


def large_release(mini: Mini, name: str, table: pa.Table, columns: Sequence[tuple[str, str]]) -> Manifest:
    """A release of one file, enough of one for a part to be taken from."""
    base = mini.latest(TRAFFIC)
    path = mini.exchange.lake.local_path("marts", f"{name}/v1/releases/0001-a/year=2024/part-0.parquet")
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    file = File(path="year=2024/part-0.parquet", partition="2024", rows=table.num_rows, bytes=path.stat().st_size,
                sha256=name, deliveries=())  # fmt: skip
    described = tuple(Column(name=column, type=kind, description="x", unit=None) for column, kind in columns)
    return base.model_copy(
        update={"mart": name, "release": "0001-a", "files": (file,), "columns": described, "rows": table.num_rows,
                "partition": {"column": "year_of_it", "grain": "year"}}
    )  # fmt: skip


def test_points_are_drawn_and_a_row_without_a_place_is_kept(own_house: House) -> None:
    table = pa.table(
        {"name": ["Ré \"x\"", "b", None], "lon": [10.25, None, 12.5], "lat": [55.5, 1.0, 56.0],
         "at": pd.to_datetime(["2024-10-01T05:00:00Z"] * 3), "n": [1, 2, 3]}
    )  # fmt: skip
    kinds = [
        ("name", "varchar"),
        ("lon", "double"),
        ("lat", "double"),
        ("at", "timestamp with time zone"),
        ("n", "bigint"),
    ]
    manifest = large_release(own_house.mini, "places", table, kinds)
    part = part_of(own_house.mini.exchange, manifest, Selection(columns=tuple(name for name, _ in kinds)))
    found = json.loads(b"".join(data for data, _ in extract.geojson_bytes(part)))
    assert found["type"] == "FeatureCollection"
    assert [feature["geometry"] for feature in found["features"]] == [
        {"type": "Point", "coordinates": [10.25, 55.5]},
        None,
        {"type": "Point", "coordinates": [12.5, 56.0]},
    ]
    assert found["features"][0]["properties"] == {"name": 'Ré "x"', "at": "2024-10-01T05:00:00Z", "n": 1}
    none = part_of(own_house.mini.exchange, manifest, read_selection(manifest, [("n.gt", "9")]))
    assert json.loads(b"".join(data for data, _ in extract.geojson_bytes(none)))["features"] == []


def test_a_text_that_looks_like_a_formula_stays_a_text(own_house: House, tmp_path: Any) -> None:
    table = pa.table({"text": ["=1+1", "@x", 'a,b"c\n', ""], "big": [2**60, None, 5, 6]})
    manifest = large_release(own_house.mini, "texts", table, [("text", "varchar"), ("big", "bigint")])
    part = part_of(own_house.mini.exchange, manifest, read_selection(manifest, []))
    assert write_xlsx(part, tmp_path / "x.xlsx") == 4
    sheet = openpyxl.load_workbook(tmp_path / "x.xlsx")["data"]
    assert [(row[0].value, row[0].data_type) for row in sheet.iter_rows(min_row=2)][:2] == [("=1+1", "s"), ("@x", "s")]
    assert sheet["B2"].value == str(2**60)
    text = b"".join(data for data, _ in csv_bytes(part)).decode()
    assert list(csv.reader(io.StringIO(text)))[1:] == [["=1+1", str(2**60)], ["@x", ""], ['a,b"c\n', "5"], ["", "6"]]


def test_a_large_csv_is_written_in_bounded_memory(own_house: House) -> None:
    count = 600_000
    table = pa.table({"n": range(count), "text": ["x" * 60] * count})
    manifest = large_release(own_house.mini, "large", table, [("n", "bigint"), ("text", "varchar")])
    del table
    part = part_of(own_house.mini.exchange, manifest, read_selection(manifest, []))
    pool = pa.default_memory_pool()
    before, most, size = pool.bytes_allocated(), 0, 0
    tracemalloc.start()
    try:
        for data, _ in csv_bytes(part):
            size += len(data)
            most = max(most, pool.bytes_allocated() - before)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 38 << 20
    assert peak + most < 16 << 20


def test_selections_are_read_of_names_with_dots_and_of_quoted_lists(own_house: House) -> None:
    table = pa.table({"a.b": ["x,y", "z"]})
    manifest = large_release(own_house.mini, "dots", table, [("a.b", "varchar")])
    [one] = read_selection(manifest, [("a.b", "z")]).conditions
    [two] = read_selection(manifest, [("a.b.in", '"x,y",z')]).conditions
    assert (one.column, one.operator, two.values) == ("a.b", "eq", ("x,y", "z"))
    with pytest.raises(WrongSelection):
        read_selection(manifest, [("a.c", "z")])
