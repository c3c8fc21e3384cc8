"""Delta Sharing: releases as tables of the open protocol, for its stock clients, Spark, Power BI and Tableau.

There is one share, ``exchange``; a schema is a major (``v1``), a table a mart, a version the number of a release.
Files are given as links to the same files that the plain door serves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from lakehouse.release.listing import STANDING
from lakehouse.release.manifest import File, Manifest
from lakehouse.sharing.delta_lines import (
    Format,
    NotShareable,
    file_line,
    head_lines,
    table_id,
    version_of,
)
from lakehouse.sharing.doors import BadRequest, Doorway, Visit
from lakehouse.sharing.entitlement import Link, Unknown
from lakehouse.sharing.hints import from_json, from_sql
from lakehouse.sharing.kinds import read_value
from lakehouse.sharing.links import PARAMETER
from lakehouse.sharing.pruning import kinds_of, prune
from lakehouse.sharing.published import NotPublished, Published
from lakehouse.sharing.recipients import NOBODY

DOOR = "delta-sharing"
PREFIX = "/delta-sharing"
SHARE = "exchange"
LINKS_HOLD = timedelta(hours=1)
_CAPABILITIES = "delta-sharing-capabilities"
_TABLE = "/shares/{share}/schemas/{schema}/tables/{table}"
_PAGE = 500
# The stock client's kernel asks for an address over HTTP only where it looks like a signed one of a store it knows,
# and takes any other for a file of its own machine.
_MARK = "&X-Amz-Signature=link"

router = APIRouter(prefix=PREFIX, tags=["delta sharing"])

MaxResults = Annotated[int, Query(alias="maxResults", ge=0)]
PageToken = Annotated[str, Query(alias="pageToken")]


class Asked(BaseModel):
    """The body of a query; what it has beside these is not for this server."""

    predicateHints: list[str] = Field(default_factory=list)
    jsonPredicateHints: str | None = None
    limitHint: int | None = Field(default=None, ge=0)
    version: int | None = Field(default=None, ge=0)
    timestamp: str | None = None
    startingVersion: int | None = None
    endingVersion: int | None = None


@router.get("/shares")
def shares(visit: Doorway, size: MaxResults = _PAGE, token: PageToken = "") -> JSONResponse:
    return _page([{"name": SHARE, "id": SHARE}] if _readable(visit) else [], size, token)


@router.get("/shares/{share}")
def one_share(share: str, visit: Doorway) -> JSONResponse:
    _named(share)
    _readable(visit)
    return JSONResponse({"share": {"name": SHARE, "id": SHARE}})


@router.get("/shares/{share}/schemas")
def schemas(share: str, visit: Doorway, size: MaxResults = _PAGE, token: PageToken = "") -> JSONResponse:
    _named(share)
    majors = sorted({found.manifest.major for found in _readable(visit)})
    return _page([{"name": f"v{major}", "share": SHARE} for major in majors], size, token)


@router.get("/shares/{share}/schemas/{schema}/tables")
def tables(share: str, schema: str, visit: Doorway, size: MaxResults = _PAGE, token: PageToken = "") -> JSONResponse:
    major = _major(share, schema)
    return _page([_table(m.manifest) for m in _readable(visit) if m.manifest.major == major], size, token)


@router.get("/shares/{share}/all-tables")
def all_tables(share: str, visit: Doorway, size: MaxResults = _PAGE, token: PageToken = "") -> JSONResponse:
    _named(share)
    return _page([_table(found.manifest) for found in _readable(visit)], size, token)


@router.get(f"{_TABLE}/version")
def version(
    share: str,
    schema: str,
    table: str,
    visit: Doorway,
    since: Annotated[str | None, Query(alias="startingTimestamp")] = None,
) -> Response:
    """The newest version, or the first at or after a time, as a header."""
    major, mart = _major(share, schema), table.lower()
    found = visit.admit(door=DOOR, mart=mart, major=major)
    release = found.manifest.release if since is None else _first_since(visit, mart, major, _moment(since))
    return Response(headers=_version_header(release))


@router.head(_TABLE, include_in_schema=False)
def version_as_it_was(share: str, schema: str, table: str, visit: Doorway) -> Response:
    """The same as the first clients ask it."""
    return version(share, schema, table, visit)


@router.get(f"{_TABLE}/metadata")
def metadata(share: str, schema: str, table: str, visit: Doorway) -> Response:
    found = visit.admit(door=DOOR, mart=table.lower(), major=_major(share, schema))
    form = _format(visit.request)
    return _lines(found, form, iter(_head(found, form)))


@router.post(f"{_TABLE}/query")
def query(share: str, schema: str, table: str, asked: Asked, visit: Doorway) -> Response:
    """The files of a release that can hold a row which is asked for."""
    if asked.startingVersion is not None or asked.endingVersion is not None:
        raise BadRequest("changes between versions are not given here: read two versions, or the diff of a release")
    mart, major = table.lower(), _major(share, schema)
    found = visit.admit(door=DOOR, mart=mart, major=major)
    if release := _asked_release(visit, mart, major, asked):
        found = visit.admit(door=DOOR, mart=mart, major=major, release=release)
    form = _format(visit.request)
    return _lines(found, form, iter([*_head(found, form), *_files(visit, found, asked, form)]))


@router.get(f"{_TABLE}/changes")
def changes(share: str, schema: str, table: str, visit: Doorway) -> Response:
    visit.admit(door=DOOR, mart=table.lower(), major=_major(share, schema))
    raise BadRequest(
        f"cdf is not enabled on table {SHARE}.{schema}.{table}: read two versions, or the diff of a release"
    )


def _readable(visit: Visit) -> list[Published]:
    """A reader whose token is not good is told so, and not that there is nothing."""
    if visit.caller.fault is not None:
        raise Unknown(visit.caller.fault)
    return visit.readable()


def _named(share: str) -> None:
    if share.lower() != SHARE:
        raise NotPublished(f"there is no share {share!r}; there is: {SHARE}")


def _major(share: str, schema: str) -> int:
    _named(share)
    number = schema.lower().removeprefix("v")
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise NotPublished(f"there is no schema {schema!r}: schemas are majors, as v1")
    return int(number)


def _table(manifest: Manifest) -> dict[str, str]:
    named = {"name": manifest.mart, "schema": f"v{manifest.major}", "share": SHARE}
    return {**named, "shareId": SHARE, "id": table_id(manifest)}


def _page(items: Sequence[dict[str, str]], size: int, token: str) -> JSONResponse:
    if token and not (token.isascii() and token.isdigit()):
        raise BadRequest("pageToken is not one that was given with the page before")
    begin = int(token or 0)
    end = begin + size
    document: dict[str, Any] = {"items": items[begin:end]}
    if end < len(items):
        document["nextPageToken"] = str(end)
    return JSONResponse(document)


def _format(request: Request) -> Format:
    """What the client can read and we give: Parquet if it takes it, else Delta's own actions."""
    for capability in request.headers.get(_CAPABILITIES, "").lower().split(";"):
        name, _, values = capability.strip().partition("=")
        if name == "responseformat":
            formats = [value.strip() for value in values.split(",")]
            if "parquet" not in formats and "delta" in formats:
                return "delta"
    return "parquet"


