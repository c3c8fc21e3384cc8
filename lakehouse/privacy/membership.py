"""Who is in which published cell: kept privately for each partition of a candidate, so that what is published
later can be audited against it without a build.

In the bucket ``audit``, which only the exchange and its reviewers may read. It is not beside the candidates,
whose Parquet is swept once it is released: a release has to be audited for as long as it is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy, DpPolicy, SuppressPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.gathered import CELLS, MEMBERS
from lakehouse.privacy.keys import EXCHANGE, Scope, key_id, open_keys
from lakehouse.privacy.pseudonyms import Keyed, hidden_columns, keyed_hash, names_rows
from lakehouse.privacy.vault import Vault
from lakehouse.storage.sql import identifier, literal

BUCKET = "audit"
# Of the HMAC as many bits as a whole number of Parquet holds: of 1M units two share one with a chance of 3e-8.
PSEUDONYM_BYTES = 8

CELL_COLUMNS = """cell INTEGER, name VARCHAR, series VARCHAR, starts TIMESTAMPTZ, ends TIMESTAMPTZ, grain VARCHAR,
hours BIGINT, units BIGINT, value BIGINT, key_id VARCHAR"""
OTHER_KEY = (
    "membership records were made with another key, so that releases cannot be audited together: "
    f"restore the key {Scope(provider=EXCHANGE, purpose='audit')} from its backup"
)
MEMBER_COLUMNS = "cell INTEGER, unit UBIGINT, contribution BIGINT"
MEMBERS_OF_CELLS = f"""
    SELECT cell, pseudonym AS unit, contribution FROM {MEMBERS} AS given JOIN numbered_cells USING (published_cell)
    JOIN unit_pseudonyms ON given.unit IS NOT DISTINCT FROM unit_pseudonyms.unit
    ORDER BY 2, 1"""


class NotPeople(ValueError):
    """Units that are none of the people whom the unit column names: one person could count as many."""


@dataclass(frozen=True)
class MembershipKey:
    """The exchange's own key of pseudonyms in membership records. It is neither shown nor logged."""

    secret: bytes = field(repr=False)

    @cached_property
    def key_id(self) -> str:
        """Says which key it was, and nothing of it: records of two keys cannot be audited together."""
        return key_id(self.secret)

    @cached_property
    def _keyed(self) -> Keyed:
        return keyed_hash(self.secret)

    def pseudonym(self, column: str, unit: str | None, *, salt: bytes | None = None) -> int:
        """The same unit of the same column always has the same; one id in two columns has two.

        Of a person it follows from the ``salt`` in the vault alone: it stays when the keys of ``clean`` are rotated,
        and is of nobody once the salt is deleted.
        """
        named = b"" if unit is None else b"=" + unit.encode() if salt is None else b"s" + salt
        return int.from_bytes(self._keyed(column.encode() + b"\0" + named)[:PSEUDONYM_BYTES], "big")


def membership_key(exchange: Exchange) -> MembershipKey:
    """The key of the exchange's audit records. Raises :class:`lakehouse.privacy.keys.KeyFault`."""
    return MembershipKey(open_keys(exchange).key(Scope(provider=EXCHANGE, purpose="audit")))


def prefix(mart: str, candidate: str, grain: str, partition: str) -> str:
    return f"{mart}/{candidate}/{grain}={partition}"


def keep_membership(
    exchange: Exchange,
    *,
    connection: duckdb.DuckDBPyConnection,
    mart: Mart,
    policy: AggregatePolicy,
    candidate: str,
    partitions: dict[str, str],
    folder: Path,
) -> None:
    """Writes ``cells.parquet`` and ``members.parquet`` of each partition (its name, and SQL of its rows).

    They are in what :func:`lakehouse.privacy.gathered.gather` made. Cells are numbered in the order of the candidate's
    file. Size: one row a unit and published cell.
    """
    key = membership_key(exchange)
    connection.register("unit_pseudonyms", unit_pseudonyms(exchange, connection, MEMBERS, key, policy))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for partition, condition in partitions.items():
            place = prefix(mart.name, candidate, mart.exchange.partition.grain, partition)
            _number_cells(connection, mart, policy, condition, key)
            for name, query in (("cells", "FROM numbered_cells"), ("members", MEMBERS_OF_CELLS)):
                path = folder / f"{name}.parquet"
                columns = ", ".join(
                    column.split()[0] for column in (CELL_COLUMNS if name == "cells" else MEMBER_COLUMNS).split(",")
                )
                connection.execute(f"COPY (SELECT {columns} FROM ({query})) TO {literal(str(path))} (COMPRESSION zstd)")
                exchange.lake.upload(BUCKET, f"{place}/{name}.parquet", path)
                path.unlink()
    finally:
        connection.unregister("unit_pseudonyms")
        connection.execute("DROP TABLE IF EXISTS numbered_cells")


