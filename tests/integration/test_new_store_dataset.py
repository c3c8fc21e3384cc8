"""A new dataset of a store is one contract and one sample: nothing else is written for it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import polars
import pytest
import sqlalchemy as sa
import yaml
from open_data_contract_standard.model import OpenDataContractStandard

from lakehouse.exchange import Exchange
from lakehouse.landing.extract import Extracted, extract
from lakehouse.landing.intake import intake
from lakehouse.landing.trial import try_sample
from lakehouse.settings import Settings
from lakehouse.storage.index import clean_files
from tests.integration.conftest import PROJECT
from tests.object_store.server import ObjectServer
from tests.postgres.server import PostgresServer
from tests.sftp_server import SftpServer

pytestmark = pytest.mark.integration

ROWS = polars.DataFrame(
    {
        "id": [1, 2, 3],
        "measured": [datetime(2024, 10, 1, hour, tzinfo=UTC) for hour in (1, 2, 3)],
        "level": ["1.25", "1.50", "0.75"],
    },
    schema_overrides={"level": polars.String},
).with_columns(polars.col("level").cast(polars.Decimal(8, 2)))
DAY = datetime(2024, 10, 1, tzinfo=UTC)


@contextmanager
def postgres() -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    with PostgresServer() as server:
        engine = sa.create_engine(server.url)
        with engine.begin() as connection:
            connection.execute(
                sa.text("CREATE TABLE levels (id int PRIMARY KEY, measured timestamptz, level numeric(8,2))")
            )
            connection.execute(sa.text("INSERT INTO levels VALUES (:id, :measured, :level)"), ROWS.to_dicts())
        engine.dispose()
        where = {"type": "postgresql", "host": "127.0.0.1", "port": server.port, "database": "town", "schema": "public"}
        yield where, {"connector": "sql_table", "mode": "by_key", "table": "levels", "key": ["id"]}, server.credential


@contextmanager
def sftp(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    ROWS.write_parquet(folder / "levels.parquet")
    os.utime(folder / "levels.parquet", (time.time() - 3600,) * 2)
    with SftpServer(folder) as server:
        extract = {"connector": "sftp", "pattern": "*.parquet", "host_key": server.host_key}
        yield {"type": "sftp", "location": server.address}, extract, "provider:secret"


@contextmanager
def bucket(server: ObjectServer) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    keys = server.create_user(f"harbour-{uuid.uuid4().hex[:8]}")
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
    )
    name, content = f"harbour-{uuid.uuid4().hex[:8]}", io.BytesIO()
    ROWS.write_parquet(content)
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="out/levels.parquet", Body=content.getvalue())
    where = {"type": "s3", "location": f"s3://{name}/out/", "endpointUrl": server.endpoint}
    yield where, {"connector": "s3_bucket"}, ":".join(keys)


@pytest.mark.parametrize("kind", ["postgres", "sftp", "bucket"])
def test_a_dataset_of_a_store_needs_one_contract_and_one_sample(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, files = tmp_path / "project", tmp_path / "files"
    files.mkdir()
    shutil.copytree(PROJECT / "contracts", project / "contracts")
    _git(project, "init", "-q")
    _git(project, "add", ".")
    _git(project, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "contracts")
    stores = {
        "postgres": postgres,
        "sftp": lambda: sftp(files),
        "bucket": lambda: bucket(request.getfixturevalue("object_server")),
    }
    with stores[kind]() as (server, arguments, credential):
        path = _write(project / "contracts" / "harbour", server, arguments)
        assert sorted(_git(project, "status", "--porcelain", "-uall").split()) == [
            *("??", "??", "contracts/harbour/levels.odcs.yaml", "contracts/harbour/samples/levels.parquet")
        ]
        monkeypatch.setenv("EXCHANGE_CREDENTIAL_HARBOUR", credential)
        settings = Settings(project=project, home=tmp_path / "home", lake=(tmp_path / "lake").as_uri(), extracts="live")
        exchange = Exchange(settings)
        contract = exchange.contract("harbour/levels")
        jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(OpenDataContractStandard.json_schema()))
        assert try_sample(contract, path) == []
        exchange.init()
        assert extract(exchange, contract, start=DAY, end=DAY + timedelta(days=1)).sealed == 1
        [receipt] = intake(exchange, contract)
        assert (receipt["delivered"], receipt["accepted"], receipt["errors"]) == (3, 3, [])
        [clean] = exchange.index.rows(sa.select(clean_files.c.key).where(clean_files.c.dataset == "levels"))
        rows = polars.read_parquet(exchange.lake.duckdb_url("clean", clean["key"]))
        assert rows.select("id", "measured", "level").equals(ROWS)
        again = extract(exchange, contract, start=DAY, end=DAY + timedelta(days=1))
        assert again == Extracted()
        assert credential.partition(":")[2] not in (tmp_path / "home" / "exchange.db").read_bytes().decode("latin-1")
        exchange.index.close()


def _write(folder: Path, server: dict[str, Any], arguments: dict[str, Any]) -> Path:
    (folder / "samples").mkdir(parents=True)
    ROWS.write_parquet(folder / "samples" / "levels.parquet")
    common = {"classification": "public", "required": True}
    unit = [{"property": "unit", "value": "m"}]
    columns = [
        {"name": "id", "logicalType": "integer", "primaryKey": True, "description": "Reading.", **common},
        {"name": "measured", "logicalType": "timestamp", "description": "When.", **common},
        {"name": "level", "logicalType": "number", "physicalType": "DECIMAL(8,2)", "description": "Water level.",
         "customProperties": unit, **common},
    ]  # fmt: skip
    extension = {
        "delivery": {"forms": [{"format": "parquet"}]},
        "time": {"column": "measured"},
        "licence": {"id": "CC0-1.0", "url": "https://creativecommons.org", "attribution": "Harbour"},
        "extract": arguments,
    }
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "harbour.levels",
        "name": "Levels",
        "version": "1.0.0",
        "status": "active",
        "tenant": "harbour",
        "description": {"purpose": "Water levels."},
        "servers": [{"server": "source", **server}],
        "schema": [{"name": "levels", "properties": columns}],
        "customProperties": [{"property": "exchange", "value": extension}],
    }
    path = folder / "levels.odcs.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout
