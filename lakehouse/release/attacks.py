"""The attacks on a private mart, on a candidate or a release, beside all that was ever released of its units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.mart import Mart, read_marts
from lakehouse.contracts.policy import AggregatePolicy, SuppressPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.attacks.anonymity import k_l_t
from lakehouse.privacy.attacks.differencing import differencing
from lakehouse.privacy.attacks.interval import interval
from lakehouse.privacy.attacks.membership_inference import membership_inference
from lakehouse.privacy.attacks.outcome import Outcome, worse
from lakehouse.privacy.attacks.recount import recount
from lakehouse.privacy.attacks.relinking import relinking
from lakehouse.privacy.attacks.tables import table_differencing, table_interval, table_recount
from lakehouse.privacy.audit import prepare
from lakehouse.privacy.membership import Published, read_membership
from lakehouse.privacy.table_record import PublishedTable, read_counted, read_tables
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.manifest import Candidate, Manifest, read_candidate, read_manifest
from lakehouse.release.record import AWAITED
from lakehouse.storage.index import releases

ATTACKS = (recount, k_l_t, differencing, interval, relinking, membership_inference)
TABLE_ATTACKS = (table_recount, table_differencing, table_interval)

# In a file, so that DuckDB spills beside it and not where the process stands.
DATABASE = "attack.duckdb"


def attack(
    exchange: Exchange, *, made: Candidate, policy: AggregatePolicy | SuppressPolicy, grain: str, release: str
) -> list[Outcome]:
    """Every attack on each partition that the candidate built, one outcome an attack.

    Beside it stands all else of the same units: what was released of any mart, and candidates that wait, since two
    that each pass alone could be released together. Sums of the same measure are audited together where their
    periods overlap, tables of counts in all periods (who is in one is in the next too). What marts of both kinds say
    of how many units there are is known to who attacks a table. Raises
    :class:`lakehouse.storage.lake.ObjectNotFound` where one of them has no membership record, and ``ValueError``
    where it is of another key: what cannot be audited is not released.
    """
    others = [
        entry
        for entry in (*_released(exchange), *_waiting(exchange))
        if entry.policy.unit_column == policy.unit_column
        and (entry.mart, entry.candidate) != (made.mart, made.candidate)
    ]
    outcomes: dict[str, Outcome] = {}
    for partition in sorted(name for name, file in made.built.items() if file is not None):
        mine = _entry(made, policy, grain, release, partition)
        found = (
            _on_table(exchange, mine, others) if isinstance(mine, PublishedTable) else _on_sums(exchange, mine, others)
        )
        for outcome in found:
            outcome = outcome.of(made.mart, release, partition)
            known = outcomes.get(outcome.attack)
            outcomes[outcome.attack] = outcome if known is None else worse(known, outcome)
    if isinstance(policy, AggregatePolicy):
        outcomes |= _on_tables_beside(exchange, made, policy, grain, release, others)
    return list(outcomes.values())


def _on_sums(exchange: Exchange, mine: Published, others: Iterable[Published | PublishedTable]) -> Iterator[Outcome]:
    earlier = [
        entry
        for entry in others
        if isinstance(entry, Published)
        and entry.policy.measure == mine.policy.measure
        and _overlap(entry.partition, mine.partition)
    ]
    with _database(exchange) as (connection, folder):
        read_membership(exchange, [mine, *earlier], connection, folder)
        prepare(connection)
        for run in ATTACKS:
            yield run(connection)


def _on_table(
    exchange: Exchange, mine: PublishedTable, others: Iterable[Published | PublishedTable]
) -> Iterator[Outcome]:
    counts = mine.policy.cap.value == 1
    others = list(others)
    tables = [
        entry
        for entry in others
        if isinstance(entry, PublishedTable)
        and entry.policy.measure == mine.policy.measure
        and (counts or _overlap(entry.partition, mine.partition))
    ]
    with _database(exchange) as (connection, folder):
        read_tables(exchange, [mine, *tables], connection, folder)
        sums = [entry for entry in others if counts and isinstance(entry, Published)]
        read_counted(exchange, mine, sums, connection, folder)
        for run in TABLE_ATTACKS:
            yield run(connection)


def _on_tables_beside(
    exchange: Exchange,
    made: Candidate,
    policy: AggregatePolicy,
    grain: str,
    release: str,
    others: Sequence[Published | PublishedTable],
) -> dict[str, Outcome]:
    """What the candidate's numbers of units add to what tables of the same units withhold."""
    mine = list(_entries(made, policy, grain, release))
    found: dict[str, Outcome] = {}
    for table in others:
        if isinstance(table, PublishedTable) and table.policy.cap.value == 1:
            for outcome in _on_table(exchange, table, [*(e for e in others if e is not table), *mine]):
                outcome = outcome.of(made.mart, release, f"{table.mart} {table.partition}")
                outcome = replace(outcome, attack=f"{outcome.attack}_of_table_beside")
                known = found.get(outcome.attack)
                found[outcome.attack] = outcome if known is None else worse(known, outcome)
    return found


