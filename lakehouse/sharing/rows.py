"""A filtered part of a release as csv, GeoJSON or xlsx, for people without tools that read Parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import BoundedSemaphore

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lakehouse.sharing.doors import BadRequest, Busy, Doorway, TooMuch, Visit
from lakehouse.sharing.extract import (
    FORMS,
    MEDIA_TYPES,
    Form,
    NoPlace,
    Part,
    TooLarge,
    check_size,
    csv_bytes,
    geojson_bytes,
    part_of,
    place_columns,
    write_xlsx,
)
from lakehouse.sharing.links import PARAMETER
from lakehouse.sharing.meter import Taken
from lakehouse.sharing.published import NotPublished, Published
from lakehouse.sharing.selection import WrongSelection, read_selection

DOOR = "rows"
AT_ONCE = 8
_PLACES = BoundedSemaphore(AT_ONCE)
_CHUNK_BYTES = 1 << 20
_WRITERS: dict[Form, Callable[[Part], Iterator[tuple[bytes, int]]]] = {"csv": csv_bytes, "geojson": geojson_bytes}

router = APIRouter(tags=["rows"])


@router.get("/marts/{mart}/v{major:int}/releases/{release}/rows.{form}")
def pinned_rows(mart: str, major: int, release: str, form: str, visit: Doorway) -> Response:
    """Rows of a release. `columns=a,b` and `limit=n` say what is wanted; `column=value` and `column.operator=value`
    (eq, ne, lt, lte, gt, gte, in, null) say of which rows."""
    path = f"rows.{form}"
    return _answer(visit, visit.admit(door=DOOR, mart=mart, major=major, release=release, path=path), form)


@router.get("/marts/{mart}/v{major:int}/latest/rows.{form}")
def newest_rows(mart: str, major: int, form: str, visit: Doorway) -> Response:
    """The same of the newest release."""
    return _answer(visit, visit.admit(door=DOOR, mart=mart, major=major, path=f"rows.{form}"), form)


def _answer(visit: Visit, found: Published, form: str) -> Response:
    manifest = found.manifest
    wanted = next((known for known in FORMS if known == form), None)
    if wanted is None:
        raise NotPublished(f"rows are given as {', '.join(FORMS)}, not as {form[:20]!r}")
    try:
        selection = read_selection(manifest, visit.request.query_params.multi_items(), ignored=(PARAMETER,))
        if wanted == "geojson":
            place_columns(manifest)
        part = part_of(visit.doors.exchange, manifest, selection)
        check_size(part, wanted, most=visit.doors.exchange.settings.doors_max_rows)
    except (WrongSelection, NoPlace) as error:
        raise BadRequest(str(error)) from None
    except TooLarge as error:
        raise TooMuch(str(error)) from None
    address = f"{visit.base_url}/marts/{manifest.prefix}"
    headers = {
        "Content-Disposition": f'attachment; filename="{manifest.mart}-v{manifest.major}-{manifest.release}.{form}"',
        "Cache-Control": "no-cache" if found.access == "open" else "private, no-cache",
        "Link": f'<{address}/manifest.json>; rel="describedby"',
    }
    body = _workbook(part, visit.taken) if wanted == "xlsx" else _counted(_WRITERS[wanted](part), visit.taken)
    return _InTurn(body, media_type=MEDIA_TYPES[wanted], headers=headers)


class _InTurn(StreamingResponse):
    """One of so many parts that are given at the same time, each by a database of its own: memory is bounded for all
    of them together. Raises :class:`Busy` where there is no place."""

    def __init__(self, body: Iterator[bytes], *, media_type: str, headers: dict[str, str]) -> None:
        if not _PLACES.acquire(blocking=False):
            raise Busy(f"{AT_ONCE} parts are being given already, which is the most at once: try again in 10 seconds")
        super().__init__(body, media_type=media_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            _PLACES.release()


def _counted(pieces: Iterator[tuple[bytes, int]], taken: Taken) -> Iterator[bytes]:
    for data, rows in pieces:
        yield data
        taken.rows += rows


def _workbook(part: Part, taken: Taken) -> Iterator[bytes]:
    """A workbook is whole only at its end: it is written to disk, then given."""
    home = part.exchange.settings.home_path
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="workbook-", dir=home) as folder:
        path = Path(folder) / "rows.xlsx"
        taken.rows += write_xlsx(part, path)
        with path.open("rb") as book:
            while chunk := book.read(_CHUNK_BYTES):
                yield chunk
