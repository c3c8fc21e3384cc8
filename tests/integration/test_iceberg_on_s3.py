"""Iceberg tables and their doors with the lake in a real S3 store: the same rows, and files that nobody copied."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.table import StaticTable

from lakehouse.sharing.app import create_app
from lakehouse.sharing.iceberg_register import register_releases, tags
from tests.doors_server import served
from tests.mini_exchange import COUNTS, FIRST_DAY, ROADS, SENSORS, TRAFFIC, Mini, traffic
from tests.object_store.server import ObjectServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def on_s3(object_server: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mini]:
    """Two releases of one mart of two days."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment.items():
            patch.setenv(name, value)
        root = tmp_path_factory.mktemp("iceberg-s3")
        mini = Mini.make(root, lake=f"s3://i{uuid.uuid4().hex[:10]}", endpoint=object_server.endpoint)
        mini.deliver(SENSORS, "sensors.csv", ["sensor_id,road", *(f"{s},{road}" for s, road in ROADS.items())])
        for day in (FIRST_DAY, date(2024, 10, 2)):
            mini.deliver(COUNTS, f"{day}.csv", traffic(day))
        mini.build([TRAFFIC])
        mini.release()
        mini.deliver(COUNTS, "late.csv", traffic(FIRST_DAY, more=1))
        mini.build([TRAFFIC])
        mini.release()
        yield mini


def total(frame: pl.DataFrame) -> tuple[int, int]:
    return len(frame), int(frame["vehicles"].sum())


def test_the_lakes_own_metadata_and_the_doors_show_the_same_rows(on_s3: Mini) -> None:
    with on_s3.exchange.duckdb() as connection:
        prefix = on_s3.latest(TRAFFIC).prefix
        place = on_s3.exchange.lake.duckdb_url("marts", prefix)
        truth = connection.execute(
            f"SELECT count(*), sum(vehicles) FROM read_parquet('{place}/*/*.parquet')"
        ).fetchone()
    assert truth is not None
    [found] = register_releases(on_s3.exchange, mart=TRAFFIC)
    assert found.metadata is not None
    assert len(found.added) == 2
    direct = StaticTable.from_metadata(found.metadata, properties=on_s3.exchange.lake.pyiceberg_properties())
    assert {task.file.file_path.partition("/releases/")[0] for task in direct.scan().plan_files()} == {
        on_s3.exchange.lake.duckdb_url("marts", f"{TRAFFIC}/v1")
    }
    assert total(pl.from_arrow(direct.scan().to_arrow())) == tuple(map(int, truth))  # type: ignore[arg-type]
    with served(create_app(on_s3.exchange)) as address:
        table = load_catalog("doors", type="rest", uri=f"{address}/iceberg").load_table(f"marts.{TRAFFIC}_v1")
        assert total(pl.from_arrow(table.scan().to_arrow())) == tuple(map(int, truth))  # type: ignore[arg-type]
        first, second = sorted(tags(table))
        before = table.scan(snapshot_id=tags(table)[first]).to_arrow()
        after = table.scan(snapshot_id=tags(table)[second]).to_arrow()
    assert before.num_rows == after.num_rows == 96
    assert not before.sort_by([("road", "ascending"), ("hour_utc", "ascending")]).equals(
        after.sort_by([("road", "ascending"), ("hour_utc", "ascending")])
    )


def test_no_credential_of_the_store_is_in_what_was_written(on_s3: Mini, object_server: ObjectServer) -> None:
    register_releases(on_s3.exchange, mart=TRAFFIC)
    secret = object_server.environment["AWS_SECRET_ACCESS_KEY"].encode()
    lake = on_s3.exchange.lake
    written = [lake.read_bytes("iceberg", entry.key) for entry in lake.list("iceberg")]
    written += [Path(path).read_bytes() for path in (on_s3.root / "home").glob("exchange.db*")]
    assert len(written) > 4
    assert not any(secret in content for content in written)
