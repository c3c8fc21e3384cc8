"""The lake in S3, on a real server: what every lake does, and what only a store in a network can suffer."""

import base64
import os
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from botocore.exceptions import ClientError

from lakehouse.storage import s3
from lakehouse.storage.lake import AccessRefused, InvalidKey, Lake, StorageError, open_lake
from tests.object_store.server import ObjectServer
from tests.unit.storage.suite import BUCKETS, MIB, LakeSuite

pytestmark = pytest.mark.integration

PREFIX = f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module", autouse=True)
def _environment(object_server: ObjectServer) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def opened(_environment: None, object_server: ObjectServer) -> Lake:
    lake = open_lake(f"s3://{PREFIX}", endpoint=object_server.endpoint)
    for bucket in BUCKETS:
        lake.ensure_bucket(bucket)
    return lake


@pytest.fixture
def lake(opened: Lake) -> Iterator[Lake]:
    yield opened
    for bucket in BUCKETS:
        for entry in opened.list(bucket):
            opened.delete(bucket, entry.key)


@pytest.fixture(scope="module")
def client(_environment: None, object_server: ObjectServer) -> Any:
    """The store as others see it."""
    return boto3.client("s3", endpoint_url=object_server.endpoint, region_name="us-east-1")


class TestS3Lake(LakeSuite):
    """The shared suite."""


def test_buckets_carry_the_prefix(lake: Lake, client: Any) -> None:
    names = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    assert {f"{PREFIX}-raw", f"{PREFIX}-marts", f"{PREFIX}-landing-aalborg-heat"} <= names
    assert lake.url == f"s3://{PREFIX}"
    assert lake.local_path("raw", "a") is None
    assert lake.duckdb_url("landing-aalborg_heat", "a/b.csv") == f"s3://{PREFIX}-landing-aalborg-heat/a/b.csv"


@pytest.mark.parametrize("prefix", ["Upper", "dot.ted", "under_score", "-dash", "long" * 16])
def test_refuses_prefixes_that_s3_would(prefix: str) -> None:
    with pytest.raises(InvalidKey, match="s3://prefix"):
        open_lake(f"s3://{prefix}")


def test_refuses_a_bucket_whose_name_grows_too_long(lake: Lake) -> None:
    with pytest.raises(InvalidKey, match="3 to 63"):
        lake.ensure_bucket("b" * 60)


def test_lists_more_than_one_page(lake: Lake) -> None:
    keys = [f"{n:04}" for n in range(1001)]
    lake.ensure_bucket("pages")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: lake.write_bytes("pages", key, b""), keys))
    assert [entry.key for entry in lake.list("pages")] == keys


def test_lists_nothing_unfinished(lake: Lake, client: Any) -> None:
    for key in ("inbox/", "inbox/a.csv", "inbox/b.part", "inbox/.c", "inbox//d", "inbox/e/../f"):
        client.put_object(Bucket=f"{PREFIX}-raw", Key=key, Body=b"")
    assert [entry.key for entry in lake.list("raw")] == ["inbox/a.csv"]


def test_checksums_are_sent_and_kept(lake: Lake, client: Any, tmp_path: Path) -> None:
    data = os.urandom(20 * MIB)
    (tmp_path / "source").write_bytes(data)
    lake.write_bytes("raw", "small", data[:100], content_type="text/csv")
    lake.upload("raw", "large", tmp_path / "source")
    for key, content in (("small", data[:100]), ("large", data)):
        head = client.head_object(Bucket=f"{PREFIX}-raw", Key=key, ChecksumMode="ENABLED")
        assert base64.b64decode(head["ChecksumCRC32"]) == zlib.crc32(content).to_bytes(4, "big")
        assert head.get("PartsCount", 1) == (3 if key == "large" else 1)
    assert client.head_object(Bucket=f"{PREFIX}-raw", Key="small")["ContentType"] == "text/csv"


def test_bytes_that_change_on_the_way_are_refused(lake: Lake, client: Any) -> None:
    def tamper(request: Any, **_: object) -> None:
        request.body = b"9.9;kWh"

    client.meta.events.register("before-send.s3.PutObject", tamper)
    try:
        with pytest.raises(ClientError, match="SHA256Mismatch"):
            client.put_object(Bucket=f"{PREFIX}-raw", Key="a", Body=b"1.1;kWh")
    finally:
        client.meta.events.unregister("before-send.s3.PutObject", tamper)
    assert lake.stat("raw", "a") is None


