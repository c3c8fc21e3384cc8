"""The attacks as checks of the gate: a candidate that fails one is refused, its cells named to reviewers alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy, DpPolicy, OpenPolicy, SuppressPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.membership import record_file
from lakehouse.privacy.recorded import differing_rows
from lakehouse.privacy.withheld import period_of, withheld_in
from lakehouse.release.attacks import attack, entry_of
from lakehouse.release.manifest import Candidate, File, latest_manifest
from lakehouse.release.noise_gate import attack_noisy, differing_from_draw, unpaid_draws, unseen_noisy_faults
from lakehouse.release.patterns import standing_patterns
from lakehouse.release.self_test import unseen_faults, unseen_open_faults
from lakehouse.storage.lake import ObjectNotFound

if TYPE_CHECKING:
    from lakehouse.gates.physical import ColumnContract
    from lakehouse.gates.report import GateResult

GATE = "Attacks on the candidate and all earlier releases"
# Of an open mart, which no attack is for.
SELF_TEST = "The gate's test of itself"
REPORT = "attacks.json"


def attack_candidate(
    exchange: Exchange, mart: Mart, made: Candidate, files: Mapping[File, Path], columns: Sequence[ColumnContract]
) -> list[GateResult]:
    """One result an attack, and those of the record and of the gate's test of itself; the last alone for an open mart.
    The cells stand in ``reports/<mart>/<candidate>/attacks.json`` and nowhere else: a reason goes to the index, to logs
    and to the job's report."""
    policy = mart.exchange.privacy
    if isinstance(policy, OpenPolicy):
        tried = unseen_open_faults(exchange, mart=mart, files=files, columns=columns)
        return [_self_test(tried.unseen, tried.untried, gate=SELF_TEST)]
    grain = mart.exchange.partition.grain
    try:
        if isinstance(policy, DpPolicy):
            return _noisy(exchange, mart, policy, made, files, columns)
        outcomes = attack(exchange, made=made, policy=policy, grain=grain, release=made.candidate)
        write_report(exchange, made, outcomes)
        differing = _differing(exchange, mart, policy, made, files)
        unseen = unseen_faults(exchange, mart=mart, policy=policy, made=made, files=files, columns=columns)
    except (ObjectNotFound, ValueError) as error:
        return [_cannot_be_audited(str(error))]
    except duckdb.Error as error:
        # By its kind alone: the message may quote what a record holds.
        return [_cannot_be_audited(f"a membership record cannot be read ({type(error).__name__})")]
    frozen = [_frozen(exchange, mart, policy, files)] if isinstance(policy, SuppressPolicy) else []
    return [*(_result(outcome) for outcome in outcomes), *_others(differing, unseen), *frozen]


def _differing(
    exchange: Exchange,
    mart: Mart,
    policy: AggregatePolicy | SuppressPolicy,
    made: Candidate,
    files: Mapping[File, Path],
) -> int:
    with exchange.workplace("record") as folder, exchange.duckdb() as connection:
        return sum(
            differing_rows(
                connection,
                mart=mart,
                policy=policy,
                file=path,
                cells=record_file(exchange, entry_of(made, policy, mart, file.partition), "cells", folder),
            )
            for file, path in files.items()
        )


def _frozen(exchange: Exchange, mart: Mart, policy: SuppressPolicy, files: Mapping[File, Path]) -> GateResult:
    """Whether the same cells are withheld as in all that is published of the same period."""
    base = latest_manifest(exchange, mart=mart.name, major=mart.major)
    patterns = standing_patterns(exchange, mart, policy, base, [file.partition for file in files])
    changed = 0
    with exchange.duckdb() as connection:
        for file, path in sorted(files.items(), key=lambda item: item[0].partition):
            pattern = withheld_in(connection, policy, path)
            changed += patterns.setdefault(period_of(policy, file.partition), pattern) != pattern
    expected = f"the same cells are withheld throughout a {policy.period}"
    return _check("pattern_is_frozen", expected, not changed, f"{changed:,} partitions withhold others")


def _noisy(
    exchange: Exchange,
    mart: Mart,
    policy: DpPolicy,
    made: Candidate,
    files: Mapping[File, Path],
    columns: Sequence[ColumnContract],
) -> list[GateResult]:
    named = f"{len(files)} partitions"
    outcomes = [one.of(made.mart, made.candidate, named) for one in attack_noisy(exchange, policy, files)]
    write_report(exchange, made, outcomes)
    with exchange.workplace("draws") as folder, exchange.duckdb() as connection:
        differing = sum(
            differing_from_draw(exchange, connection, mart, policy, file.partition, path, folder)
            for file, path in files.items()
        )
    unpaid = unpaid_draws(exchange, mart=mart, policy=policy, made=made)
    unseen = unseen_noisy_faults(exchange, mart=mart, policy=policy, files=files, columns=columns)
    expected = "every row of the candidate is a cell of the draw that was paid for, and every cell a row"
    paid = "of each partition no more draws are visible than were charged"
    return [
        *(_result(outcome) for outcome in outcomes),
        _check("cells_are_as_drawn", expected, not differing, f"{differing:,} differ"),
        _check("every_draw_is_paid", paid, not unpaid, f"more of {', '.join(unpaid) or 'none'}"),
        _self_test(unseen),
    ]


def _others(differing: int, unseen: Sequence[str]) -> Iterator[GateResult]:
    expected = "every row of the candidate is a cell of its membership record, and every cell a row"
    yield _check("cells_are_as_recorded", expected, not differing, f"{differing:,} differ")
    yield _self_test(unseen)


def _self_test(unseen: Sequence[str], untried: Sequence[str] = (), *, gate: str = GATE) -> GateResult:
    expected = "each known fault, put into a copy of a partition, is seen by its check"
    left = f". Not tried: {'; '.join(untried)}" if untried else ""
    found = f"green on {'; '.join(unseen) or 'none'}{left}"
    return _check("gate_sees_known_faults", expected, not unseen, found, gate=gate)


def write_report(exchange: Exchange, made: Candidate, outcomes: Sequence[Outcome]) -> None:
    """With the cells: for reviewers."""
    content = json.dumps([asdict(outcome) for outcome in outcomes], indent=1, ensure_ascii=False)
    exchange.lake.write_bytes("reports", f"{made.prefix}/{REPORT}", content.encode(), content_type="application/json")


def _result(outcome: Outcome) -> GateResult:
    expected = f"the attack by {outcome.attack} gets to {outcome.limit:g} at most (chance: {outcome.chance:g})"
    found = f"{outcome.success:g}: {outcome.found}. Cells: {REPORT} of this report."
    result = _check(f"attack_{outcome.attack}", expected, outcome.passed, found)
    return replace(result, observed=f"{outcome.success:g}")


def _cannot_be_audited(why: str) -> GateResult:
    expected = "the candidate and all releases of the same units can be audited together"
    return _check("attack_possible", expected, False, why)


def _check(name: str, expected: str, success: bool, found: str, *, gate: str = GATE) -> GateResult:
    from lakehouse.gates.report import GateResult

    return GateResult.of_check(name, expected=expected, success=success, found=found, gate=gate)
