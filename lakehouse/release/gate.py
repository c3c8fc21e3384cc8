"""The release gate: everything that a candidate must pass, on its physical Parquet, and the report of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.privacy.words import areas_in_words, in_words
from lakehouse.release.attack_gate import attack_candidate
from lakehouse.release.diff.keep import FOLDER as DIFF
from lakehouse.release.diff.keep import keep_diff
from lakehouse.release.licence_gate import judge_licences
from lakehouse.release.manifest import BuildCheck, Candidate, File, latest_manifest, read_candidate
from lakehouse.release.text_scan import scan_texts
from lakehouse.storage.index import candidates

if TYPE_CHECKING:
    from lakehouse.gates.report import GateReport, GateResult

REPORT_TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}


class CandidateBlocked(RuntimeError):
    """A candidate that may not be released. The release before it stands; ``report`` is where to read why."""

    def __init__(self, candidate: Candidate, reasons: Sequence[str], report: str) -> None:
        self.reasons = list(reasons)
        self.report = report
        listed = "\n  ".join(self.reasons)
        super().__init__(f"{candidate.mart}: candidate {candidate.candidate} is blocked:\n  {listed}\nReport: {report}")


def gate(exchange: Exchange, *, mart: Mart, candidate: str) -> dict[str, Any]:
    """Judges one candidate, keeps the report under ``reports/<mart>/<candidate>/``, records the verdict.

    Returns the verdict's summary; that of a candidate which came to a release, or was refused, is the one on
    record.
    ``withheld`` is a candidate whose policy lets nothing be published: no fault, and no release. Raises
    :class:`CandidateBlocked`, :class:`lakehouse.gates.suite.SuiteError` for a fault of the suite, and
    :class:`lakehouse.storage.lake.ObjectNotFound` where there is no such candidate.
    """
    made = read_candidate(exchange, mart=mart.name, candidate=candidate)
    recorded = exchange.index.row(
        sa.select(candidates).where(candidates.c.mart == mart.name, candidates.c.candidate == candidate)
    )
    if recorded is not None and recorded["status"] in ("released", "unchanged", "refused"):
        return dict(recorded["gates"])
    if mart.private and not any(made.built.values()):
        return _withhold(exchange, made)
    # Great Expectations takes seconds to import; commands that only list releases must not pay for it.
    from lakehouse.gates.page import render_report

    with exchange.workplace("gate") as folder:
        report, others = _judge(exchange, mart, made, folder)
    whole = report.joined(others)
    links = _keep_diff(exchange, mart, made, blocked=whole.blocked)
    context = _context(exchange, mart, made)
    pages = render_report(report=report, extra_results=others, context=context, links=links)
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


def _keep_diff(exchange: Exchange, mart: Mart, made: Candidate, *, blocked: bool) -> dict[str, str]:
    """What differs from the release before, to be seen before anybody approves. Returns the report's link to it.
    Of a private candidate that is blocked no value is shown, so there is none."""
    if blocked and mart.private:
        return {}
    found = keep_diff(exchange, mart, made)
    return {f"What changed since {found['before'] or 'nothing: the first release'}": f"{DIFF}/index.html"}


def _judge(exchange: Exchange, mart: Mart, made: Candidate, folder: Path) -> tuple[GateReport, list[GateResult]]:
    """What Great Expectations found, and beside it what the other gates did."""
    from lakehouse.gates.batches import CandidateFile
    from lakehouse.gates.physical import ColumnContract, check_physical
    from lakehouse.gates.run import run_suite

    built = {
        file: _local(exchange, f"{made.prefix}/{file.path}", folder / file.path)
        for file in made.built.values()
        if file is not None
    }
    files = [CandidateFile(path=path, partition=file.partition, rows=file.rows) for file, path in built.items()]
    expectations = exchange.settings.expectations_path
    report = run_suite(
        mart=mart.name,
        candidate=made.candidate,
        suite_path=expectations / f"{mart.name}.json",
        shared_suites=sorted((expectations / "shared").glob("*.json")),
        files=files,
        private=mart.private,
    )
    columns = [
        ColumnContract(
            name=column.name,
            type=column.data_type,
            description=column.description.strip(),
            unit=column.unit,
            required=column.required,
        )
        for column in mart.columns
    ]
    physical = check_physical(
        files=files, columns=columns, sort_by=mart.exchange.key, partition_by=mart.exchange.partition.column
    )
    licences = judge_licences(mart, made, latest_manifest(exchange, mart=mart.name, major=mart.major))
    attacked = attack_candidate(exchange, mart, made, built, columns)
    texts = scan_texts(exchange, mart, made, built)
    return report, [
        _as_built(built),
        *physical,
        *(_result(check) for check in made.checks),
        licences,
        *attacked,
        *texts,
    ]


def _as_built(built: dict[File, Path]) -> GateResult:
    """Whether the files are still those that the build wrote and its own checks were made on."""
    from lakehouse.gates.report import PHYSICAL, GateResult

    differing = {file.partition: file.rows for file, path in built.items() if _sha256(path) != file.sha256}
    expected = "each file has the sha256 that the build wrote down"
    found = f"{len(differing)} of {len(built)} files differ."
    result = GateResult.of_check(
        "files_are_as_built", expected=expected, success=not differing, found=found, gate=PHYSICAL
    )
    return replace(result, partitions=differing, partition_count=len(differing))


def _result(check: BuildCheck) -> GateResult:
    from lakehouse.gates.report import GateResult

    return GateResult(
        name=check.name,
        expectation=check.name,
        severity=check.severity,
        success=check.success,
        reason=f"{check.name}: {check.found}",
        gate="Privacy thresholds, recounted" if check.gate == "privacy" else "dbt tests",
    )


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


def _keep(exchange: Exchange, made: Candidate, status: str, verdict: dict[str, Any], reason: str | None = None) -> None:
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(candidates)
            .where(
                candidates.c.mart == made.mart,
                candidates.c.candidate == made.candidate,
                candidates.c.status != "superseded",
            )
            .values(status=status, gates=verdict, reason=reason or "; ".join(verdict["failed"]) or None)
        )


def _local(exchange: Exchange, key: str, target: Path) -> Path:
    return exchange.lake.local_path("candidates", key) or exchange.lake.download("candidates", key, target)


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _context(exchange: Exchange, mart: Mart, made: Candidate) -> dict[str, str]:
    base = latest_manifest(exchange, mart=mart.name, major=mart.major)
    simulated = sorted({entry.dataset for entry in made.inputs if entry.simulated})
    facts = {
        "Title": mart.exchange.title,
        "Licence": mart.exchange.licence.id,
        "Release before": f"{base.release} ({base.rows:,} rows)" if base else "none",
        "Built because": made.reason,
        "Privacy": in_words(mart.exchange.privacy),
        "Inputs": f"{len(made.inputs)} deliveries of {', '.join(sorted({e.dataset for e in made.inputs})) or 'none'}",
        "Code": f"{made.code} at {made.code_version}",
    }
    if made.areas:
        facts["Areas published together"] = areas_in_words(made.areas)
    if simulated:
        facts["Simulated inputs"] = ", ".join(simulated)
    if made.held:
        first, reason = next(iter(made.held.items()))
        facts["Held back"] = f"{len(made.held)} partitions ({first}: {reason})"
    return facts
