"""What a build's own checks found of a mart: whether dbt made it, its dbt tests, the recount of its thresholds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import duckdb

from lakehouse.build.dbt import NodeResult
from lakehouse.build.lineage import Lineage
from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy, DpPolicy, SuppressPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.gathered import gather
from lakehouse.privacy.noisy import recount_ledger, recount_noisy
from lakehouse.privacy.table_recount import recount_table
from lakehouse.privacy.thresholds import Violation, recount
from lakehouse.release.manifest import BuildCheck

MADE = ("success", "pass")
FAILED = ("error", "fail")
ERROR_KIND = re.compile(r"\b([A-Z]\w+(?: [A-Z]\w+)?) Error\b(?! in (?:model|test|seed))|Compilation Error")
# Of these the message is about the code alone: they come before a row is read.
OF_CODE = ("Compilation Error", "Parser Error", "Binder Error", "Catalog Error")


def failure(mart: Mart, lineage: Lineage, results: Sequence[NodeResult]) -> str | None:
    """Why dbt did not make the mart, or ``None``. A failed test of the mart itself does not count here: it is a
    check of the candidate, and one above it keeps dbt from making the mart at all."""
    own = next((result for result in results if result.unique_id == lineage.node), None)
    made = {result.unique_id for result in results if result.status in MADE}
    if made >= {node for node in (lineage.node, lineage.counted) if node}:
        return None
    causes = [_words(mart, result) for result in results if result.status in FAILED and _above(result, lineage)]
    return "; ".join(causes) or f"dbt did not build it ({own.status if own else 'not selected'})"


def dbt_checks(mart: Mart, lineage: Lineage, results: Sequence[NodeResult]) -> Iterator[BuildCheck]:
    """The dbt tests on the mart and on all above it."""
    for result in results:
        if result.resource == "test" and _above(result, lineage):
            found = f"{result.failures:,} rows against it" if result.failures else "no row against it"
            yield BuildCheck(
                name=result.name,
                gate="dbt",
                severity="warning" if result.severity == "warn" else "blocking",
                success=result.status in MADE,
                found=f"it could not be run: {_words(mart, result)}" if result.status == "error" else found,
            )


def privacy_checks(
    exchange: Exchange, connection: duckdb.DuckDBPyConnection, mart: Mart, partitions: Mapping[str, str]
) -> Iterator[BuildCheck]:
    """The policy's rules, recounted on the partitions that are to be published (by name a condition in SQL). Of an
    aggregate it leaves what it gathered for the record."""
    published = " OR ".join(partitions.values())
    policy = mart.exchange.privacy
    violations: list[Violation] = []
    if isinstance(policy, AggregatePolicy):
        gather(connection, mart, policy, published=published)
        violations = recount(connection, mart=mart, policy=policy)
    elif isinstance(policy, DpPolicy):
        violations = recount_noisy(connection=connection, mart=mart, policy=policy, published=published)
        violations += recount_ledger(exchange, mart=mart, policy=policy, partitions=partitions)
    elif isinstance(policy, SuppressPolicy):
        violations = recount_table(connection=connection, mart=mart, policy=policy, published=published)
    for violation in violations:
        yield BuildCheck(
            name=violation.rule,
            gate="privacy",
            severity="blocking",
            success=violation.cells == 0,
            found=f"{violation.expected}: {violation.cells:,} cells against it",
        )


def worst(checks: Iterable[BuildCheck]) -> tuple[BuildCheck, ...]:
    """One of each check, over all batches: the first that failed, if one did."""
    kept: dict[tuple[str, str], BuildCheck] = {}
    for check in checks:
        if kept.setdefault((check.gate, check.name), check).success:
            kept[check.gate, check.name] = check
    return tuple(kept[name] for name in sorted(kept))


def _above(result: NodeResult, lineage: Lineage) -> bool:
    tested = result.resource == "test" and not lineage.ancestors.isdisjoint(result.depends_on)
    return tested or result.unique_id in lineage.ancestors


def _words(mart: Mart, result: NodeResult) -> str:
    """The engine's message; where private rows were read only its kind, for it may quote one of their values."""
    kind = ERROR_KIND.search(result.message)
    if not mart.private or result.status == "fail" or (kind and kind[0] in OF_CODE):
        return f"{result.name}: {result.message.strip()}"
    return (
        f"{result.name}: {kind[0] if kind else 'an error'}; the message is kept back, for private rows were read: "
        "build it on simulated ones to see it"
    )
