"""The index: what was delivered, which clean files stand, what was built and released.

A small SQL database beside the lake, so that no daily step lists the lake's history. Everything in it can
be made again from the lake (receipts, origins, manifests).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping

metadata = sa.MetaData()


class UtcTime(sa.types.TypeDecorator[datetime]):
    """Aware UTC datetimes on any database (SQLite has no zones)."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("delivery", sa.String, primary_key=True),
    sa.Column("provider", sa.String, nullable=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("file", sa.String, nullable=False),
    sa.Column("inbox_key", sa.String, nullable=False),
    sa.Column("inbox_version", sa.String, nullable=False),
    sa.Column("received_at", UtcTime, nullable=False),
    # claimed → sealed → loaded | refused | repeated
    sa.Column("status", sa.String, nullable=False),
    sa.Column("sha256", sa.String),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("raw_key", sa.String),
    sa.Column("contract_version", sa.String),
    sa.Column("receipt", sa.JSON),
    sa.Column("receipt_written", sa.Boolean, nullable=False, default=False),
    sa.UniqueConstraint("provider", "inbox_key", "inbox_version"),
    # Receipts stand in the rows: without an index a question reads all that was ever delivered, and sorts it.
    sa.Index("deliveries_by_hash", "provider", "dataset", "sha256"),
    sa.Index("deliveries_of_dataset", "provider", "dataset", "delivery"),
    sa.Index("deliveries_of_status", "provider", "dataset", "status", "delivery"),
    sa.Index("deliveries_unanswered", "provider", "dataset", "receipt_written", "delivery"),
    sa.Index("deliveries_by_arrival", "received_at"),
    sa.Index("deliveries_by_raw_key", "raw_key"),
)

