"""A private exchange in a folder, into which the inputs of a release are landed again."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from lakehouse.build.environment import git
from lakehouse.contracts.load import SUFFIX, ContractError, read_contract
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.intake import load_sealed
from lakehouse.landing.receipt import TAKEN
from lakehouse.landing.reseal import ORIGIN
from lakehouse.privacy.vault import BUCKET as VAULT
from lakehouse.release.manifest import Input
from lakehouse.settings import Settings
from lakehouse.storage.index import deliveries, forgotten_salts, vaults
from lakehouse.storage.lake import ObjectNotFound

Progress = Callable[[str], None]
ASKED_AT_ONCE = 1000
ERASED = "rows of a person were erased from {file}, so nothing made of it can be equal any more"


@contextmanager
def scratch_exchange(exchange: Exchange, folder: Path, *, threads: int) -> Iterator[Exchange]:
    """An exchange of the same project below ``folder``, with a lake, an index and a ledger of its own: what is done
    there is not done here. Secret keys are the same, and the vault is a copy: people have the pseudonyms that they
    have here."""
    stated = exchange.settings.model_dump() | {
        "home": folder / "home",
        "lake": (folder / "lake").as_uri(),
        "database": f"sqlite:///{folder / 'home' / 'exchange.db'}",
        "s3_endpoint": None,
        "inbox_events": None,
        "keys": exchange.settings.keys_url,
        "threads": threads,
    }
    scratch = Exchange(Settings(**stated))
    scratch.init()
    _copy_vault(exchange, scratch)
    try:
        yield scratch
    finally:
        scratch.index.close()


def _copy_vault(exchange: Exchange, scratch: Exchange) -> None:
    for entry in exchange.lake.list(VAULT):
        scratch.lake.write_bytes(VAULT, entry.key, exchange.lake.read_bytes(VAULT, entry.key))
    with scratch.index.begin() as connection:
        for table in (vaults, forgotten_salts):
            if rows := [dict(row) for row in exchange.index.rows(sa.select(table))]:
                connection.execute(sa.insert(table), rows)


def land_again(
    exchange: Exchange, scratch: Exchange, inputs: Iterable[Input], *, progress: Progress = lambda _: None
) -> dict[str, str]:
    """Takes the deliveries out of ``raw``, checks the hashes of their bytes, and lands them in the scratch exchange in
    the order in which they came, each by the version of its contract that read it.

    Returns by delivery why one cannot be as it was.
    """
    failed: dict[str, str] = {}
    by_dataset: dict[str, list[Input]] = defaultdict(list)
    for entry in inputs:
        by_dataset[entry.dataset].append(entry)
    for dataset, entries in sorted(by_dataset.items()):
        progress(f"landing {len(entries)} deliveries of {dataset}")
        ordered = sorted(entries, key=lambda entry: entry.delivery)
        sealed = _sealed(exchange, ordered)
        for version, members in groupby(ordered, key=lambda entry: entry.contract_version):
            run = list(members)
            try:
                contract = contract_of_version(exchange, dataset, version)
            except LookupError as error:
                failed |= dict.fromkeys((entry.delivery for entry in run), str(error))
                continue
            for entry in run:
                if why := _seal_again(exchange, scratch, entry, sealed.get(entry.delivery)):
                    failed[entry.delivery] = why
            for receipt in load_sealed(scratch, contract):
                if receipt["status"] not in TAKEN:
                    failed[receipt["delivery"]] = f"{receipt['file']} came out as {receipt['status']}"
    return failed


def contract_of_version(exchange: Exchange, dataset: str, version: str) -> Contract:
    """The dataset's contract as it was: today's, or one that git remembers. Raises ``LookupError``."""
    contract = exchange.contracts.get(dataset)
    if contract is not None and contract.version == version:
        return contract
    project = exchange.settings.project
    name = f"contracts/{dataset}{SUFFIX}"
    commits = (git(project, "log", "--format=%H", "--", name) or "").split()
    for commit in commits:
        text = git(project, "show", f"{commit}:./{name}")
        if text is None or f"version: {version}" not in text:
            continue
        with tempfile.TemporaryDirectory(prefix="contract-") as folder:
            path = Path(folder) / name
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
            try:
                known = read_contract(path)
            except ContractError:
                continue
        if known.version == version:
            return known
    raise LookupError(
        f"{dataset} was read by version {version} of its contract, which stands neither here nor in git's history"
    )


def _sealed(exchange: Exchange, inputs: list[Input]) -> dict[str, dict[str, Any]]:
    names = [entry.delivery for entry in inputs]
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(names), ASKED_AT_ONCE):
        query = sa.select(deliveries).where(deliveries.c.delivery.in_(names[start : start + ASKED_AT_ONCE]))
        found |= {row["delivery"]: dict(row) for row in exchange.index.rows(query)}
    return found


def _seal_again(exchange: Exchange, scratch: Exchange, entry: Input, row: dict[str, Any] | None) -> str | None:
    """The sealed bytes into the scratch lake, known to its index. Returns why they are not those of then."""
    if row is None:
        return (
            f"{entry.file}: the index knows no delivery {entry.delivery}; `exchange doctor` makes it anew from the lake"
        )
    if row["raw_key"] is None:
        return ERASED.format(file=entry.file)
    why = None
    with tempfile.TemporaryDirectory(prefix="sealed-", dir=scratch.settings.home_path) as folder:
        local = exchange.lake.local_path("raw", row["raw_key"])
        try:
            path = local or exchange.lake.download("raw", row["raw_key"], Path(folder) / "delivered")
            with path.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        except (ObjectNotFound, FileNotFoundError):
            return f"{entry.file}: raw/{row['raw_key']} is gone"
        if sha256 != entry.sha256:
            if not _erased(exchange, row["raw_key"]):
                return f"{entry.file}: raw/{row['raw_key']} holds other bytes than were delivered (sha256 differs)"
            why = ERASED.format(file=entry.file)
        scratch.lake.upload("raw", row["raw_key"], path)
    known = {**row, "status": "sealed", "receipt": None, "receipt_written": False, "sha256": entry.sha256}
    with scratch.index.begin() as connection:
        connection.execute(sa.insert(deliveries).values(**known))
    return why


def _erased(exchange: Exchange, raw_key: str) -> bool:
    try:
        origin = json.loads(exchange.lake.read_bytes("raw", f"{PurePosixPath(raw_key).parent}/{ORIGIN}"))
    except ObjectNotFound:
        return False
    return bool(origin.get("erased"))
