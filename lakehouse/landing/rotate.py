"""Rotation of a provider's pseudonym key: ``clean`` is written again under the next epoch's, through the vault.

An epoch is a key. All of a provider's clean data is of one epoch at any time, or register and readings would not join
and no correction would be known again: the files of the next are written beside those that stand, and one
transaction exchanges them all. Marts do not depend on pseudonyms, so no build has to look at what was exchanged, and
records of published cells follow from salts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from lakehouse.contracts.derive import duckdb_type
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import Scope, open_keys
from lakehouse.privacy.pseudonyms import hidden_columns, names_rows
from lakehouse.privacy.vault import Vault, VaultChanged, kept_states, turned_state, write_state
from lakehouse.storage.index import clean_files, hold_changes, replaced_files, vaults
from lakehouse.storage.sql import identifier, literal

Progress = Callable[[str], None]
EPOCH = re.compile(r"-epoch(\d+)(?=-part-)")


class UnknownPerson(RuntimeError):
    """A clean row whose pseudonym the vault does not know."""


@dataclass(kw_only=True)
class Rotated:
    """What a rotation writes anew; ``epoch`` is the next one. ``done``: whether it was, or is only planned."""

    provider: str
    epoch: int
    people: int
    files: int
    rows: int
    bytes: int
    done: bool = False


def rotate(exchange: Exchange, provider: str, *, dry_run: bool = True, progress: Progress = lambda _: None) -> Rotated:
    """Takes the next pseudonym key into use. May be killed at any point and run again: until the exchange the old
    epoch holds, and what was written for the next one is found again. What is taken in meanwhile is judged anew.

    A build that runs meanwhile finds its files gone, fails and is tried again.
    Raises :class:`UnknownPerson` where clean data is from before ids gave way to pseudonyms.
    """
    _finish(exchange, provider)
    while True:
        vault = Vault(exchange, provider)
        files = list(_files(exchange, provider))
        planned = Rotated(
            provider=provider,
            epoch=vault.state.epoch + 1,
            people=sum(len(vault.people(column)[0]) for column in _people_columns(exchange, provider)),
            files=len(files),
            rows=sum(int(row["rows"]) for _, row in files),
            bytes=sum(row["bytes"] for _, row in files),
        )
        if dry_run:
            return planned
        sizes = _write_again(exchange, vault, files, planned.epoch, progress)
        try:
            _exchange(exchange, vault, files, sizes, planned.epoch)
        except VaultChanged:
            progress("something was taken in meanwhile: what is new is written too")
            continue
        _finish(exchange, provider)
        planned.done = True
        return planned


def _contracts(exchange: Exchange, provider: str) -> list[Contract]:
    mine = (contract for contract in exchange.contracts.values() if contract.provider == provider)
    return [contract for contract in mine if hidden_columns(contract)]


def _people_columns(exchange: Exchange, provider: str) -> list[Column]:
    named = {column.name: column for contract in _contracts(exchange, provider) for column in hidden_columns(contract)}
    return [column for name, column in sorted(named.items()) if not names_rows(exchange.contracts, provider, name)]


def _files(exchange: Exchange, provider: str) -> Iterator[tuple[Contract, dict[str, Any]]]:
    """The clean files that stand, in the order of their keys; one that deliveries share with the rows of all."""
    for contract in _contracts(exchange, provider):
        asked = (
            sa.select(
                clean_files.c.key,
                sa.func.sum(clean_files.c.rows).label("rows"),
                sa.func.max(clean_files.c.bytes).label("bytes"),
            )
            .where(clean_files.c.provider == provider, clean_files.c.dataset == contract.dataset)
            .group_by(clean_files.c.key)
            .order_by(clean_files.c.key)
        )
        for row in exchange.index.rows(asked):
            yield contract, dict(row)


def _key(key: str, epoch: int) -> str:
    """The name of a clean file under another epoch."""
    plain = EPOCH.sub("", key)
    place = plain.rindex("-part-")
    return f"{plain[:place]}-epoch{epoch}{plain[place:]}"


def _write_again(
    exchange: Exchange,
    vault: Vault,
    files: Sequence[tuple[Contract, dict[str, Any]]],
    epoch: int,
    progress: Progress,
) -> dict[str, int]:
    """Puts each file under its name of the epoch, where it is not there yet. Returns sizes in bytes by old key."""
    open_keys(exchange).key(Scope(provider=vault.state.provider, purpose="pseudonym", epoch=epoch))
    sizes: dict[str, int] = {}
    with exchange.workplace("rotate") as folder, exchange.duckdb() as connection:
        connection.execute(f"SET temp_directory = {literal(str(folder / 'spill'))}")
        for column in _people_columns(exchange, vault.state.provider):
            _register(connection, vault, column, epoch)
        for number, (contract, row) in enumerate(files):
            key = _key(row["key"], epoch)
            standing = exchange.lake.stat("clean", key)
            if standing is None:
                path = folder / "turned.parquet"
                _turn(exchange, contract, connection, exchange.lake.duckdb_url("clean", row["key"]), path)
                standing = exchange.lake.upload("clean", key, path)
                path.unlink()
            sizes[row["key"]] = standing.size
            if (number + 1) % 500 == 0:
                progress(f"{number + 1:,} of {len(files):,} files")
    return sizes


def _register(connection: duckdb.DuckDBPyConnection, vault: Vault, column: Column, epoch: int) -> None:
    old, new = vault.people(column)[0], vault.people(column, epoch=epoch)[0]
    type_ = pa.int64() if column.logicalType == "integer" else pa.string()
    connection.register("turned", pa.table({"old": pa.array(old, type_), "new": pa.array(new, type_)}))
    connection.execute(f"CREATE TEMP TABLE {identifier('turned_' + column.name)} AS FROM turned")
    connection.unregister("turned")


def _turn(exchange: Exchange, contract: Contract, connection: duckdb.DuckDBPyConnection, url: str, path: Path) -> None:
    source = f"read_parquet({literal(url)}, hive_partitioning=false)"
    # A file of an older contract may lack a column.
    there = {name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    columns = [
        column
        for column in hidden_columns(contract)
        if column.name in there and not names_rows(exchange.contracts, contract.provider, column.name)
    ]
    replaced, joined, unknown = [], [], []
    for number, column in enumerate(columns):
        name, table = identifier(column.name), identifier(f"turned_{column.name}")
        replaced.append(f"t{number}.new AS {name}")
        joined.append(f"LEFT JOIN {table} AS t{number} ON r.{name}::{duckdb_type(column)} = t{number}.old")
        unknown.append(f"(r.{name} IS NOT NULL AND t{number}.old IS NULL)")
    rows = f"FROM {source} AS r {' '.join(joined)}"
    if unknown and connection.execute(f"SELECT 1 {rows} WHERE {' OR '.join(unknown)} LIMIT 1").fetchone():
        raise UnknownPerson(
            f"{contract.key}: a clean row is of nobody whom the vault knows. If it was loaded before ids gave way to "
            f"pseudonyms, `exchange replay {contract.key} --again` writes it anew"
        )
    values = f"r.* REPLACE ({', '.join(replaced)})" if replaced else "r.*"
    order = ", ".join(
        [
            *(identifier(key.name) for key in contract.primary_key if key.name in there),
            "exchange_delivery",
            "exchange_line",
        ]
    )
    connection.execute(
        f"COPY (SELECT * FROM (SELECT {values} {rows}) ORDER BY {order}) TO {literal(str(path))} "
        "(FORMAT parquet, COMPRESSION zstd)"
    )


def _exchange(
    exchange: Exchange,
    vault: Vault,
    files: Sequence[tuple[Contract, dict[str, Any]]],
    sizes: dict[str, int],
    epoch: int,
) -> None:
    """One transaction: from here on the new epoch holds. Raises :class:`VaultChanged` where it was not all."""
    provider = vault.state.provider
    turned = turned_state(exchange, provider, epoch)
    with exchange.index.begin() as connection:
        hold_changes(connection)
        vault.state.require_unchanged(connection)
        datasets = [contract.dataset for contract in _contracts(exchange, provider)]
        standing: sa.ScalarResult[str] = connection.execute(
            sa.select(clean_files.c.key).where(clean_files.c.provider == provider, clean_files.c.dataset.in_(datasets))
        ).scalars()
        if set(standing) != set(sizes):
            raise VaultChanged
        for _, row in files:
            connection.execute(
                sa.update(clean_files)
                .where(clean_files.c.key == row["key"])
                .values(key=_key(row["key"], epoch), bytes=sizes[row["key"]])
            )
        connection.execute(sa.update(vaults).where(vaults.c.provider == provider).values(**turned))


def _finish(exchange: Exchange, provider: str) -> None:
    """What follows an exchange: the lake knows the epoch, and nothing stands under a former one."""
    row = exchange.index.row(sa.select(vaults).where(vaults.c.provider == provider))
    if row is None or row["epoch"] == 1:
        return
    if not any(state["provider"] == provider and state["epoch"] == row["epoch"] for state in kept_states(exchange)):
        write_state(exchange, dict(row))
    for contract in _contracts(exchange, provider):
        for entry in list(exchange.lake.list("clean", f"{contract.key}/")):
            mark = EPOCH.search(entry.key)
            if int(mark[1] if mark else 1) < row["epoch"]:
                exchange.lake.delete("clean", entry.key)
        # Their bytes have gone with the others; that they were replaced stays on record, for builds to see.
        asked = sa.select(replaced_files.c.key).where(
            replaced_files.c.provider == provider, replaced_files.c.dataset == contract.dataset
        )
        for gone in exchange.index.rows(asked):
            exchange.lake.delete("clean", gone["key"])
