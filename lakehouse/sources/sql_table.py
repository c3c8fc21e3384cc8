"""The connector for SQL databases: a table or a view as Parquet, whole or what is new of it."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, NoSuchTableError, OperationalError, SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from lakehouse.contracts.extract_stores import OTHER_DATABASES, OTHERS, READ_DATABASES, SqlInterval, SqlTable
from lakehouse.sources.page import Asked, Page, SourceError, Watermark
from lakehouse.sources.patience import Patience

_DRIVER = "postgresql+psycopg2"
_BATCH_ROWS = 5_000  # what is in memory at a time


class SqlConnector:
    """Rows of one table, each column by its name, in a read-only transaction.

    `full` and an interval are read in one transaction, so as of one moment. What is new is read page by page,
    each with a watermark: a page is asked for again after a lost connection, and so is the whole of a full read.
    """

    def __init__(
        self,
        *,
        arguments: SqlTable | SqlInterval,
        address: str,
        credential: str | None,
        columns: Sequence[str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`credential` is `user:password`; `columns` are the physical names of the columns that are wanted.

        Raises SourceError if `address` is not PostgreSQL's.
        """
        self._arguments = arguments
        self._columns = list(columns)
        self._engine, self._schema, self.address = _engine(arguments, address, credential)
        self._secrets = [part for part in (credential or "").split(":", 1) if part]
        self._patiently = Patience(
            attempts=arguments.attempts,
            max_requests_per_second=arguments.max_requests_per_second,
            passes=_passes,
            sleep=sleep,
        )

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield Parquet files of at most about `page_rows` rows. Raises SourceError."""
        try:
            found = self._patiently(self._reflect)
            order = self._order(found)
            self._patiently(lambda: self._refuse_nulls(found, order))
            if isinstance(self._arguments, SqlTable) and self._arguments.mode != "full":
                yield from self._new(found, order, asked)
            else:
                yield from self._patiently(lambda: list(self._whole(found, order, asked)))
        except (SQLAlchemyError, pa.ArrowException, ValueError) as error:
            self._give_up(error)
        finally:
            self._engine.dispose()

    def _reflect(self) -> sa.TableClause:
        """The table with the types that its columns have in the database."""
        with self._engine.connect() as connection:
            listed = sa.inspect(connection).get_columns(self._arguments.table, schema=self._schema)
        types = {column["name"]: column for column in listed}
        asked = [*self._columns, *self._arguments.key, *_time_column(self._arguments)]
        if missing := sorted({name for name in asked if name not in types}):
            raise SourceError(
                f"{self.address} has no column {', '.join(missing)}; it has {', '.join(types)}: correct physicalName "
                "or the extract in the contract, or ask the source why its table changed"
            )
        self._nullable = {name for name, column in types.items() if column["nullable"]}
        fields = [sa.column(name, types[name]["type"]) for name in dict.fromkeys(asked)]
        return sa.table(self._arguments.table, *fields, schema=self._schema)

    def _order(self, table: sa.TableClause) -> list[sa.ColumnClause[Any]]:
        by_change = isinstance(self._arguments, SqlTable) and self._arguments.changed_at
        names = [by_change, *self._arguments.key] if by_change else self._arguments.key
        order = [table.c[name] for name in names]
        if isinstance(self._arguments, SqlTable) and self._arguments.mode != "full":
            for column in order:
                if isinstance(column.type, sa.LargeBinary | sa.ARRAY):
                    raise SourceError(
                        f"{self.address}: column {column.name} is of type {column.type}, which no watermark can hold: "
                        "name a key of numbers, texts or times, or read the table with mode: full"
                    )
        return order

    def _refuse_nulls(self, table: sa.TableClause, order: list[sa.ColumnClause[Any]]) -> None:
        """A row without the value that says when it is due would never be read."""
        due = [table.c[name] for name in _time_column(self._arguments)]
        if isinstance(self._arguments, SqlTable):
            due = [] if self._arguments.mode == "full" else order
        with self._engine.connect() as connection:
            for column in due:
                if column.name not in self._nullable:
                    continue
                query = sa.select(sa.literal(1)).select_from(table).where(column.is_(None)).limit(1)
                if connection.execute(query).first():
                    raise SourceError(
                        f"{self.address}: column {column.name} has rows without a value, which would never be read: "
                        "have the source fill it, or read the table with mode: full"
                    )

    def _whole(self, table: sa.TableClause, order: list[sa.ColumnClause[Any]], asked: Asked) -> Iterator[Page]:
        query = self._select(table).order_by(*order)
        stem = _file_stem(self._arguments.table)
        if isinstance(self._arguments, SqlInterval):
            start, end = asked.start.astimezone(UTC), asked.end.astimezone(UTC)
            moment = table.c[self._arguments.time]
            query = query.where(moment >= start, moment < end).order_by(None).order_by(moment, *order)
            stem = f"{stem}_{start:%Y%m%dT%H%M%SZ}_{end:%Y%m%dT%H%M%SZ}"
        with self._engine.connect() as connection:
            batches = _batches(connection, query, self._arguments.page_rows)
            for number in count():
                name = f"{stem}_{number:06d}.parquet"
                page = self._page(table, batches, asked.folder / name)
                if page is None:
                    return
                yield page[0]

    def _new(self, table: sa.TableClause, order: list[sa.ColumnClause[Any]], asked: Asked) -> Iterator[Page]:
        watermark = asked.watermark
        limits = self._patiently(lambda: self._settled(order))
        while page := self._patiently(partial(self._next_page, table, order, limits, watermark, asked.folder)):
            watermark = page.watermark
            yield page

    def _settled(self, order: list[sa.ColumnClause[Any]]) -> list[ColumnElement[bool]]:
        """Only changes old enough that no older one is still being committed beside them."""
        if not isinstance(self._arguments, SqlTable) or self._arguments.mode != "by_change_time":
            return []
        changed = order[0]
        if not isinstance(changed.type, sa.DateTime | sa.Date):
            raise SourceError(
                f"{self.address}: column {changed.name} is of type {changed.type} and no time of change: name a column "
                "of timestamps or dates as changed_at"
            )
        with self._engine.connect() as connection:
            now: datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
            ahead = sa.select(sa.literal(1)).where(changed > now + timedelta(days=1)).limit(1)
            if connection.execute(ahead).first():
                raise SourceError(
                    f"{self.address}: column {changed.name} has rows that are to change in the future, which would not "
                    "be read before: have the source correct it, or read the table with mode: full"
                )
        settled = now - timedelta(seconds=self._arguments.lag_seconds)
        if isinstance(changed.type, sa.Date):
            # What changes later on a day has its date, too. By noon in UTC the day before is over everywhere.
            return [changed < (settled - timedelta(hours=12)).date()]
        return [changed <= settled]

    def _next_page(
        self,
        table: sa.TableClause,
        order: list[sa.ColumnClause[Any]],
        limits: list[ColumnElement[bool]],
        watermark: Watermark | None,
        folder: Path,
    ) -> Page | None:
        """The page behind the watermark, which holds the last row's values of `order` as text."""
        after = [] if watermark is None else [_behind(order, list(watermark["after"]))]
        place = "start" if watermark is None else hashlib.sha256(repr(watermark["after"]).encode()).hexdigest()[:12]
        name = f"{_file_stem(self._arguments.table)}_after_{place}.parquet"
        query = self._select(table, *order).where(*limits, *after).order_by(*order).limit(self._arguments.page_rows)
        with self._engine.connect() as connection:
            batches = _batches(connection, query, self._arguments.page_rows)
            found = self._page(table, batches, folder / name)
        if found is None:
            return None
        page, last = found
        return replace(page, watermark={"after": [_text(value) for value in last[len(self._columns) :]]})

    def _select(self, table: sa.TableClause, *extra: sa.ColumnClause[Any]) -> sa.Select[Any]:
        wanted = [_selected(table.c[name]) for name in self._columns]
        return sa.select(*wanted, *(column.label(f"order_{n}") for n, column in enumerate(extra)))

    def _page(self, table: sa.TableClause, batches: Iterator[Any], path: Path) -> tuple[Page, Any] | None:
        """A page of the next batches, and its last row; None when there are no more."""
        schema = pa.schema([(name, _arrow_type(table.c[name].type)) for name in self._columns])
        first = next(batches, None)
        if first is None:
            return None
        rows, last, batch = 0, None, first
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            while batch is not None:
                writer.write_batch(_record_batch(batch, schema))
                rows, last = rows + len(batch), batch[-1]
                batch = next(batches, None) if rows < self._arguments.page_rows else None
        return Page(name=path.name, path=path, rows=rows, url=self.address, fetched_at=datetime.now(UTC)), last

    def _give_up(self, error: Exception) -> NoReturn:
        """Say what came of the last attempt, without the statement's values and without the credential."""
        if isinstance(error, NoSuchTableError):
            raise SourceError(
                f"{self.address}: there is no such table, or its reader may not see it: check `table` in the "
                "contract's extract and `schema` of its server"
            ) from None
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        text = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        for secret in self._secrets:
            text = text.replace(secret, "***")
        step = "check the server in the contract and the network, or run the extract again later"
        if _is_refusal(text):
            step = "set EXCHANGE_CREDENTIAL_<PROVIDER> to user:password of a user that may read the table"
        elif not isinstance(error, DBAPIError):
            step = "a value does not fit its column's type: have the source correct it, or read it by a view"
        elif "timeout" in text:
            step = "index the columns that order the rows, lower page_rows or raise statement_timeout_seconds"
        raise SourceError(f"{self.address} could not be read ({type(cause).__name__}): {text}; {step}") from None


