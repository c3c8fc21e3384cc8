"""The attacks of a private mart, on a candidate or a release, beside all that was ever released of its units."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from lakehouse.contracts.mart import Mart, read_marts
from lakehouse.contracts.policy import AggregatePolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.attacks.differencing import differencing
from lakehouse.privacy.attacks.interval import interval
from lakehouse.privacy.attacks.membership_inference import membership_inference
from lakehouse.privacy.attacks.outcome import Outcome, worse
from lakehouse.privacy.attacks.recount import recount
from lakehouse.privacy.attacks.relinking import relinking
from lakehouse.privacy.audit import prepare
from lakehouse.privacy.membership import Published, population, read_membership
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.manifest import Candidate, Manifest, read_candidate, read_manifest
from lakehouse.release.record import AWAITED
from lakehouse.storage.index import releases

ATTACKS = (recount, differencing, interval, relinking, membership_inference)


# In a file, so that DuckDB spills beside it and not where the process stands.
DATABASE = "attack.duckdb"


def attack(exchange: Exchange, *, made: Candidate, policy: AggregatePolicy, grain: str, release: str) -> list[Outcome]:
    """Every attack on each partition that the candidate built, one outcome an attack.

    Beside it stands all else of the same population whose partitions overlap: what was released of any mart, and
    candidates that wait, since two that each pass alone could be released together. Raises
    :class:`lakehouse.storage.lake.ObjectNotFound` where one of them has no membership record, and ``ValueError``
    where it is of another key: what cannot be audited is not released.
    """
    others = [*_released(exchange), *_waiting(exchange)]
    earlier = [
        entry
        for entry in others
        if population(entry.policy) == population(policy)
        and (entry.mart, entry.candidate) != (made.mart, made.candidate)
    ]
    outcomes: dict[str, Outcome] = {}
    for partition, file in made.built.items():
        if file is None:
            continue
        mine = _entry(made, policy, grain, release, partition)
        published = [mine, *(entry for entry in earlier if _overlap(entry.partition, partition))]
        with (
            tempfile.TemporaryDirectory(prefix="attack-") as folder,
            exchange.duckdb(Path(folder) / DATABASE) as connection,
        ):
            read_membership(exchange, published, connection, Path(folder))
            prepare(connection)
            for run in ATTACKS:
                outcome = run(connection).of(made.mart, release, partition)
                known = outcomes.get(outcome.attack)
                outcomes[outcome.attack] = outcome if known is None else worse(known, outcome)
    return list(outcomes.values())


def candidate_entry(made: Candidate, policy: AggregatePolicy, mart: Mart, partition: str) -> Published:
    """A partition of a candidate that is not released."""
    return _entry(made, policy, mart.exchange.partition.grain, made.candidate, partition)


def _entry(made: Candidate, policy: AggregatePolicy, grain: str, release: str, partition: str) -> Published:
    return Published(
        mart=made.mart, candidate=made.candidate, release=release, grain=grain, partition=partition, policy=policy
    )


def attack_release(exchange: Exchange, manifest: Manifest) -> list[Outcome]:
    """The attacks on what a release brought, beside all other releases, later ones too."""
    policy = aggregate_policy(manifest)
    if policy is None:
        return []
    made = read_candidate(exchange, mart=manifest.mart, candidate=manifest.candidate)
    grain = manifest.partition["grain"]
    return attack(exchange, made=made, policy=policy, grain=grain, release=manifest.release)


def aggregate_policy(manifest: Manifest) -> AggregatePolicy | None:
    """The policy under which a release was published; ``None`` for one with nothing personal in it."""
    if manifest.privacy.get("kind") != "aggregate":
        return None
    return AggregatePolicy.model_validate(manifest.privacy)


def _released(exchange: Exchange) -> Iterator[Published]:
    """Partitions of all private releases, of marts that are gone as well: each as it was built. One that was rolled
    back from, yanked or removed was public once, and whoever read it knows it still."""
    rows = exchange.index.rows(sa.select(releases).order_by(releases.c.created_at, releases.c.mart))
    for row in rows:
        manifest = read_manifest(exchange, mart=row["mart"], major=row["major"], release=row["release"])
        policy = aggregate_policy(manifest)
        if policy is not None:
            made = read_candidate(exchange, mart=row["mart"], candidate=row["candidate"])
            yield from _entries(made, policy, manifest.partition["grain"], row["release"])


def _waiting(exchange: Exchange) -> Iterator[Published]:
    marts = read_marts(exchange.settings.marts_path)
    for row in waiting_candidates(exchange, statuses=AWAITED):
        mart = marts.get(row["mart"])
        if mart is not None and isinstance(mart.exchange.privacy, AggregatePolicy):
            made = read_candidate(exchange, mart=mart.name, candidate=row["candidate"])
            yield from _entries(made, mart.exchange.privacy, mart.exchange.partition.grain, made.candidate)


def _entries(made: Candidate, policy: AggregatePolicy, grain: str, release: str) -> Iterator[Published]:
    for partition, file in made.built.items():
        if file is not None:
            yield _entry(made, policy, grain, release, partition)


def _overlap(one: str, other: str) -> bool:
    """Names of days, months and years begin alike where one lies in the other: ``2024-10-27`` in ``2024-10``."""
    return one.startswith(other) or other.startswith(one)
