"""The doors' front: which marts there are, for people as a page and for programs as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lakehouse.sharing.doors import Doorway, Visit
from lakehouse.sharing.published import NotPublished, Published, Withdrawn

TEMPLATES = Path(__file__).parent / "templates"
# The page is whole in itself: it may load nothing, from here or elsewhere.
ALONE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"}

ACCESS = {
    "open": "anyone may read it",
    "registered": "read with a token, which the exchange gives",
    "agreement": "read by those who accepted its terms",
}

router = APIRouter(tags=["marts"])


@router.get("/marts.json")
def marts(visit: Doorway) -> JSONResponse:
    """Every mart and major with its newest release. What a mart is may be known by anyone; its rows are not in it."""
    found = [_described(visit, newest) for newest in _newest(visit)]
    return JSONResponse({"marts": found}, headers={"Cache-Control": "no-cache"})


@router.get("/", response_class=HTMLResponse)
def front(visit: Doorway) -> HTMLResponse:
    """The same as a page that needs no network and no script."""
    newest = list(_newest(visit))
    cards = [{**_described(visit, found), "manifest": found.manifest} for found in newest]
    page = environment().get_template("doors.html.j2").render(cards=cards, base=visit.base_url, access=ACCESS)
    return HTMLResponse(page, headers={**ALONE, "Cache-Control": "no-cache"})


def _newest(visit: Visit) -> Iterator[Published]:
    publications = visit.doors.publications
    for mart, major in publications.majors():
        try:
            yield publications.latest(mart=mart, major=major)
        except (NotPublished, Withdrawn):
            continue


def _described(visit: Visit, found: Published) -> dict[str, Any]:
    manifest = found.manifest
    folder = f"{visit.base_url}/marts/{manifest.mart}/v{manifest.major}"
    freshness = visit.doors.publications.freshness_hours(manifest.mart)
    partitions = [file.partition for file in manifest.files]
    return {
        "mart": manifest.mart,
        "major": manifest.major,
        "title": manifest.title,
        "description": " ".join(manifest.description.split()),
        "theme": manifest.theme,
        "keywords": list(manifest.keywords),
        "access": found.access,
        "licence": manifest.licence,
        "attribution": list(manifest.attribution),
        "simulated_inputs": list(manifest.simulated_inputs),
        "release": manifest.release,
        "released_at": manifest.created_at.isoformat(timespec="seconds"),
        "freshness_hours": freshness,
        "rows": manifest.rows,
        "bytes": manifest.bytes,
        "partitions": {"first": min(partitions, default=None), "last": max(partitions, default=None)},
        "latest": f"{folder}/latest.json",
        "releases": f"{folder}/releases.json",
        "files": f"{folder}/latest/files.json",
    }


def environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": _size, "ago": _ago, "span": _span}
    return environment


def _size(count: int) -> str:
    """``97 kB``, in powers of ten."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _span(hours: float) -> str:
    """``1 hour``, ``48 hours``, ``45 days``: no finer than a reader wants to know."""
    number, unit = (hours * 60, "minute") if hours < 1 else (hours, "hour") if hours <= 72 else (hours / 24, "day")
    return f"{number:.0f} {unit}{'' if round(number) == 1 else 's'}"


def _ago(moment: datetime) -> str:
    passed = max(datetime.now(UTC) - moment, timedelta())
    return f"{_span(passed / timedelta(hours=1))} ago"
