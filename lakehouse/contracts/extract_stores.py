"""Arguments of the connectors that read a store of somebody else's: a database, an SFTP folder, a bucket."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from lakehouse.contracts.extract_base import Extract

# Other databases differ in what a read sees, in time zones and in how rows are streamed: no server was there to try.
READ_DATABASES = ("postgresql", "postgres")
OTHER_DATABASES = ("mysql", "sqlserver")
OTHERS = (
    "of databases only PostgreSQL is read: have the table replicated into one, or its rows delivered as Parquet or csv"
)


class Store(Extract):
    """What the connectors of stores have in common."""

    max_requests_per_second: PositiveFloat | None = Field(default=None, description="no pause when absent")
    timeout_seconds: PositiveFloat = 30
    attempts: PositiveInt = Field(default=5, description="times that one page is asked for before giving up")

    @model_validator(mode="after")
    def _windows_cut_an_interval(self) -> Self:
        if self.window_days is not None and not self.by_interval:
            raise ValueError("window_days cuts an interval; this connector reads what is new and has none: take it out")
        return self


class SqlRead(Store):
    """A table or a view, of which the contract's columns are read by their physical names.

    Deliveries come as Parquet. `key`: physical names of the columns that tell rows apart; they order the rows.
    The schema is that of the contract's server.
    """

    server_types: ClassVar[tuple[str, ...]] = READ_DATABASES

    table: str = Field(min_length=1)
    key: tuple[str, ...] = Field(min_length=1)
    page_rows: PositiveInt = Field(default=100_000, description="rows a delivery")
    statement_timeout_seconds: PositiveFloat = 600
    tls: Literal["prefer", "require", "verify-full"] = Field(default="prefer", description="PostgreSQL's sslmode")


class SqlTable(SqlRead):
    """`full`: all rows each time, as of one moment. `by_key`: rows whose key is greater than the last one read, for
    tables that only grow. `by_change_time`: rows that changed after the last one read; those younger than
    `lag_seconds` are left for the next time, since an older change may still be committed beside them."""

    connector: Literal["sql_table"]
    mode: Literal["full", "by_key", "by_change_time"]
    changed_at: str | None = None
    lag_seconds: NonNegativeFloat = 300

    @property
    def by_interval(self) -> bool:
        return False

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if (self.mode == "by_change_time") != (self.changed_at is not None):
            raise ValueError("changed_at names the column of mode by_change_time, and of no other mode")
        return self


class SqlInterval(SqlRead):
    """Rows whose `time` lies in the data interval, its start included and its end excluded."""

    connector: Literal["sql_interval"]
    time: str


class Files(Store):
    """Whole files whose name fits `pattern`; each version of a file is read once."""

    pattern: str = Field(default="*", description="of the name, with * and ?")

    @property
    def by_interval(self) -> bool:
        return False


class Sftp(Files):
    """Files of one folder on an SFTP server, those below it not.

    A file is read once nothing has written to it for `settle_seconds`. `host_key`: the server's public key, as
    `ssh-ed25519 AAAA…`; without it the credential brings `known_hosts`.
    """

    connector: Literal["sftp"]
    server_types: ClassVar[tuple[str, ...]] = ("sftp",)
    settle_seconds: NonNegativeFloat = 60
    host_key: Annotated[str, Field(pattern=r"^(ssh|ecdsa|sk)-\S+ \S+")] | None = None


class S3Bucket(Files):
    """Objects below a prefix of a bucket.

    `growing_keys`: new keys always sort after the old ones and objects never change, as where keys begin with a
    date; only what comes after the last key is then listed.
    """

    connector: Literal["s3_bucket"]
    server_types: ClassVar[tuple[str, ...]] = ("s3",)
    region: str = "us-east-1"
    requester_pays: bool = False
    growing_keys: bool = False
