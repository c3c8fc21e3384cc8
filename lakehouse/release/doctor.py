"""The index, made again from the lake: deliveries from receipts and origins, clean files, releases."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lakehouse.contracts.derive import landing_bucket
from lakehouse.exchange import Exchange
from lakehouse.privacy.ledger import restore_ledger
from lakehouse.privacy.pseudonyms import hidden_columns
from lakehouse.privacy.vault import kept_states
from lakehouse.release.history import History, histories
from lakehouse.release.manifest import Manifest, latest_key, release_prefix
from lakehouse.release.record import AWAITED, record_release
from lakehouse.storage.index import (
    candidates,
    changes,
    clean_files,
    deliveries,
    delivery_profiles,
    erasures,
    forgotten_salts,
    mart_state,
    profile_row,
    release_pins,
    releases,
    replaced_files,
    upsert,
    vaults,
)
from lakehouse.storage.lake import Entry
from lakehouse.storage.sql import literal

FOOTERS_AT_ONCE = 1000
CERTIFICATES = "_erasures"
# A clean file's name: its delivery, which replay wrote it, and under which epoch's key its ids are pseudonyms.
CLEAN_NAME = re.compile(
    r"(?P<delivery>.+?)(?:-replay(?P<generation>\d+))?(?:-epoch(?P<epoch>\d+))?-part-\d+(?:-[0-9a-f]{8})*\.parquet"
)
# Between the first and the last delivery in the name of a file that several share.
SHARED = "-to-"
Rows = list[dict[str, Any]]
_AGAIN: dict[str, Any] = {"status": "sealed", "receipt": None, "receipt_written": False}


@dataclass(kw_only=True)
class Rebuilt:
    """What was found, and in words what did not fit together."""

    deliveries: int = 0
    clean_files: int = 0
    releases: int = 0
    problems: list[str] = field(default_factory=list)


def rebuild_index(exchange: Exchange, *, dry_run: bool = False) -> Rebuilt:
    """Replaces all that the index says by what the lake shows. To be run while nothing else runs. To the privacy
    ledger only what is missing is added.

    It lists the whole lake. What is not in the lake is lost: candidates that wait (they are built again), what
    became of blocked ones (their reports stay), and which intervals were extracted (they are asked for again, and
    the same answers are not sealed twice). A delivery whose clean files do not add up to its receipt is loaded
    again by the next intake. ``dry_run`` reads the lake and leaves the index as it is.
    """
    exchange.init()
    rebuilt = Rebuilt()
    arrivals = _deliveries(exchange)
    files, replaced = _clean_files(exchange, arrivals, rebuilt)
    published = list(histories(exchange))
    for history in published:
        if history.lost and history.releases:
            rebuilt.problems.append(
                f"{latest_key(history.mart, history.major)}: is not there, so none of its releases is the newest; "
                f"`exchange rollback {history.mart} RELEASE` makes it again"
            )
        for stray in history.strays:
            place = f"{history.mart}/v{history.major}/releases/{stray}"
            rebuilt.problems.append(f"{place}: was never published; `exchange doctor --sweep` removes it")
    newest = [made for history in published for made, _ in history.releases if made.release == history.newest]
    last = _number_changes(files, replaced, newest)
    rebuilt.deliveries, rebuilt.clean_files = len(arrivals), len(files)
    rebuilt.releases = sum(len(history.releases) for history in published)
    if dry_run:
        return rebuilt
    restore_ledger(exchange)
    _restore_erasures(exchange)
    with exchange.index.begin() as connection:
        for table in (
            deliveries, delivery_profiles, clean_files, replaced_files, candidates, releases, release_pins, mart_state,
            changes,
        ):  # fmt: skip
            connection.execute(sa.delete(table))
        connection.execute(sa.insert(changes).values(last=last))
        made = (
            (deliveries, list(arrivals.values())),
            (delivery_profiles, [profile_row(row["receipt"]) for row in arrivals.values() if row["receipt"]]),
            (clean_files, files),
            (replaced_files, replaced),
        )
        for table, rows in made:
            if rows:
                connection.execute(sa.insert(table), rows)
        for history in published:
            _restore_releases(connection, history)
    return rebuilt


def _restore_releases(connection: Connection, history: History) -> None:
    for manifest, standing in history.releases:
        record_release(connection, manifest, latest=manifest.release == history.newest, status=standing.status)
        if standing.pinned:
            named = {"mart": manifest.mart, "major": manifest.major, "release": manifest.release}
            connection.execute(sa.insert(release_pins).values(**named))


def _restore_erasures(exchange: Exchange) -> None:
    """Who was erased stands in the certificates too: a lost index must not take the person's rows in again. And under
    which keys ids are pseudonyms stands in the vault."""
    for entry in list(exchange.lake.list("reports", f"{CERTIFICATES}/")):
        certificate = json.loads(exchange.lake.read_bytes("reports", entry.key))
        provider, _, dataset = certificate["dataset"].partition("/")
        values = {
            "erasure": certificate["erasure"],
            "provider": provider,
            "dataset": dataset,
            "subject": certificate["subject"],
            "reason": certificate["reason"],
            "requested_at": datetime.fromisoformat(certificate["requested_at"]),
            "status": "done" if certificate["proven_absent"] else "open",
            "counts": certificate["taken_out"],
        }
        with exchange.index.begin() as connection:
            upsert(connection, erasures, values)
            for column, entry in certificate.get("forgotten", []):
                values = {
                    "provider": provider,
                    "column_name": column,
                    "entry": entry,
                    "erasure": certificate["erasure"],
                }
                upsert(connection, forgotten_salts, values)
    with exchange.index.begin() as connection:
        for state in kept_states(exchange):
            upsert(connection, vaults, state)


def _deliveries(exchange: Exchange) -> dict[str, dict[str, Any]]:
    """By their ids: those with a receipt are done, sealed ones without are taken in by the next intake."""
    found: dict[str, dict[str, Any]] = {}
    raw_keys: dict[str, str] = {}
    for provider in sorted({contract.provider for contract in exchange.contracts.values()}):
        for origin, key in _origins(exchange, provider):
            raw_keys[f"{provider}/{origin['dataset']}/{origin['sha256']}"] = key
            found[origin["delivery"]] = _row(origin, status="sealed", source=origin["source"])
        bucket = landing_bucket(provider)
        for entry in exchange.lake.list(bucket, "receipts/"):
            if entry.key.endswith(".json"):
                receipt = json.loads(exchange.lake.read_bytes(bucket, entry.key))
                row = found.setdefault(receipt["delivery"], _row(receipt, status="loaded", source={}))
                status = receipt["status"] if receipt["status"] in ("refused", "repeated") else "loaded"
                row |= {
                    "status": status,
                    "receipt": receipt,
                    "receipt_written": True,
                    "contract_version": receipt["contract_version"],
                }
    for row in found.values():
        row["raw_key"] = raw_keys.get(f"{row['provider']}/{row['dataset']}/{row['sha256']}")
    return found


def _origins(exchange: Exchange, provider: str) -> Iterator[tuple[dict[str, Any], str]]:
    """What was sealed, each with the key of its bytes: the other object in its folder."""
    folders: dict[str, list[Entry]] = defaultdict(list)
    for entry in exchange.lake.list("raw", f"{provider}/"):
        folders[str(PurePosixPath(entry.key).parent)].append(entry)
    for entries in folders.values():
        keys = sorted(entry.key for entry in entries)
        origin = next((key for key in keys if key.endswith("/origin.json")), None)
        if origin is not None and len(keys) == 2:
            keys.remove(origin)
            yield json.loads(exchange.lake.read_bytes("raw", origin)), keys[0]


def _row(facts: dict[str, Any], *, status: str, source: dict[str, Any]) -> dict[str, Any]:
    """A row of the index from an origin or a receipt. An extract's claim is kept, so that the same answer is
    known again; an arrival in the inbox is over, and its version may come again."""
    extract = source.get("kind") == "extract"
    inbox = f"extract/{facts['dataset']}/{facts['file']}" if extract else f"inbox/{facts['dataset']}/{facts['file']}"
    return {
        "delivery": facts["delivery"],
        "provider": facts["provider"],
        "dataset": facts["dataset"],
        "file": facts["file"],
        "inbox_key": source.get("inbox_key", inbox),
        "inbox_version": facts["sha256"] if extract else f"#{facts['delivery']}",
        "received_at": datetime.fromisoformat(facts["received_at"]),
        "status": status,
        "sha256": facts["sha256"],
        "bytes": facts["bytes"],
        "contract_version": facts["contract_version"],
        "receipt": None,
        "receipt_written": False,
    }


def _clean_files(exchange: Exchange, arrivals: dict[str, dict[str, Any]], rebuilt: Rebuilt) -> tuple[Rows, Rows]:
    """The files of loaded deliveries, and those that replays took the place of. One that was left by a load that
    never ended is not among them."""
    by_delivery: dict[tuple[str, int], Rows] = defaultdict(list)
    epochs = {state["provider"]: state["epoch"] for state in kept_states(exchange)}
    for contract in exchange.contracts.values():
        entries = list(exchange.lake.list("clean", f"{contract.key}/"))
        for entry, rows in zip(entries, _row_counts(exchange, entries), strict=True):
            folder, name = entry.key.removeprefix(f"{contract.key}/").split("/")
            written = CLEAN_NAME.fullmatch(name)
            if written is None:
                rebuilt.problems.append(f"clean/{entry.key}: no file that intake writes; it was left where it is")
                continue
            delivery = written["delivery"]
            if hidden_columns(contract) and int(written["epoch"] or 1) != epochs.get(contract.provider, 1):
                continue  # left by a rotation of keys that did not come to its end, or to be removed after one
            file = {
                "provider": contract.provider,
                "dataset": contract.dataset,
                "partition": folder.removeprefix("event_date="),
                "key": entry.key,
                "delivery": delivery,
                "rows": rows,
                "bytes": entry.size,
            }
            generation = int(written["generation"] or 0)
            found = _by_sharer(exchange, file) if SHARED in delivery else [file]
            for one in found:
                by_delivery[one["delivery"], generation].append(one)
    kept: Rows = []
    replaced: Rows = []
    for delivery, row in arrivals.items():
        generation = row["receipt"].get("generation", 0) if row["receipt"] else 0
        for former in range(generation):
            replaced += by_delivery.get((delivery, former), [])
        # What a batch wrote that came to its end in another way is no delivery's.
        batch = row["receipt"].get("batch") if row["receipt"] else None
        files = [file for file in by_delivery.get((delivery, generation), []) if file.get("batch") == batch]
        if row["status"] != "loaded":
            continue
        rows = sum(file["rows"] for file in files)
        # What a correction has moved is written once more, as withdrawn, where it stood.
        if rows == row["receipt"]["accepted"] + row["receipt"].get("withdrawn", 0):
            kept += files
        else:
            rebuilt.problems.append(
                f"{delivery}: its clean files hold {rows:,} rows, its receipt says {row['receipt']['accepted']:,} were "
                "accepted: it will be loaded again"
            )
            row |= _AGAIN
    return _whole_batches(kept, by_delivery, arrivals, rebuilt), [_plain(file) for file in replaced]


def _by_sharer(exchange: Exchange, file: dict[str, Any]) -> Rows:
    """A file that deliveries share, once for each of them, with its rows."""
    url = literal(exchange.lake.duckdb_url("clean", file["key"]))
    query = f"SELECT exchange_delivery, count(*) FROM read_parquet({url}, hive_partitioning=false) GROUP BY 1"
    with exchange.duckdb() as connection:
        counts = connection.execute(query).fetchall()
    return [{**file, "batch": file["delivery"], "delivery": delivery, "rows": rows} for delivery, rows in counts]


def _plain(file: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in file.items() if name != "batch"}


def _whole_batches(
    kept: Rows, found: dict[tuple[str, int], Rows], arrivals: dict[str, dict[str, Any]], rebuilt: Rebuilt
) -> Rows:
    """The files that hold, without those of a batch in which a delivery does not: all of that is loaded again, or the
    rows of that one would be there twice."""
    holding = {(file["key"], file["delivery"]) for file in kept}
    keys = {file["key"] for file in kept}
    broken = {
        file["batch"]
        for files in found.values()
        for file in files
        if file["key"] in keys and (file["key"], file["delivery"]) not in holding
    }
    again = {file["delivery"] for file in kept if file.get("batch") in broken - {None}}
    for delivery in sorted(again):
        rebuilt.problems.append(f"{delivery}: shares a clean file with one that does not hold: it will be loaded again")
        arrivals[delivery] |= _AGAIN
    return [_plain(file) for file in kept if file["delivery"] not in again]


def _row_counts(exchange: Exchange, entries: list[Entry]) -> list[int]:
    """From the files' footers, in the order of the entries."""
    counts: dict[str, int] = {}
    urls = [exchange.lake.duckdb_url("clean", entry.key) for entry in entries]
    with exchange.duckdb() as connection:
        for start in range(0, len(urls), FOOTERS_AT_ONCE):
            listed = ", ".join(literal(url) for url in urls[start : start + FOOTERS_AT_ONCE])
            query = f"SELECT file_name, num_rows FROM parquet_file_metadata([{listed}])"
            counts |= dict(connection.execute(query).fetchall())
    return [counts[url] for url in urls]