def unit_pseudonyms(
    exchange: Exchange,
    connection: duckdb.DuckDBPyConnection,
    contributions: str,
    key: MembershipKey,
    policy: AggregatePolicy | SuppressPolicy,
) -> pa.Table:
    """``unit`` as the contributions have it, and its ``pseudonym``: one for all marts about the same column, whatever
    they sum of it, so that they can be audited together. Raises :class:`NotPeople`."""
    units = connection.execute(_named_units(contributions, policy)).to_arrow_table()
    names = units.column("name").to_pylist()
    salts = _require_people(exchange, policy, names)
    # Here and not in SQL: DuckDB's log would show the key.
    numbers = [key.pseudonym(policy.unit_column, name, salt=(salts or {}).get(name)) for name in names]
    if len(set(numbers)) != len(numbers):
        raise ValueError("two units have one pseudonym: replace the key and build all of the marts again")
    return units.select(["unit"]).append_column("pseudonym", pa.array(numbers, pa.uint64()))


def require_people(exchange: Exchange, connection: duckdb.DuckDBPyConnection, policy: DpPolicy) -> None:
    """Whether all units of the contributions are people. Raises :class:`NotPeople`."""
    schema, _, relation = policy.contributions.partition(".")
    units = connection.execute(
        f"SELECT DISTINCT unit::VARCHAR FROM {identifier(schema)}.{identifier(relation)}"
    ).fetchall()
    _require_people(exchange, policy, [name for (name,) in units])


def _require_people(
    exchange: Exchange, policy: AggregatePolicy | SuppressPolicy | DpPolicy, names: Iterable[str | None]
) -> dict[str | None, bytes] | None:
    salts = _salts(exchange, policy.unit_column)
    if salts is not None and any(name is not None and name not in salts for name in names):
        raise NotPeople(
            f"a {policy.unit} of {policy.contributions} is none of the people in the vault: its unit has to be "
            f"{policy.unit_column} as it is in clean data. Clean data from before ids gave way to pseudonyms is "
            "written anew by `exchange replay PROVIDER/DATASET --again`"
        )
    return salts


def _named_units(contributions: str, policy: AggregatePolicy | SuppressPolicy) -> str:
    """SQL of every ``unit`` and of its ``name``, which is the same in every build."""
    units = f"SELECT DISTINCT unit FROM {contributions}"
    if isinstance(policy, SuppressPolicy) or policy.numbered is None:
        return f"SELECT unit, unit::VARCHAR AS name FROM ({units})"
    schema, _, relation = policy.numbered.relation.partition(".")
    return (
        f"SELECT unit, n.{identifier(policy.unit_column)}::VARCHAR AS name FROM ({units}) "
        f"JOIN {identifier(schema)}.{identifier(relation)} AS n ON unit = n.{identifier(policy.numbered.column)}"
    )


def _salts(exchange: Exchange, unit_column: str) -> dict[str | None, bytes] | None:
    """The salt of each pseudonym of the column in ``clean``; ``None`` where no dataset has people in such a one."""
    columns = {
        contract.provider: column
        for contract in exchange.contracts.values()
        for column in hidden_columns(contract)
        if column.name == unit_column and not names_rows(exchange.contracts, contract.provider, column.name)
    }
    if not columns:
        return None
    found: dict[str | None, bytes] = {}
    for provider, column in columns.items():
        shown, salts, _ = Vault(exchange, provider).people(column)
        found.update(zip(map(str, shown), salts, strict=True))
    return found


