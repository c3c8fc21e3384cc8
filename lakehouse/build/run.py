"""A build: candidates of every mart whose inputs or code changed, by their touched partitions alone."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import sqlalchemy as sa

from lakehouse.build.dbt import DbtProject, Lineage, NodeResult
from lakehouse.build.export import Exported, export, partition_path
from lakehouse.build.periods import span_of
from lakehouse.build.plan import CleanFile, MartPlan, input_files, plan_mart
from lakehouse.contracts.derive import clean_columns
from lakehouse.contracts.mart import AggregatePolicy, Mart, read_marts
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.privacy.lineage import require_policy
from lakehouse.privacy.thresholds import recount
from lakehouse.release.manifest import BuildCheck, Candidate, File, Input, latest_manifest
from lakehouse.storage.index import candidates, deliveries, upsert
from lakehouse.storage.sql import identifier, literal

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]
# Input rows that one dbt invocation takes in; more are built period by period.
BATCH_ROWS = 20_000_000
DOWNLOADS = 8


@dataclass(kw_only=True)
class BuildSummary:
    """What a build did. ``failed``: marts that dbt could not build, with the reason."""

    candidates: list[dict[str, str]] = field(default_factory=list)
    unchanged: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: float = 0.0


def build(
    exchange: Exchange, *, marts: Sequence[str] = (), progress: Progress = lambda _: None
) -> BuildSummary:
    """Plans and builds. ``marts`` limits it to some. The lake's releases are not touched.

    Raises :class:`lakehouse.privacy.lineage.UncoveredPrivateData` before anything is built, and
    :class:`lakehouse.build.dbt.BuildFailed` where dbt itself could not run.
    """
    began = time.monotonic()
    summary = BuildSummary()
    known = read_marts(exchange.settings.marts_path)
    unknown = set(marts) - set(known)
    if unknown:
        raise KeyError(f"no mart {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}")
    project = DbtProject(exchange)
    lineages = {name: project.lineage(name) for name in marts or known}
    for name, lineage in lineages.items():
        require_policy(mart=known[name], inputs=[exchange.contract(key) for key in lineage.datasets])
    change = exchange.index.last_change()
    plans = []
    for name, lineage in lineages.items():
        mart = known[name]
        base = latest_manifest(exchange, mart=name, major=mart.major)
        plan = plan_mart(
            exchange, mart=mart, inputs=lineage.datasets, code=lineage.code, base=base, change=change
        )
        if plan.held:
            summary.held[name] = plan.held
        if plan.partitions:
            plans.append(plan)
        else:
            summary.unchanged[name] = _why_nothing(plan)
    if plans:
        _build_plans(exchange, project, lineages, plans, summary, progress)
    summary.seconds = round(time.monotonic() - began, 2)
    return summary


def _why_nothing(plan: MartPlan) -> str:
    if plan.held:
        first, reason = next(iter(plan.held.items()))
        return f"{len(plan.held)} touched partitions are held ({first}: {reason})"
    if plan.reason == "it was never released":
        return "no input has been delivered yet"
    return plan.reason


@dataclass(kw_only=True)
class _Made:
    """What the batches made of one mart so far."""

    files: dict[str, File | None] = field(default_factory=dict)
    checks: dict[tuple[str, str], BuildCheck] = field(default_factory=dict)
    deliveries: set[str] = field(default_factory=set)
    failed: str | None = None
    seconds: float = 0.0


def _build_plans(
    exchange: Exchange,
    project: DbtProject,
    lineages: dict[str, Lineage],
    plans: list[MartPlan],
    summary: BuildSummary,
    progress: Progress,
) -> None:
    made = {plan.mart.name: _Made() for plan in plans}
    batches = _batches(exchange, plans)
    for number, batch in enumerate(batches, 1):
        count = sum(len(partitions) for _, partitions in batch)
        names = ", ".join(plan.mart.name for plan, _ in batch)
        progress(f"batch {number} of {len(batches)}: {count} partitions of {names}")
        with tempfile.TemporaryDirectory(prefix="build-") as name:
            _run_batch(exchange, project, lineages, batch, made, Path(name), document=number == len(batches))
    for plan in plans:
        result = made[plan.mart.name]
        if result.failed is not None:
            summary.failed[plan.mart.name] = result.failed
            continue
        candidate = _record(exchange, plan, result)
        rows = sum(file.rows for file in candidate.built.values() if file is not None)
        progress(f"{plan.mart.name}: candidate {candidate.candidate}, {rows:,} rows ({plan.reason})")
        summary.candidates.append({"mart": plan.mart.name, "candidate": candidate.candidate})


def _batches(exchange: Exchange, plans: list[MartPlan]) -> list[list[tuple[MartPlan, list[str]]]]:
    """Groups partitions in order of time so that each group's inputs stay within what one build takes in."""
    by_start = defaultdict(list)
    for plan in plans:
        for partition in plan.partitions:
            by_start[span_of(partition, plan.mart.exchange.partition.grain).start].append((plan, partition))
    whole = [(plan, list(plan.partitions)) for plan in plans]
    if sum(file.rows for file in input_files(exchange, whole)) <= BATCH_ROWS:
        return [whole]
    batches: list[list[tuple[MartPlan, list[str]]]] = []
    current: dict[str, tuple[MartPlan, list[str]]] = {}
    rows = 0
    for start in sorted(by_start):
        more = sum(
            file.rows for file in input_files(exchange, [(plan, [name]) for plan, name in by_start[start]])
        )
        if current and rows + more > BATCH_ROWS:
            batches.append(list(current.values()))
            current, rows = {}, 0
        for plan, partition in by_start[start]:
            current.setdefault(plan.mart.name, (plan, []))[1].append(partition)
        rows += more
    return [*batches, list(current.values())]


