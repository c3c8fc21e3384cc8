"""Links on request: whoever may read a release gets an address of it that opens for a while without a token."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from lakehouse.sharing.doors import Doorway
from lakehouse.sharing.entitlement import Forbidden, Link
from lakehouse.sharing.links import LONGEST_HOURS, address_of
from lakehouse.sharing.published import NotPublished
from lakehouse.sharing.recipients import NOBODY

DOOR = "link"

router = APIRouter(tags=["links"])


@router.post("/marts/{mart}/v{major:int}/releases/{release}/links", status_code=201)
def make_link(
    mart: str,
    major: int,
    release: str,
    visit: Doorway,
    hours: Annotated[int, Query(ge=1, le=LONGEST_HOURS)] = 24,
    path: Annotated[str | None, Query(description="one file of the release; default all")] = None,
) -> JSONResponse:
    """It opens as long as who asked may read the release, and `hours` at most."""
    found = visit.admit(door=DOOR, mart=mart, major=major, release=release)
    if visit.caller.link is not None:
        raise Forbidden("a link is made with a token, not with another link")
    if path is not None and path not in found.files:
        raise NotPublished(f"{mart} v{major} {release} has no file {path!r}: see files.json")
    until = datetime.now(UTC) + timedelta(hours=hours)
    link = Link(mart=mart, major=major, release=release, path=path, recipient=visit.caller.recipient or NOBODY)
    url = address_of(visit.base_url, link, signed=visit.doors.links.sign(link, until=until))
    return JSONResponse({"url": url, "expires_at": until.isoformat(timespec="seconds")}, status_code=201)