def _number_changes(files: Rows, replaced: Rows, newest: list[Manifest]) -> int:
    """Gives each file a change, and returns the last one.

    A delivery that a release has taken in gets the release's own number, the lowest where there are several;
    one that no release names comes after all of them. So no mart takes for known what it has not seen; what it
    has seen and left out (late data of a published period, say) it looks at once more, and so at all that a replay
    changed: a release does not say whether it was made before.
    """
    known: dict[str, int] = {}
    for manifest in sorted(newest, key=lambda manifest: manifest.change, reverse=True):
        known |= dict.fromkeys((entry.delivery for entry in manifest.inputs), manifest.change)
    last = max((manifest.change for manifest in newest), default=0)
    for file in replaced:
        file |= {"change": known.pop(file["delivery"], last + 1), "replaced": last + 1}
    for file in files:
        file["change"] = known.get(file["delivery"], last + 1)
    return max((file.get("replaced", file["change"]) for file in [*files, *replaced]), default=last)


@dataclass(frozen=True, kw_only=True)
class Swept:
    """Keys of the objects that lead nowhere, by bucket."""

    candidates: tuple[str, ...]
    clean: tuple[str, ...]
    marts: tuple[str, ...]


def sweep(exchange: Exchange, *, dry_run: bool = False) -> Swept:
    """Removes the Parquet of candidates that neither wait nor are blocked, the clean files that do not stand (a
    replay took their place, or the load that wrote them never ended), and the folders of releases that were never
    published. What a candidate says of itself stays.

    To be run while nothing else runs: what a build or a load has written is not recorded yet. ``dry_run`` removes
    nothing.
    """
    rows = exchange.index.rows(sa.select(candidates).where(candidates.c.status.in_([*AWAITED, "blocked"])))
    kept = {(row["mart"], row["candidate"]) for row in rows}
    standing = {row["key"] for row in exchange.index.rows(sa.select(clean_files.c.key))}
    found = Swept(
        candidates=tuple(
            entry.key
            for entry in exchange.lake.list("candidates", "")
            if entry.key.endswith(".parquet") and PurePosixPath(entry.key).parts[:2] not in kept
        ),
        clean=tuple(entry.key for entry in exchange.lake.list("clean", "") if entry.key not in standing),
        marts=tuple(
            entry.key
            for history in histories(exchange)
            for stray in history.strays
            for entry in exchange.lake.list("marts", f"{release_prefix(history.mart, history.major, stray)}/")
        ),
    )
    if not dry_run:
        for bucket, keys in (("candidates", found.candidates), ("clean", found.clean), ("marts", found.marts)):
            for key in keys:
                exchange.lake.delete(bucket, key)
    return found
