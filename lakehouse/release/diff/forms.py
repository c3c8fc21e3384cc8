"""A comparison in the forms in which it is kept: Parquet and JSON for programs, one HTML page for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.exchange import Exchange
from lakehouse.release.diff.compare import ROWS, compare
from lakehouse.release.diff.page import render_page
from lakehouse.release.diff.sides import Side

SUMMARY = "summary.json"
STATISTICS = ("rows", "nulls", "min", "q1", "median", "q3", "max", "mean", "sum")
TEXT = pa.string()
TABLES: dict[str, list[tuple[str, pa.DataType]]] = {
    "partitions": [
        ("partition", TEXT), ("change", TEXT), ("rows_before", pa.int64()), ("rows_after", pa.int64()),
        ("added", pa.int64()), ("removed", pa.int64()), ("restated", pa.int64()),
    ],
    "columns": [
        ("column", TEXT), ("change", TEXT), ("what", pa.list_(TEXT)),
        *((f"{fact}_{side}", TEXT) for fact in ("type", "unit", "description") for side in ("before", "after")),
        ("rows_restated", pa.int64()),
    ],
    "measures": [
        ("column", TEXT), ("unit", TEXT), ("drift", pa.float64()),
        *(
            (f"{name}_{side}", pa.int64() if name in ("rows", "nulls") else pa.float64())
            for side in ("before", "after")
            for name in STATISTICS
        ),
    ],
}  # fmt: skip


def write_diff(exchange: Exchange, *, before: Side | None, after: Side, title: str, folder: Path) -> dict[str, Any]:
    """Compares, and writes every form into ``folder``. Returns the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    found = compare(exchange, before=before, after=after, rows=folder / ROWS)
    rows = {
        "partitions": found["partitions"],
        "columns": _columns(found),
        "measures": [_flat(measure) for measure in found["measures"]],
    }
    for name, columns in TABLES.items():
        table = pa.Table.from_pylist(rows[name], schema=pa.schema(columns))
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    (folder / SUMMARY).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "index.html").write_text(render_page(found, title=title), encoding="utf-8")
    return found


def _columns(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Those whose statement changed, and those of which values did; of the latter alone ``change`` is null."""
    restated = {entry["column"]: entry["rows"] for entry in found["restated"]}
    stated = {entry["column"]: entry for entry in found["columns"]}
    return [
        {"column": name, **stated.get(name, {}), "rows_restated": restated.get(name, 0)}
        for name in dict.fromkeys([*stated, *restated])
    ]


def _flat(measure: dict[str, Any]) -> dict[str, Any]:
    flat = {name: measure[name] for name in ("column", "unit", "drift")}
    for side in ("before", "after"):
        flat |= {f"{name}_{side}": (measure[side] or {}).get(name) for name in STATISTICS}
    return flat
