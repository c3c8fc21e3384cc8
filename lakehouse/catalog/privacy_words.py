"""What was done so that a mart tells nothing of a person, and what it cost, in words for readers."""

from __future__ import annotations

from typing import Any

from lakehouse.release.manifest import Manifest


def privacy_words(manifest: Manifest) -> str:
    """A few sentences about the policy under which a release was published."""
    policy = manifest.privacy
    if policy["kind"] == "aggregate":
        return _aggregate(policy)
    if policy["kind"] == "dp":
        return f"{_noisy(policy)} {spending_words(manifest)}".strip()
    return "Nothing personal goes into it."


def spending_words(manifest: Manifest) -> str:
    """What the release spends of its population's privacy budget; empty for a mart without noise."""
    spent = manifest.privacy.get("spent")
    if not spent:
        return ""
    budget, policy = manifest.privacy["budget"], manifest.privacy
    return (
        f"Its {len(spent['partitions'])} {manifest.partition['grain']}s together spend rho {spent['rho']} (epsilon "
        f"{spent['epsilon']} at delta {spent['delta']}) of the budget of {policy['population']}: at most "
        f"{budget['year_rho']} for the {manifest.partition['grain']}s of a year and {budget['lifetime_rho']} for ever."
    )


def _aggregate(policy: dict[str, Any]) -> str:
    unit = policy["unit"]
    least = ", ".join(f"{units} by the {grain}" for grain, units in policy["k"].items())
    cap, final = policy["cap"], policy["release"]["final_after_days"]
    return (
        f"Sums over many {unit}s: at least {least}. One {unit} counts with at most {cap['value']} {cap['unit']} an "
        f"hour and makes at most {policy['max_share_percent']} % of a cell. Cells that would tell of one {unit} are "
        f"merged or left out. A period is published once, {final} days after its end, and not restated."
    )


def _noisy(policy: dict[str, Any]) -> str:
    unit, cap = policy["unit"], policy["cap"]
    return (
        f"Counts with random noise under differential privacy ({policy['mechanism'].replace('_', ' ')}): nobody can "
        f"tell from them whether a certain {unit} is in them. One {unit} counts with at most {cap['value']} "
        f"{cap['unit']} in a period."
    )
