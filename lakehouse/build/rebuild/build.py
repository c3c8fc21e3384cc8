"""Partitions built once more, each from the deliveries that its file names and from no others."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from lakehouse.build.checks import failure
from lakehouse.build.dbt import DATABASE, DbtProject
from lakehouse.build.export import export, partition_condition
from lakehouse.build.inputs import CleanFile, Inputs, prepare_sources
from lakehouse.build.lineage import Lineage, NoSuchModel
from lakehouse.build.plan import MartPlan
from lakehouse.build.rebuild.wanted import Rebuilt, Wanted
from lakehouse.build.run import BATCH_ROWS
from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import DpPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.draws import fill_with_noise
from lakehouse.privacy.ledger import BUCKET, OverBudget
from lakehouse.release.manifest import File

Progress = Callable[[str], None]
NEW_NOISE = "its true counts are not those of the release, for which noise was drawn"


@dataclass(frozen=True, kw_only=True)
class _Item:
    """One file to be built: what it may read, ``own``, of all that stands in the partitions that it looks at."""

    wanted: Wanted
    file: File
    plan: MartPlan
    lineage: Lineage
    own: frozenset[CleanFile]
    seen: frozenset[CleanFile]


@dataclass(kw_only=True)
class _Batch:
    """Files that one invocation of dbt builds: none of them sees a row that it may not read. ``hidden``: what one of
    them would see and is not to."""

    items: list[_Item] = field(default_factory=list)
    files: set[CleanFile] = field(default_factory=set)
    hidden: set[CleanFile] = field(default_factory=set)
    plans: dict[str, MartPlan] = field(default_factory=dict)
    rows: int = 0

    def takes(self, item: _Item) -> bool:
        """Whether with the item each still sees just its own."""
        if self.rows + sum(file.rows for file in item.own - self.files) > BATCH_ROWS:
            return False
        if self.plans.get(item.wanted.mart, item.plan) is not item.plan:
            return False
        return self.hidden.isdisjoint(item.own) and self.files.isdisjoint(item.seen - item.own)

    def add(self, item: _Item) -> None:
        self.items.append(item)
        self.plans[item.wanted.mart] = item.plan
        self.rows += sum(file.rows for file in item.own - self.files)
        self.files |= item.own
        self.hidden |= item.seen - item.own


def build_again(
    exchange: Exchange,
    scratch: Exchange,
    wanted: Sequence[Wanted],
    *,
    marts: dict[str, Mart],
    failed: dict[str, str],
    progress: Progress = lambda _: None,
) -> Iterator[Rebuilt]:
    """Builds the files from what was landed in the scratch exchange. ``failed``: deliveries that could not be landed
    as they were. Noise that was drawn before is taken from the exchange; nothing is charged or drawn there."""
    project = DbtProject(scratch)
    batches: list[_Batch] = []
    for entry in wanted:
        mart = marts.get(entry.mart)
        try:
            lineage = project.lineage(entry.mart) if mart else None
        except NoSuchModel:
            lineage = None
        if mart is None or lineage is None or mart.major != entry.major:
            why = f"the code has no major {entry.major} of {entry.mart}"
            yield from (_result(entry, file, None, why) for file in entry.files)
            continue
        if isinstance(mart.exchange.privacy, DpPolicy):
            _take_draws(exchange, scratch, entry)
        for item in _items(scratch, entry, mart, lineage):
            batch = next((batch for batch in batches if batch.takes(item)), None)
            if batch is None:
                batches.append(batch := _Batch())
            batch.add(item)
    for number, batch in enumerate(batches, 1):
        progress(f"batch {number} of {len(batches)}: {len(batch.items)} files")
        folder = scratch.settings.home_path / f"batch-{number}"
        folder.mkdir()
        yield from _built(scratch, project, batch, folder, failed)
        shutil.rmtree(folder)


def _items(scratch: Exchange, entry: Wanted, mart: Mart, lineage: Lineage) -> Iterator[_Item]:
    plan = MartPlan(
        mart=mart,
        inputs=tuple(sorted(lineage.datasets)),
        code=lineage.code,
        base=None,
        change=scratch.index.last_change(),
        partitions=tuple(sorted(file.partition for file in entry.files)),
        held={},
        waiting=(),
        whole=False,
        new_code=False,
        reason="rebuild",
    )
    inputs = Inputs(scratch, [plan])
    for file in sorted(entry.files, key=lambda file: file.partition):
        seen = frozenset(inputs.of(plan, [file.partition]))
        own = frozenset(clean for clean in seen if clean.delivery in file.deliveries)
        yield _Item(wanted=entry, file=file, plan=plan, lineage=lineage, own=own, seen=seen)


def _built(
    scratch: Exchange, project: DbtProject, batch: _Batch, folder: Path, failed: dict[str, str]
) -> Iterator[Rebuilt]:
    parts = [(item.plan, [item.file.partition]) for item in batch.items]
    areas = {(item.wanted.mart, group) for item in batch.items for group in item.wanted.areas}
    prepare_sources(
        scratch, files=batch.files, parts=parts, areas=areas, database=folder / DATABASE, folder=folder / "inputs"
    )
    by_plan: dict[int, list[_Item]] = {}
    for item in batch.items:
        by_plan.setdefault(id(item.plan), []).append(item)
    models = [model for items in by_plan.values() for model in items[0].lineage.models]
    results = project.run(folder=folder, models=models)
    with scratch.duckdb(folder / DATABASE) as connection:
        for items in by_plan.values():
            first = items[0]
            why = failure(first.plan.mart, first.lineage, results)
            found: dict[str, str] = {}
            if why is None:
                why = _with_noise(scratch, connection, items)
                partitions = [item.file.partition for item in items]
                for made in export(
                    connection=connection, mart=first.plan.mart, partitions=partitions, folder=folder / "out"
                ):
                    found[made.partition] = made.sha256
                    made.path.unlink()
            for item in items:
                yield _judged(item, found.get(item.file.partition), why, failed)


def _with_noise(scratch: Exchange, connection: duckdb.DuckDBPyConnection, items: list[_Item]) -> str | None:
    """Fills a mart with the noise that was drawn for it; returns why it cannot be the same."""
    mart = items[0].plan.mart
    policy = mart.exchange.privacy
    if not isinstance(policy, DpPolicy):
        return None
    before = sum(1 for _ in scratch.lake.list(BUCKET, "draws/"))
    conditions = {item.file.partition: partition_condition(mart, item.file.partition) for item in items}
    try:
        fill_with_noise(scratch, connection, mart, policy, conditions, candidate="rebuild")
    except OverBudget as error:
        return str(error)
    return NEW_NOISE if sum(1 for _ in scratch.lake.list(BUCKET, "draws/")) > before else None


def _take_draws(exchange: Exchange, scratch: Exchange, entry: Wanted) -> None:
    for file in entry.files:
        for kept in exchange.lake.list(BUCKET, f"draws/{entry.mart}/v{entry.major}/{file.partition}/"):
            scratch.lake.write_bytes(BUCKET, kept.key, exchange.lake.read_bytes(BUCKET, kept.key))


def _judged(item: _Item, found: str | None, why: str | None, failed: dict[str, str]) -> Rebuilt:
    if found == item.file.sha256:
        return _result(item.wanted, item.file, found, None)
    reasons = [failed[delivery] for delivery in item.file.deliveries if delivery in failed]
    missing = set(item.file.deliveries) - {clean.delivery for clean in item.own} - failed.keys()
    if missing:
        reasons.append(f"{len(missing)} of its {len(item.file.deliveries)} deliveries gave it no row this time")
    if item.lineage.code != item.wanted.code:
        reasons.append("the mart's code is not the one that it was built by")
    return _result(item.wanted, item.file, found, why or "; ".join(dict.fromkeys(reasons)) or None)


def _result(entry: Wanted, file: File, found: str | None, why: str | None) -> Rebuilt:
    return Rebuilt(
        mart=entry.mart,
        release=entry.release,
        file=file.path,
        expected=file.sha256,
        found=found,
        equal=found == file.sha256,
        why=why,
    )