def _run_batch(
    exchange: Exchange,
    project: DbtProject,
    lineages: dict[str, Lineage],
    batch: list[tuple[MartPlan, list[str]]],
    made: dict[str, _Made],
    folder: Path,
    *,
    document: bool,
) -> None:
    began = time.monotonic()
    database = folder / "build.duckdb"
    files = input_files(exchange, batch)
    _prepare_inputs(exchange, files, {key for plan, _ in batch for key in plan.inputs}, database, folder)
    results = project.run(database=database, marts=[plan.mart.name for plan, _ in batch])
    connection = exchange.duckdb(database)
    try:
        for plan, partitions in batch:
            result = made[plan.mart.name]
            lineage = lineages[plan.mart.name]
            result.failed = result.failed or _failure(plan.mart, lineage, results)
            if result.failed is None:
                for check in [
                    *_test_checks(plan.mart, lineage, results),
                    *_privacy_checks(connection, plan.mart),
                ]:
                    earlier = result.checks.get((check.gate, check.name))
                    if earlier is None or earlier.success:
                        result.checks[check.gate, check.name] = check
                _export_mart(exchange, plan, partitions, files, connection, folder, result)
            result.seconds += time.monotonic() - began
    finally:
        connection.close()
    if document and any(plan.new_code for plan, _ in batch):
        exchange.lake.upload("reports", "dbt/index.html", project.document(database=database))


def _prepare_inputs(
    exchange: Exchange, files: list[CleanFile], datasets: Iterable[str], database: Path, folder: Path
) -> None:
    """Makes the sources that the staging models read: one view a dataset, over explicit files."""

    def fetch(file: CleanFile) -> Path:
        local = exchange.lake.local_path("clean", file.key)
        return local or exchange.lake.download("clean", file.key, folder / "inputs" / file.key)

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        paths = list(pool.map(fetch, files))
    by_dataset: dict[str, list[Path]] = defaultdict(list)
    for file, path in zip(files, paths, strict=True):
        by_dataset[file.dataset].append(path)
    with duckdb.connect(str(database)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for key in sorted(exchange.contracts):
            contract = exchange.contracts[key]
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(contract.provider)}")
            connection.execute(
                f"CREATE VIEW {identifier(contract.provider)}.{identifier(contract.dataset)} AS "
                f"{_clean_rows(contract, by_dataset.get(key, []))}"
            )


def _clean_rows(contract: Contract, paths: list[Path]) -> str:
    columns = clean_columns(contract)
    if not paths:
        typed = ", ".join(f"NULL::{kind} AS {identifier(name)}" for name, kind in columns.items())
        return f"SELECT {typed} WHERE false"
    listed = ", ".join(literal(str(path)) for path in paths)
    names = ", ".join(f"{identifier(name)}::{kind} AS {identifier(name)}" for name, kind in columns.items())
    return f"SELECT {names} FROM read_parquet([{listed}], hive_partitioning=false, union_by_name=true)"


def _failure(mart: Mart, lineage: Lineage, results: list[NodeResult]) -> str | None:
    """Why dbt did not make the mart, or ``None``. Tests do not count here: they are checks of the candidate."""
    for result in results:
        above = result.unique_id in lineage.ancestors
        if above and result.resource != "test" and result.status in ("error", "fail"):
            return f"{result.name}: {result.message.strip()}"
    for result in results:
        above_test = result.resource == "test" and set(result.depends_on) & lineage.ancestors
        if above_test and result.name != mart.name and result.status == "error":
            return f"{result.name}: {result.message.strip()}"
    skipped = [r for r in results if r.name == mart.name and r.status not in ("success", "pass")]
    if skipped:
        failed = [r.name for r in results if r.status in ("fail", "error")]
        return f"not built: {', '.join(failed) or skipped[0].status} failed above it"
    return None


