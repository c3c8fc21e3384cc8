"""Publishers' APIs on loopback: small, in the exact shapes of the standards, growing when told to."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from lakehouse.sources.loopback_server import Answered, LoopbackServer

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
Query = dict[str, str]


def moment(hour: int) -> str:
    return f"{FIRST + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}"


class Publisher(LoopbackServer):
    """Holds one row every six hours of two days; `grow` brings the four of the third."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = [self.row(hour) for hour in range(0, 48, 6)]

    def row(self, hour: int) -> dict[str, Any]:
        return {"id": f"r{hour:02d}", "at": moment(hour), "count": hour}

    def grow(self) -> None:
        self.rows += [self.row(hour) for hour in range(48, 72, 6)]

    def answer(self, target: str, headers: Mapping[str, str]) -> Answered:
        parts = urlsplit(target)
        return self.page(parts.path, dict(parse_qsl(parts.query)), headers)

    def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
        raise NotImplementedError

    def link(self, path: str, query: Query, **changes: Any) -> str:
        return f"{self.base_url}{path}?{urlencode(query | {key: str(value) for key, value in changes.items()})}"


class Source(LoopbackServer):
    """Answers each query as a function says."""

    def __init__(self, page: Callable[[Query], Answered]) -> None:
        super().__init__()
        self._page = page

    def answer(self, target: str, headers: Mapping[str, str]) -> Answered:
        return self._page(dict(parse_qsl(urlsplit(target).query)))


def answer(document: Any, **headers: str) -> Answered:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answered(body=json.dumps(document).encode(), headers={"Content-Type": "application/json", **named})


class JsonApi(Publisher):
    """One dataset under a path for each way of paging."""

    def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
        start, end, since = query.get("start", ""), query.get("end", "9"), query.get("updated_since", "")
        rows = [row for row in self.rows if start <= row["at"] < end and row["at"] >= since]
        size = int(query.get("limit", "3"))
        if path == "/number":
            place = (int(query["page"]) - 1) * size
        else:
            place = int(query.get("cursor", query.get("offset", "0")))
        part, behind = rows[place : place + size], place + size
        more = behind < len(rows)
        if path == "/cursor":
            return answer({"data": part, "meta": {"next_cursor": str(behind) if more else None}})
        if path == "/url":
            following = self.link(path, query, offset=behind) if more else None
            return answer({"results": part, "links": {"next": following}})
        if path == "/link":
            named = {"Link": f'<{path}?{urlencode(query | {"offset": str(behind)})}>; rel="next"'} if more else {}
            return answer(part, **named)
        if path == "/number":
            return answer({"items": part})
        if path == "/changes":
            return answer(part)
        return answer({"total": len(rows), "records": part})


