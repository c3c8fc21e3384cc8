"""The SQL connector against a real PostgreSQL."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from lakehouse.contracts.extract_stores import SqlInterval, SqlTable
from lakehouse.sources.connector import Page, SourceError
from lakehouse.sources.sql_table import SqlConnector
from tests.asking import asked
from tests.postgres.server import PostgresServer

pytestmark = pytest.mark.integration

DAY = datetime(2024, 10, 1, tzinfo=UTC)
COLUMNS = ["meter", "Read At", "use_kwh"]
CHANGES: dict[str, Any] = {"mode": "by_change_time", "changed_at": "changed_at", "lag_seconds": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def database(server: PostgresServer) -> Iterator[sa.Engine]:
    """A table of 10 readings with a key, a time and a time of change; a word of SQL in a name must do no harm."""
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(
            sa.text(
                """
                DROP SCHEMA IF EXISTS "out; side" CASCADE; CREATE SCHEMA "out; side";
                CREATE TABLE "out; side"."order" (
                    id bigint PRIMARY KEY, meter text, "Read At" timestamptz, use_kwh numeric(9, 3), secret text,
                    changed_at timestamptz NOT NULL
                );
                INSERT INTO "out; side"."order"
                SELECT n, 'm' || n % 3, timestamptz '2024-10-01 00:00+02' + n * interval '1 hour', n / 8.0, 'hidden',
                       timestamptz '2024-11-01Z' + (n / 5) * interval '1 second'
                FROM generate_series(1, 10) AS n
                """
            )
        )
    yield engine
    engine.dispose()


def connector(
    server: PostgresServer,
    *,
    columns: list[str] = COLUMNS,
    credential: str | None = None,
    sleeps: list[float] | None = None,
    sleep: Any = None,
    **change: Any,
) -> SqlConnector:
    given = {"table": "order", "key": ("id",), "attempts": 3, **change}
    extract = (
        SqlInterval(connector="sql_interval", **given)
        if "time" in given
        else SqlTable(connector="sql_table", **{"mode": "full", **given})
    )
    return SqlConnector(
        arguments=extract,
        address=f"{server.address}?schema=out%3B%20side",
        credential=credential or server.credential,
        columns=columns,
        sleep=sleep or (sleeps if sleeps is not None else []).append,
    )


def run(database: sa.Engine, statement: str, **values: Any) -> None:
    with database.connect() as connection:
        connection.execute(sa.text(statement), values)


def ids(pages: list[Page], column: str = "id") -> list[Any]:
    return [value for page in pages for value in pq.read_table(page.path)[column].to_pylist()]


def ask(source: SqlConnector, watermark: Any = None) -> list[Page]:
    return list(source.pages(asked(DAY, DAY + timedelta(days=1), watermark)))


def test_a_full_read_is_the_whole_table_typed_and_of_the_named_columns_only(
    server: PostgresServer, database: sa.Engine
) -> None:
    pages = ask(connector(server, page_rows=4))
    assert [page.rows for page in pages] == [4, 4, 2]
    assert all(page.watermark is None for page in pages)
    table = pq.read_table(pages[0].path)
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("meter", "string"), ("Read At", "timestamp[us, tz=UTC]"), ("use_kwh", "decimal128(9, 3)"),
    ]  # fmt: skip
    assert table.to_pylist()[0] == {
        "meter": "m1",
        "Read At": datetime(2024, 9, 30, 23, tzinfo=UTC),
        "use_kwh": Decimal("0.125"),
    }
    again = ask(connector(server, page_rows=4))
    assert [(p.name, p.path.read_bytes()) for p in again] == [(p.name, p.path.read_bytes()) for p in pages]


@pytest.mark.parametrize("change", [{"mode": "by_key"}, CHANGES], ids=["by key", "by change time"])
def test_only_what_is_new_comes_and_ties_across_pages_are_read_once(
    server: PostgresServer, database: sa.Engine, change: dict[str, Any]
) -> None:
    source = connector(server, columns=["id"], page_rows=3, **change)
    first = ask(source)
    assert ids(first) == list(range(1, 11))
    assert [page.rows for page in first] == [3, 3, 3, 1]
    assert ask(source, first[-1].watermark) == []
    assert ids(ask(source, first[1].watermark)) == [7, 8, 9, 10]
    run(database, """INSERT INTO "out; side"."order" (id, changed_at) VALUES (11, '2024-11-01 00:00:02Z')""")
    [page] = ask(source, first[-1].watermark)
    assert ids([page]) == [11]
    assert page.name == ask(source, first[-1].watermark)[0].name


def test_a_changed_row_comes_again_by_its_change_time(server: PostgresServer, database: sa.Engine) -> None:
    source = connector(server, columns=["id"], **CHANGES)
    [page] = ask(source)
    run(database, """UPDATE "out; side"."order" SET changed_at = '2024-11-02Z' WHERE id = 4""")
    assert ids(ask(source, page.watermark)) == [4]


def test_a_change_that_is_too_young_waits_so_that_one_committed_late_is_not_missed(
    server: PostgresServer, database: sa.Engine
) -> None:
    run(database, """UPDATE "out; side"."order" SET changed_at = now() WHERE id = 4""")
    source = connector(server, columns=["id"], **CHANGES | {"lag_seconds": 3600})
    assert 4 not in ids(ask(source))
    assert ids(ask(connector(server, columns=["id"], **CHANGES)))[-1] == 4


def test_of_a_day_of_changes_nothing_is_read_before_it_is_over_everywhere(
    server: PostgresServer, database: sa.Engine
) -> None:
    run(
        database,
        """
        CREATE VIEW "out; side".days AS SELECT id, CASE id WHEN 4 THEN current_date WHEN 5 THEN current_date - 1
        ELSE DATE '2024-11-01' END AS changed_at FROM "out; side"."order"
        """,
    )
    change = CHANGES | {"table": "days", "lag_seconds": 86_400}
    assert ids(ask(connector(server, columns=["id"], **change))) == [1, 2, 3, 6, 7, 8, 9, 10]


def test_an_interval_has_its_start_and_not_its_end(server: PostgresServer, database: sa.Engine) -> None:
    source = connector(server, columns=["id"], time="Read At", page_rows=4)
    first = list(source.pages(asked(DAY - timedelta(hours=9), DAY)))
    assert ids(first) == [1]
    assert first[0].name == "order_20240930T150000Z_20241001T000000Z_000000.parquet"
    assert ids(list(source.pages(asked(DAY, DAY + timedelta(hours=5))))) == [2, 3, 4, 5, 6]


def test_a_text_key_a_view_and_types_without_an_arrow_type_come_as_text(
    server: PostgresServer, database: sa.Engine
) -> None:
    run(
        database,
        """
        CREATE VIEW "out; side".odd AS
        SELECT md5(id::text)::uuid AS id, 1.50 AS exact, true AS flag, 0.1::float8 AS loose, date '2024-01-02' AS day,
               jsonb_build_object('a', id) AS "doc%s", timestamp '2024-01-02 03:04' AS local,
               12345::numeric(5, -2) AS coarse
        FROM "out; side"."order"
        """,
    )
    columns = ["id", "exact", "flag", "loose", "day", "doc%s", "local", "coarse"]
    source = connector(server, table="odd", mode="by_key", columns=columns, page_rows=4)
    pages = ask(source)
    assert len(set(ids(pages))) == 10
    row = pq.read_table(pages[0].path).to_pylist()[0]
    assert (row["exact"], row["flag"], row["loose"], str(row["day"])) == ("1.50", True, 0.1, "2024-01-02")
    assert row["doc%s"].startswith('{"a": ')
    assert (row["local"], row["coarse"]) == (datetime(2024, 1, 2, 3, 4), "12300")


def test_a_server_that_is_away_is_asked_again_and_the_pages_go_on_where_they_were(
    server: PostgresServer, database: sa.Engine
) -> None:
    sleeps: list[float] = []

    def restart(seconds: float) -> None:
        sleeps.append(seconds)
        server.start()

    source = connector(server, columns=["id"], mode="by_key", page_rows=4, sleep=restart)
    pages = source.pages(asked(DAY, DAY))
    first = next(pages)
    server.stop()
    assert ids([first, *pages]) == list(range(1, 11))
    assert len(sleeps) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"credential": "reader:wrong-pw"}, r"password authentication failed.*\*\*\*.*EXCHANGE_CREDENTIAL"),
        ({"table": "orders"}, r"postgresql://127.0.0.1:\d+/town#out; side.orders.*no such table.*check `table`"),
        ({"columns": ["id", "meters"]}, r"has no column meters; it has .*meter.*physicalName"),
        ({"statement_timeout_seconds": 0.05, "table": "slow"}, r"statement timeout.*lower page_rows"),
        ({"mode": "by_key", "key": ("meter",), "table": "gaps"}, "column meter has rows without a value"),
        (CHANGES | {"table": "gaps"}, "changed_at has rows that are to change in the future"),
        (CHANGES | {"changed_at": "secret"}, "secret is of type TEXT and no time of change"),
        ({"mode": "by_key", "key": ("hash",), "table": "odd"}, "hash is of type BYTEA, which no watermark can hold"),
        (CHANGES | {"key": ("id", "tags"), "table": "odd"}, "tags is of type .*, which no watermark can hold"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_where_what_and_the_next_step(
    server: PostgresServer, database: sa.Engine, change: dict[str, Any], says: str
) -> None:
    run(
        database,
        """
        CREATE VIEW "out; side".slow AS SELECT pg_sleep(1)::text AS meter, id, "Read At", use_kwh FROM "out; side"."order";
        CREATE TABLE "out; side".gaps AS SELECT * FROM "out; side"."order";
        UPDATE "out; side".gaps SET meter = NULL, changed_at = '2999-01-01' WHERE id = 3;
        CREATE TABLE "out; side".odd AS SELECT *, meter::bytea AS hash, ARRAY[meter] AS tags FROM "out; side"."order"
        """,
    )
    sleeps: list[float] = []
    with pytest.raises(SourceError, match=says) as refused:
        ask(connector(server, sleeps=sleeps, **change))
    assert sleeps == []
    assert not {"wrong-pw", server.password} & set(str(refused.value).replace(":", " ").split())


def test_nobody_who_answers_is_named_after_the_stated_attempts(server: PostgresServer) -> None:
    extract = SqlTable(connector="sql_table", table="t", key=("id",), mode="full", attempts=3)
    sleeps: list[float] = []
    source = SqlConnector(
        arguments=extract,
        address="postgresql://127.0.0.1:9/town",
        credential="me:hush",
        columns=[],
        sleep=sleeps.append,
    )
    with pytest.raises(SourceError, match=r"127.0.0.1:9/town.*refused.*the network") as refused:
        ask(source)
    assert len(sleeps) == 2
    assert "hush" not in str(refused.value)


def test_a_large_table_passes_through_little_memory(
    server: PostgresServer, database: sa.Engine, tmp_path: Path
) -> None:
    run(
        database,
        """CREATE TABLE "out; side".wide AS SELECT id, repeat(md5(id::text), 8) AS t FROM generate_series(1, 60000) id""",
    )
    source = connector(server, table="wide", columns=["id", "t"], page_rows=60_000)
    tracemalloc.start()
    [page] = source.pages(asked(DAY, DAY, folder=tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert page.rows == 60_000
    assert peak < 10 << 20  # the text alone is 15 MiB


def test_reading_leaves_the_database_as_it_was(server: PostgresServer, database: sa.Engine) -> None:
    run(
        database,
        """
        CREATE FUNCTION "out; side".write() RETURNS bigint LANGUAGE sql AS
        'INSERT INTO "out; side"."order" (id, changed_at) VALUES (99, now()) RETURNING id';
        CREATE VIEW "out; side".writes AS SELECT "out; side".write() AS id
        """,
    )
    with pytest.raises(SourceError, match="read-only transaction"):
        ask(connector(server, table="writes", columns=["id"]))


def test_no_more_requests_a_second_than_the_contract_sets(server: PostgresServer, database: sa.Engine) -> None:
    sleeps: list[float] = []
    ask(connector(server, sleeps=sleeps, max_requests_per_second=0.1))
    assert sleeps
    assert all(9 < pause <= 10 for pause in sleeps)
