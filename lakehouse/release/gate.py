"""The release gate: everything that a candidate must pass, on its physical Parquet, and the report of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.release.manifest import BuildCheck, Candidate, latest_manifest, read_candidate
from lakehouse.storage.index import candidates

REPORT_TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}


class CandidateBlocked(RuntimeError):
    """A candidate that may not be released. The release before it stands; ``report`` is where to read why."""

    def __init__(self, candidate: Candidate, reasons: Sequence[str], report: str) -> None:
        self.reasons = list(reasons)
        self.report = report
        listed = "\n  ".join(self.reasons)
        super().__init__(
            f"{candidate.mart}: candidate {candidate.candidate} is blocked:\n  {listed}\nReport: {report}"
        )


def gate(exchange: Exchange, *, mart: Mart, candidate: str) -> dict[str, Any]:
    """Judges one candidate, keeps the report under ``reports/<mart>/<candidate>/``, records the verdict.

    Returns the verdict's summary. ``withheld`` is a candidate whose policy lets nothing be published: no
    fault, and no release. Raises :class:`CandidateBlocked`.
    """
    made = read_candidate(exchange, mart=mart.name, candidate=candidate)
    built = [file for file in made.built.values() if file is not None]
    if not built and mart.private:
        return _withhold(exchange, made)
    # Great Expectations takes seconds to import; commands that only list releases must not pay for it.
    from lakehouse.gates.batches import CandidateFile
    from lakehouse.gates.page import render_report
    from lakehouse.gates.physical import ColumnContract, check_physical
    from lakehouse.gates.report import GateResult
    from lakehouse.gates.run import run_suite

    def result_of(check: BuildCheck) -> GateResult:
        return GateResult(
            name=check.name,
            expectation=check.name,
            severity=check.severity,
            success=check.success,
            reason=check.found,
            gate="Privacy thresholds, recounted" if check.gate == "privacy" else "dbt tests",
        )

    with tempfile.TemporaryDirectory(prefix="gate-") as name:
        files = [
            CandidateFile(
                path=_local(exchange, f"{made.prefix}/{file.path}", Path(name) / file.path),
                partition=file.partition,
                rows=file.rows,
            )
            for file in built
        ]
        report = run_suite(
            mart=mart.name,
            candidate=candidate,
            suite_path=exchange.settings.expectations_path / f"{mart.name}.json",
            shared_suites=sorted((exchange.settings.expectations_path / "shared").glob("*.json")),
            files=files,
            private=mart.private,
        )
        physical = check_physical(
            files=files,
            columns=[
                ColumnContract(
                    name=column.name,
                    type=column.data_type,
                    description=column.description.strip(),
                    unit=column.unit,
                    required=column.name in mart.exchange.key,
                )
                for column in mart.columns
            ],
            sort_by=mart.exchange.key,
        )
        others = [*physical, *(result_of(check) for check in made.checks)]
        pages = render_report(report=report, extra_results=others, context=_context(exchange, mart, made))
        whole = report.joined(others)
    for page, content in pages.items():
        kind = REPORT_TYPES.get(Path(page).suffix, "application/octet-stream")
        exchange.lake.write_bytes("reports", f"{made.prefix}/{page}", content, content_type=kind)
    verdict: dict[str, Any] = {
        "status": whole.verdict,
        "checks": len(whole.results),
        "failed": [result.reason for result in whole.blocking],
        "warnings": [result.reason for result in whole.warnings],
        "seconds": round(whole.seconds, 2),
        "report": f"reports/{made.prefix}/index.html",
    }
    _keep(exchange, made, "blocked" if whole.blocked else "passed", verdict)
    if whole.blocked:
        raise CandidateBlocked(made, verdict["failed"], report_location(exchange, made))
    return verdict


def report_location(exchange: Exchange, made: Candidate) -> str:
    """Where a person opens the report: a file where the lake is a folder, else the object's address."""
    local = exchange.lake.local_path("reports", f"{made.prefix}/index.html")
    return str(local) if local else exchange.lake.duckdb_url("reports", f"{made.prefix}/index.html")


def _withhold(exchange: Exchange, made: Candidate) -> dict[str, Any]:
    reason = (
        f"no cell of {len(made.built)} partitions holds enough units under the mart's privacy policy, "
        "so nothing is published"
    )
    verdict: dict[str, Any] = {
        "status": "withheld",
        "checks": len(made.checks),
        "failed": [],
        "warnings": [reason],
        "seconds": 0.0,
    }
    _keep(exchange, made, "withheld", verdict, reason)
    return verdict


def _keep(
    exchange: Exchange, made: Candidate, status: str, verdict: dict[str, Any], reason: str | None = None
) -> None:
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(candidates)
            .where(candidates.c.mart == made.mart, candidates.c.candidate == made.candidate)
            .values(status=status, gates=verdict, reason=reason or "; ".join(verdict["failed"]) or None)
        )


def _local(exchange: Exchange, key: str, target: Path) -> Path:
    return exchange.lake.local_path("candidates", key) or exchange.lake.download("candidates", key, target)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _context(exchange: Exchange, mart: Mart, made: Candidate) -> dict[str, str]:
    base = latest_manifest(exchange, mart=mart.name, major=mart.major)
    simulated = sorted({entry.dataset for entry in made.inputs if entry.simulated})
    datasets = sorted({entry.dataset for entry in made.inputs})
    facts = {
        "Title": mart.exchange.title,
        "Licence": mart.exchange.licence.id,
        "Release before": f"{base.release} ({base.rows:,} rows)" if base else "none",
        "Built because": made.reason,
        "Inputs": f"{_counted(len(made.inputs), 'delivery', 'deliveries')} of {', '.join(datasets) or 'none'}",
        "Code": f"{made.code} at {made.code_version}",
    }
    if simulated:
        facts["Simulated inputs"] = ", ".join(simulated)
    if made.held:
        first, reason = next(iter(made.held.items()))
        facts["Held back"] = f"{len(made.held)} partitions ({first}: {reason})"
    return facts