def _number_cells(
    connection: duckdb.DuckDBPyConnection, mart: Mart, policy: AggregatePolicy, condition: str, key: MembershipKey
) -> None:
    keys = [identifier(name) for name in mart.exchange.key]
    order = ", ".join(dict.fromkeys([*keys, *(identifier(column.name) for column in mart.columns)]))
    column = mart.exchange.partition.column
    name, series = named_key(mart.exchange.key), named_key(key for key in mart.exchange.key if key != column)
    start = identifier(column)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE numbered_cells AS
        SELECT (row_number() OVER (ORDER BY {order}) - 1)::INTEGER AS cell, {name} AS name, {series} AS series,
               {start}::TIMESTAMPTZ AS starts,
               {start}::TIMESTAMPTZ + CASE period_grain
                   WHEN 'hour' THEN INTERVAL 1 HOUR WHEN 'day' THEN INTERVAL 1 DAY ELSE INTERVAL 1 MONTH
               END AS ends,
               period_grain AS grain, period_hours AS hours, {identifier(policy.units)} AS units,
               {identifier(policy.measure)} AS value, {literal(key.key_id)} AS key_id, published_cell
        FROM {CELLS} WHERE {condition} ORDER BY cell
        """
    )


def named_key(keys: Iterable[str]) -> str:
    """SQL of the values of a key, each behind its column's name."""
    shown = [f"{literal(key + '=')} || coalesce({identifier(key)}::VARCHAR, 'null')" for key in keys]
    return " || ', ' || ".join(shown) or "''"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One candidate's partition whose cells are, or are about to be, published. ``release`` is the name by which a
    report calls it."""

    mart: str
    candidate: str
    release: str
    grain: str
    partition: str


@dataclass(frozen=True, kw_only=True)
class Published(Record):
    """Sums, under the policy that they state themselves."""

    policy: AggregatePolicy


def read_membership(
    exchange: Exchange, published: Sequence[Published], connection: duckdb.DuckDBPyConnection, folder: Path
) -> None:
    """Fills the tables ``cells`` and ``members``, as :mod:`lakehouse.privacy.audit` wants them.

    Raises :class:`lakehouse.storage.lake.ObjectNotFound` for a record that is missing and ``ValueError`` for
    one of another key: both keep a release from being audited.
    """
    current = membership_key(exchange).key_id
    make_tables(connection)
    for number, entry in enumerate(published):
        cells, members = (record_file(exchange, entry, name, folder) for name in ("cells", "members"))
        add_published(connection, entry, number, cells, members)
    others = connection.execute("SELECT count(*) FROM cells WHERE key_id <> ?", [current]).fetchone()
    if others != (0,):
        raise ValueError(OTHER_KEY)


def record_file(exchange: Exchange, entry: Record, name: str, folder: Path) -> Path:
    """``cells`` or ``members`` of a record, downloaded below ``folder`` where it is not on this machine."""
    key = f"{prefix(entry.mart, entry.candidate, entry.grain, entry.partition)}/{name}.parquet"
    return exchange.lake.local_path(BUCKET, key) or exchange.lake.download(BUCKET, key, folder / key)


def make_tables(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        f"CREATE OR REPLACE TABLE cells ({CELL_COLUMNS}, mart VARCHAR, release VARCHAR, least INTEGER, cap BIGINT, "
        "share INTEGER, p INTEGER, mine BOOLEAN)"
    )
    connection.execute(f"CREATE OR REPLACE TABLE members ({MEMBER_COLUMNS})")


def add_published(
    connection: duckdb.DuckDBPyConnection, entry: Published, number: int, cells: Path, members: Path
) -> None:
    """Adds one partition's record. The first (``number`` 0) is the one in question, marked ``mine``."""
    [[first]] = connection.execute("SELECT coalesce(max(cell) + 1, 0) FROM cells").fetchall()
    policy = entry.policy
    least = " ".join(f"WHEN {literal(grain)} THEN {units}" for grain, units in sorted(policy.k.items()))
    connection.execute(
        f"""
        INSERT INTO cells BY NAME
        SELECT * REPLACE (cell + {first} AS cell), $mart AS mart, $release AS release,
               CASE grain {least} END AS least, {policy.cap.value} AS cap,
               {policy.max_share_percent} AS share, {policy.p_percent} AS p, {number == 0} AS mine
        FROM read_parquet({literal(str(cells))}, hive_partitioning=false)
        """,
        {"mart": entry.mart, "release": entry.release},
    )
    connection.execute(
        f"INSERT INTO members SELECT * REPLACE (cell + {first} AS cell) "
        f"FROM read_parquet({literal(str(members))}, hive_partitioning=false)"
    )
