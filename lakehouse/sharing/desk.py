"""The reviewers' desk: what waits for an approval, with its report, and the place to answer.

Its address holds a signed pass that names the reviewer and runs out. There is no cookie, so no other page can answer
in a reviewer's name; pages say nothing of their address to others, and the log shows it without the pass.
"""

from __future__ import annotations

import mimetypes
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, Response

from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange
from lakehouse.release.approval import NotWaiting, list_candidates
from lakehouse.release.publish import NotPromotable
from lakehouse.sharing.doors import Doors, doors_of
from lakehouse.sharing.entitlement import Unknown
from lakehouse.sharing.follow import answer_and_follow
from lakehouse.sharing.links import BadLink
from lakehouse.sharing.pages import environment
from lakehouse.sharing.published import NotPublished
from lakehouse.storage.lake import StorageError

DESK = "desk"
_ALONE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(prefix=f"/{DESK}/{{pass_}}", include_in_schema=False)


def desk_address(base_url: str, pass_: str) -> str:
    return f"{base_url}/{DESK}/{pass_}/"


def _reviewer(pass_: str, request: Request) -> str:
    request.state.shown = request.url.path.replace(pass_, "…", 1)
    try:
        return doors_of(request).links.read_desk(pass_, now=datetime.now(UTC))
    except BadLink as error:
        raise Unknown(f"{error}; `exchange desk NAME` makes one") from None


Reviewer = Annotated[str, Depends(_reviewer)]
Open = Annotated[Doors, Depends(doors_of)]


@router.get("/")
def desk(reviewer: Reviewer, doors: Open) -> HTMLResponse:
    """What waits, the newest first within a mart."""
    return _page(doors.exchange, reviewer)


@router.post("/")
def answered(
    request: Request,
    reviewer: Reviewer,
    doors: Open,
    mart: Annotated[str, Form()],
    candidate: Annotated[str, Form()],
    verdict: Annotated[Literal["approved", "refused"], Form()],
    reason: Annotated[str, Form()] = "",
) -> HTMLResponse:
    """The answer is written once, wherever it was given first; the page says which holds."""
    exchange, warnings = doors.exchange, list[str]()
    marts = read_marts(exchange.settings.marts_path)
    if mart not in marts:
        raise NotPublished(f"there is no mart {mart!r}")
    if not reason.strip():
        return _page(exchange, reviewer, said=[f"{mart}: say why. The reason is kept with the answer."], status=400)
    try:
        outcome = answer_and_follow(
            exchange, mart=marts[mart], candidate=candidate, verdict=verdict, by=reviewer, reason=reason,
            through="portal", warn=warnings.append,
        )  # fmt: skip
    except (NotWaiting, NotPromotable) as error:
        return _page(exchange, reviewer, said=[str(error)], status=409)
    request.app.state.answered(exchange)
    return _page(exchange, reviewer, said=[*_words(mart, candidate, verdict, outcome), *warnings])


@router.get("/reports/{path:path}")
def report(path: str, reviewer: Reviewer, doors: Open) -> Response:
    """A file of a candidate's report, of which some name cells that nobody else is to see."""
    try:
        content = doors.exchange.lake.read_bytes("reports", path)
    except StorageError:
        raise NotPublished(f"there is no report {path!r}") from None
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return Response(content, media_type=kind, headers=_ALONE)


def _words(mart: str, candidate: str, verdict: str, outcome: dict[str, Any]) -> list[str]:
    held = outcome["decision"]
    became = f"{outcome['status']} as {outcome['release']}" if outcome["release"] else outcome["status"]
    said = [f"{mart}: candidate {candidate} was {held['verdict']} by {held['by']}: it is {became}."]
    if held["verdict"] != verdict:
        said.append(f"It had been answered before, through {held['through']}: {held['reason']}. That answer holds.")
    return said


def _page(exchange: Exchange, reviewer: str, *, said: list[str] | None = None, status: int = 200) -> HTMLResponse:
    waiting = list_candidates(exchange)
    titles = {name: mart.exchange.title for name, mart in read_marts(exchange.settings.marts_path).items()}
    shown = {"reviewer": reviewer, "waiting": waiting, "titles": titles, "said": said or []}
    page = environment().get_template("desk.html.j2").render(shown)
    return HTMLResponse(page, status_code=status, headers=_ALONE)
