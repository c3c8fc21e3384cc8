"""A build: candidates of every mart whose inputs or code changed, by their touched partitions alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from lakehouse.build.area_groups import read_area_groups
from lakehouse.build.checks import dbt_checks, failure, privacy_checks
from lakehouse.build.dbt import DATABASE, BuildFailed, DbtProject, NodeResult
from lakehouse.build.environment import environment_of
from lakehouse.build.export import export, partition_condition, partition_path
from lakehouse.build.inputs import CleanFile, Inputs, prepare_sources
from lakehouse.build.lineage import Lineage
from lakehouse.build.periods import span_of
from lakehouse.build.plan import MartPlan, NotBuildable, answered, plan_mart
from lakehouse.build.record import candidate_name, record_candidate
from lakehouse.contracts.mart import Mart, read_marts
from lakehouse.contracts.policy import AggregatePolicy, DpPolicy, SuppressPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.draws import fill_with_noise
from lakehouse.privacy.filled import MeasureNotEmpty
from lakehouse.privacy.gathered import scatter
from lakehouse.privacy.ledger import OverBudget
from lakehouse.privacy.lineage import require_policy
from lakehouse.privacy.membership import NotPeople, keep_membership
from lakehouse.privacy.table_record import keep_table
from lakehouse.privacy.tables import TableNotSound
from lakehouse.privacy.withheld import Pattern, PatternBroken, fill_but_withheld
from lakehouse.release.manifest import AreaGroup, BuildCheck, File, UnreadablePointer, latest_manifest
from lakehouse.release.patterns import standing_patterns
from lakehouse.release.withdraw import PointerLost, go_on_from_pointer

Progress = Callable[[str], None]
# Partitions of each mart that one dbt invocation builds.
Batch = list[tuple["_Work", list[str]]]
# Input rows that one dbt invocation takes in; more are built period by period.
BATCH_ROWS = 20_000_000


@dataclass(kw_only=True)
class BuildSummary:
    """What a build did. ``failed``: marts that could not be built, with the reason. ``held``: of each mart the
    partitions that were touched and not built, with the reason."""

    candidates: list[dict[str, str]] = field(default_factory=list)
    unchanged: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(kw_only=True)
class _Work:
    """One mart's plan and what the batches have made of it so far."""

    plan: MartPlan
    lineage: Lineage
    built: dict[str, File | None] = field(default_factory=dict)
    checks: list[BuildCheck] = field(default_factory=list)
    read: set[CleanFile] = field(default_factory=set)
    patterns: dict[str, Pattern] = field(default_factory=dict)
    areas: set[AreaGroup] = field(default_factory=set)
    failed: str | None = None
    seconds: float = 0.0

    @property
    def mart(self) -> Mart:
        return self.plan.mart

    @property
    def standing_areas(self) -> set[tuple[str, AreaGroup]]:
        """What later batches and builds keep to."""
        base = self.plan.base
        return {(self.mart.name, group) for group in {*(base.areas if base else ()), *self.areas}}


def build(
    exchange: Exchange,
    *,
    marts: Sequence[str] = (),
    now: datetime | None = None,
    project: DbtProject | None = None,
    progress: Progress = lambda _: None,
) -> BuildSummary:
    """Plans and builds. The lake's releases are not touched.

    ``marts`` limits it to some, ``now`` is the moment by which partitions are final, ``project`` one that was
    parsed already. Raises :class:`lakehouse.privacy.lineage.UncoveredPrivateData` and
    :class:`lakehouse.build.lineage.HiddenLineage` before anything is built,
    :class:`lakehouse.build.dbt.BuildFailed` where dbt itself could not run, and ``KeyError`` for an unknown mart.
    """
    began = time.monotonic()
    summary = BuildSummary()
    known = read_marts(exchange.settings.marts_path)
    if unknown := set(marts) - set(known):
        raise KeyError(f"no mart {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}")
    project = project or DbtProject(exchange)
    lineages = {name: project.lineage(name) for name in marts or known}
    for name, lineage in lineages.items():
        require_policy(
            mart=known[name], selected=lineage.selected, datasets=lineage.datasets, contracts=exchange.contracts
        )
    works = list(_planned(exchange, known, lineages, now or datetime.now(UTC), summary))
    if works:
        inputs = Inputs(exchange, [work.plan for work in works])
        _build_batches(exchange, project, works, inputs, progress)
        _record(exchange, works, summary, progress)
    summary.seconds = round(time.monotonic() - began, 2)
    return summary


