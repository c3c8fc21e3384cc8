"""What the main job delivers: a folder ``<provider>/<dataset>/<files>`` matched with the contracts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import sqlalchemy as sa

from lakehouse.contracts.derive import inbox_prefix, landing_bucket, loopback_extract
from lakehouse.contracts.forms import CsvForm
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.sources.loopback import LoopbackDataset
from lakehouse.storage.index import deliveries


@dataclass(kw_only=True)
class Matched:
    """Files by contract; ``unmatched`` have no contract."""

    files: dict[str, list[Path]] = field(default_factory=dict)
    unmatched: list[Path] = field(default_factory=list)


def match_inputs(exchange: Exchange, folder: Path) -> Matched:
    matched = Matched()
    claimed: set[Path] = set()
    for key, contract in sorted(exchange.contracts.items()):
        delivery = contract.exchange.delivery
        place = folder / contract.provider / (delivery.folder or contract.dataset)
        files = [path for path in _files(place) if fnmatchcase(path.name, delivery.name_pattern)]
        if files:
            matched.files[key] = files
            claimed.update(files)
    matched.unmatched = [path for path in sorted(folder.glob("*/*/*")) if path.is_file() and path not in claimed]
    return matched


def drop(exchange: Exchange, contract: Contract, files: Iterable[Path]) -> list[str]:
    """Puts files into the provider's inbox, as the provider would. Returns the keys."""
    keys = []
    for path in files:
        key = f"{inbox_prefix(contract.dataset)}{path.name}"
        exchange.lake.upload(landing_bucket(contract.provider), key, path)
        keys.append(key)
    return keys


def not_yet_delivered(exchange: Exchange, contract: Contract, files: Iterable[Path]) -> list[Path]:
    """The files whose bytes have not come to a receipt yet, in order of their names."""
    hashes = {path: _sha256(path) for path in files}
    rows = exchange.index.rows(
        sa.select(deliveries.c.sha256).where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.sha256.in_(sorted(set(hashes.values()))),
            deliveries.c.status.in_(["sealed", "loaded", "refused"]),
        )
    )
    known = {row["sha256"] for row in rows}
    return [path for path, sha256 in hashes.items() if sha256 not in known]


def loopback_keys(exchange: Exchange, matched: Matched) -> set[str]:
    """The datasets with input files whose source the loopback server can stand in for."""
    return {key for key in matched.files if loopback_extract(exchange.contracts[key])}


def loopback_datasets(exchange: Exchange, matched: Matched) -> list[LoopbackDataset]:
    """What the loopback server offers: the input files of every such dataset."""
    found = []
    for key in sorted(loopback_keys(exchange, matched)):
        contract, files = exchange.contracts[key], matched.files[key]
        extract, time = loopback_extract(contract), contract.exchange.time
        if extract is None or time is None:
            continue
        csv = next((form for form in contract.exchange.delivery.forms if isinstance(form, CsvForm)), CsvForm())
        found.append(
            LoopbackDataset(
                name=extract.path.rsplit("/", 1)[-1],
                files=files,
                time_column=contract.column(time.column).source,
                delimiter=csv.delimiter,
                decimal=csv.decimal,
            )
        )
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