def _engine(
    arguments: SqlTable | SqlInterval, address: str, credential: str | None
) -> tuple[sa.Engine, str | None, str]:
    """An engine whose transactions are read-only and see one moment, the schema, and a name for messages."""
    kind = address.partition("://")[0]
    if kind in OTHER_DATABASES:
        raise SourceError(f"{address.partition('?')[0]} is a server of type {kind}; {OTHERS}")
    if kind not in READ_DATABASES:
        raise SourceError(
            f"{address!r} is no database's address: state a server of type postgresql with host, port, database and "
            "schema in the contract, and set EXCHANGE_EXTRACTS=live"
        )
    try:
        url = sa.make_url(_DRIVER + address.removeprefix(kind))
    except (ValueError, SQLAlchemyError):
        raise SourceError(f"{address.rpartition('@')[2]!r} is no database's address: correct the server") from None
    schema = str(url.query["schema"]) if "schema" in url.query else None
    shown = f"{url.set(query={}).set(drivername=kind).render_as_string()}#{schema or ''}.{arguments.table}"
    if credential:
        user, _, password = credential.partition(":")
        url = url.set(username=user, password=password)
    patience = round(arguments.statement_timeout_seconds * 1000)
    engine = sa.create_engine(
        url.set(query={}),
        poolclass=sa.NullPool,
        hide_parameters=True,
        isolation_level="REPEATABLE READ",
        connect_args={
            "options": f"-c timezone=UTC -c statement_timeout={patience}",
            "connect_timeout": max(2, round(arguments.timeout_seconds)),
            "sslmode": arguments.tls,
        },
    )
    return engine.execution_options(postgresql_readonly=True), schema, shown


