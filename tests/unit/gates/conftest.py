"""Small candidates and suites, written as the release room and a person would write them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.gates.batches import CandidateFile
from lakehouse.gates.report import GateReport
from lakehouse.gates.run import run_suite

WriteCandidate = Callable[..., list[CandidateFile]]
WriteSuite = Callable[..., Path]
Gate = Callable[..., GateReport]


def expectation(kind: str, *, severity: str = "critical", **arguments: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": arguments, "severity": severity, "meta": {"notes": "so that it is right"}}


@pytest.fixture
def write_candidate(tmp_path: Path) -> WriteCandidate:
    """Writes one Parquet file a partition and returns them as the release room does."""

    def write(partitions: Mapping[str, pa.Table], **options: Any) -> list[CandidateFile]:
        files = []
        for partition, table in partitions.items():
            path = tmp_path / "candidate" / partition / "part-0.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path, **{"compression": "zstd", **options})
            files.append(CandidateFile(path=path, partition=partition, rows=table.num_rows))
        return files

    return write


@pytest.fixture
def write_suite(tmp_path: Path) -> WriteSuite:
    def write(expectations: Sequence[Mapping[str, Any]], name: str = "suite") -> Path:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"name": name, "expectations": expectations}, indent=1))
        return path

    return write


@pytest.fixture
def gate(write_candidate: WriteCandidate, write_suite: WriteSuite) -> Gate:
    """Runs expectations on partitions of tables and returns the report."""

    def run(
        expectations: Sequence[Mapping[str, Any]],
        partitions: Mapping[str, pa.Table],
        *,
        private: bool = False,
        batch_rows: int = 1_000_000,
        shared: Sequence[Path] = (),
    ) -> GateReport:
        return run_suite(
            mart="water_use_by_area_hour",
            candidate="candidate-1",
            suite_path=write_suite(expectations),
            shared_suites=shared,
            files=write_candidate(partitions),
            private=private,
            batch_rows=batch_rows,
        )

    return run
