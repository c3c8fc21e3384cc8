"""The Parquet of a candidate, as any reader finds it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from lakehouse.build import export as export_module
from lakehouse.build.export import ROW_GROUP, Exported, export, partition_condition
from lakehouse.contracts.mart import Mart, read_mart
from tests.mini_exchange import PROJECT, TRAFFIC, WATER

MARTS = PROJECT / "dbt_project" / "models" / "marts"


@pytest.fixture
def mart() -> Mart:
    return read_mart(MARTS / f"{TRAFFIC}.yml")


def table(connection: duckdb.DuckDBPyConnection, rows: int, *, order: str) -> None:
    """`marts.traffic_by_road_hour` with that many rows on October 7th and three on the 8th, in any order."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE SCHEMA marts")
    connection.execute(
        f"""
        CREATE TABLE marts.{TRAFFIC} AS
        SELECT 'road ' || number % 1000 AS road,
               TIMESTAMPTZ '2024-10-07 00:00:00+00' + to_hours((number // 1000 % 24)::INT)
                   + CASE WHEN number < {rows} THEN INTERVAL 0 DAY ELSE INTERVAL 1 DAY END AS hour_utc,
               number // 24000 AS sensors, number AS vehicles, (number % 977 / 7)::DECIMAL(9, 2) AS vehicles_mean
        FROM range({rows} + 3) AS numbers(number) ORDER BY {order}
        """
    )


def exported(mart: Mart, folder: Path, *, rows: int, threads: int = 2, order: str = "1, 2") -> list[Exported]:
    with duckdb.connect(config={"threads": threads}) as connection:
        table(connection, rows, order=order)
        return list(
            export(
                connection=connection, mart=mart, partitions=["2024-10-06", "2024-10-07", "2024-10-08"], folder=folder
            )
        )


def test_each_partition_with_rows_is_a_file(mart: Mart, tmp_path: Path) -> None:
    files = exported(mart, tmp_path, rows=5000)
    assert [(file.partition, file.rows) for file in files] == [("2024-10-07", 5000), ("2024-10-08", 3)]
    assert [str(file.path.relative_to(tmp_path)) for file in files] == [
        "day=2024-10-07/part-0.parquet",
        "day=2024-10-08/part-0.parquet",
    ]
    assert not (tmp_path / "day=2024-10-06").exists()
    assert [file.bytes for file in files] == [file.path.stat().st_size for file in files]


def test_each_field_says_what_it_is_and_in_which_unit(mart: Mart, tmp_path: Path) -> None:
    schema = pq.read_schema(exported(mart, tmp_path, rows=10)[0].path)
    assert [schema.field(c.name).metadata[b"description"].decode() for c in mart.columns] == [
        c.description for c in mart.columns
    ]
    assert schema.field("vehicles").metadata[b"unit"] == b"vehicles"
    assert b"unit" not in schema.field("road").metadata
    about = json.loads(schema.metadata[b"exchange"])
    assert (about["title"], about["licence"]) == ("Traffic by road", "CC-BY-4.0")


@pytest.mark.parametrize("rows", [2999, 3000, 3001, 6500])
def test_the_same_rows_give_the_same_bytes_on_any_number_of_threads_and_in_any_order(
    mart: Mart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    # Not a multiple of the 2,048 rows that the engine hands out at a time.
    monkeypatch.setattr(export_module, "ROW_GROUP", 3000)
    hashes = {
        tuple(file.sha256 for file in exported(mart, tmp_path / f"{threads}", rows=rows, threads=threads, order=order))
        for threads, order in ((1, "1, 2"), (2, "hash(number)"), (4, "number DESC"), (8, "hash(number + 1)"))
    }
    assert len(hashes) == 1
    footer = pq.read_metadata(tmp_path / "1" / "day=2024-10-07" / "part-0.parquet")
    groups = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    assert groups == [3000] * (rows // 3000) + [rows % 3000] * bool(rows % 3000)


def test_large_partitions_are_written_alike_too(mart: Mart, tmp_path: Path) -> None:
    rows = 2 * ROW_GROUP + 500
    one = exported(mart, tmp_path / "1", rows=rows, threads=1)
    four = exported(mart, tmp_path / "4", rows=rows, threads=4, order="hash(number)")
    assert [file.sha256 for file in one] == [file.sha256 for file in four]


def test_what_else_a_build_holds_does_not_change_a_partition(mart: Mart, tmp_path: Path) -> None:
    small, large = exported(mart, tmp_path / "s", rows=1000), exported(mart, tmp_path / "l", rows=5000)
    eighth = [file for file in (*small, *large) if file.partition == "2024-10-08"]
    assert [file.rows for file in eighth] == [3, 3]
    # Rows that differ, so this can fail.
    assert small[0].sha256 != large[0].sha256


@pytest.mark.parametrize(
    ("grain", "data_type", "partition", "inside", "outside"),
    [
        ("day", "timestamp with time zone", "2024-10-31", "2024-10-31 23:59:59.999999+00", "2024-11-01 00:00:00+00"),
        ("month", "timestamp", "2024-10", "2024-10-01 00:00:00", "2024-09-30 23:59:59.999999"),
        ("month", "date", "2024-02", "2024-02-29", "2024-03-01"),
        ("year", "date", "2024", "2024-12-31", "2025-01-01"),
        ("year", "bigint", "2024", "2024", "2025"),
    ],
)
def test_a_row_is_in_the_partition_of_its_moment(
    mart: Mart, grain: str, data_type: str, partition: str, inside: str, outside: str
) -> None:
    columns = tuple(c.model_copy(update={"data_type": data_type}) if c.name == "hour_utc" else c for c in mart.columns)
    spec = mart.exchange.partition.model_copy(update={"grain": grain})
    changed = Mart(
        name=mart.name,
        description="",
        exchange=mart.exchange.model_copy(update={"partition": spec}),
        columns=columns,
        path=mart.path,
    )
    condition = partition_condition(changed, partition)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(
            f"SELECT {condition} FROM (VALUES ('{inside}'::{data_type}), ('{outside}'::{data_type})) AS t(hour_utc)"
        ).fetchall()
    assert found == [(True,), (False,)]


def test_the_private_mart_is_written_alike(tmp_path: Path) -> None:
    water = read_mart(MARTS / f"{WATER}.yml")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA marts")
        connection.execute(
            f"CREATE TABLE marts.{WATER} AS SELECT 'north' AS area, 'day' AS period_grain, "
            f"?::TIMESTAMPTZ AS period_start_utc, 24 AS period_hours, 6 AS households, 600 AS water_use_l",
            [datetime(2024, 10, 1, tzinfo=UTC)],
        )
        [file] = export(connection=connection, mart=water, partitions=["2024-10"], folder=tmp_path)
    assert file.path == tmp_path / "month=2024-10" / "part-0.parquet"