def _time_column(arguments: SqlTable | SqlInterval) -> list[str]:
    name = arguments.time if isinstance(arguments, SqlInterval) else arguments.changed_at
    return [name] if name else []


def _passes(error: BaseException) -> bool:
    """True for a lost connection; not for a wrong password, nor for a statement that took too long."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    text = str(error.orig)
    return not _is_refusal(text) and "statement timeout" not in text


def _is_refusal(text: str) -> bool:
    return any(word in text for word in ("authentication failed", "no password supplied", "permission denied"))


def _batches(connection: sa.Connection, query: sa.Select[Any], page_rows: int) -> Iterator[Any]:
    """Rows by a cursor of the server's, a batch in memory at a time."""
    size = min(_BATCH_ROWS, page_rows)
    return iter(connection.execute(query, execution_options={"yield_per": size}).partitions())


def _record_batch(rows: Sequence[Any], schema: Any) -> Any:
    values = zip(*rows, strict=True)  # the values that only order the rows come last and are left out
    arrays = []
    for field, column in zip(schema, values, strict=False):
        try:
            arrays.append(pa.array(column, type=field.type))
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise ValueError(f"column {field.name}: {type(error).__name__} as {field.type}") from None
    return pa.record_batch(arrays, schema=schema)


def _behind(order: Sequence[sa.ColumnClause[Any]], after: Sequence[str]) -> ColumnElement[bool]:
    """Rows that come after these values: by the first column, where it ties by the next."""
    column, value = order[0], sa.cast(sa.literal(after[0], sa.String), order[0].type)
    if len(order) == 1:
        return column > value
    # The first condition says nothing new; by it an index on the first column is used.
    return sa.and_(column >= value, sa.or_(column > value, _behind(order[1:], after[1:])))


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _arrow_type(kind: sa.types.TypeEngine[Any]) -> Any:
    """The Arrow type of a column; text for what Arrow has no type of, which the database then writes out."""
    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.Integer):
        return pa.int64()
    if isinstance(kind, sa.Float):
        return pa.float64()
    if isinstance(kind, sa.Numeric) and kind.precision is not None and kind.precision <= 38:
        scale = kind.scale or 0
        return pa.decimal128(kind.precision, scale) if 0 <= scale <= kind.precision else pa.string()
    if isinstance(kind, sa.DateTime):
        return pa.timestamp("us", tz="UTC" if kind.timezone else None)
    if isinstance(kind, sa.Date):
        return pa.date32()
    return pa.string()


def _selected(column: sa.ColumnClause[Any]) -> ColumnElement[Any]:
    is_text = isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum)
    return column if is_text or _arrow_type(column.type) != pa.string() else sa.cast(column, sa.Text)


def _file_stem(table: str) -> str:
    """The table's name, safe as a file name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", table)
