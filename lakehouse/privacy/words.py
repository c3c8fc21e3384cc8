"""A mart's privacy policy in words, for its report and for whoever reads it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from lakehouse.contracts.policy import AggregatePolicy, DpPolicy, Policy, SuppressPolicy

# Groups of areas that are named; the rest are counted.
NAMED = 12


class AreaGroup(Protocol):
    """Areas that are published together in the period that begins on a day."""

    @property
    def name(self) -> str: ...

    @property
    def period(self) -> str: ...


def in_words(policy: Policy) -> str:
    """What the policy promises of each published number, in full sentences."""
    if isinstance(policy, AggregatePolicy):
        return _of_sums(policy)
    if isinstance(policy, SuppressPolicy):
        return _of_table(policy)
    if isinstance(policy, DpPolicy):
        return _of_noise(policy)
    return "Nothing personal is in it: no private dataset is among what it is made of."


def _of_sums(policy: AggregatePolicy) -> str:
    least = ", ".join(f"{units} by the {grain}" for grain, units in policy.k.items())
    return (
        f"Each number is a sum over at least so many of a {policy.unit}: {least}; each counts once, an hour of it as "
        f"{policy.cap.value} {policy.cap.unit} at most, and none has above {policy.max_share_percent} % of the sum. "
        + _of_the_ceiling(policy)
        + _of_merging(policy)
        + _standing(policy)
    )


def _of_the_ceiling(policy: AggregatePolicy) -> str:
    if policy.ceiling is None:
        return ""
    among = f" of the same {', '.join(policy.ceiling.among)}" if policy.ceiling.among else ""
    return (
        f"A {policy.unit} that gave above {policy.ceiling.times_median} times the median{among} in a month is in none "
        "of its numbers, for it would be told from any sum. "
    )


def _of_merging(policy: AggregatePolicy) -> str:
    if policy.partition is None:
        return ""
    return (
        f"Areas are merged with their neighbours until each group holds {policy.partition.k} {policy.units}, and the "
        f"groups stand for a {policy.partition.frozen_for}. "
    )


def areas_in_words(areas: Iterable[AreaGroup]) -> str:
    """Which areas are published together, and since when; empty where none are merged by policy."""
    named = [f"{group.name} (from {group.period})" for group in areas]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return "; ".join(named[:NAMED]) + more


def _of_table(policy: SuppressPolicy) -> str:
    dominated = (
        ""
        if policy.dominance is None
        else f", or in which one has more than {policy.dominance.max_share_percent} % of the sum"
    )
    return (
        f"A table with its totals. A number of fewer than {policy.k} of a {policy.unit} is withheld{dominated}, an "
        f"empty one too, and with it as many others as it takes: from all that is published, none of these is known "
        f"nearer than {policy.protection_percent} % to either side, and no group below {policy.k} is known together. "
        f"Which cells are withheld stands for a {policy.period}, and it is not told which of them are the small ones. "
        + _standing(policy)
    )


def _of_noise(policy: DpPolicy) -> str:
    return (
        f"Every number has random noise ({policy.mechanism.replace('_', ' ')}, rho {policy.budget.rho} a partition), "
        f"so that whether any one {policy.unit} is in it can hardly be told; a {policy.unit} counts with at most "
        f"{policy.cap.value} {policy.cap.unit} a partition. " + _standing(policy)
    )


def _standing(policy: AggregatePolicy | SuppressPolicy | DpPolicy) -> str:
    wait = f"{policy.release.final_after_days} days after its end" if policy.release.final_after_days else "once"
    return f"A period is published {wait} and then stands."
