"""How Airflow connects to its own SQLite (`[database] sql_alchemy_connect_args`)."""

from __future__ import annotations

import sqlite3
from typing import Any, Self


class _WriterFromTheStart(sqlite3.Cursor):
    """Begins what starts with a savepoint as a transaction that writes.

    Airflow reads within a savepoint before it writes there (a backfill's runs, the runs that an asset starts). SQLite
    refuses such a write at once with "database is locked", whatever the timeout, if anybody wrote since the read: what
    was read is old by then. Who holds the right to write from the start waits for it, as long as the timeout says.
    https://www.sqlite.org/isolation.html, https://www.sqlite.org/rescode.html#busy_snapshot
    """

    def execute(self, sql: str, *parameters: Any) -> Self:
        if sql.startswith("SAVEPOINT") and not self.connection.in_transaction:
            super().execute("BEGIN IMMEDIATE")
        return super().execute(sql, *parameters)


class _Connection(sqlite3.Connection):
    def cursor(self, *_: Any) -> Any:
        return super().cursor(_WriterFromTheStart)


CONNECT_ARGS: dict[str, Any] = {"factory": _Connection}
