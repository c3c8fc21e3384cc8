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
    unknown = [warning for warning in receipt["warnings"] if warning["rule"] == "unknown_column"]
    return [_fault(entry, _shown(sample, root)) for entry in [*receipt["errors"], *unknown]]


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


def _fault(entry: dict[str, Any], shown: str) -> Fault:
    value = f", found {entry['value']!r}" if entry["value"] is not None else ""
    rows = "1 row" if entry["rows"] == 1 else f"{entry['rows']:,} rows"
    return Fault(
        file=shown,
        line=entry["first_line"] or 1,
        field=entry["source_column"] or "(row)",
        problem=f"{entry['rule'].replace('_', ' ')}: expected {entry['expected']}{value} ({rows})",
    )


def _shown(path: Path, root: Path | None) -> str:
    return str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)
