"""What a person reads at the end of a run, of a release and of a comparison."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from rich.console import Console
from rich.table import Table

from lakehouse.orchestrate.main_job import Outcome
from lakehouse.release.manifest import Manifest

CHANGES = ("added", "removed", "restated")


def _table(*columns: tuple[str, bool]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in columns:
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    return table


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Deliveries by dataset, marts with their gates, then failures and notes."""
    console.print()
    if outcome.deliveries:
        grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for delivery in outcome.deliveries:
            grouped[f"{delivery['provider']}/{delivery['dataset']}"].append(delivery)
        table = _table(
            ("deliveries of", False), ("files", True), ("rows in", True), ("accepted", True), ("refused", True),
            ("duplicates", True), ("corrections", True),
        )  # fmt: skip
        for key, entries in sorted(grouped.items()):
            names = ("delivered", "accepted", "refused", "duplicates", "corrections")
            table.add_row(key, f"{len(entries)}", *(f"{sum(e[name] for e in entries):,}" for name in names))
        console.print(table)
    else:
        why = "" if outcome.failures else ": every input had been taken in before, byte for byte"
        console.print(f"No delivery was new{why}.")
    console.print()
    if outcome.marts:
        table = _table(
            ("mart", False), ("outcome", False), ("release", False), ("rows", True), ("bytes", True), ("gates", False),
            ("build s", True),
        )  # fmt: skip
        for mart in outcome.marts:
            gate = outcome.gates.get(mart["mart"], {})
            table.add_row(
                mart["mart"],
                mart["status"],
                mart["release"] or "–",
                f"{mart['rows']:,}" if "rows" in mart else "–",
                f"{mart['bytes']:,}" if "bytes" in mart else "–",
                f"{gate.get('status') or '–'} ({gate.get('checks', 0)} checks)",
                f"{mart['seconds']:.1f}",
            )
        console.print(table)
        for mart in outcome.marts:
            if mart["status"] in ("withheld", "unchanged") and mart["reason"]:
                console.print(f"{mart['mart']}: {mart['status']}: {mart['reason']}")
        if not outcome.failures and not any(mart["status"] == "released" for mart in outcome.marts):
            console.print("Nothing new was released: what was built equals the last releases.")
    else:
        console.print("Nothing new was released: no input and no model has changed since the last releases.")
    for note in outcome.notes:
        console.print(f"note: {note}")
    for failure in outcome.failures:
        console.print(f"FAILED: {failure}")
    for name, gate in outcome.gates.items():
        if gate.get("failed") and gate.get("report"):
            console.print(f"report of {name}: {gate['report']} in the lake")
    console.print(f"{'Ended with failures' if outcome.failures else 'Done'} in {outcome.seconds:.0f} s.")
    released = [mart["mart"] for mart in outcome.marts if mart["status"] == "released"]
    if released:
        console.print(f"Next: `exchange show {released[0]}`, `exchange releases`, `exchange receipts`.")


def print_release(console: Console, manifest: Manifest, *, place: str, report: str) -> None:
    console.print(f"{manifest.title}  ({manifest.mart} v{manifest.major}, release {manifest.release})")
    console.print(manifest.description)
    console.print()
    table = _table(("column", False), ("type", False), ("unit", False), ("meaning", False))
    for column in manifest.columns:
        table.add_row(column.name, column.type, column.unit or "", column.description)
    console.print(table)
    console.print()
    facts = {
        "rows": f"{manifest.rows:,} in {len(manifest.files)} partitions, {manifest.bytes:,} bytes",
        "created": f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC, code {manifest.code_version[:12]}",
        "licence": f"{manifest.licence['id']}; attribution: {'; '.join(manifest.attribution)}",
        "privacy": manifest.privacy["kind"],
        "inputs": f"{len(manifest.inputs)} deliveries of {', '.join(sorted({i.dataset for i in manifest.inputs}))}",
        "gate": f"{manifest.gates.get('status')}: {manifest.gates.get('checks')} checks",
        "since before": _since(manifest.diff),
        "folder": place,
        "report": report,
    }
    if spent := manifest.privacy.get("spent"):
        facts["privacy"] += (
            f": rho {spent['rho']} spent on these partitions, which is epsilon {spent['epsilon']} "
            f"at delta {spent['delta']}"
        )
    if manifest.simulated_inputs:
        facts["simulated"] = ", ".join(manifest.simulated_inputs)
    for name, text in facts.items():
        console.print(f"{name:13}{text}")
    for warning in manifest.gates.get("warnings", []):
        console.print(f"warning      {warning}")
    console.print(f"read it      duckdb -c \"FROM read_parquet('{place}/**/*.parquet') LIMIT 10\"")


def _since(diff: dict[str, Any]) -> str:
    if diff["before"] is None:
        return "first release"
    rows = ", ".join(f"{diff[f'rows_{name}']:,} {name}" for name in CHANGES if diff.get(f"rows_{name}") is not None)
    return (
        f"{diff['before']}: {f'rows: {rows}; ' if rows else ''}{len(diff['partitions_added'])} partitions added, "
        f"{len(diff['partitions_changed'])} changed, {len(diff['partitions_removed'])} removed, "
        f"{diff['partitions_carried']} carried over"
    )
