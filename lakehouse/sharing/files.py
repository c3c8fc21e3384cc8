"""Plain Parquet under stable paths: files of releases with ranges and conditions, and lists of their addresses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from lakehouse.exchange import Exchange
from lakehouse.release.manifest import File, latest_key
from lakehouse.release.signing import SUFFIX, public_key_name, voucher_name
from lakehouse.sharing.doors import Doorway, Visit
from lakehouse.sharing.links import PARAMETER
from lakehouse.sharing.published import NotPublished, Published
from lakehouse.sharing.ranges import Span, Unsatisfiable, asked_span, is_other, is_unchanged
from lakehouse.storage.lake import ObjectNotFound

DOOR = "files"
PARQUET = "application/vnd.apache.parquet"
_CHUNK_BYTES = 1 << 20
_STORE_SECONDS = 600
_KEY = re.compile(r"[0-9a-f]{1,64}")
_BESIDE = {"manifest.json": "application/json", f"manifest.json{SUFFIX}": "application/octet-stream"}

router = APIRouter(tags=["files"])


@router.head("/marts/{mart}/v{major:int}/latest.json", include_in_schema=False)
@router.get("/marts/{mart}/v{major:int}/latest.json")
def latest(mart: str, major: int, visit: Doorway) -> Response:
    """The pointer: which release is the newest."""
    visit.admit(door=DOOR, mart=mart, major=major)
    pointer = visit.doors.exchange.lake.read_bytes("marts", latest_key(mart, major))
    return Response(pointer, media_type="application/json", headers={"Cache-Control": "no-cache"})


@router.get("/marts/{mart}/v{major:int}/releases.json")
def listed(mart: str, major: int, visit: Doorway) -> JSONResponse:
    """The releases that stand, the newest first."""
    newest = visit.admit(door=DOOR, mart=mart, major=major).manifest.release
    rows = visit.doors.publications.releases(mart=mart, major=major)
    found = [
        {
            "release": row["release"],
            "created_at": row["created_at"].isoformat(),
            "rows": row["rows"],
            "bytes": row["bytes"],
            "latest": row["release"] == newest,
            "status": row["status"],
            "files": f"{visit.base_url}{_folder(mart, major, row['release'])}/files.json",
        }
        for row in rows
    ]
    return JSONResponse({"mart": mart, "major": major, "releases": found}, headers={"Cache-Control": "no-cache"})


@router.get("/marts/keys/{identity}.pem")
def public_key(identity: str, visit: Doorway) -> Response:
    """A public key of the exchange, by which a manifest's signature is verified; for anyone."""
    pem = _key_object(visit, public_key_name(identity), identity)
    return Response(pem, media_type="application/x-pem-file")


@router.get("/marts/keys/{identity}.pem.by-{by}.sig")
def voucher(identity: str, by: str, visit: Doorway) -> Response:
    """The signature of one key of the exchange over another's `.pem`: who trusts the one may trust the other."""
    return Response(
        _key_object(visit, voucher_name(identity, by=by), identity, by), media_type=_BESIDE[f"manifest.json{SUFFIX}"]
    )


def _key_object(visit: Visit, name: str, *identities: str) -> bytes:
    try:
        if not all(map(_KEY.fullmatch, identities)):
            raise ObjectNotFound("marts", name)
        return visit.doors.exchange.lake.read_bytes("marts", name)
    except ObjectNotFound:
        raise NotPublished("there is no such key; a manifest names its own in signed_with") from None


@router.head("/marts/{mart}/v{major:int}/releases/{release}/{path:path}", include_in_schema=False)
@router.get("/marts/{mart}/v{major:int}/releases/{release}/{path:path}")
def pinned(mart: str, major: int, release: str, path: str, visit: Doorway) -> Response:
    """A file of a release, its `manifest.json` and `manifest.json.sig`, or the list of its files as `files.json` and
    `files.txt`."""
    return _answer(visit, visit.admit(door=DOOR, mart=mart, major=major, release=release, path=path), path)


@router.head("/marts/{mart}/v{major:int}/latest/{path:path}", include_in_schema=False)
@router.get("/marts/{mart}/v{major:int}/latest/{path:path}")
def newest(mart: str, major: int, path: str, visit: Doorway) -> Response:
    """The same of the newest release. Lists give the addresses of the release and not of this alias, so that a
    reader of many files reads one release even if the next comes meanwhile."""
    return _answer(visit, visit.admit(door=DOOR, mart=mart, major=major, path=path), path)


def _answer(visit: Visit, found: Published, path: str) -> Response:
    manifest = found.manifest
    if path == "files.txt":
        lines = [f"{file['url']}\n" for file in file_list(visit, found)]
        return PlainTextResponse("".join(lines), headers=_named(found, path))
    if path == "files.json":
        facts = {name: getattr(manifest, name) for name in ("mart", "major", "release", "rows", "bytes")}
        document = {**facts, "created_at": manifest.created_at.isoformat(), "files": file_list(visit, found)}
        return JSONResponse(document, headers=_named(found, path))
    if kind := _BESIDE.get(path):
        data = visit.doors.exchange.lake.read_bytes("marts", f"{manifest.prefix}/{path}")
        return Response(data, media_type=kind, headers=_named(found, path))
    return file_answer(visit, found, path)