class Portal(Publisher):
    """CKAN: a datastore, and the file of a resource."""

    ID = "c0ffee00-1d3a-4b5c-8d7e-9f0a1b2c3d4e"

    def row(self, hour: int) -> dict[str, Any]:
        return {"_id": hour // 6 + 1, **super().row(hour)}

    def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
        if path.endswith("datastore_search"):
            offset, limit = int(query["offset"]) if "offset" in query else 0, int(query["limit"])
            result = {
                "include_total": True,
                "limit": limit,
                "offset": offset,
                "records_format": "objects",
                "resource_id": query["resource_id"],
                "total_estimation_threshold": None,
                "records": self.rows[offset : offset + limit],
                "fields": [{"id": "_id", "type": "int"}, {"id": "at", "type": "text"}],
                "total": len(self.rows),
                "total_was_estimated": False,
            }
        elif path.endswith("resource_show"):
            result = {
                "id": query["id"],
                "package_id": "traffic",
                "name": "Traffic",
                "format": "CSV",
                "url": f"{self.base_url}/dataset/traffic/resource/{self.ID}/download/traffic.csv",
                "url_type": "upload",
                "hash": "",
                "last_modified": f"2024-01-0{len(self.rows) // 4}T06:00:00.000000",
                "metadata_modified": "2024-01-01T06:00:00.000000",
                "size": len(csv(self.rows)),
            }
        else:
            return file(csv(self.rows), headers)
        return answer({"help": f"{self.base_url}/api/3/action/help_show", "success": True, "result": result})


class Features(Publisher):
    """OGC API Features, as a weather service has it."""

    def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
        start, end = query["datetime"].split("/")
        rows = [row for row in self.rows if start <= row["at"] <= end]
        offset, limit = int(query.get("offset", "0")), int(query["limit"])
        part = rows[offset : offset + limit]
        links = [{"href": self.link(path, query), "rel": "self", "type": "application/geo+json", "title": "This"}]
        if offset + limit < len(rows):
            href = self.link(path, query, offset=offset + limit)
            links.append({"href": href, "rel": "next", "type": "application/geo+json", "title": "Next items"})
        features = [
            {
                "type": "Feature",
                "id": row["id"],
                "geometry": {"type": "Point", "coordinates": [10.2, 56.1]},
                "properties": {"observed": row["at"], "parameterId": "temp_dry", "value": row["count"]},
            }
            for row in part
        ]
        return answer(
            {
                "type": "FeatureCollection",
                "features": features,
                "numberMatched": len(rows),
                "numberReturned": len(features),
                "links": links,
            }
        )


class Bikes(Publisher):
    """GBFS, version 2.3 or 3.0."""

    def __init__(self, version: str, *, ttl: int = 15) -> None:
        super().__init__()
        self._version, self._ttl = version, ttl
        self.updated = FIRST

    def grow(self) -> None:
        super().grow()
        self.updated += DAY

    def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
        three = self._version.startswith("3")
        updated = f"{self.updated:%Y-%m-%dT%H:%M:%SZ}" if three else int(self.updated.timestamp())
        feeds = {"feeds": [{"name": "station_status", "url": f"{self.base_url}/oslo/station_status.json"}]}
        stations = [{"station_id": row["id"], "num_docks_available": row["count"]} for row in self.rows]
        data = {"stations": stations} if "status" in path else feeds if three else {"nb": feeds}
        return answer({"last_updated": updated, "ttl": self._ttl, "version": self._version, "data": data})


class Broker(Publisher):
    """An NGSI-LD context broker."""

    def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
        rows = self.rows
        if "timeAt" in query:
            rows = [row for row in rows if query["timeAt"] < row["at"] < query["endTimeAt"]]
        if "q" in query:
            rows = [row for row in rows if row["at"] >= query["q"].removeprefix("modifiedAt>=")]
        offset, limit = int(query["offset"]), int(query["limit"])
        entities = [
            {
                "id": f"urn:ngsi-ld:ParkingSpot:{row['id']}",
                "type": "ParkingSpot",
                "modifiedAt": row["at"],
                "occupancy": {"type": "Property", "value": row["count"], "observedAt": row["at"]},
            }
            for row in rows[offset : offset + limit]
        ]
        return answer(entities, NGSILD_Results_Count=str(len(rows)))


class Files(Publisher):
    """Files with ETags, ranges and conditions: all rows in one csv, a csv a day, and the zip of a schedule."""

    def page(self, path: str, query: Query, headers: Mapping[str, str]) -> Answered:
        if path == "/gtfs.zip":
            return file(schedule(self.rows), headers)
        day = path.removeprefix("/days/").removesuffix(".csv")
        return file(
            csv(self.rows if path == "/all.csv" else [r for r in self.rows if r["at"].startswith(day)]), headers
        )


def csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(["id,at,count\n", *(f"{r['id']},{r['at']},{r['count']}\n" for r in rows)]).encode()


def schedule(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A GTFS zip, the same for the same rows."""
    tables = {
        "agency.txt": "agency_id,agency_name,agency_url,agency_timezone\n1,City,https://city.example,Europe/Copenhagen\n",
        "stops.txt": "stop_id,stop_name,stop_lat,stop_lon\n"
        + "".join(f"{r['id']},Stop {r['count']},56.1,10.2\n" for r in rows),
        "routes.txt": "route_id,route_short_name,route_type\n1,A,3\n",
        "trips.txt": "route_id,service_id,trip_id\n1,1,1\n",
        "stop_times.txt": "trip_id,arrival_time,departure_time,stop_id,stop_sequence\n1,25:10:00,25:10:00,r00,1\n",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in tables.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return made.getvalue()


def file(body: bytes, headers: Mapping[str, str]) -> Answered:
    """As a static file server answers: 304 for the same ETag, 206 for the rest of the same file."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    named = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if headers.get("if-none-match") == tag:
        return Answered(status=304, headers=named)
    if "range" in headers and headers.get("if-range") == tag:
        first = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
        named["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        return Answered(status=206, body=body[first:], headers=named)
    return Answered(body=body, headers=named)
