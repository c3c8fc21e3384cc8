"""Trying a contract on its sample: through intake into a lake that is thrown away, offline."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.contracts.load import Fault, line_of, read_yaml
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import SHARED_BUCKETS, Exchange
from lakehouse.landing.intake import intake
from lakehouse.settings import Settings


def try_sample(contract: Contract, path: Path, *, root: Path | None = None) -> list[Fault]:
    """What intake finds wrong with ``samples/<dataset>.<any ending>`` beside the contract at ``path``.

    A sample is to land whole, and with no column that the contract does not know. ``root`` shortens the paths
    named. A rule in SQL that cannot be run is a fault of the contract.
    """
    found = sorted((path.parent / "samples").glob(f"{contract.dataset}.*"))
    if len(found) != 1:
        problem = f"{len(found)} samples are there, not one: samples/{contract.dataset}.<ending> is a small delivery"
        return [Fault(file=_shown(path, root), line=1, field="(sample)", problem=f"{problem} of made-up values")]
    sample = found[0]
    try:
        receipt = _land(contract, sample)
    except duckdb.Error as error:
        line = line_of(read_yaml(path, shown=str(path)), ("schema", 0, "quality"))
        problem = f"a rule cannot be run: {str(error).splitlines()[0]}"
        return [Fault(file=_shown(path, root), line=line, field="schema[0].quality", problem=problem)]
    shown = _shown(sample, root)
    refusal = receipt["errors"][:1] if receipt["status"] == "refused" else []
    faults = [_refusal(entry, shown) for entry in refusal]
    unknown = [warning for warning in receipt["warnings"] if warning["rule"] == "unknown_column"]
    faults += [_fault(entry, shown) for entry in [*receipt["errors"][len(refusal) :], *unknown]]
    if receipt["corrections"]:
        faults.append(_narrow_key(contract, path, receipt["corrections"], root))
    return faults


def _land(contract: Contract, sample: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="trial-") as name:
        folder = Path(name)
        settings = Settings(
            project=folder,
            home=folder / "home",
            lake=(folder / "lake").as_uri(),
            database=f"sqlite:///{folder / 'index.db'}",
            keys=(folder / "keys").as_uri(),
            settle_seconds=0,
        )
        exchange = Exchange(settings)
        exchange.index.create()
        landing = landing_bucket(contract.provider)
        for bucket in (*SHARED_BUCKETS, landing):
            exchange.lake.ensure_bucket(bucket)
        exchange.lake.upload(landing, f"{inbox_prefix(contract.dataset)}{sample.name}", sample)
        try:
            (receipt,) = intake(exchange, contract)
        finally:
            exchange.index.close()
            # What the lake holds is read-only.
            shutil.rmtree(folder / "lake", ignore_errors=True)
    return receipt


def _refusal(entry: dict[str, Any], shown: str) -> Fault:
    problem = f"{entry['rule'].replace('_', ' ')}: {entry['expected']} {entry['advice']}"
    return Fault(file=shown, line=entry["first_line"] or 1, field="(file)", problem=problem)


def _fault(entry: dict[str, Any], shown: str) -> Fault:
    # Of a line that is no row the receipt says what it is, and not what it should be.
    said = "found" if entry["rule"] == "malformed_row" else "expected"
    value = f", found {entry['value']!r}" if entry["value"] is not None else ""
    return Fault(
        file=shown,
        line=entry["first_line"] or 1,
        field=entry["source_column"] or "(row)",
        problem=f"{entry['rule'].replace('_', ' ')}: {said} {entry['expected']}{value} ({_rows(entry['rows'])})",
    )


def _narrow_key(contract: Contract, path: Path, rows: int, root: Path | None) -> Fault:
    """Rows of one delivery that take each other's place: most often the key lacks a column."""
    names = ", ".join(column.name for column in contract.primary_key)
    return Fault(
        file=_shown(path, root),
        line=line_of(read_yaml(path, shown=str(path)), ("schema", 0, "properties")),
        field="schema[0].properties",
        problem=f"the key ({names}) does not tell the sample's rows apart: {_rows(rows)} would take the place of "
        "another with other values; add what tells them apart to the key, or take such rows out of the sample",
    )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _shown(path: Path, root: Path | None) -> str:
    return str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)