def file_answer(visit: Visit, found: Published, path: str) -> Response:
    """A Parquet file of the release, or the part that is asked for. Raises :class:`NotPublished`."""
    file, manifest = found.files.get(path), found.manifest
    if file is None:
        raise NotPublished(f"{manifest.mart} v{manifest.major} {manifest.release} has no file {path!r}: see files.json")
    return _file(visit, found, file)


def bytes_answer(request: Request, content: bytes) -> Response:
    """Bytes that were made for this reader, or the part that is asked for."""
    headers = {
        "Cache-Control": "no-store",
        "Accept-Ranges": "bytes",
        "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
    }
    try:
        span = asked_span(request.headers, size=len(content), tag=headers["ETag"])
    except Unsatisfiable:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(content)}"})
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(len(content))})
    if span is None:
        return Response(content, headers=headers, media_type="application/octet-stream")
    headers["Content-Range"] = span.content_range(len(content))
    part = content[span.start : span.start + span.length]
    return Response(part, status_code=206, headers=headers, media_type="application/octet-stream")


def file_list(visit: Visit, found: Published) -> list[dict[str, Any]]:
    """The files of a release with their addresses; who came by a link gets addresses with the same link."""
    folder = f"{visit.base_url}{_folder(found.manifest.mart, found.manifest.major, found.manifest.release)}"
    link = visit.request.query_params.get(PARAMETER)
    tail = f"?{PARAMETER}={link}" if link else ""
    return [
        {
            "url": f"{folder}/{quote(file.path, safe='/=')}{tail}",
            "path": file.path,
            "partition": file.partition,
            "rows": file.rows,
            "bytes": file.bytes,
            "sha256": file.sha256,
        }
        for file in found.manifest.files
    ]


def _folder(mart: str, major: int, release: str) -> str:
    return f"/marts/{mart}/v{major}/releases/{release}"


def _named(found: Published, path: str) -> dict[str, str]:
    """Where an answer stands for good. It is asked about again each time, for a release can be withdrawn."""
    manifest = found.manifest
    return {
        "Cache-Control": "no-cache" if found.access == "open" else "private, no-cache",
        "Content-Location": f"{_folder(manifest.mart, manifest.major, manifest.release)}/{quote(path, safe='/=')}",
        "Last-Modified": format_datetime(manifest.created_at.replace(microsecond=0), usegmt=True),
    }


def _file(visit: Visit, found: Published, file: File) -> Response:
    """A file's tag is the hash of its bytes, so it is the same on every lake and for every release that holds it."""
    if elsewhere := _store_address(visit, found, file):
        return RedirectResponse(elsewhere, status_code=307, headers={"Cache-Control": "no-store"})
    request, tag = visit.request, f'"{file.sha256}"'
    headers = {**_named(found, file.path), "ETag": tag, "Accept-Ranges": "bytes"}
    if is_other(request.headers, tag):
        return Response(status_code=412, headers=headers)
    if is_unchanged(request.headers, tag):
        return Response(status_code=304, headers=headers)
    try:
        span = asked_span(request.headers, size=file.bytes, tag=tag) if request.method == "GET" else None
    except Unsatisfiable:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{file.bytes}"})
    part = span or Span(start=0, length=file.bytes)
    headers |= {"Content-Length": str(part.length), "Content-Type": PARQUET}
    if span is not None:
        headers["Content-Range"] = span.content_range(file.bytes)
    if request.method == "HEAD":
        return Response(status_code=200, headers=headers)
    if span is None:
        visit.taken.rows = file.rows
    body = _body(visit.doors.exchange, f"{found.manifest.prefix}/{file.path}", part)
    return StreamingResponse(body, status_code=206 if span else 200, headers=headers)


def _store_address(visit: Visit, found: Published, file: File) -> str | None:
    """Where the store itself gives the file, where it is large enough for that. All of a file or nothing of it, for
    the store's tags are others. What is asked for is counted as taken: the store tells nobody what became of it."""
    exchange, request = visit.doors.exchange, visit.request
    least = exchange.settings.doors_redirect_bytes
    if least is None or file.bytes < least:
        return None
    head = request.method == "HEAD"
    key = f"{found.manifest.prefix}/{file.path}"
    url = exchange.lake.signed_url("marts", key, seconds=_STORE_SECONDS, head=head)
    if url is not None and not head:
        with suppress(Unsatisfiable):
            span = asked_span({"range": request.headers.get("range", "")}, size=file.bytes, tag="")
            visit.taken.bytes = span.length if span else file.bytes
            visit.taken.rows = 0 if span else file.rows
    return url


async def _body(exchange: Exchange, key: str, part: Span) -> AsyncIterator[bytes]:
    """A chunk at a time, as fast as the reader takes it."""
    stream = await run_in_threadpool(exchange.lake.open_range, "marts", key, start=part.start, length=part.length)
    try:
        while chunk := await run_in_threadpool(stream.read, _CHUNK_BYTES):
            yield chunk
    finally:
        stream.close()
