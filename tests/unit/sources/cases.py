"""Every connector that the interface test asks: its source on a real server, its arguments, and what is to come."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from tests.served import Bikes, Broker, Features, Files, JsonApi, Portal

SECRET = "Bearer not-for-any-eyes"


class Bench(Protocol):
    """A source that a case is tried on; a context manager."""

    rows: list[dict[str, Any]]

    def __enter__(self) -> Self: ...
    def __exit__(self, *args: Any) -> None: ...

    @property
    def base_url(self) -> str:
        """The address, as a contract's server gives it."""
        ...

    def grow(self) -> None:
        """Adds the rows of the third day."""
        ...


@dataclass(frozen=True, kw_only=True)
class Case:
    """`source` makes a bench; `ids` reads the ids of the rows in a page's bytes.

    `again`: what a second extract brings where the source has grown: the new rows `only`, or `all` of them, as
    of a source that is a snapshot. `resumes`, after an error in the middle: at the next `page`, the next
    `window`, the next byte of a `transfer`, or from the `start`. `http`: whether the points that are HTTP's own apply
    (statuses, Retry-After, redirects, headers).
    """

    name: str
    source: Callable[[], Bench]
    arguments: dict[str, Any]
    ids: Callable[[bytes], list[str]]
    again: Literal["only", "all"] = "only"
    resumes: Literal["page", "window", "transfer", "start"]
    http: bool = True
    credential: str = SECRET


def json_ids(page: bytes) -> list[str]:
    """Ids in JSON: whatever looks like one of ours."""
    return re.findall(r'"(?:urn:ngsi-ld:ParkingSpot:)?(r\d\d)"', json.dumps(json.loads(page)))


def csv_ids(page: bytes) -> list[str]:
    return [row["id"] for row in csv.DictReader(io.StringIO(page.decode()))]


def zip_ids(page: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(page)) as archive:
        return [row["stop_id"] for row in csv.DictReader(io.StringIO(archive.read("stops.txt").decode()))]


_IN_ORDER = {"parameters": {"sort": "at"}}
_WINDOWS = {"window_days": 1}
_NO_INTERVAL = {"start_parameter": None, "end_parameter": None}


def _paged(name: str, **arguments: Any) -> Case:
    given = {"connector": "paged_json_api", "page_size": 3, "parameters": {}, **_WINDOWS, **arguments}
    return Case(name=name, source=JsonApi, arguments=given, ids=json_ids, resumes="window")


CASES = [
    _paged("paged by offset", path="/offset", **_IN_ORDER),
    _paged("paged by number", path="/number", paging="page_number", records="items", total=None, **_IN_ORDER),
    _paged("paged by cursor", path="/cursor", paging="cursor", records="data", next="meta.next_cursor"),
    _paged("paged by url", path="/url", paging="next_url", records="results", next="links.next"),
    _paged("paged by link header", path="/link", paging="link_header", records=""),
    Case(
        name="changes in order",
        source=JsonApi,
        arguments={
            "connector": "paged_json_api",
            "path": "/link",
            "paging": "link_header",
            "records": "",
            "page_size": 3,
            "parameters": {},
            "changes": {"parameter": "updated_since", "value": "at", "ordered": True},
            **_NO_INTERVAL,
        },
        ids=json_ids,
        resumes="page",
    ),
    Case(
        name="ckan datastore",
        source=Portal,
        arguments={"connector": "ckan", "resource_id": Portal.ID, "page_size": 3},
        ids=json_ids,
        again="all",
        resumes="start",
    ),
    Case(
        name="ckan datastore that only grows",
        source=Portal,
        arguments={"connector": "ckan", "resource_id": Portal.ID, "page_size": 3, "append_only": True},
        ids=json_ids,
        resumes="page",
    ),
    Case(
        name="ckan file",
        source=Portal,
        arguments={"connector": "ckan", "resource_id": Portal.ID, "read": "file"},
        ids=csv_ids,
        again="all",
        resumes="transfer",
    ),
    Case(
        name="ogc features",
        source=Features,
        arguments={"connector": "ogc_features", "collection": "observation", "page_size": 3, **_WINDOWS},
        ids=json_ids,
        resumes="window",
    ),
    *(
        Case(
            name=f"gbfs {version}",
            source=lambda version=version: Bikes(version),
            arguments={"connector": "gbfs", "feed": "station_status"},
            ids=json_ids,
            again="all",
            resumes="start",
        )
        for version in ("2.3", "3.0")
    ),
    Case(
        name="gtfs",
        source=Files,
        arguments={"connector": "gtfs", "path": "/gtfs.zip"},
        ids=zip_ids,
        again="all",
        resumes="transfer",
    ),
    Case(
        name="ngsi-ld",
        source=Broker,
        arguments={"connector": "ngsi_ld", "type": "ParkingSpot", "page_size": 3},
        ids=json_ids,
        again="all",
        resumes="start",
    ),
    Case(
        name="ngsi-ld modified",
        source=Broker,
        arguments={
            "connector": "ngsi_ld",
            "type": "ParkingSpot",
            "page_size": 3,
            "modified_since": True,
            "options": ["sysAttrs"],
        },
        ids=json_ids,
        resumes="start",
    ),
    Case(
        name="ngsi-ld temporal",
        source=Broker,
        arguments={"connector": "ngsi_ld", "type": "ParkingSpot", "page_size": 3, "temporal": True, **_WINDOWS},
        ids=json_ids,
        resumes="window",
    ),
    Case(
        name="file",
        source=Files,
        arguments={"connector": "http_file", "path": "/all.csv"},
        ids=csv_ids,
        again="all",
        resumes="transfer",
    ),
    Case(
        name="file a day",
        source=Files,
        arguments={"connector": "http_file", "path": "/days/{start:%Y-%m-%d}.csv", "every": "day"},
        ids=csv_ids,
        resumes="page",
    ),
]