def _version_header(release: str) -> dict[str, str]:
    return {"Delta-Table-Version": str(version_of(release))}


def _lines(found: Published, form: Format, lines: Iterator[dict[str, Any]]) -> Response:
    return StreamingResponse(
        (f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines),
        media_type="application/x-ndjson; charset=utf-8",
        headers={**_version_header(found.manifest.release), _CAPABILITIES: f"responseformat={form}"},
    )


def _head(found: Published, form: Format) -> list[dict[str, Any]]:
    try:
        return list(head_lines(found.manifest, form))
    except NotShareable as error:
        raise BadRequest(str(error)) from None


def _moment(text: str) -> datetime:
    try:
        found: datetime = read_value(text, "timestamp")
    except ValueError as error:
        raise BadRequest(str(error)) from None
    return found


def _asked_release(visit: Visit, mart: str, major: int, asked: Asked) -> str | None:
    """The release of a version or of a time; None for the newest."""
    if asked.version is not None and asked.timestamp is not None:
        raise BadRequest("give a version or a timestamp, not both")
    if asked.version is None and asked.timestamp is None:
        return None
    rows = visit.doors.publications.releases(mart=mart, major=major)
    if asked.timestamp is not None:
        moment = _moment(asked.timestamp)
        names = [row["release"] for row in rows if row["created_at"] <= moment and row["status"] == STANDING]
        problem = f"no release of {mart} v{major} is that old"
    else:
        names = [row["release"] for row in rows if version_of(row["release"]) == asked.version]
        versions = ", ".join(str(version_of(row["release"])) for row in rows[:20])
        problem = f"{mart} v{major} has no version {asked.version}; the newest are: {versions}"
    if rows and not names:
        raise BadRequest(problem)
    return names[0] if names else None


def _first_since(visit: Visit, mart: str, major: int, moment: datetime) -> str:
    rows = visit.doors.publications.releases(mart=mart, major=major)
    names = [str(row["release"]) for row in rows if row["created_at"] >= moment and row["status"] == STANDING]
    if not names:
        raise BadRequest(f"no release of {mart} v{major} is that new")
    return names[-1]


def _files(visit: Visit, found: Published, asked: Asked, form: Format) -> Iterator[dict[str, Any]]:
    manifest, exchange = found.manifest, visit.doors.exchange
    kinds = kinds_of(manifest)
    predicates = from_sql(asked.predicateHints, kinds)
    if asked.jsonPredicateHints and (tree := from_json(asked.jsonPredicateHints, kinds)):
        predicates.append(tree)
    kept = prune(exchange, manifest, predicates)
    files = kept.files
    if asked.limitHint is not None:
        files = _first(files, asked.limitHint)
    until = datetime.now(UTC) + LINKS_HOLD
    holder = visit.caller.recipient or NOBODY
    link = Link(mart=manifest.mart, major=manifest.major, release=manifest.release, recipient=holder, door=DOOR)
    tail = f"?{PARAMETER}={visit.doors.links.sign(link, until=until)}{_MARK if form == 'delta' else ''}"
    address = f"{visit.base_url}/marts/{manifest.prefix}"
    for file in files:
        yield file_line(manifest, file, statistics=kept.statistics, address=address, tail=tail, until=until, form=form)


def _first(files: Sequence[File], rows: int) -> list[File]:
    """So many files that they hold so many rows."""
    taken, held = [], 0
    for file in files:
        if held >= rows:
            break
        taken.append(file)
        held += file.rows
    return taken
