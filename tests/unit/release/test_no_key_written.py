"""The canary "a key searched for in everything written": from a delivery to a release and an erasure."""

from __future__ import annotations

import base64
import gzip
import shutil
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lakehouse.build.dbt import DbtProject, NodeResult
from lakehouse.build.lineage import Lineage
from lakehouse.erasure.erase import erase
from lakehouse.landing.rotate import rotate
from lakehouse.release.gate import gate
from lakehouse.release.listing import waiting_candidates
from tests.key_search import files_with
from tests.mini_exchange import METERS, READINGS, WATER, Mini


class Watched(DbtProject):
    """dbt, of which all that it wrote is kept."""

    def __init__(self, project: DbtProject, kept: Path) -> None:
        self._project, self._kept = project, kept

    def lineage(self, mart: str) -> Lineage:
        return self._project.lineage(mart)

    def run(self, *, folder: Path, models: Any) -> list[NodeResult]:
        results = self._project.run(folder=folder, models=models)
        shutil.copytree(folder, self._kept)
        return results

    def document(self, *, folder: Path) -> Path:
        page = folder / "page.html"
        page.write_text("<!doctype html>")
        return page


@pytest.fixture
def written(filled: Mini, parsed: DbtProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an exchange that took in, built, judged, rotated its key and erased; with all temporary files."""
    temporary = filled.root / "temporary"
    temporary.mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(tempfile.TemporaryDirectory, "__exit__", lambda *_: None)
    meters = filled.exchange.contract(METERS)
    filled.deliver(METERS, "more.csv", ["meter_id,area", "meter-new-1,north"])
    filled.deliver(READINGS, "bad.csv", ["meter_id,read_at,reading_l", "meter-new-1,not a time,5"])
    shutil.rmtree(filled.root / "kept", ignore_errors=True)
    filled.build([WATER], project=Watched(parsed, filled.root / "kept"))
    [waiting] = waiting_candidates(filled.exchange)
    gate(filled.exchange, mart=filled.mart(WATER), candidate=waiting["candidate"])
    rotate(filled.exchange, "utility", dry_run=False)
    erase(filled.exchange, meters, subject="meter-new-1", reason="asked for it")
    return filled.root


def keys_of(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "home" / "keys").iterdir()}


def test_no_key_stands_in_anything_that_was_written(written: Path) -> None:
    keys = keys_of(written)
    assert {name.split(".")[1] for name in keys} >= {"pseudonym", "vault", "erasure", "audit", "signing"}
    assert "utility.pseudonym.2.key" in keys
    looked_at = [path for path in written.rglob("*") if path.is_file()]
    for ending in ("manifest.json", "exchange.db", "build.duckdb", ".parquet", ".sql", ".html"):
        assert any(path.name.endswith(ending) for path in looked_at), ending
    assert files_with(keys.values(), written, but=written / "home" / "keys") == []


def test_the_search_finds_a_key_wherever_it_is_planted(tmp_path: Path) -> None:
    key = bytes(range(100, 132))
    (tmp_path / "plain").write_bytes(b"x" + key)
    (tmp_path / "log.txt").write_text(f"the key is {key.hex()}.")
    (tmp_path / "manifest.json").write_text(f'{{"key": "{base64.b64encode(key).decode()}"}}')
    (tmp_path / "traceback").write_text(repr(key))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(key.hex().upper().encode()))
    duckdb.sql(f"SELECT '{key.hex()}' AS a, range AS b FROM range(50000)").write_parquet(
        str(tmp_path / "rows.parquet"), compression="zstd"
    )
    with duckdb.connect(str(tmp_path / "build.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT ?::BLOB AS k FROM range(50000)", [key])
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "mine").write_bytes(key)
    (tmp_path / "other").write_bytes(bytes(32))
    found = files_with([key], tmp_path, but=tmp_path / "keys")
    assert found == ["build.duckdb", "log.txt", "manifest.json", "packed.gz", "plain", "rows.parquet", "traceback"]
