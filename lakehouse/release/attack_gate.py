"""The attacks as checks of the gate: a candidate that fails one is refused, its cells named to reviewers alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import duckdb

from lakehouse.contracts.mart import AggregatePolicy, Mart
from lakehouse.exchange import Exchange
from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.release.attacks import attack
from lakehouse.release.manifest import Candidate
from lakehouse.storage.lake import ObjectNotFound

if TYPE_CHECKING:
    from lakehouse.gates.report import GateResult

GATE = "Attacks on the candidate and all earlier releases"
REPORT = "attacks.json"
# Shown and not blocking: sums of K units do not withstand it, whatever K is practised (decision 0016).
WARNS = frozenset({"membership_inference"})


def attack_candidate(exchange: Exchange, mart: Mart, made: Candidate) -> list[GateResult]:
    """One result an attack; none for an open mart. The cells stand in ``reports/<mart>/<candidate>/attacks.json``
    and nowhere else: a reason goes to the index, to logs and to the job's report."""
    policy = mart.exchange.privacy
    if not isinstance(policy, AggregatePolicy):
        return []
    grain = mart.exchange.partition.grain
    try:
        outcomes = attack(exchange, made=made, policy=policy, grain=grain, release=made.candidate)
    except (ObjectNotFound, ValueError) as error:
        return [_cannot_be_audited(str(error))]
    except duckdb.Error as error:
        # By its kind alone: the message may quote what a record holds.
        return [_cannot_be_audited(f"a membership record cannot be read ({type(error).__name__})")]
    write_report(exchange, made, outcomes)
    return [_result(outcome) for outcome in outcomes]


def write_report(exchange: Exchange, made: Candidate, outcomes: Sequence[Outcome]) -> None:
    """With the cells: for reviewers."""
    content = json.dumps([asdict(outcome) for outcome in outcomes], indent=1, ensure_ascii=False)
    exchange.lake.write_bytes("reports", f"{made.prefix}/{REPORT}", content.encode(), content_type="application/json")


def _result(outcome: Outcome) -> GateResult:
    from lakehouse.gates.report import GateResult

    expected = f"the attack by {outcome.attack} gets to {outcome.limit:g} at most (chance: {outcome.chance:g})"
    return GateResult(
        name=f"attack_{outcome.attack}",
        expectation=f"attack_{outcome.attack}",
        severity="warning" if outcome.attack in WARNS else "blocking",
        success=outcome.passed,
        expected=expected,
        observed=f"{outcome.success:g}",
        reason=f"Expected: {expected}. Found: {outcome.success:g}: {outcome.found}. Cells: {REPORT} of this report.",
        gate=GATE,
    )


def _cannot_be_audited(why: str) -> GateResult:
    from lakehouse.gates.report import GateResult

    expected = "the candidate and all releases of the same units can be audited together"
    return GateResult(
        name="attack_possible",
        expectation="attack_possible",
        severity="blocking",
        success=False,
        expected=expected,
        reason=f"Expected: {expected}. Found: {why}",
        gate=GATE,
    )
