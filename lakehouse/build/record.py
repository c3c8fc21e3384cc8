"""A candidate on record: its name, the files that were exported, and what was known when it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

import sqlalchemy as sa

from lakehouse.build.checks import worst
from lakehouse.build.environment import code_version
from lakehouse.build.inputs import ASKED_AT_ONCE, CleanFile
from lakehouse.build.plan import MartPlan
from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import DpPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.ledger import spent
from lakehouse.release.manifest import AreaGroup, BuildCheck, Candidate, Environment, File, Input
from lakehouse.release.record import AWAITED
from lakehouse.storage.index import candidates, deliveries, upsert


def candidate_name(plan: MartPlan) -> str:
    """The same work has the same name, so that a build that was killed and run again leaves one candidate."""
    base = plan.base.release if plan.base else "none"
    digest = hashlib.sha256("\n".join([plan.code, base, *plan.partitions]).encode()).hexdigest()[:8]
    return f"c{plan.change:08d}-{digest}"


def record_candidate(
    exchange: Exchange,
    *,
    plan: MartPlan,
    built: dict[str, File | None],
    read: Iterable[CleanFile],
    checks: Iterable[BuildCheck],
    areas: Iterable[AreaGroup],
    environment: Environment,
    seconds: float,
) -> Candidate:
    """Writes ``candidate.json`` beside the files and then names it in the index, where the release finds it.

    ``built``: what came of each partition. ``read``: the inputs. ``areas``: groups of the periods that it built. An
    older candidate that waits is superseded.
    """
    candidate = Candidate(
        mart=plan.mart.name,
        major=plan.mart.major,
        candidate=candidate_name(plan),
        created_at=datetime.now(UTC),
        base=plan.base.release if plan.base else None,
        change=plan.change,
        code=plan.code,
        code_version=code_version(environment),
        environment=environment,
        reason=plan.reason,
        whole=plan.whole,
        built=dict(sorted(built.items())),
        held=plan.held,
        waiting=plan.waiting,
        inputs=_inputs(exchange, {file.delivery for file in read}),
        checks=worst(checks),
        areas=tuple(sorted(set(areas), key=lambda group: (group.period, group.kind, group.code))),
        spent=_spent(exchange, plan.mart, built),
        seconds=round(seconds, 2),
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
            .where(candidates.c.mart == candidate.mart, candidates.c.status.in_(AWAITED))
            .values(status="superseded", reason="a newer one was built")
        )
        upsert(
            connection,
            candidates,
            {
                "mart": candidate.mart,
                "candidate": candidate.candidate,
                "major": candidate.major,
                "status": "built",
                "created_at": candidate.created_at,
                "change": candidate.change,
                "code": candidate.code,
                "seconds": candidate.seconds,
            },
        )
    return candidate


def _spent(exchange: Exchange, mart: Mart, built: dict[str, File | None]) -> dict[str, str]:
    if not isinstance(mart.exchange.privacy, DpPolicy):
        return {}
    found = spent(exchange, mart=mart.name, major=mart.major)
    return {partition: str(found[partition]) for partition in sorted(built)}


def _inputs(exchange: Exchange, wanted: set[str]) -> tuple[Input, ...]:
    ordered, found = sorted(wanted), []
    for start in range(0, len(ordered), ASKED_AT_ONCE):
        rows = exchange.index.rows(
            sa.select(deliveries).where(deliveries.c.delivery.in_(ordered[start : start + ASKED_AT_ONCE]))
        )
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
    return tuple(sorted(found, key=lambda entry: entry.delivery))
