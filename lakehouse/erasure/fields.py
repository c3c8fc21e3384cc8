"""Looking for an id that is too short for bytes: in the fields in which the contracts say that such an id stands.

An id of a column is the same in all datasets of a provider that have a column of that name, and in no others. What
stands for it in ``clean`` is long, and is looked for in bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import duckdb

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.erasure.search import Searched, file_holds
from lakehouse.exchange import Exchange
from lakehouse.landing.erased import names_subject, token_pattern
from lakehouse.landing.intake import workbench
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.reseal import ORIGIN, TOMBSTONE
from lakehouse.landing.strays import UNKNOWN
from lakehouse.privacy.pseudonyms import hidden_columns
from lakehouse.storage.lake import Entry
from lakehouse.storage.sql import identifier, literal


def search_fields(exchange: Exchange, contract: Contract, subject: str, found: Searched) -> None:
    """Adds what holds the id: delivered files as their contracts read them, quarantine, receipts, and ``clean`` where
    ids stand there as they are."""
    name = str(contract.exchange.subject)
    for other in exchange.contracts.values():
        if other.provider != contract.provider or all(column.name != name for column in other.columns):
            continue
        with workbench(exchange, other) as (connection, folder):
            for entry, held in _each_object(exchange, other, other.column(name), subject, connection, folder):
                found.objects += 1
                found.bytes += entry.size
                if held != "no":
                    (found.hits if held == "yes" else found.undecided).append(f"{entry.bucket}/{entry.key}")
    with exchange.duckdb() as connection, workbench(exchange, contract) as (_, folder):
        for entry in _delivered(exchange, "raw", f"{contract.provider}/{UNKNOWN}/"):
            found.objects += 1
            found.bytes += entry.size
            if file_holds(connection, _fetched(exchange, entry, folder), [subject], folder):
                found.undecided.append(f"{entry.bucket}/{entry.key}")


def _each_object(
    exchange: Exchange,
    contract: Contract,
    column: Column,
    subject: str,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
) -> Iterator[tuple[Entry, str]]:
    """Each object of a dataset, and whether it holds the id: ``yes``, ``no``, or ``undecided``."""
    landing = landing_bucket(contract.provider)
    for bucket, prefix in (
        ("raw", f"{contract.key}/"),
        (landing, inbox_prefix(contract.dataset)),
        (landing, f"refused/{contract.dataset}/"),
    ):
        for entry in _delivered(exchange, bucket, prefix):
            path = _fetched(exchange, entry, folder)
            try:
                held = names_subject(
                    connection=connection,
                    contract=contract,
                    column=column.name,
                    value=subject,
                    path=path,
                    name=PurePosixPath(entry.key).name,
                    folder=folder,
                    max_bytes=exchange.settings.max_unpacked_bytes,
                )
                yield entry, "yes" if held else "no"
            except (DeliveryRefused, duckdb.Error):
                yield entry, "undecided" if file_holds(connection, path, [subject], folder) else "no"
    for entry in exchange.lake.list("quarantine", f"{contract.key}/"):
        if entry.key.endswith(".parquet"):
            source = f"read_parquet({literal(str(_fetched(exchange, entry, folder)))}, hive_partitioning=false)"
            yield entry, _found(connection, f"FROM {source} WHERE {quarantined(column, subject)}")
    for entry in exchange.lake.list(landing, f"receipts/{contract.dataset}/"):
        if entry.key.endswith(".json"):
            yield entry, "yes" if _on_receipt(exchange, entry, column, subject) else "no"
    if column not in hidden_columns(contract):
        for entry in exchange.lake.list("clean", f"{contract.key}/"):
            source = f"read_parquet({literal(exchange.lake.duckdb_url('clean', entry.key))}, hive_partitioning=false)"
            yield (
                entry,
                _found(connection, f"FROM {source} WHERE {identifier(column.name)}::VARCHAR = {literal(subject)}"),
            )


def quarantined(column: Column, subject: str) -> str:
    """SQL: whether a row of quarantine is of the subject. A row that could not be read in columns is where the id is a
    word of it."""
    id_, word = literal(subject), literal(token_pattern([subject]))
    field = literal(f'$."{column.name}"')
    return f"""(coalesce("column" = {literal(column.name)} AND trim(value) = {id_}, false)
        OR CASE WHEN row IS NULL THEN false
                WHEN json_valid(row) AND json_type(row) = 'OBJECT'
                THEN coalesce(trim(json_extract_string(row, {field})) = {id_}, false)
                ELSE regexp_matches(row, {word}) END)"""


def _found(connection: duckdb.DuckDBPyConnection, rows: str) -> str:
    return "no" if connection.execute(f"SELECT 1 {rows} LIMIT 1").fetchone() is None else "yes"


def _on_receipt(exchange: Exchange, entry: Entry, column: Column, subject: str) -> bool:
    receipt = json.loads(exchange.lake.read_bytes(entry.bucket, entry.key))
    said = [*receipt.get("errors", []), *receipt.get("warnings", [])]
    return any(one.get("column") == column.name and one.get("value") == subject for one in said)


def _delivered(exchange: Exchange, bucket: str, prefix: str) -> Iterator[Entry]:
    for entry in list(exchange.lake.list(bucket, prefix)):
        if PurePosixPath(entry.key).name not in (ORIGIN, TOMBSTONE):
            yield entry


def _fetched(exchange: Exchange, entry: Entry, folder: Path) -> Path:
    local = exchange.lake.local_path(entry.bucket, entry.key)
    return local or exchange.lake.download(entry.bucket, entry.key, folder / "fetched")
