"""The clean partitions of a dataset: which a delivery touches, what stands in them, what it adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from lakehouse.landing.write_plain import Writing, partitions_of_plain, write_exact_rows
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
    # Where several deliveries share the file: how many of its rows are whose.
    shared: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """What clean rows say of their delivery, as SQL: of one, or of several that are loaded together.

    ``name``: what their files are named after. ``rows`` puts the columns ``exchange_delivery`` and
    ``exchange_known_at`` to rows; ``line`` is a row's own, whose ``exchange_line`` counts through all of them.
    """

    name: str
    line: str
    delivery: str
    known_at: str
    joined: str = ""

    @classmethod
    def one(cls, delivery: dict[str, Any]) -> Arrivals:
        return cls(
            name=delivery["delivery"],
            line="exchange_line",
            delivery=literal(delivery["delivery"]),
            known_at=f"TIMESTAMPTZ {literal(delivery['received_at'].isoformat())}",
        )

    def told(self, rows: str) -> str:
        return (
            f"SELECT r.*, {self.delivery} AS exchange_delivery, {self.known_at} AS exchange_known_at "
            f"FROM ({rows}) AS r {self.joined}"
        )


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
        .order_by(clean_files.c.key, clean_files.c.delivery)
    )
    rows = exchange.index.rows(asked)
    standing = dict.fromkeys(row["key"] for row in rows if row["delivery"] not in instead)
    urls = [exchange.lake.duckdb_url("clean", key) for key in standing]
    wanted = frozenset(partitions)
    urls += [
        str(file.path)
        for delivery, files in instead.items()
        for file in files
        if delivery < before and file.partition in wanted
    ]
    return Standing(asked=asked, keys=tuple(row["key"] for row in rows), urls=tuple(urls))


def clean_rows(contract: Contract, urls: Sequence[str], *, before: str | None = None) -> str:
    """SQL of the rows of clean files, at least one, in the types of today's contract: a column that files of an
    older version lack is NULL, and so is a value that has no place in today's type.

    ``before``: only rows of deliveries before that one; of a file that several share some may be of later ones.
    """
    listed = ", ".join(literal(url) for url in urls)
    columns = clean_columns(contract)
    nothing = ", ".join(f"NULL AS {identifier(name)}" for name in columns)
    typed = ", ".join(
        f"TRY_CAST({identifier(name)} AS {type_}) AS {identifier(name)}" for name, type_ in columns.items()
    )
    return (
        f"SELECT {typed} FROM (FROM read_parquet([{listed}], hive_partitioning=false, union_by_name=true) "
        f"UNION ALL BY NAME SELECT {nothing} WHERE false)"
        + (f" WHERE exchange_delivery < {literal(before)}" if before else "")
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
    drafted: Callable[[], dict[Path, int] | None],
    moved: bool = False,
) -> list[CleanFile]:
    """Writes the ``rows`` of ``fresh`` (of ``stored`` where some may have ``moved``) into ``folder`` as Parquet, ids
    as pseudonyms.

    A file for each event date, ordered by key. Where there are ``plain`` rows, which are most then, one of these and
    one of all others, ordered by line; ``drafted`` waits for the former, where they are being written already.
    A second try writes the same bytes under the same keys, so that one that died leaves nothing behind it.
    """
    if rows == 0:
        return []
    if plain.rows and not moved:
        target = folder / "clean"
        exact = write_exact_rows(connection, contract, delivery, plain, hidden, target)
        written = drafted()
        if written is None:
            pseudonyms = hidden.frames(connection)
            written = Writing(contract, delivery, plain.frames, target, "part-0", pseudonyms).finish()
        return _clean_files(contract, delivery["delivery"], hidden, {**written, **exact})
    source = "FROM stored" if moved else "SELECT *, false AS exchange_withdrawn FROM fresh"
    return write_rows(connection, contract, Arrivals.one(delivery), source, rows=rows, folder=folder, hidden=hidden)


def write_rows(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    arrivals: Arrivals,
    source: str,
    *,
    rows: int,
    folder: Path,
    hidden: Hidden,
) -> list[CleanFile]:
    """Writes the ``rows`` of ``source``, SQL of rows with ``exchange_withdrawn``: a file for each event date."""
    told = arrivals.told(hidden.written(source))
    if rows <= MORSEL:
        return _write(connection, contract, arrivals, told, folder, hidden)
    # Threads that write beside each other would split partitions, and otherwise each time.
    (threads,) = connection.execute("SELECT current_setting('threads')").fetchone() or (1,)
    connection.execute("SET threads = 1")
    try:
        return _write(connection, contract, arrivals, told, folder, hidden)
    finally:
        connection.execute(f"SET threads = {threads}")


def _write(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    arrivals: Arrivals,
    source: str,
    folder: Path,
    hidden: Hidden,
) -> list[CleanFile]:
    names = ", ".join(identifier(column.name) for column in contract.columns)
    keys = ", ".join(hidden.order(column.name for column in contract.primary_key))
    written = connection.execute(
        f"""
        COPY (
            SELECT {names}, exchange_delivery, {arrivals.line} AS exchange_line, exchange_known_at, exchange_withdrawn,
                   event_date
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
    return _clean_files(contract, arrivals.name, hidden, paths)


def _clean_files(contract: Contract, name: str, hidden: Hidden, paths: dict[Path, int]) -> list[CleanFile]:
    written_as = f"{name}{epoch_mark(hidden.state)}"
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
