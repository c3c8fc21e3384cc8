"""The connector for buckets of others against a real S3 server, as another user than the lake's."""

from __future__ import annotations

import json
import os
import tracemalloc
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lakehouse.contracts.extract_stores import S3Bucket
from lakehouse.sources.connector import Page, SourceError
from lakehouse.sources.s3_bucket import S3BucketConnector
from tests.asking import asked
from tests.object_store.server import Keys, ObjectServer

pytestmark = pytest.mark.integration

DAY = datetime(2024, 10, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def keys(object_server: ObjectServer) -> Keys:
    return object_server.create_user(f"publisher-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def client(object_server: ObjectServer, keys: Keys) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=object_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
    )


@pytest.fixture
def bucket(client: Any) -> Iterator[str]:
    """Objects of two days, and some that are not asked for."""
    name = f"publisher-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=name)
    for key in ("out/2024/a.csv", "out/2024/b.csv", "out/2024/", "out/readme.txt", "other/c.csv"):
        client.put_object(Bucket=name, Key=key, Body=key.encode())
    yield name
    for entry in client.list_objects_v2(Bucket=name)["Contents"]:
        client.delete_object(Bucket=name, Key=entry["Key"])
    client.delete_bucket(Bucket=name)


@pytest.fixture
def source(object_server: ObjectServer, keys: Keys, bucket: str) -> Any:
    def make(credential: str | None = ":".join(keys), address: str | None = None, **change: Any) -> S3BucketConnector:
        given = {"connector": "s3_bucket", "pattern": "*.csv", "attempts": 2, "timeout_seconds": 10, **change}
        return S3BucketConnector(
            arguments=S3Bucket.model_validate(given),
            address=address or f"{object_server.endpoint}/{bucket}/out/",
            credential=credential,
        )

    return make


def ask(source: S3BucketConnector, watermark: Any = None) -> list[Page]:
    return list(source.pages(asked(DAY, DAY, watermark)))


def bodies(pages: list[Page]) -> list[str]:
    return [page.path.read_text() for page in pages]


@pytest.mark.parametrize("growing", [False, True])
def test_objects_below_the_prefix_come_once_and_then_only_new_ones(
    source: Any, client: Any, bucket: str, growing: bool
) -> None:
    pages = ask(source(growing_keys=growing))
    assert bodies(pages) == ["out/2024/a.csv", "out/2024/b.csv"]
    assert pages[0].url.endswith(f"/{bucket}/out/2024/a.csv")
    assert ask(source(growing_keys=growing), pages[-1].watermark) == []
    assert bodies(ask(source(growing_keys=growing), pages[0].watermark)) == ["out/2024/b.csv"]
    client.put_object(Bucket=bucket, Key="out/2024/c.csv", Body=b"new")
    assert bodies(ask(source(growing_keys=growing), pages[-1].watermark)) == ["new"]


def test_an_object_that_was_replaced_comes_again_under_its_name(source: Any, client: Any, bucket: str) -> None:
    pages = ask(source())
    client.put_object(Bucket=bucket, Key="out/2024/a.csv", Body=b"corrected")
    [page] = ask(source(), pages[-1].watermark)
    assert (page.name, page.path.read_text()) == (pages[0].name, "corrected")


def test_names_of_what_is_not_whole_or_hidden_are_left(source: Any, client: Any, bucket: str) -> None:
    for key in ("out/2024/c.csv.tmp", "out/.cache/d.csv", "out/2024/.e.csv"):
        client.put_object(Bucket=bucket, Key=key, Body=b"no")
    assert bodies(ask(source(pattern="*"))) == ["out/2024/a.csv", "out/2024/b.csv", "out/readme.txt"]


@pytest.mark.parametrize("growing", [False, True])
def test_an_object_that_may_not_be_read_holds_up_no_other(
    source: Any, client: Any, bucket: str, growing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = {"Error": {"Code": "InvalidObjectState"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    asks = source(growing_keys=growing)
    fetches = asks._client.download_file

    def archived(bucket: str, key: str, *rest: Any, **more: Any) -> None:
        if key == "out/2024/a.csv":
            raise ClientError(refusal, "GetObject")
        fetches(bucket, key, *rest, **more)

    monkeypatch.setattr(asks._client, "download_file", archived)
    pages = asks.pages(asked(DAY, DAY))
    page = next(pages)
    assert page.path.read_text() == "out/2024/b.csv"
    with pytest.raises(SourceError, match=r"2024/a.csv could not be read \(403 InvalidObjectState\); .*restore it"):
        next(pages)
    # It is asked for again, and so may be what lies behind it.
    assert "out/2024/a.csv" in bodies(ask(source(growing_keys=growing), page.watermark))


def test_more_objects_than_one_answer_lists_all_come(source: Any, client: Any, bucket: str) -> None:
    keys = [f"many/{number:04d}.csv" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    connector = source(address=source().address.replace("/out/", "/many/"))
    assert [file.name for file in connector._list()] == keys
    for part in (keys[:1000], keys[1000:]):
        client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in part]})


def test_a_public_bucket_is_read_without_a_credential_and_the_lakes_keys_are_not_shown(
    source: Any, client: Any, bucket: str, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match=r"403 AccessDenied.*EXCHANGE_CREDENTIAL"):
        ask(source(credential=None))
    allowed = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    client.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert len(ask(source(credential=None))) == 2


def test_a_large_object_passes_through_little_memory(source: Any, client: Any, bucket: str) -> None:
    content = os.urandom(1 << 20) * 64
    client.put_object(Bucket=bucket, Key="out/large.csv", Body=content)
    pages = source().pages(asked(DAY, DAY))
    next(pages), next(pages)
    tracemalloc.start()
    page = next(pages)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert page.path.read_bytes() == content
    assert peak < 40 << 20


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"credential": "nobody:hush"}, "403 .*EXCHANGE_CREDENTIAL"),
        ({"credential": "hush"}, "is access key:secret key: set EXCHANGE_CREDENTIAL"),
        ({"address": "{endpoint}/no-such-bucket/"}, "no-such-bucket.*404 NoSuchBucket.*correct the location"),
        ({"address": "http://127.0.0.1:9/bucket/"}, "EndpointConnectionError.*the network"),
        ({"address": "sftp://files.example.org/out"}, "is no bucket"),
        ({"address": "https://me:hush@files.example.org/out"}, "take the credentials out"),
    ],
)
def test_what_cannot_be_read_is_refused_with_where_what_and_the_next_step(
    source: Any, object_server: ObjectServer, given: dict[str, str], says: str
) -> None:
    given = {name: value.replace("{endpoint}", object_server.endpoint) for name, value in given.items()}
    with pytest.raises(SourceError, match=says) as refused:
        ask(source(**given))
    assert "hush" not in str(refused.value)
