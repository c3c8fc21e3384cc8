"""Iceberg's REST catalogue, read only, and the files that it names, as an object store answers for them.

A stock client that loads a table gets its metadata with addresses at the doors, and with them links that run out:
bytes come through the doors, the same on every lake, and are metered. Whoever has the store's own credentials reads
the metadata in the lake without the doors.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from lakehouse.sharing import iceberg_tables as tables
from lakehouse.sharing.doors import Visit, caller_by_link, doors_of, visit_of
from lakehouse.sharing.entitlement import Caller, Denied, Forbidden, Link
from lakehouse.sharing.files import bytes_answer, file_answer
from lakehouse.sharing.iceberg_shelf import Shelf
from lakehouse.sharing.iceberg_view import DATA, STORE, folder, metadata_at_doors
from lakehouse.sharing.published import NotPublished, Published, Withdrawn

DOOR = "iceberg"
# How long a reader may take files of a table once it was loaded.
LINKS_HOLD = timedelta(hours=1)
READ_ONLY = "this catalogue is read only: what is published comes from the exchange's own releases"
ENDPOINTS = [
    "GET /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
]


def _reader(request: Request) -> Visit:
    """As at every door, but that pyiceberg without a token says so in its own way."""
    if request.headers.get("authorization") == "Bearer None":
        return Visit(doors_of(request), request, Caller())
    return visit_of(request)


Reader = Annotated[Visit, Depends(_reader)]


class _InTheirWords(APIRoute):
    """Errors in the form of Iceberg's specification."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        whole = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await whole(request)
            except Denied as error:
                if isinstance(error, Forbidden):
                    return _fault(403, "ForbiddenException", str(error))
                return _fault(401, "NotAuthorizedException", str(error))
            except NoSuchNamespace as error:
                return _fault(404, "NoSuchNamespaceException", str(error))
            except NotPublished as error:
                return _fault(404, "NoSuchTableException", str(error))
            except Withdrawn as error:
                return _fault(404, "NoSuchTableException", str(error))

        return handler


class NoSuchNamespace(LookupError):
    """There is one namespace, ``marts``."""


router = APIRouter(prefix="/iceberg/v1", tags=["iceberg"], route_class=_InTheirWords)
objects = APIRouter(prefix=f"/{STORE}", tags=["iceberg"])


@router.get("/config")
def config() -> JSONResponse:
    """What the catalogue can do."""
    return JSONResponse({"defaults": {}, "overrides": {}, "endpoints": ENDPOINTS})


@router.get("/namespaces")
def namespaces(parent: str | None = None) -> JSONResponse:
    """There is one."""
    return JSONResponse({"namespaces": [] if parent else [[tables.NAMESPACE]]})


@router.head("/namespaces/{namespace}", include_in_schema=False)
@router.get("/namespaces/{namespace}")
def namespace_itself(namespace: str) -> JSONResponse:
    _require(namespace)
    return JSONResponse({"namespace": [namespace], "properties": {}})


@router.get("/namespaces/{namespace}/tables")
def listed(namespace: str, visit: Reader) -> JSONResponse:
    """The marts that the caller may read."""
    _require(namespace)
    if visit.caller.fault is not None:
        return _fault(401, "NotAuthorizedException", visit.caller.fault)
    names = [tables.table_name(one.manifest.mart, one.manifest.major)[1] for one in visit.readable()]
    return JSONResponse({"identifiers": [{"namespace": [namespace], "name": name} for name in names]})


@router.head("/namespaces/{namespace}/tables/{table}", include_in_schema=False)
@router.get("/namespaces/{namespace}/tables/{table}")
def loaded(namespace: str, table: str, visit: Reader) -> Response:
    """A table's metadata, and by what its files are read."""
    _require(namespace)
    named = tables.mart_of(table)
    if named is None:
        raise NotPublished(f"there is no table {table!r}: names end in _v and the major, as parking_v1")
    mart, major = named
    newest = visit.admit(door=DOOR, mart=mart, major=major).manifest.release
    if visit.request.method == "HEAD":
        return Response(status_code=204)
    shelf = _shelf(visit.request)
    found = shelf.table(mart, major)
    until = datetime.now(UTC) + LINKS_HOLD
    recipient = visit.caller.recipient

    def link_to(release: str) -> str:
        link = Link(mart=mart, major=major, release=release, recipient=recipient, door=DOOR)
        return visit.doors.links.sign(link, until=until)

    # Object clients give up after a few seconds: what nearly every reader asks next is made now.
    shelf.described(mart, major, newest, folder(link_to(newest), mart, major, newest))
    store = _store_config(visit)
    return JSONResponse(
        {
            "metadata-location": f"s3://{STORE}/{mart}/v{major}/{found.metadata_location.rpartition('/')[2]}",
            "metadata": metadata_at_doors(found, mart, major, link_to),
            "config": store,
            "storage-credentials": [{"prefix": f"s3://{STORE}/", "config": store}],
        },
        headers={"Cache-Control": "no-store"},
    )


@router.post("/namespaces/{namespace}/tables/{table}/metrics", include_in_schema=False)
def metrics(namespace: str, table: str) -> Response:
    """What clients tell of their own scans; nothing is done with it."""
    return Response(status_code=204)


@router.api_route("/{path:path}", methods=["POST", "PUT", "DELETE", "PATCH"], include_in_schema=False)
def refused(path: str) -> JSONResponse:
    return _fault(403, "ForbiddenException", READ_ONLY)


@objects.head("/{link}/{mart}/v{major:int}/{release}/{path:path}", include_in_schema=False)
@objects.get("/{link}/{mart}/v{major:int}/{release}/{path:path}")
def stored(link: str, mart: str, major: int, release: str, path: str, request: Request) -> Response:
    """One object of a release: what Iceberg keeps of its files, or a file. The link in its address is what counts;
    signatures that clients of object stores send are not looked at."""
    request.state.shown = f"/{STORE}/…/{mart}/v{major}/{release}/{path}"
    doors = doors_of(request)
    visit = Visit(doors, request, caller_by_link(doors, link, now=datetime.now(UTC)))
    found = visit.admit(door=DOOR, mart=mart, major=major, release=release)
    if path.startswith(f"{DATA}/"):
        return file_answer(visit, found, path.removeprefix(f"{DATA}/"))
    return _described(request, found, folder(link, mart, major, release), path)


def _described(request: Request, found: Published, where: str, path: str) -> Response:
    manifest = found.manifest
    content = _shelf(request).described(manifest.mart, manifest.major, manifest.release, where).get(path)
    if content is None:
        raise NotPublished(f"{manifest.mart} v{manifest.major} {manifest.release} has no object {path!r}")
    return bytes_answer(request, content)


def _shelf(request: Request) -> Shelf:
    state = request.app.state
    if not hasattr(state, "iceberg_shelf"):
        state.iceberg_shelf = Shelf(doors_of(request).exchange)
    shelf: Shelf = state.iceberg_shelf
    return shelf


def _store_config(visit: Visit) -> dict[str, str]:
    """The doors as an object store. Clients want some credential; the links are the one that counts."""
    return {
        "s3.endpoint": visit.base_url,
        "s3.region": "us-east-1",
        "s3.access-key-id": "link",
        "s3.secret-access-key": "link",
        "s3.path-style-access": "true",
        "s3.force-virtual-addressing": "false",
    }


def _require(namespace: str) -> None:
    if namespace != tables.NAMESPACE:
        raise NoSuchNamespace(f"there is no namespace {namespace!r}; there is: {tables.NAMESPACE}")


def _fault(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status_code=status)