def _planned(
    exchange: Exchange,
    known: dict[str, Mart],
    lineages: dict[str, Lineage],
    now: datetime,
    summary: BuildSummary,
) -> Iterator[_Work]:
    change = exchange.index.last_change()
    for name, lineage in lineages.items():
        mart = known[name]
        try:
            go_on_from_pointer(exchange, mart=name, major=mart.major)
            base = latest_manifest(exchange, mart=name, major=mart.major)
            plan = plan_mart(exchange, mart=mart, lineage=lineage, base=base, change=change, now=now)
        except (NotBuildable, PointerLost, UnreadablePointer) as error:
            summary.failed[name] = str(error)
            continue
        if plan.held:
            summary.held[name] = plan.held
        if plan.partitions and (answer := answered(exchange, plan)):
            summary.unchanged[name] = answer
        elif plan.partitions:
            yield _Work(plan=plan, lineage=lineage)
        elif plan.held:
            first, reason = next(iter(plan.held.items()))
            summary.unchanged[name] = f"{len(plan.held)} touched partitions are held ({first}: {reason})"
        else:
            summary.unchanged[name] = plan.reason


def _build_batches(
    exchange: Exchange, project: DbtProject, works: list[_Work], inputs: Inputs, progress: Progress
) -> None:
    batches = list(_batches(works, inputs))
    document = any(work.plan.new_code for work in works)
    for number, batch in enumerate(batches, 1):
        count = sum(len(partitions) for _, partitions in batch)
        names = ", ".join(work.mart.name for work, _ in batch)
        progress(f"batch {number} of {len(batches)}: {count} partitions of {names}")
        with exchange.workplace("build") as folder:
            _build_batch(exchange, project, batch, inputs, folder)
            if document and number == len(batches):
                _keep_documentation(exchange, project, folder, progress)


def _batches(works: list[_Work], inputs: Inputs) -> Iterator[Batch]:
    """The partitions in order of time, grouped so that what a group reads is at most BATCH_ROWS, or one partition's:
    two marts of the same month have a batch each where both read millions of rows."""
    ordered = [
        (span_of(partition, work.mart.exchange.partition.grain).start, number, partition)
        for number, work in enumerate(works)
        for partition in work.plan.partitions
    ]
    gathered: dict[str, tuple[_Work, list[str]]] = {}
    read: dict[CleanFile, int] = {}
    rows = 0
    for _, number, partition in sorted(ordered):
        work = works[number]
        wanted = inputs.rows_of(work.plan, [partition])
        more = sum(max(count - read.get(file, 0), 0) for file, count in wanted.items())
        if gathered and rows + more > BATCH_ROWS:
            yield list(gathered.values())
            gathered, read, rows = {}, {}, 0
            more = sum(wanted.values())
        rows += more
        read |= {file: max(count, read.get(file, 0)) for file, count in wanted.items()}
        gathered.setdefault(work.mart.name, (work, []))[1].append(partition)
    yield list(gathered.values())


def _build_batch(exchange: Exchange, project: DbtProject, batch: Batch, inputs: Inputs, folder: Path) -> None:
    began = time.monotonic()
    files = {file for work, partitions in batch for file in inputs.of(work.plan, partitions)}
    parts = [(work.plan, partitions) for work, partitions in batch]
    areas = {group for work, _ in batch for group in work.standing_areas}
    prepare_sources(
        exchange, files=files, parts=parts, areas=areas, database=folder / DATABASE, folder=folder / "inputs"
    )
    results = project.run(folder=folder, models=[model for work, _ in batch for model in work.lineage.models])
    shared = time.monotonic() - began
    with exchange.duckdb(folder / DATABASE) as connection:
        for work, partitions in batch:
            began = time.monotonic()
            _take(exchange, work, partitions, results, inputs, connection, folder)
            work.seconds += shared + time.monotonic() - began


