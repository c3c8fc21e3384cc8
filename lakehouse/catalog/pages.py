"""The catalogue for people: an index and a page a mart, each one file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lakehouse.catalog import vocabulary
from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.entries import Entry
from lakehouse.catalog.glimpse import Glimpse
from lakehouse.catalog.privacy_words import privacy_words
from lakehouse.contracts.mart import NUMBERS
from lakehouse.release.attribution import demands
from lakehouse.settings import Settings

TEMPLATES = Path(__file__).parent / "templates"
WIDTH, HEIGHT = 720, 200


def index_page(entries: Sequence[Entry], settings: Settings, *, now: datetime) -> str:
    """All marts by theme, the newest major of each first."""
    themes: dict[str, list[dict[str, Any]]] = {}
    for entry in sorted(entries, key=lambda one: (one.manifest.title, -one.manifest.major)):
        themes.setdefault(vocabulary.THEMES[entry.manifest.theme].label, []).append(_card(entry, now))
    return _render("index.html.j2", themes=dict(sorted(themes.items())), settings=settings, count=len(entries))


def mart_page(
    entry: Entry, seen: Glimpse | None, settings: Settings, *, now: datetime, ledger: Sequence[dict[str, str]] = ()
) -> str:
    """One mart. ``seen``: ``None`` where its rows are not for everybody. ``ledger``: what was spent of the privacy
    budget of its population, by period."""
    manifest, at = entry.manifest, Addresses.of(settings)
    return _render(
        "mart.html.j2",
        entry=entry,
        manifest=manifest,
        card=_card(entry, now),
        settings=settings,
        at=at,
        theme=vocabulary.THEMES[manifest.theme].label,
        seen=seen,
        plot=_plot(seen) if seen and len(seen.points) > 1 else None,
        privacy=privacy_words(manifest),
        spent=_spent(entry),
        ledger=ledger,
        demands=demands(manifest.licence["id"]),
        numbers={c.name for c in manifest.columns if c.type.split("(")[0].strip().upper() in NUMBERS},
        files=at.files(manifest.mart, manifest.major),
        inputs=sorted({(one.dataset, one.attribution, one.licence, one.simulated) for one in manifest.inputs}),
    )


def _card(entry: Entry, now: datetime) -> dict[str, Any]:
    manifest = entry.manifest
    first, last = entry.coverage
    gates = manifest.gates
    return {
        "title": manifest.title,
        "name": manifest.mart,
        "major": manifest.major,
        "link": f"{manifest.mart}/v{manifest.major}.html",
        "about": " ".join(manifest.description.split()),
        "rows": manifest.rows,
        "bytes": _size(manifest.bytes),
        "first": first,
        "last": last,
        "places": ", ".join(place.name for place in entry.mart.exchange.spatial) if entry.mart else "",
        "quality": gates.get("status", "not on record"),
        "checks": gates.get("checks"),
        "warnings": gates.get("warnings", []),
        "access": manifest.access,
        "simulated": bool(manifest.simulated_inputs),
        "freshness": _freshness(entry, now),
        "current": entry.mart is not None,
    }


def _freshness(entry: Entry, now: datetime) -> str:
    """How old the newest period is, against what the mart promises."""
    end = datetime.combine(entry.coverage[1], datetime.min.time(), tzinfo=UTC) + timedelta(days=1)
    age = max(now - end, timedelta(0))
    said = f"newest period ended {_span(age)} ago" if age else "the newest period is not over"
    if entry.mart is None:
        return said
    promised = timedelta(hours=entry.mart.exchange.freshness_hours)
    return f"{said}; promised: at most {_span(promised)}"


def _span(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    for limit, size, name in ((72, 1, "hour"), (24 * 60, 24, "day"), (24 * 730, 24 * 30.44, "month")):
        if hours <= limit:
            number = max(1, round(hours / size))
            return f"{number:,} {name}{'' if number == 1 else 's'}"
    years = round(hours / 8766)
    return f"{years:,} years"


def _size(number: int) -> str:
    for limit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= limit:
            return f"{number / limit:.1f} {name}"
    return f"{number} bytes"


def _spent(entry: Entry) -> dict[str, Any] | None:
    """The privacy ledger's account of a mart with noise."""
    spent = entry.manifest.privacy.get("spent")
    if not spent:
        return None
    policy = entry.manifest.privacy
    return {**spent, "population": policy["population"], "budget": policy["budget"], "count": len(spent["partitions"])}


def _plot(seen: Glimpse) -> dict[str, Any]:
    """One line, drawn to scale; the axis begins at zero unless values lie below it."""
    values = [value for _, value in seen.points]
    low, high = min(0.0, min(values)), max(values)
    span = (high - low) or 1.0
    last = len(values) - 1
    line = " ".join(
        f"{place / last * WIDTH:.1f},{HEIGHT - (value - low) / span * HEIGHT:.1f}" for place, value in enumerate(values)
    )
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "line": line,
        "high": f"{high:,.6g}",
        "low": f"{low:,.6g}",
        "first": seen.points[0][0],
        "last": seen.points[-1][0],
        "measure": seen.measure,
    }


def _render(template: str, **facts: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(zip=zip)
    return environment.get_template(template).render(**facts)
