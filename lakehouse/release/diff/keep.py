"""A candidate's diff against the release before it: made at its gate, kept with its reports, told in its manifest."""

from __future__ import annotations

import json
from typing import Any

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.release.diff.forms import SUMMARY, write_diff
from lakehouse.release.diff.sides import of_candidate, of_release
from lakehouse.release.manifest import Candidate, Manifest, latest_manifest, read_manifest

FOLDER = "diff"
TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}


def keep_diff(exchange: Exchange, mart: Mart, made: Candidate) -> dict[str, Any]:
    """Compares a candidate with the release that it was built on, or the first of a major with the newest of the
    major before; keeps it under ``reports/<mart>/<candidate>/diff/``. Returns the summary."""
    base = _base(exchange, made)
    before = base or latest_manifest(exchange, mart=made.mart, major=made.major - 1)
    with exchange.workplace("diff") as work:
        folder = work / FOLDER
        folder.mkdir()
        found = write_diff(
            exchange,
            before=of_release(before) if before else None,
            after=of_candidate(mart, made, base),
            title=mart.exchange.title,
            folder=folder,
        )
        # The summary last: where it stands the rest does.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == SUMMARY):
            key = f"{made.prefix}/{FOLDER}/{path.name}"
            if kind := TYPES.get(path.suffix):
                exchange.lake.write_bytes("reports", key, path.read_bytes(), content_type=kind)
            else:
                exchange.lake.upload("reports", key, path)
    return found


def kept_diff(exchange: Exchange, made: Candidate) -> dict[str, Any]:
    """The summary of a candidate's diff. Raises :class:`lakehouse.storage.lake.ObjectNotFound` where there is none."""
    found: dict[str, Any] = json.loads(exchange.lake.read_bytes("reports", f"{made.prefix}/{FOLDER}/{SUMMARY}"))
    return found


def in_brief(found: dict[str, Any]) -> dict[str, Any]:
    """What a manifest tells of it."""
    return {
        "compared_with": None if found["before"] is None else f"v{found['major_before']}/{found['before']}",
        "rows_added": found["rows"]["added"],
        "rows_removed": found["rows"]["removed"],
        "rows_restated": found["rows"]["restated"],
        "columns": {entry["column"]: entry["change"] for entry in found["columns"]},
        "columns_restated": {entry["column"]: entry["rows"] for entry in found["restated"]},
        "drift": {entry["column"]: entry["drift"] for entry in found["measures"]},
        "report": f"{FOLDER}/index.html",
    }


def _base(exchange: Exchange, made: Candidate) -> Manifest | None:
    if made.base is None:
        return None
    return read_manifest(exchange, mart=made.mart, major=made.major, release=made.base)
