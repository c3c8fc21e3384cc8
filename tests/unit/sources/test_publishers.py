"""What only one protocol has: its times to live, tables, counts and templates, and how its answers go wrong."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import TypeAdapter

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.sources.connector import Page, SourceError, Watermark, connector_for
from lakehouse.sources.loopback_server import Answered, Fault
from tests.asking import asked
from tests.served import DAY, FIRST, Bikes, Broker, Features, Files, JsonApi, Portal, Publisher, Query, schedule

REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "oslo_bysykkel" / "station_status"


def pages(
    server: Publisher,
    arguments: dict[str, Any],
    *,
    watermark: Watermark | None = None,
    start: datetime = FIRST,
    end: datetime = FIRST + 2 * DAY,
) -> list[Page]:
    given = TypeAdapter[ExtractArguments](ExtractArguments).validate_python(arguments)
    connector = connector_for(given, address=server.base_url, sleep=lambda _: None)
    return list(connector.pages(asked(start, end, watermark)))


STATUS = {"connector": "gbfs", "feed": "station_status"}
STOPS = {"connector": "gtfs", "path": "/gtfs.zip"}
ROWS = {"connector": "ckan", "resource_id": Portal.ID, "page_size": 3}
SPOTS = {"connector": "ngsi_ld", "type": "ParkingSpot", "page_size": 3}
TEMPERATURES = {"connector": "ogc_features", "collection": "observation", "page_size": 3}


# GBFS


def test_a_feed_is_not_asked_for_before_its_time_to_live_has_passed() -> None:
    with Bikes("2.3", ttl=3600) as server:
        server.updated = datetime.now(UTC)
        [page] = pages(server, STATUS)
        requests = len(server.exchanged)
        assert pages(server, STATUS, watermark=page.watermark) == []
        assert len(server.exchanged) == requests
        past = {**(page.watermark or {}), "next_at": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}
        assert pages(server, STATUS, watermark=past) == []
        assert len(server.exchanged) == 2 * requests


def test_a_page_of_a_feed_is_named_by_the_time_of_its_update() -> None:
    for version in ("2.3", "3.0"):
        with Bikes(version) as server:
            [page] = pages(server, STATUS)
        assert page.name == "station_status_20240101T0000Z.json"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"feed": "free_bike_status"}, "has no feed 'free_bike_status'; it has station_status"),
        ({"language": "en"}, "has the languages nb and not 'en'"),
    ],
)
def test_a_feed_that_is_not_there_is_named_beside_those_that_are(change: dict[str, Any], says: str) -> None:
    with Bikes("2.3") as server, pytest.raises(SourceError, match=says):
        pages(server, STATUS | change)


@pytest.mark.parametrize("updated", [1704067200, 1704067200.0, "1704067200", "2024-01-01T01:00:00+01:00"])
@pytest.mark.parametrize(("ttl", "waits"), [({"ttl": 60}, 60), ({"ttl": "60"}, 60), ({"ttl": None}, 0), ({}, 0)])
def test_a_feed_is_read_however_it_writes_its_numbers(updated: Any, ttl: dict[str, Any], waits: int) -> None:
    feed = {"last_updated": updated, "data": {"stations": []}, **ttl}
    with Bikes("2.3") as server:
        server.faults.extend([Fault(), Fault(body=json.dumps(feed).encode())])
        [page] = pages(server, STATUS)
    assert page.name == "station_status_20240101T0000Z.json"
    assert page.watermark is not None
    assert datetime.fromisoformat(page.watermark["next_at"]) == FIRST + timedelta(seconds=waits)


def test_a_document_that_is_no_feed_is_refused() -> None:
    with Bikes("2.3") as server:
        server.faults.extend([Fault(), Fault(body=b'{"error": "maintenance"}')])
        with pytest.raises(SourceError, match="is no GBFS feed: last_updated is None and ttl None"):
            pages(server, STATUS)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real snapshots are not there")
def test_real_snapshots_come_one_by_one_as_they_are_published() -> None:
    snapshots = sorted(REAL.glob("*.json"))[:3]

    class Oslo(Bikes):
        snapshot = snapshots[0]

        def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
            return Answered(body=self.snapshot.read_bytes()) if "status" in path else super().page(path, query, headers)

    watermark = None
    with Oslo("2.3") as server:
        for server.snapshot in snapshots:
            [page] = pages(server, STATUS, watermark=watermark)
            assert page.path.read_bytes() == server.snapshot.read_bytes()
            watermark = page.watermark
            assert pages(server, STATUS, watermark=watermark) == []


# GTFS


def test_a_schedule_without_a_table_is_refused_by_name() -> None:
    with Files() as server, pytest.raises(SourceError, match=r"a zip without shapes\.txt, with agency\.txt"):
        pages(server, STOPS | {"tables": ["stops.txt", "shapes.txt"]})


def test_a_schedule_that_is_no_zip_is_refused_by_what_came() -> None:
    with Files() as server:
        server.faults.append(Fault(body=b"<html>moved</html>"))
        with pytest.raises(SourceError, match="answered no zip but '<html>moved"):
            pages(server, STOPS)


def test_a_schedule_comes_byte_for_byte() -> None:
    with Files() as server:
        [page] = pages(server, STOPS)
        assert page.path.read_bytes() == schedule(server.rows)


# CKAN


def test_a_table_that_was_made_anew_is_read_from_its_beginning() -> None:
    with Portal() as server:
        arguments = ROWS | {"append_only": True}
        last = pages(server, arguments)[-1]
        assert (last.watermark or {})["rows"] == 8
        del server.rows[5:]
        found = pages(server, arguments, watermark=last.watermark)
    assert [page.rows for page in found] == [3, 2]


def test_filters_are_sent_as_ckan_reads_them() -> None:
    with Portal() as server:
        [page, *_] = pages(server, ROWS | {"filters": {"road": ["A", "B"]}})
    assert "filters=%7B%22road%22%3A+%5B%22A%22%2C+%22B%22%5D%7D" in page.url
    assert "sort=_id+asc" in page.url


def test_an_answer_without_success_is_refused() -> None:
    with Portal() as server:
        body = {"success": False, "error": {"__type": "Not Found Error", "message": "Not found"}}
        server.faults.append(Fault(body=json.dumps(body).encode()))
        with pytest.raises(SourceError, match=r"no successful answer of CKAN.*Not found.*check resource_id"):
            pages(server, ROWS)


def test_a_file_of_the_portal_itself_is_known_by_the_portals_word() -> None:
    with Portal() as server:
        arguments = {**ROWS, "read": "file"}
        [page] = pages(server, arguments)
        server.exchanged.clear()
        assert pages(server, arguments, watermark=page.watermark) == []
        assert len(server.exchanged) == 1


# OGC API Features


def test_bounds_box_and_filters_are_sent_as_the_standard_writes_them() -> None:
    with Features() as server:
        more = {"bbox": [9.5, 55.9, 10.5, 56.3], "filters": {"parameterId": "temp_dry"}, "path": "/v2/metObs"}
        [page, *_] = pages(server, TEMPERATURES | more)
    assert "/v2/metObs/collections/observation/items?" in page.url
    assert "datetime=2024-01-01T00%3A00%3A00Z%2F2024-01-03T00%3A00%3A00Z" in page.url
    assert "bbox=9.5%2C55.9%2C10.5%2C56.3" in page.url
    assert "parameterId=temp_dry" in page.url


@pytest.mark.parametrize(
    ("bbox", "sent"),
    [
        ([12.568337, 55.676098, 12.568437, 55.676198], "12.568337,55.676098,12.568437,55.676198"),
        ([1e-05, -1e-7, 1, 2.5], "0.00001,-0.0000001,1,2.5"),
        ([725432.25, 6173456.75, 725999.5, 1e16], "725432.25,6173456.75,725999.5,10000000000000000"),
    ],
)
def test_a_box_is_sent_with_all_its_digits(bbox: list[float], sent: str) -> None:
    with Features() as server:
        [page, *_] = pages(server, TEMPERATURES | {"bbox": bbox})
    assert dict(parse_qsl(urlsplit(page.url).query))["bbox"] == sent


def test_a_collection_that_ends_before_its_count_is_refused() -> None:
    with Features() as server:
        body = {"type": "FeatureCollection", "features": [], "numberMatched": 8, "numberReturned": 0, "links": []}
        server.faults.extend([Fault(), Fault(body=json.dumps(body).encode())])
        with pytest.raises(SourceError, match="ends the set after 3 rows of 8: it moved while paging"):
            pages(server, TEMPERATURES)


# NGSI-LD


def test_a_broker_is_told_the_context_and_the_tenant() -> None:
    with Broker() as server:
        pages(server, SPOTS | {"context": "https://smartdatamodels.example/context.jsonld", "tenant": "aarhus"})
        headers = server.exchanged[0].headers
    assert headers["link"] == (
        '<https://smartdatamodels.example/context.jsonld>; rel="http://www.w3.org/ns/json-ld#context"; '
        'type="application/ld+json"'
    )
    assert headers["ngsild-tenant"] == "aarhus"


def test_only_entities_modified_since_are_asked_for() -> None:
    arguments = SPOTS | {"modified_since": True, "options": ["sysAttrs"], "query": "occupancy>0"}
    with Broker() as server:
        found = pages(server, arguments | {"query": None})
        server.exchanged.clear()
        assert found[-1].watermark is not None
        assert found[-1].watermark["since"] == "2024-01-02T18:00:00Z"
        assert [page.watermark for page in found[:-1]] == [None, None]
        assert pages(server, arguments | {"query": None}, watermark=found[-1].watermark) == []
        assert "q=modifiedAt%3E%3D2024-01-02T18%3A00%3A00Z" in server.exchanged[0].target


def test_a_broker_that_does_not_count_is_refused() -> None:
    with Broker() as server:
        server.faults.append(Fault(headers={"NGSILD-Results-Count": ""}))
        with pytest.raises(SourceError, match="did not count its entities"):
            pages(server, SPOTS)


# Files


def test_a_file_is_asked_for_each_period_that_the_interval_touches() -> None:
    arguments = {"connector": "http_file", "path": "/days/{start:%Y-%m}/all.csv", "every": "month"}
    with Files() as server:
        found = pages(server, arguments, start=datetime(2023, 11, 15, tzinfo=UTC), end=datetime(2024, 2, 1, tzinfo=UTC))
    assert [page.name for page in found] == [f"days-{month}-all.csv" for month in ("2023-11", "2023-12", "2024-01")]


def test_a_source_that_includes_the_end_is_given_the_last_moment() -> None:
    parameters = {"from": "{start:%Y-%m-%d}", "to": "{last:%Y-%m-%d}", "format": "csv"}
    with Files() as server:
        [page] = pages(server, {"connector": "http_file", "path": "/all.csv", "parameters": parameters})
    assert page.url.endswith("/all.csv?from=2024-01-01&to=2024-01-02&format=csv")
    assert page.name == "all_20240101T0000Z_20240103T0000Z.csv"


def test_a_file_is_known_by_its_etag_and_answered_304() -> None:
    arguments = {"connector": "http_file", "path": "/all.csv"}
    with Files() as server:
        [page] = pages(server, arguments)
        assert pages(server, arguments, watermark=page.watermark) == []
        assert [exchanged.status for exchanged in server.exchanged] == [200, 304]


# Changes


def test_a_record_of_the_same_moment_that_came_later_is_not_missed() -> None:
    arguments = {
        "connector": "paged_json_api",
        "path": "/link",
        "paging": "link_header",
        "records": "",
        "parameters": {},
        "changes": {"parameter": "updated_since", "value": "at"},
        "start_parameter": None,
        "end_parameter": None,
    }
    with JsonApi() as server:
        first = pages(server, arguments)
        late = {**server.rows[-1], "id": "r43"}
        server.rows.append(late)
        second = pages(server, arguments, watermark=first[-1].watermark)
        assert late in [row for page in second for row in json.loads(page.path.read_bytes())]
        assert pages(server, arguments, watermark=second[-1].watermark) == []


def test_a_record_without_a_time_of_change_is_refused() -> None:
    arguments = {
        "connector": "paged_json_api",
        "path": "/link",
        "paging": "none",
        "records": "",
        "parameters": {},
        "changes": {"parameter": "updated_since", "value": "changed"},
        "start_parameter": None,
        "end_parameter": None,
    }
    with JsonApi() as server, pytest.raises(SourceError, match="has None at 'changed' where its time of change"):
        pages(server, arguments)
