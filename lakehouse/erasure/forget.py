"""The vault's part of an erasure: a salt goes once nothing stands under its pseudonym any more.

Then neither the pseudonym follows from the id nor the id from the pseudonym, for whoever has all the keys: what
stands of the person in the record of published cells is of nobody.
"""

from __future__ import annotations

import sqlalchemy as sa

from lakehouse.contracts.odcs import Column, Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.clean import clean_rows
from lakehouse.privacy.pseudonyms import hidden_columns, names_rows
from lakehouse.privacy.vault import Vault, VaultChanged
from lakehouse.storage.index import clean_files
from lakehouse.storage.sql import identifier

FILES_AT_ONCE = 500


def pseudonym_of(exchange: Exchange, contract: Contract, subject: str) -> str | None:
    """What stands for a subject of the dataset, as text; ``None`` where the exchange knows nobody of that id."""
    column = contract.column(str(contract.exchange.subject))
    if column not in hidden_columns(contract):
        return subject
    known = Vault(exchange, contract.provider).known(column, subject)
    return None if known is None else str(known)


def forget(exchange: Exchange, contract: Contract, *, pseudonym: str | None, erasure: str) -> int:
    """Deletes the salt of the subject, and of all others in the dataset's id columns under whose pseudonym nothing
    stands any more in any data of the provider (a customer with the meter). Returns how many were deleted.

    What is taken in meanwhile is judged anew: it was judged by the vault as it was.
    """
    while True:
        before = exchange.index.last_change()
        vault = Vault(exchange, contract.provider)
        try:
            return sum(
                _forget(exchange, contract, vault, column, pseudonym, erasure, before)
                for column in hidden_columns(contract)
                if not names_rows(exchange.contracts, contract.provider, column.name)
            )
        except VaultChanged:
            continue


def _forget(
    exchange: Exchange,
    contract: Contract,
    vault: Vault,
    column: Column,
    pseudonym: str | None,
    erasure: str,
    before: int,
) -> int:
    shown, _, entries = vault.people(column)
    people = dict(zip(map(str, shown), entries, strict=True))
    if column.name == contract.exchange.subject:
        # Of other subjects a salt may stand that waits for its rows.
        people = {pseudonym: people[pseudonym]} if pseudonym in people else {}
    if not people:
        vault.forget(column.name, [], erasure=erasure, before=before)
        return 0
    standing = _standing(exchange, contract.provider, column.name)
    gone = [entry for name, entry in people.items() if name not in standing]
    vault.forget(column.name, gone, erasure=erasure, before=before)
    return len(gone)


def _standing(exchange: Exchange, provider: str, name: str) -> set[str]:
    """The pseudonyms that stand anywhere in the provider's clean data under an id column of that name."""
    found: set[str] = set()
    for contract in exchange.contracts.values():
        if contract.provider != provider or all(column.name != name for column in contract.columns):
            continue
        asked = sa.select(clean_files.c.key).where(
            clean_files.c.provider == provider, clean_files.c.dataset == contract.dataset
        )
        urls = [exchange.lake.duckdb_url("clean", row["key"]) for row in exchange.index.rows(asked.distinct())]
        with exchange.duckdb() as connection:
            for start in range(0, len(urls), FILES_AT_ONCE):
                rows = clean_rows(contract, urls[start : start + FILES_AT_ONCE])
                query = (
                    f"SELECT DISTINCT {identifier(name)}::VARCHAR FROM ({rows}) WHERE {identifier(name)} IS NOT NULL"
                )
                found.update(value for (value,) in connection.execute(query).fetchall())
    return found
