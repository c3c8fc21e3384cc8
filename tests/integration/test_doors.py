"""The doors over a real object store, and Spark over what they give: every client reads the same rows."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import pandas as pd
import polars as pl
import pytest

import lakehouse
from lakehouse.exchange import Exchange
from lakehouse.release.fetch import fetch
from lakehouse.sharing.app import create_app
from lakehouse.sharing.meter import usage_statement
from lakehouse.storage.s3 import _httpfs
from tests.checkers import checker
from tests.doors_server import served
from tests.mini_exchange import TRAFFIC, Mini
from tests.object_store.server import ObjectServer
from tests.unit.sharing.conftest import checksum

pytestmark = pytest.mark.integration

MART = f"/marts/{TRAFFIC}/v1"


@pytest.fixture(scope="module")
def mini(object_server: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mini]:
    """Three days of traffic, released in a lake in S3."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment.items():
            patch.setenv(name, value)
        where = {"lake": f"s3://d{uuid.uuid4().hex[:12]}", "endpoint": object_server.endpoint}
        mini = Mini.make(tmp_path_factory.mktemp("doors") / "exchange", **where)
        mini.fill(days=3)
        mini.build([TRAFFIC])
        mini.release()
        yield mini


@pytest.fixture(scope="module")
def truth(mini: Mini) -> tuple[int, str]:
    manifest, lake = mini.latest(TRAFFIC), mini.exchange.lake
    content = [lake.read_bytes("marts", f"{manifest.prefix}/{file.path}") for file in manifest.files]
    found = checksum(pd.concat([pd.read_parquet(io.BytesIO(data)) for data in content]))
    assert found[0] == manifest.rows == 144
    return found


def by_every_client(address: str) -> dict[str, tuple[int, str]]:
    urls = httpx.get(f"{address}{MART}/latest/files.txt").text.split()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.load_extension(str(_httpfs()))
        by_duckdb = connection.read_parquet(urls, hive_partitioning=False).df()
    return {
        "duckdb": checksum(by_duckdb),
        "polars": checksum(pl.scan_parquet(urls).collect().to_pandas()),
        "pandas": checksum(pd.concat([pd.read_parquet(url) for url in urls])),
        "csv": checksum(pd.read_csv(f"{address}{MART}/latest/rows.csv")),
    }


def test_every_client_reads_the_same_through_the_doors(mini: Mini, truth: tuple[int, str]) -> None:
    with served(create_app(mini.exchange)) as address:
        assert by_every_client(address) == dict.fromkeys(("duckdb", "polars", "pandas", "csv"), truth)
        file = mini.latest(TRAFFIC).files[0]
        part = httpx.get(f"{address}{MART}/latest/{file.path}", headers={"Range": "bytes=-8"})
        assert (part.status_code, part.content[-4:]) == (206, b"PAR1")


def test_every_client_follows_to_the_store_itself(
    mini: Mini, truth: tuple[int, str], object_server: ObjectServer
) -> None:
    exchange = Exchange(mini.exchange.settings.model_copy(update={"doors_redirect_bytes": 0}))
    before = {row["door"]: row["bytes"] for row in usage_statement(exchange)}.get("files", 0)
    manifest = mini.latest(TRAFFIC)
    file = manifest.files[0]
    with served(create_app(exchange)) as address:
        assert by_every_client(address) == dict.fromkeys(("duckdb", "polars", "pandas", "csv"), truth)
        sent = httpx.get(f"{address}{MART}/latest/{file.path}", follow_redirects=False)
        assert (sent.status_code, sent.content) == (307, b"")
        target = sent.headers["Location"]
        assert target.startswith(f"{object_server.endpoint}/")
        assert hashlib.sha256(httpx.get(target).content).hexdigest() == file.sha256
        assert httpx.get(target.replace("X-Amz-Signature=", "X-Amz-Signature=0")).status_code == 403
    taken = {row["door"]: row["bytes"] for row in usage_statement(exchange)}["files"] - before
    assert taken >= 3 * manifest.bytes


@pytest.mark.parametrize("engine", ["duckdb", "polars", "arrow"])
def test_a_release_is_opened_in_the_store(mini: Mini, truth: tuple[int, str], engine: str) -> None:
    opened = lakehouse.open(TRAFFIC, as_=engine, exchange=mini.exchange)
    frames = {
        "duckdb": lambda: opened.df(),
        "polars": lambda: opened.collect().to_pandas(),
        "arrow": lambda: opened.to_table().to_pandas(),
    }
    assert checksum(frames[engine]()) == truth


SPARK = """
import hashlib, json, sys
from pyspark.sql import SparkSession

spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
         .config("spark.driver.memory", "512m").config("spark.sql.session.timeZone", "UTC")
         .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate())
frame = spark.read.option("pathGlobFilter", "*.parquet").parquet(sys.argv[1])
at = "date_format(hour_utc, \\"yyyy-MM-dd'T'HH:mm:ss\\")"
plain = frame.selectExpr("road", f"concat({at}, '+00:00')", "string(sensors)", "string(vehicles)", "string(vehicles_mean)")
rows = sorted(tuple(row) for row in plain.collect())
one_day = frame.where("day = '2024-10-02'").count()
print(json.dumps([len(rows), hashlib.sha256(repr(rows).encode()).hexdigest(), one_day]))
"""


@pytest.mark.thorough
def test_spark_reads_the_same(mini: Mini, truth: tuple[int, str], tmp_path: Path) -> None:
    """Plain Parquet, as `exchange get` fetches it: its connectors for S3 and Delta Sharing are no Python packages."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none on this machine")
    folder = fetch(mini.exchange, mini.latest(TRAFFIC), to=tmp_path)
    python = checker("pyspark", "pyspark==4.3.0")
    done = subprocess.run([python, "-c", SPARK, folder], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    *found, one_day = json.loads(done.stdout.splitlines()[-1])
    assert tuple(found) == truth
    assert one_day == 48