def _take(
    exchange: Exchange,
    work: _Work,
    partitions: list[str],
    results: Sequence[NodeResult],
    inputs: Inputs,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
) -> None:
    """Checks and exports what the batch made of one mart."""
    work.failed = work.failed or failure(work.mart, work.lineage, results)
    if work.failed is not None:
        return
    conditions = {partition: partition_condition(work.mart, partition) for partition in partitions}
    work.checks += dbt_checks(work.mart, work.lineage, results)
    policy = work.mart.exchange.privacy
    try:
        if isinstance(policy, DpPolicy):
            fill_with_noise(exchange, connection, work.mart, policy, conditions, candidate=candidate_name(work.plan))
        elif isinstance(policy, SuppressPolicy):
            work.patterns = standing_patterns(exchange, work.mart, policy, work.plan.base, partitions) | work.patterns
            work.patterns |= fill_but_withheld(connection, work.mart, policy, conditions, work.patterns)
        work.checks += privacy_checks(exchange, connection, work.mart, conditions)
    except (OverBudget, MeasureNotEmpty, TableNotSound, PatternBroken, NotPeople) as error:
        work.failed = str(error)
        return
    except duckdb.Error as error:
        # By its kind alone: the message may quote a private value.
        work.failed = f"its thresholds cannot be recounted ({type(error).__name__}): see privacy.contributions"
        return
    work.built |= dict.fromkeys(partitions)
    prefix = f"{work.mart.name}/{candidate_name(work.plan)}"
    for entry in export(
        connection=connection, mart=work.mart, partitions=partitions, folder=folder / "out" / work.mart.name
    ):
        path = partition_path(work.mart, entry.partition)
        exchange.lake.upload("candidates", f"{prefix}/{path}", entry.path)
        entry.path.unlink()
        read = inputs.of(work.plan, [entry.partition])
        work.read |= read
        work.built[entry.partition] = File(
            path=path,
            partition=entry.partition,
            rows=entry.rows,
            bytes=entry.bytes,
            sha256=entry.sha256,
            deliveries=tuple(sorted({file.delivery for file in read})),
            candidate=candidate_name(work.plan),
        )
    published = [name for name in partitions if work.built[name]]
    if isinstance(policy, AggregatePolicy) and policy.partition is not None:
        work.areas |= read_area_groups(connection, policy.partition, work.mart, published)
    try:
        _keep_membership(exchange, work, published, connection, folder)
    except NotPeople as error:
        work.failed = str(error)


def _keep_membership(
    exchange: Exchange, work: _Work, partitions: list[str], connection: duckdb.DuckDBPyConnection, folder: Path
) -> None:
    policy, named = work.mart.exchange.privacy, candidate_name(work.plan)
    conditions = {partition: partition_condition(work.mart, partition) for partition in partitions}
    if isinstance(policy, AggregatePolicy):
        keep_membership(
            exchange,
            connection=connection,
            mart=work.mart,
            policy=policy,
            candidate=named,
            partitions=conditions,
            folder=folder / "audit",
        )
        scatter(connection)
    elif isinstance(policy, SuppressPolicy):
        keep_table(
            exchange,
            connection=connection,
            mart=work.mart,
            policy=policy,
            candidate=named,
            partitions=conditions,
            folder=folder / "audit",
        )


def _record(exchange: Exchange, works: list[_Work], summary: BuildSummary, progress: Progress) -> None:
    environment = environment_of(exchange.settings)
    for work in works:
        name = work.mart.name
        if work.failed is not None:
            summary.failed[name] = work.failed
            continue
        candidate = record_candidate(
            exchange, plan=work.plan, built=work.built, read=work.read, checks=work.checks,
            areas=work.areas,
            environment=environment, seconds=work.seconds,
        )  # fmt: skip
        rows = sum(file.rows for file in candidate.built.values() if file is not None)
        progress(f"{name}: candidate {candidate.candidate}, {rows:,} rows ({candidate.reason})")
        summary.candidates.append({"mart": name, "candidate": candidate.candidate})


def _keep_documentation(exchange: Exchange, project: DbtProject, folder: Path, progress: Progress) -> None:
    """dbt's page of the whole project, under ``reports/dbt/``. Without it the marts are none the worse."""
    try:
        page = project.document(folder=folder)
    except BuildFailed as error:
        progress(f"dbt's documentation was not made: {error}")
    else:
        exchange.lake.upload("reports", "dbt/index.html", page)
