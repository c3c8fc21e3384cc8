"""`exchange diff`: what differs between two releases, on the screen, in Parquet and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lakehouse.commands.console import AsJson, app, out, print_json, print_table, writing
from lakehouse.exchange import Exchange
from lakehouse.release.listing import find_release

SHOWN = 20


@app.command()
def diff(
    mart: str,
    before: Annotated[str, typer.Argument(help="A release: its name, its number as 0001, or v1 for its newest.")],
    after: Annotated[str, typer.Argument(help="Another one, of any major.")],
    to: Annotated[Path, typer.Option(help="Folder to write the page and the Parquet to.")] = Path("."),
    as_json: AsJson = False,
) -> None:
    """Compare two releases of a mart: schema, partitions, rows, and how its measures are distributed."""
    from lakehouse.release.diff.forms import write_diff
    from lakehouse.release.diff.sides import of_release

    exchange = Exchange.from_environment()
    exchange.index.create()
    old, new = (find_release(exchange, f"{mart}@{name}") for name in (before, after))
    folder = to / f"{mart}-diff-v{old.major}-{old.release}-v{new.major}-{new.release}"
    with writing(folder):
        found = write_diff(exchange, before=of_release(old), after=of_release(new), title=new.title, folder=folder)
    if as_json:
        print_json(found)
        return
    _print(found)
    out.print(f"page and Parquet: {folder}")


def _print(found: dict[str, Any]) -> None:
    out.print(f"{found['mart']}: {found['before']} → {found['after']}")
    for entry in found["columns"]:
        what = f" ({', '.join(entry['what'])})" if entry["what"] else ""
        out.print(f"column {entry['column']}: {entry['change']}{what}")
    counts = ", ".join(f"{_count(found['rows'][name])} {name}" for name in ("added", "removed", "restated"))
    out.print(f"rows {found['rows_before']:,} → {found['rows_after']:,}: {counts}")
    if found["unmatched"]:
        out.print(f"rows cannot be matched: {found['unmatched']}")
    for entry in found["restated"]:
        out.print(f"restated {entry['column']}: {entry['rows']:,} rows")
    out.print(f"partitions: {len(found['partitions'])} differ, {found['partitions_carried']} carried over")
    if not found["partitions"]:
        return
    rows = [
        [entry["partition"], entry["change"], *(_count(entry[name]) for name in ("added", "removed", "restated"))]
        for entry in found["partitions"][:SHOWN]
    ]
    headings = [("partition", False), ("", False), ("added", True), ("removed", True), ("restated", True)]
    print_table("", headings, rows)
    if len(found["partitions"]) > SHOWN:
        out.print(f"… and {len(found['partitions']) - SHOWN} more")
    sides = [("median", "median"), ("mean", "mean")]
    rows = [
        [
            measure["column"],
            measure["unit"] or "",
            *(_change(measure, name) for name, _ in sides),
            "–" if measure["drift"] is None else f"{measure['drift']:.3f}",
        ]
        for measure in found["measures"]
    ]
    if rows:
        headings = [("measure, of what differs", False), ("unit", False), *((label, True) for _, label in sides)]
        print_table("", [*headings, ("drift", True)], rows)


def _count(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"


def _change(measure: dict[str, Any], name: str) -> str:
    figures = [side[name] if side else None for side in (measure["before"], measure["after"])]
    return " → ".join("–" if figure is None else f"{figure:,.6g}" for figure in figures)