# Which deliveries have rows in which file; many small ones may share one. `rows` are the delivery's, `bytes` the
# file's.
clean_files = sa.Table(
    "clean_files",
    metadata,
    sa.Column("provider", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("partition", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("delivery", sa.String, primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False),
    sa.Index("clean_files_by_change", "change"),
    sa.Index("clean_files_by_delivery", "delivery"),
)

# What each delivery was like, from its receipt: `alarms` in words, `profile` of its columns.
delivery_profiles = sa.Table(
    "delivery_profiles",
    metadata,
    sa.Column("delivery", sa.String, primary_key=True),
    sa.Column("provider", sa.String, nullable=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("delivered", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.BigInteger, nullable=False),
    sa.Column("duplicates", sa.BigInteger, nullable=False),
    sa.Column("alarms", sa.JSON, nullable=False),
    sa.Column("profile", sa.JSON),
    sa.Index("delivery_profiles_of_dataset", "provider", "dataset", "delivery"),
    # Sums of all that was ever delivered are made of it alone: profiles take kilobytes each.
    sa.Index("delivery_profiles_sums", "provider", "dataset", "delivered", "refused"),
    sa.Index("delivery_profiles_by_arrival", "provider", "dataset", "received_at", "delivery"),
)

# Clean files that a replay took the place of; `replaced` is the change that did it. A build that began before that
# change still reads them, and one after it builds the partitions that lost them.
replaced_files = sa.Table(
    "replaced_files",
    metadata,
    sa.Column("provider", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("partition", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("delivery", sa.String, primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False),
    sa.Column("replaced", sa.BigInteger, nullable=False),
    sa.Index("replaced_files_by_replaced", "replaced"),
)

# One row. Taking a number locks it until the writer commits, so changes become visible in their order.
changes = sa.Table("changes", metadata, sa.Column("last", sa.BigInteger, nullable=False))

extract_windows = sa.Table(
    "extract_windows",
    metadata,
    sa.Column("provider", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("start", UtcTime, primary_key=True),
    sa.Column("end", UtcTime, primary_key=True),
    sa.Column("pages", sa.Integer, nullable=False),
    sa.Column("rows", sa.BigInteger),
    sa.Column("extracted_at", UtcTime, nullable=False),
)

# How far a source was read that is asked for what is new, and not for an interval.
watermarks = sa.Table(
    "watermarks",
    metadata,
    sa.Column("provider", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("watermark", sa.JSON, nullable=False),
    sa.Column("sealed_at", UtcTime, nullable=False),
)

candidates = sa.Table(
    "candidates",
    metadata,
    sa.Column("mart", sa.String, primary_key=True),
    sa.Column("candidate", sa.String, primary_key=True),
    sa.Column("major", sa.Integer, nullable=False),
    # built → passed | blocked | withheld; passed → waiting (for an approval) | released | unchanged;
    # waiting → released | refused; superseded by a newer one
    sa.Column("status", sa.String, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False),
    sa.Column("code", sa.String, nullable=False),
    sa.Column("reason", sa.String),
    sa.Column("release", sa.String),
    sa.Column("gates", sa.JSON),
    sa.Column("seconds", sa.Float),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("mart", sa.String, primary_key=True),
    sa.Column("major", sa.Integer, primary_key=True),
    sa.Column("release", sa.String, primary_key=True),
    sa.Column("candidate", sa.String, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    # released | rolled_back; yanking → yanked; expiring → expired
    sa.Column("status", sa.String, nullable=False),
    sa.Column("latest", sa.Boolean, nullable=False),
)

# Releases that retention leaves alone, for ever.
release_pins = sa.Table(
    "release_pins",
    metadata,
    sa.Column("mart", sa.String, primary_key=True),
    sa.Column("major", sa.Integer, primary_key=True),
    sa.Column("release", sa.String, primary_key=True),
)

# How far a mart has taken the changes in since its release of that name, by which code, and which of its
# partitions wait to be final.
mart_state = sa.Table(
    "mart_state",
    metadata,
    sa.Column("mart", sa.String, primary_key=True),
    sa.Column("major", sa.Integer, primary_key=True),
    sa.Column("change", sa.BigInteger, nullable=False),
    sa.Column("code", sa.String, nullable=False),
    sa.Column("release", sa.String),
    sa.Column("waiting", sa.JSON, nullable=False),
)

# Who was erased from a dataset: a keyed hash of the id, never the id. open → done
erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("erasure", sa.String, primary_key=True),
    sa.Column("provider", sa.String, nullable=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("requested_at", UtcTime, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.UniqueConstraint("provider", "dataset", "subject"),
)

# Under which keys a provider's ids are pseudonyms in `clean`. `version` counts what makes pseudonyms that were
# computed before it void: rotations, and salts that were forgotten. `key_ids` tell whether a key is still the same.
vaults = sa.Table(
    "vaults",
    metadata,
    sa.Column("provider", sa.String, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("key_ids", sa.JSON, nullable=False),
)

# Entries of the vault whose salt is to be used no more, whatever a restored backup holds.
forgotten_salts = sa.Table(
    "forgotten_salts",
    metadata,
    sa.Column("provider", sa.String, primary_key=True),
    sa.Column("column_name", sa.String, primary_key=True),
    sa.Column("entry", sa.BigInteger, primary_key=True),
    sa.Column("erasure", sa.String, nullable=False),
)

# What was spent on whose privacy. Only ever added to: a spending stands once it is written, whatever comes of it.
privacy_ledger = sa.Table(
    "privacy_ledger",
    metadata,
    sa.Column("entry", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("recorded_at", UtcTime, nullable=False),
    sa.Column("population", sa.String, nullable=False),
    sa.Column("unit", sa.String, nullable=False),
    sa.Column("mart", sa.String, nullable=False),
    sa.Column("major", sa.Integer, nullable=False),
    sa.Column("partition", sa.String, nullable=False),
    sa.Column("policy", sa.String, nullable=False),
    sa.Column("mechanism", sa.String, nullable=False),
    # A decimal as text, so that sums are exact on any database.
    sa.Column("rho", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("candidate", sa.String, nullable=False),
    # charged (before the noise is drawn, with its rho) → drawn (rho 0: the draw is kept)
    sa.Column("status", sa.String, nullable=False),
    sa.UniqueConstraint("population", "mart", "major", "partition", "policy", "digest", "status"),
)


@sa.event.listens_for(privacy_ledger, "after_create")
def _keep_the_ledger(_table: sa.Table, connection: Connection, **_: Any) -> None:
    """The database itself refuses to change an entry."""
    refused = "the privacy ledger is only added to"
    if connection.dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER privacy_ledger_no_{action.lower()} BEFORE {action} ON privacy_ledger "
                f"BEGIN SELECT RAISE(ABORT, '{refused}'); END"
            )
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "CREATE OR REPLACE FUNCTION privacy_ledger_refuse() RETURNS trigger AS "
            f"$$ BEGIN RAISE EXCEPTION '{refused}'; END $$ LANGUAGE plpgsql"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER privacy_ledger_no_change BEFORE UPDATE OR DELETE ON privacy_ledger "
            "FOR EACH ROW EXECUTE FUNCTION privacy_ledger_refuse()"
        )


class Index:
    """The database, opened. Safe to use from several processes; each call is one short transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)

    def create(self) -> None:
        """Makes the tables that are missing, and brings those of older versions up to date. Idempotent."""
        metadata.create_all(self.engine)
        for table in (clean_files, replaced_files):
            _widen_key(self.engine, table)
        _make_indexes(self.engine)
        with self.engine.begin() as connection:
            if connection.execute(sa.select(changes.c.last)).first() is None:
                connection.execute(sa.insert(changes).values(last=0))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    def rows(self, query: sa.Executable) -> Sequence[RowMapping]:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return connection.execute(query).mappings().all()

    def row(self, query: sa.Executable) -> RowMapping | None:
        """The first."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return connection.execute(query).mappings().first()

    def last_change(self) -> int:
        found = self.row(sa.select(changes.c.last))
        return int(found["last"]) if found else 0

    def close(self) -> None:
        self.engine.dispose()


def next_change(connection: Connection) -> int:
    """Takes the next change number inside the caller's transaction."""
    connection.execute(sa.update(changes).values(last=changes.c.last + 1))
    return int(connection.execute(sa.select(changes.c.last)).scalar_one())


def hold_changes(connection: Connection) -> None:
    """Keeps every other writer of clean files waiting until the caller's transaction ends."""
    connection.execute(sa.update(changes).values(last=changes.c.last))


def profile_row(receipt: dict[str, Any]) -> dict[str, Any]:
    """The row of `delivery_profiles` that a receipt gives."""
    names = ("delivery", "provider", "dataset", "status", "delivered", "accepted", "refused", "duplicates")
    profile = receipt.get("profile")
    return {
        **{name: receipt[name] for name in names},
        "received_at": datetime.fromisoformat(receipt["received_at"]),
        "alarms": profile["alarms"] if profile else [],
        "profile": profile,
    }


def upsert(connection: Connection, table: sa.Table, values: dict[str, Any]) -> None:
    """Replaces the row with the same primary key, on any database."""
    keys = [column == values[column.name] for column in table.primary_key]
    connection.execute(sa.delete(table).where(*keys))
    connection.execute(sa.insert(table).values(**values))


def _widen_key(engine: Engine, table: sa.Table) -> None:
    """A table from before files could be shared takes no second delivery of a file: its rows go into a new one."""
    keys = sa.inspect(engine).get_pk_constraint(table.name)["constrained_columns"]
    if set(keys) == {column.name for column in table.primary_key}:
        return
    with engine.begin() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
        table.drop(connection)
        table.create(connection)
        if rows:
            connection.execute(sa.insert(table), rows)


def _make_indexes(engine: Engine) -> None:
    """Deliveries had one index by status, and fewer than they have, as had their profiles."""
    tables, inspector = (deliveries, delivery_profiles), sa.inspect(engine)
    known = {index["name"] for table in tables for index in inspector.get_indexes(table.name)}
    missing = [index for table in tables for index in table.indexes if index.name not in known]
    if not missing:
        return
    with engine.begin() as connection:
        for index in missing:
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
        # Covered by deliveries_of_status.
        connection.exec_driver_sql("DROP INDEX IF EXISTS deliveries_by_status")


def _engine(url: str) -> Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    # IMMEDIATE takes the write lock when a transaction begins: two writers wait for each other, where
    # the driver's default lets both begin and one fail half way.
    engine = sa.create_engine(parsed, connect_args={"timeout": 60})

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @sa.event.listens_for(engine, "begin")
    def _immediate(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
