"""The versions of a row: when it was observed, when the exchange knew it, by which delivery, and which one stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.clean import clean_rows
from lakehouse.privacy.pseudonyms import hidden_columns
from lakehouse.privacy.vault import Vault
from lakehouse.storage.index import clean_files
from lakehouse.storage.sql import identifier, literal


class NoSuchValue(ValueError):
    """A condition names no column of the contract, or a value that its column cannot hold."""


def history(
    exchange: Exchange, contract: Contract, *, where: Mapping[str, str], as_of: datetime | None = None
) -> list[dict[str, Any]]:
    """All versions of the rows of which a version holds the values ``where``, by key and time.

    Each has the contract's columns, ``observed_at`` (``None`` in a register), ``known_at``, ``delivery``, ``line`` and
    ``stands``: whether it is the newest of its key; one of these whose name a column of the contract has is called
    ``exchange_…``. ``as_of``: as it was then, without what came later. Ids of people are pseudonyms, but for those that
    ``where`` gives.
    Raises :class:`NoSuchValue`.
    """
    given = dict(where)
    known = [column.name for column in contract.columns]
    if unknown := where.keys() - set(known):
        raise NoSuchValue(f"{contract.key} has no column {', '.join(sorted(unknown))}; it has: {', '.join(known)}")
    files = exchange.index.rows(
        sa.select(clean_files.c.key)
        .where(clean_files.c.provider == contract.provider, clean_files.c.dataset == contract.dataset)
        .order_by(clean_files.c.key)
        .distinct()
    )
    if not files:
        return []
    hidden = _hidden(exchange, contract, where)
    if None in hidden.values():
        return []
    where = {name: str(hidden.get(name, value)) for name, value in where.items()}
    rows = clean_rows(contract, [exchange.lake.duckdb_url("clean", row["key"]) for row in files])
    with exchange.duckdb() as connection:
        try:
            found = connection.execute(_versions(contract, rows, where, as_of))
        except duckdb.ConversionException:
            raise NoSuchValue(f"a value of {', '.join(where)} has not the type of its column") from None
        names = [_told(column[0], known) for column in found.description or ()]
        versions = [dict(zip(names, values, strict=True)) for values in found.fetchall()]
    for version in versions:
        version.update({name: given[name] for name, one in hidden.items() if version[name] == one})
    return versions


def _told(name: str, known: Collection[str]) -> str:
    """No column of a contract begins with ``exchange_``."""
    plain = name.removeprefix("exchange_")
    return name if plain in known else plain


def _hidden(exchange: Exchange, contract: Contract, where: Mapping[str, str]) -> dict[str, int | str | None]:
    """What stands in ``clean`` for the ids among the conditions; ``None`` for one of nobody that is known."""
    asked = [column for column in hidden_columns(contract) if column.name in where]
    if not asked:
        return {}
    vault = Vault(exchange, contract.provider)
    return {column.name: vault.known(column, where[column.name]) for column in asked}


def _versions(contract: Contract, rows: str, where: Mapping[str, str], as_of: datetime | None) -> str:
    keys = ", ".join(identifier(column.name) for column in contract.primary_key)
    columns = ", ".join(identifier(column.name) for column in contract.columns)
    # Older files may have several rows of one line: of those the one with the greatest values stands.
    place = f"(exchange_delivery, exchange_line, {columns})"
    matches = " AND ".join(f"{identifier(name)} = {literal(value)}" for name, value in where.items())
    time = contract.exchange.time
    observed = identifier(time.column) if time else "NULL"
    # A row without a line was not delivered: it takes an older version out of the partition that its key has left.
    rows = f"FROM ({rows}) WHERE exchange_line > 0"
    if as_of is not None:
        rows += f" AND exchange_known_at <= TIMESTAMPTZ {literal(as_of.isoformat())}"
    return f"""
        WITH known AS MATERIALIZED (
            FROM ({rows}) SEMI JOIN (SELECT DISTINCT {keys} FROM ({rows}) WHERE {matches}) USING ({keys})
        )
        SELECT {columns}, {observed} AS exchange_observed_at, exchange_known_at, exchange_delivery, exchange_line,
               row_number() OVER (PARTITION BY {keys} ORDER BY {place} DESC) = 1 AS exchange_stands
        FROM known ORDER BY {keys}, {place}
    """