def _test_checks(mart: Mart, lineage: Lineage, results: list[NodeResult]) -> list[BuildCheck]:
    return [
        BuildCheck(
            name=result.name,
            gate="dbt",
            severity="warning" if result.severity == "warn" else "blocking",
            success=result.status in ("pass", "success"),
            found=f"{result.failures:,} rows against it" if result.failures else "no row against it",
        )
        for result in results
        if result.resource == "test" and set(result.depends_on) & lineage.ancestors
    ]


def _privacy_checks(connection: duckdb.DuckDBPyConnection, mart: Mart) -> list[BuildCheck]:
    policy = mart.exchange.privacy
    if not isinstance(policy, AggregatePolicy):
        return []
    return [
        BuildCheck(
            name=violation.rule,
            gate="privacy",
            severity="blocking",
            success=violation.cells == 0,
            found=f"{violation.expected}: {violation.cells:,} cells against it",
        )
        for violation in recount(connection=connection, mart=mart, policy=policy)
    ]


def _export_mart(
    exchange: Exchange,
    plan: MartPlan,
    partitions: list[str],
    files: list[CleanFile],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    result: _Made,
) -> None:
    exported = export(
        connection=connection, mart=plan.mart, partitions=partitions, folder=folder / "out" / plan.mart.name
    )
    name = _candidate_name(plan)
    found: dict[str, Exported] = {entry.partition: entry for entry in exported}
    for partition in partitions:
        used = {file.delivery for file in input_files(exchange, [(plan, [partition])])}
        entry = found.get(partition)
        if entry is None:
            result.files[partition] = None
            continue
        path = partition_path(plan.mart, partition)
        exchange.lake.upload("candidates", f"{plan.mart.name}/{name}/{path}", entry.path)
        result.files[partition] = File(
            path=path,
            partition=partition,
            rows=entry.rows,
            bytes=entry.bytes,
            sha256=entry.sha256,
            deliveries=tuple(sorted(used)),
        )
        result.deliveries |= used


def _candidate_name(plan: MartPlan) -> str:
    """The same work has the same name, so that a build that was killed and run again leaves one candidate."""
    digest = hashlib.sha256("\n".join([plan.code, *plan.partitions]).encode()).hexdigest()[:8]
    return f"c{plan.change:08d}-{digest}"


def _record(exchange: Exchange, plan: MartPlan, made: _Made) -> Candidate:
    mart = plan.mart
    base = latest_manifest(exchange, mart=mart.name, major=mart.major)
    candidate = Candidate(
        mart=mart.name,
        major=mart.major,
        candidate=_candidate_name(plan),
        created_at=datetime.now(UTC),
        base=base.release if base else None,
        change=plan.change,
        code=plan.code,
        code_version=code_version(exchange.settings.project),
        reason=plan.reason,
        built=made.files,
        held=plan.held,
        inputs=_inputs(exchange, made.deliveries),
        checks=tuple(made.checks[key] for key in sorted(made.checks)),
        seconds=round(made.seconds, 2),
    )
    exchange.lake.write_bytes(
        "candidates",
        f"{candidate.prefix}/candidate.json",
        candidate.model_dump_json(indent=1).encode(),
        content_type="application/json",
    )
    with exchange.index.begin() as connection:
        connection.execute(
            sa.update(candidates)
            .where(candidates.c.mart == mart.name, candidates.c.status == "built")
            .values(status="superseded")
        )
        upsert(
            connection,
            candidates,
            {
                "mart": mart.name,
                "candidate": candidate.candidate,
                "major": mart.major,
                "status": "built",
                "created_at": candidate.created_at,
                "change": plan.change,
                "code": plan.code,
                "seconds": candidate.seconds,
            },
        )
    return candidate


def _inputs(exchange: Exchange, wanted: set[str]) -> tuple[Input, ...]:
    if not wanted:
        return ()
    rows = exchange.index.rows(
        sa.select(deliveries).where(deliveries.c.delivery.in_(sorted(wanted))).order_by(deliveries.c.delivery)
    )
    found = []
    for row in rows:
        contract = exchange.contract(f"{row['provider']}/{row['dataset']}")
        found.append(
            Input(
                delivery=row["delivery"],
                dataset=contract.key,
                file=row["file"],
                sha256=row["sha256"],
                contract_version=row["contract_version"],
                simulated=contract.exchange.simulated,
                licence=contract.exchange.licence.id,
                attribution=contract.exchange.licence.attribution,
            )
        )
    return tuple(found)


def code_version(project: Path) -> str:
    """The commit of the project, ``+changes`` where files differ from it, ``unversioned`` outside git."""
    try:
        commit = subprocess.run(
            ["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(project), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unversioned"
    return f"{commit}+changes" if changed else commit