def test_copies_large_objects_in_parts(
    lake: Lake, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(20 * MIB)
    (tmp_path / "source").write_bytes(data)
    lake.upload("raw", "large", tmp_path / "source")
    monkeypatch.setattr(s3, "_LARGEST_SINGLE_COPY_BYTES", MIB)
    copied = lake.copy("raw", "large", "marts", "large")
    assert copied == lake.stat("marts", "large")
    assert client.head_object(Bucket=f"{PREFIX}-marts", Key="large")["ETag"].endswith('-3"')
    assert lake.read_bytes("marts", "large") == data


def test_a_wrong_secret_is_refused(
    lake: Lake, object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write_bytes("raw", "a", b"1")
    (tmp_path / "source").write_bytes(b"2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    stranger = open_lake(f"s3://{PREFIX}", endpoint=object_server.endpoint)
    for use in (
        lambda: stranger.ensure_bucket("raw"),
        lambda: list(stranger.list("raw")),
        lambda: stranger.stat("raw", "a"),
        lambda: stranger.read_bytes("raw", "a"),
        lambda: stranger.write_bytes("raw", "a", b"2"),
        lambda: stranger.write_if("raw", "a", b"2", expected=None),
        lambda: stranger.upload("raw", "a", tmp_path / "source"),
        lambda: stranger.download("raw", "a", tmp_path / "target"),
        lambda: stranger.copy("raw", "a", "raw", "b"),
        lambda: stranger.delete("raw", "a"),
    ):
        with pytest.raises(AccessRefused, match="AWS_SECRET_ACCESS_KEY") as refused:
            use()
        assert "wrong-secret" not in str(refused.value)
    with duckdb.connect() as connection:
        stranger.configure_duckdb(connection)
        with pytest.raises(duckdb.Error, match="403"):
            connection.sql(f"FROM read_text('{stranger.duckdb_url('raw', 'a')}')").fetchall()
    assert lake.read_bytes("raw", "a") == b"1"


def test_another_user_has_no_part_in_the_lake(
    lake: Lake, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = object_server.create_user("stranger")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret)
    stranger = open_lake(f"s3://{PREFIX}", endpoint=object_server.endpoint)
    for use in (lambda: stranger.ensure_bucket("raw"), lambda: stranger.write_bytes("raw", "a", b"1")):
        with pytest.raises(AccessRefused, match="refused these credentials"):
            use()


def test_says_where_credentials_are_missing(
    object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    lake = open_lake("s3://anybody", endpoint=object_server.endpoint)
    with pytest.raises(AccessRefused, match="no credentials; set AWS_ACCESS_KEY_ID"):
        lake.read_bytes("raw", "a")
    with duckdb.connect() as connection, pytest.raises(AccessRefused, match="no credentials"):
        lake.configure_duckdb(connection)


def test_says_where_no_store_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_ATTEMPTS", 1)
    lake = open_lake("s3://anybody", endpoint="http://127.0.0.1:9")
    with pytest.raises(StorageError, match="EXCHANGE_S3_ENDPOINT"):
        lake.stat("raw", "a")


def test_duckdb_keeps_the_secret_to_itself_and_to_this_lake(lake: Lake, object_server: ObjectServer) -> None:
    with duckdb.connect() as connection:
        connection.execute("CALL enable_logging(level = 'trace')")
        lake.configure_duckdb(connection)
        connection.sql(f"COPY (SELECT 1 AS a) TO '{lake.duckdb_url('raw', 'a.parquet')}'")
        secret = object_server.keys.secret
        for question in ("duckdb_logs", "duckdb_settings()", "duckdb_secrets()", "duckdb_variables()"):
            answer = str(connection.sql(f"FROM {question}").fetchall())
            assert len(answer) > 10 or question == "duckdb_variables()"
            assert secret not in answer
        owner = "SELECT name FROM which_secret($1, 's3')"
        assert connection.execute(owner, [f"s3://{PREFIX}-raw/a"]).fetchall() == [("lake",)]
        assert connection.execute(owner, ["s3://somebody-elses/a"]).fetchall() == []
