"""The diff as a page for people: one HTML file that needs no network, no script, no asset; pictures are SVG in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

from lakehouse.gates.page import TEMPLATES as GATE_TEMPLATES
from lakehouse.gates.report import counted

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 60
# Of drift, as the page words it.
NOTABLE, LARGE = 0.1, 0.3


def render_page(found: dict[str, Any], *, title: str) -> str:
    page = _environment().get_template("diff.html.j2")
    changed = sorted(found["partitions"], key=_size, reverse=True)[:SHOWN]
    return page.render(
        diff=found,
        title=title,
        sentence=_sentence(found),
        shown=sorted(changed, key=lambda entry: entry["partition"]),
        widest=max((_size(entry) for entry in changed), default=0) or 1,
        kinds={kind: sum(e["change"] == kind for e in found["partitions"]) for kind in ("added", "changed", "removed")},
    )


def _size(entry: dict[str, Any]) -> int:
    counts: list[int | None] = [entry[name] for name in ("added", "removed", "restated")]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else max(int(entry["rows_before"]), int(entry["rows_after"]))


def _sentence(found: dict[str, Any]) -> str:
    rows = found["rows"]
    if found["before"] is None:
        return f"The first release: {counted(found['rows_after'], 'row')}, all of them new."
    if found["unmatched"]:
        return f"Rows cannot be matched: {found['unmatched']}."
    if None in rows.values():
        return "Rows of some partitions cannot be matched: a key stands in them twice."
    if not found["partitions"]:
        return "No row differs." if not found["columns"] else "No row differs; what is said of columns does."
    return f"{rows['added']:,} rows added, {rows['removed']:,} removed, {rows['restated']:,} restated."


def _figure(value: Any) -> str:
    """A number for people: whole ones whole, others with as many places as tell them apart."""
    if value is None:
        return "–"
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4g}"


def _grade(drift: float | None) -> str:
    if drift is None:
        return "none"
    return "large" if drift >= LARGE else "notable" if drift >= NOTABLE else "small"


def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(TEMPLATES), FileSystemLoader(GATE_TEMPLATES)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=_figure, grade=_grade)
    environment.globals.update(counted=counted)
    return environment
