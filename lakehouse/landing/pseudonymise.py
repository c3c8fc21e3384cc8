"""Between typing and ``clean``: ids of people give way to pseudonyms, which are the same in all of a provider's data.

Everything that is judged and shown to a provider keeps the provider's ids; ``clean`` never sees them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb
import polars as pl
import pyarrow as pa

from lakehouse.contracts.derive import duckdb_type
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.plain_measures import distinct_values
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.privacy.pseudonyms import hidden_columns
from lakehouse.privacy.vault import Vault, VaultState
from lakehouse.storage.sql import identifier

# Ids at a time that pass through Python.
BATCH = 200_000


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """The ids of one delivery and what stands for them, a table for each column: ``pseudonyms_<n>(id, pseudonym,
    place)``, where ``place`` numbers them in the order of pseudonyms.

    ``state``: of which moment they are; ``None`` where the dataset has no ids.
    """

    columns: tuple[Column, ...] = ()
    keys: frozenset[str] = frozenset()
    state: VaultState | None = None

    def known(self, rows: str) -> str:
        """SQL of clean rows under the provider's ids: those of the keys that this delivery may have too. An id
        outside the key that it does not have stays a pseudonym, which is like no other id."""
        if not self.columns:
            return rows
        replaced, joined = [], []
        for number, column in enumerate(self.columns):
            name = identifier(column.name)
            of_key = column.name in self.keys
            value = f"p{number}.id" if of_key else f"coalesce(p{number}.id, r.{name})"
            replaced.append(f"{value} AS {name}")
            kind = "JOIN" if of_key else "LEFT JOIN"
            joined.append(f"{kind} pseudonyms_{number} AS p{number} ON r.{name} = p{number}.pseudonym")
        return f"SELECT r.* REPLACE ({', '.join(replaced)}) FROM ({rows}) AS r {' '.join(joined)}"

    def written(self, rows: str) -> str:
        """SQL of rows as they go into ``clean``, with the columns that :meth:`order` names. An id that nothing stands
        for would be lost, not shown."""
        if not self.columns:
            return rows
        names = [(number, identifier(column.name)) for number, column in enumerate(self.columns)]
        replaced = ", ".join(f"p{number}.pseudonym AS {name}" for number, name in names)
        places = ", ".join(f"p{number}.place AS exchange_place_{number}" for number, _ in names)
        joined = " ".join(
            f"LEFT JOIN pseudonyms_{number} AS p{number} ON r.{name} = p{number}.id" for number, name in names
        )
        return f"SELECT r.* REPLACE ({replaced}), {places} FROM ({rows}) AS r {joined}"

    def order(self, names: Iterable[str]) -> list[str]:
        """SQL of columns to order such rows by: of ids by their pseudonyms, for in the order of ids each would be told
        by who knows them all. By place, which costs half of what random numbers cost."""
        places = {column.name: f"exchange_place_{number}" for number, column in enumerate(self.columns)}
        return [places.get(name, identifier(name)) for name in names]

    def frames(self, connection: duckdb.DuckDBPyConnection) -> dict[str, pl.DataFrame]:
        """The tables, by the name of their column, for rows that are written without SQL."""
        return {
            column.name: pl.DataFrame(
                connection.execute(f"SELECT id, pseudonym FROM pseudonyms_{number}").to_arrow_table()
            )
            for number, column in enumerate(self.columns)
        }

    def pass_on(self, connection: duckdb.DuckDBPyConnection, rows: str) -> None:
        """Of rows that stood before and are written once more, what this delivery has no id for stays as it is."""
        for number, column in enumerate(self.columns):
            if column.name not in self.keys:
                name = identifier(column.name)
                connection.execute(
                    f"INSERT INTO pseudonyms_{number} SELECT DISTINCT {name}, {name}, 0 FROM ({rows}) "
                    f"WHERE {name} IS NOT NULL AND {name} NOT IN (SELECT id FROM pseudonyms_{number})"
                )


def hide_ids(
    exchange: Exchange,
    contract: Contract,
    connection: duckdb.DuckDBPyConnection,
    plain: PlainRows,
    *,
    stored: bool = True,
) -> Hidden:
    """The pseudonyms of all ids in ``typed``, ``plain`` rows among them.

    ``stored``: whether new people are taken into the vault.

    Raises :class:`lakehouse.privacy.vault.VaultChanged` where somebody else took people in meanwhile, and
    :class:`lakehouse.privacy.keys.KeyFault`.
    """
    columns = tuple(hidden_columns(contract))
    if not columns:
        return Hidden()
    vault = Vault(exchange, contract.provider, stored=stored)
    for number, column in enumerate(columns):
        _match(connection, vault, column, plain)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE pseudonyms_{number} AS "
            "SELECT *, (row_number() OVER (ORDER BY pseudonym))::INTEGER AS place FROM matched"
        )
    connection.execute("DROP TABLE matched")
    vault.keep()
    keys = frozenset(column.name for column in contract.primary_key)
    return Hidden(columns=columns, keys=keys, state=vault.state)


def _match(connection: duckdb.DuckDBPyConnection, vault: Vault, column: Column, plain: PlainRows) -> None:
    """``matched(id, pseudonym)``: all of a column."""
    name, type_ = identifier(column.name), duckdb_type(column)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE matched (id {type_}, pseudonym {type_})")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE distinct_ids AS "
        f"SELECT DISTINCT {name} AS id FROM exact_typed WHERE {name} IS NOT NULL"
    )
    if plain.rows:
        connection.register("plain_ids", distinct_values(plain, column.name).to_frame("id").to_arrow())
        connection.execute("INSERT INTO distinct_ids FROM plain_ids ANTI JOIN distinct_ids USING (id)")
        connection.unregister("plain_ids")
    first = 0
    while (
        ids := connection.execute(f"SELECT id FROM distinct_ids WHERE rowid >= {first} AND rowid < {first + BATCH}")
        .to_arrow_table()
        .column(0)
    ):
        first += BATCH
        # Here and not in SQL: DuckDB's log would show the key.
        made = pa.array(vault.pseudonyms(column, ids.cast(pa.string()).to_pylist()), ids.type)
        connection.register("matched_ids", pa.table({"id": ids, "pseudonym": made}))
        connection.execute("INSERT INTO matched SELECT id, pseudonym FROM matched_ids")
        connection.unregister("matched_ids")
    connection.execute("DROP TABLE distinct_ids")
