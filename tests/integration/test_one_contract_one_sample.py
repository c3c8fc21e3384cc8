"""A new source in any format is one contract and one sample: nothing else of the project is touched."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa

from lakehouse.contracts.load import read_contract
from lakehouse.exchange import Exchange
from lakehouse.landing.intake import intake
from lakehouse.landing.trial import try_sample
from lakehouse.settings import Settings
from lakehouse.storage.index import clean_files
from tests.integration.conftest import PROJECT
from tests.promise import DELIVERY, FORMATS, SAMPLE, Case

pytestmark = pytest.mark.integration

NIGHT = datetime(2024, 10, 27, tzinfo=UTC)
CLEAN = [
    ("b8", NIGHT, Decimal("-2.000")),
    ("æ7", NIGHT, Decimal("1.500")),
    ("æ7", NIGHT.replace(hour=1), Decimal("0.125")),
]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of the project speaks of sources, under version control of its own."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    copy = tmp_path_factory.mktemp("project")
    for part in ("contracts", "dbt_project", "expectations", "dags", "plugins"):
        shutil.copytree(PROJECT / part, copy / part, ignore=shutil.ignore_patterns("target", "logs", "__pycache__"))
    git(copy, "init", "--quiet")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "as it is")
    return copy


@pytest.mark.parametrize("case", FORMATS, ids=lambda case: case.name)
def test_a_source_is_one_contract_and_one_sample(copied: Path, tmp_path: Path, case: Case) -> None:
    git(copied, "clean", "--quiet", "--force", "-d")
    folder = copied / "contracts" / "promise"
    (folder / "samples").mkdir(parents=True)
    path = folder / f"{case.name}.odcs.yaml"
    path.write_text(case.contract(), encoding="utf-8")
    (folder / "samples" / f"{case.name}.sample").write_bytes(case.write(SAMPLE))
    assert try_sample(read_contract(path), path) == []

    exchange = Exchange(
        Settings(
            project=copied, home=tmp_path / "home", lake=(tmp_path / "lake").as_uri(), database="", settle_seconds=0
        )
    )
    exchange.init()
    contract = exchange.contract(f"promise/{case.name}")
    case.deliver(exchange, contract, case.write(DELIVERY))
    (receipt,) = intake(exchange, contract)

    assert (receipt["delivered"], receipt["accepted"], receipt["refused"]) == (4, 3, 1)
    assert [(e["rule"], e["column"], e["value"]) for e in receipt["errors"]] == [("not_a_number", "use_kwh", "broken")]
    assert receipt["warnings"] == []
    keys = exchange.index.rows(sa.select(clean_files.c.key))
    urls = [exchange.lake.duckdb_url("clean", row["key"]) for row in keys]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = f"FROM read_parquet({urls}, hive_partitioning=false)"
        assert connection.execute(f"SELECT meter, read_at, use_kwh {rows} ORDER BY ALL").fetchall() == CLEAN
        if case.geometry:
            assert connection.execute(f"SELECT DISTINCT left(geometry::VARCHAR, 11) {rows}").fetchall() == [
                ("POINT (12.5",)
            ]
    changed = git(copied, "status", "--porcelain", "--untracked-files=all").splitlines()
    assert set(changed) == {
        f"?? contracts/promise/{case.name}.odcs.yaml",
        f"?? contracts/promise/samples/{case.name}.sample",
    }