@contextmanager
def _database(exchange: Exchange) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    with (
        exchange.workplace("attack") as folder,
        exchange.duckdb(folder / DATABASE) as connection,
    ):
        yield connection, folder


def entry_of(
    made: Candidate, policy: AggregatePolicy | SuppressPolicy, mart: Mart, partition: str
) -> Published | PublishedTable:
    """A partition of a candidate that is not released."""
    return _entry(made, policy, mart.exchange.partition.grain, made.candidate, partition)


def _entry(
    made: Candidate, policy: AggregatePolicy | SuppressPolicy, grain: str, release: str, partition: str
) -> Published | PublishedTable:
    named = {"mart": made.mart, "candidate": made.candidate, "release": release, "grain": grain, "partition": partition}
    if isinstance(policy, SuppressPolicy):
        return PublishedTable(policy=policy, **named)
    return Published(policy=policy, **named)


def attack_release(exchange: Exchange, manifest: Manifest) -> list[Outcome]:
    """The attacks on what a release brought, beside all other releases, later ones too."""
    policy = attacked_policy(manifest)
    if policy is None:
        return []
    made = read_candidate(exchange, mart=manifest.mart, candidate=manifest.candidate)
    grain = manifest.partition["grain"]
    return attack(exchange, made=made, policy=policy, grain=grain, release=manifest.release)


def attacked_policy(manifest: Manifest) -> AggregatePolicy | SuppressPolicy | None:
    """The policy under which a release was published whose cells can be attacked; ``None`` for one with nothing
    personal in it, or with noise."""
    if manifest.privacy.get("kind") == "aggregate":
        return AggregatePolicy.model_validate(manifest.privacy)
    if manifest.privacy.get("kind") == "suppress":
        return SuppressPolicy.model_validate(manifest.privacy)
    return None


def _released(exchange: Exchange) -> Iterator[Published | PublishedTable]:
    """Partitions of all private releases, of marts that are gone as well: each as it was built. One that was rolled
    back from, yanked or removed was public once, and whoever read it knows it still."""
    rows = exchange.index.rows(sa.select(releases).order_by(releases.c.created_at, releases.c.mart))
    for row in rows:
        manifest = read_manifest(exchange, mart=row["mart"], major=row["major"], release=row["release"])
        policy = attacked_policy(manifest)
        if policy is not None:
            made = read_candidate(exchange, mart=row["mart"], candidate=row["candidate"])
            yield from _entries(made, policy, manifest.partition["grain"], row["release"])


def _waiting(exchange: Exchange) -> Iterator[Published | PublishedTable]:
    marts = read_marts(exchange.settings.marts_path)
    for row in waiting_candidates(exchange, statuses=AWAITED):
        mart = marts.get(row["mart"])
        if mart is not None and isinstance(mart.exchange.privacy, (AggregatePolicy, SuppressPolicy)):
            made = read_candidate(exchange, mart=mart.name, candidate=row["candidate"])
            yield from _entries(made, mart.exchange.privacy, mart.exchange.partition.grain, made.candidate)


def _entries(
    made: Candidate, policy: AggregatePolicy | SuppressPolicy, grain: str, release: str
) -> Iterator[Published | PublishedTable]:
    for partition, file in made.built.items():
        if file is not None:
            yield _entry(made, policy, grain, release, partition)


def _overlap(one: str, other: str) -> bool:
    """Names of days, months and years begin alike where one lies in the other: ``2024-10-27`` in ``2024-10``."""
    return one.startswith(other) or other.startswith(one)
