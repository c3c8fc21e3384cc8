"""The clean partitions of a dataset: which a delivery touches, what stands in them, what it adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lakehouse.contracts.derive import UNDATED, clean_columns
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.pseudonymise import Hidden
from lakehouse.landing.write_plain import partitions_of_plain, write_plain_rows
from lakehouse.privacy.vault import VaultChanged, VaultState
from lakehouse.storage.index import clean_files, hold_changes
from lakehouse.storage.sql import identifier, literal

# Rows that DuckDB gives to one thread at a time.
MORSEL = 100_000


@dataclass(frozen=True, kw_only=True)
class CleanFile:
    """A file that was written for the bucket ``clean``, still on this machine."""

    partition: str
    key: str
    path: Path
    rows: int


def touched_partitions(connection: duckdb.DuckDBPyConnection, contract: Contract, plain: PlainRows) -> list[str]:
    """The partitions that rows of ``typed``, among them the plain ones, belong to, sorted."""
    query = f"SELECT DISTINCT {partition_of(contract)} AS event_date FROM exact_typed"
    exact = {str(date) for (date,) in connection.execute(query).fetchall()}
    return sorted(exact | partitions_of_plain(contract, plain))


class StandingChanged(Exception):
    """The rows that a delivery was judged by stand no more, for others came between: it is to be judged anew."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The clean files that a delivery is judged by: those of the deliveries before it, in its partitions.

    ``urls`` are what DuckDB reads, ``keys`` the same files by name.
    """

    asked: sa.Select[Any]
    keys: tuple[str, ...]
    urls: tuple[str, ...]
    # Of which moment the pseudonyms are.
    vault: VaultState | None = None

    def require_unchanged(self, connection: Connection) -> None:
        """To be called in the transaction that stores what was judged by them: nothing else is stored before it
        ends. Raises :class:`StandingChanged`."""
        hold_changes(connection)
        if tuple(connection.execute(self.asked).scalars()) != self.keys:
            raise StandingChanged
        if self.vault is not None:
            try:
                self.vault.require_unchanged(connection)
            except VaultChanged:
                raise StandingChanged from None


def standing_files(
    exchange: Exchange,
    contract: Contract,
    partitions: Sequence[str],
    *,
    before: str,
    instead: Mapping[str, Sequence[CleanFile]],
) -> Standing:
    """What stands in the partitions from deliveries before the delivery ``before``.

    ``instead``: deliveries whose files are not those that the index names but these, which a trial has written.
    """
    asked = (
        sa.select(clean_files.c.key, clean_files.c.delivery)
        .where(
            clean_files.c.provider == contract.provider,
            clean_files.c.dataset == contract.dataset,
            clean_files.c.partition.in_(partitions),
            clean_files.c.delivery < before,
        )
        .order_by(clean_files.c.key)
    )
    rows = exchange.index.rows(asked)
    urls = [exchange.lake.duckdb_url("clean", row["key"]) for row in rows if row["delivery"] not in instead]
    wanted = frozenset(partitions)
    urls += [
        str(file.path)
        for delivery, files in instead.items()
        for file in files
        if delivery < before and file.partition in wanted
    ]
    return Standing(asked=asked, keys=tuple(row["key"] for row in rows), urls=tuple(urls))


def clean_rows(contract: Contract, urls: Sequence[str]) -> str:
    """SQL of the rows of clean files, at least one, in the types of today's contract: a column that files of an
    older version lack is NULL, and so is a value that has no place in today's type."""
    listed = ", ".join(literal(url) for url in urls)
    columns = clean_columns(contract)
    nothing = ", ".join(f"NULL AS {identifier(name)}" for name in columns)
    typed = ", ".join(
        f"TRY_CAST({identifier(name)} AS {type_}) AS {identifier(name)}" for name, type_ in columns.items()
    )
    return (
        f"SELECT {typed} FROM (FROM read_parquet([{listed}], hive_partitioning=false, union_by_name=true) "
        f"UNION ALL BY NAME SELECT {nothing} WHERE false)"
    )


def write_partitions(
    *,
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    delivery: dict[str, Any],
    rows: int,
    folder: Path,
    hidden: Hidden,
    plain: PlainRows,
    moved: bool = False,
) -> list[CleanFile]:
    """Writes the ``rows`` of ``fresh`` (of ``stored`` where some may have ``moved``) into ``folder`` as Parquet, ids
    as pseudonyms.

    A file for each event date, ordered by key, or by line where there are ``plain`` rows, which are most then.
    A second try writes the same bytes under the same keys, so that one that died leaves nothing behind it.
    """
    if rows == 0:
        return []
    if plain.rows and not moved:
        written = write_plain_rows(connection, contract, delivery, plain, hidden, folder / "clean")
        return _clean_files(contract, delivery, hidden, written)
    if rows <= MORSEL:
        return _write(connection, contract, delivery, folder, hidden, moved)
    # Threads that write beside each other would split partitions, and otherwise each time.
    (threads,) = connection.execute("SELECT current_setting('threads')").fetchone() or (1,)
    connection.execute("SET threads = 1")
    try:
        return _write(connection, contract, delivery, folder, hidden, moved)
    finally:
        connection.execute(f"SET threads = {threads}")


def _write(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    delivery: dict[str, Any],
    folder: Path,
    hidden: Hidden,
    moved: bool,
) -> list[CleanFile]:
    source = hidden.written("FROM stored" if moved else "SELECT *, false AS exchange_withdrawn FROM fresh")
    names = ", ".join(identifier(column.name) for column in contract.columns)
    keys = ", ".join(hidden.order(column.name for column in contract.primary_key))
    written = connection.execute(
        f"""
        COPY (
            SELECT {names}, {literal(delivery["delivery"])} AS exchange_delivery, exchange_line,
                   TIMESTAMPTZ {literal(delivery["received_at"].isoformat())} AS exchange_known_at,
                   exchange_withdrawn, event_date
            FROM (
                SELECT *, {partition_of(contract)} AS event_date FROM ({source})
                ORDER BY event_date, {keys}, exchange_line
            )
        ) TO {literal(str(folder / "clean"))} (
            FORMAT parquet, COMPRESSION zstd, PARTITION_BY (event_date), FILENAME_PATTERN 'part-{{i}}', RETURN_STATS
        )
        """
    ).fetchall()
    paths = {Path(path): int(rows) for path, rows, *_ in written if rows}
    return _clean_files(contract, delivery, hidden, paths)


def _clean_files(
    contract: Contract, delivery: dict[str, Any], hidden: Hidden, paths: dict[Path, int]
) -> list[CleanFile]:
    written_as = f"{delivery['delivery']}{epoch_mark(hidden.state)}"
    return [
        CleanFile(
            partition=path.parent.name.removeprefix("event_date="),
            key=f"{contract.key}/{path.parent.name}/{written_as}-{path.name}",
            path=path,
            rows=rows,
        )
        for path, rows in sorted(paths.items())
    ]


def epoch_mark(state: VaultState | None) -> str:
    """Part of the name of a clean file: under which epoch's key its ids are pseudonyms, from the second on."""
    return "" if state is None or state.epoch == 1 else f"-epoch{state.epoch}"


def partition_of(contract: Contract) -> str:
    """SQL of a row's partition: the first day, UTC, of the day, month or year that it belongs to."""
    time = contract.exchange.time
    if time is None:
        return f"'{UNDATED}'"
    column = identifier(time.column)
    if contract.column(time.column).logicalType == "timestamp":
        # The connection is in UTC: its calendar need not be asked for each row.
        column = f"make_timestamp(epoch_us({column}))"
    return f"date_trunc('{time.partition}', {column})::DATE"
