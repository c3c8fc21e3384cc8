"""What follows from a mart's policy of sums: the dbt models between private use and published cells, one macro each.

They are nodes of dbt and no subqueries of the mart: the one pass over all hours is made once, dbt says who reads what,
and gate and audit find the contributions and the groups in the build's database under the names that the policy states.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import AggregatePolicy, Sums
from lakehouse.contracts.written import write_all

HEADER = "Generated from dbt_project/models/marts/{mart}.yml; changes here are lost."


def write_policy_models(marts: Iterable[Mart], folder: Path) -> list[Path]:
    """Writes the models of every mart whose policy states ``sums``, and removes those of marts that do not. Only files
    that differ are written."""
    wanted: dict[Path, str] = {}
    for mart in marts:
        policy = mart.exchange.privacy
        if isinstance(policy, AggregatePolicy) and policy.sums is not None:
            header = HEADER.format(mart=mart.name)
            models = list(_models(mart, policy, policy.sums))
            for name, call, view, _ in models:
                config = "{{ config(materialized='view') }}\n" if view else ""
                wanted[folder / f"{name}.sql"] = f"-- {header}\n{config}{{{{ {call} }}}}\n"
            properties = {"version": 2, "models": [described for *_, described in models]}
            text = yaml.safe_dump(properties, sort_keys=False, allow_unicode=True, width=110)
            wanted[folder / f"{mart.name}.yml"] = f"# {header}\n{text}"
    return write_all(wanted, folder)


def prefix(policy: AggregatePolicy) -> str:
    """How the models' names begin: ``water_use`` of ``anonymised.water_use_contributions``."""
    return policy.contributions.partition(".")[2].removesuffix("_contributions")


def _models(mart: Mart, policy: AggregatePolicy, sums: Sums) -> Iterator[tuple[str, str, bool, dict[str, Any]]]:
    """Of each model its name, its macro call, whether it is a view, and its description for dbt."""
    made = prefix(policy)
    apart = list(sums.apart)
    area = [policy.partition.area, policy.partition.name] if policy.partition else []
    segment = [*area, *sums.kinds, *apart]
    # A unit finds its group by the area's code alone: its name may be written in two ways.
    found_by = [*area[:1], *sums.kinds, *apart]
    stated = f"stated_policy('{mart.name}')"
    use = f"use=ref('{sums.of}'), unit='{sums.unit}', hour='{sums.hour}', measure='{policy.measure}'"
    days, months, cells = f"{made}_unit_days", f"{made}_unit_months", f"{made}_cells"
    contributions = f"{made}_contributions"
    groups = policy.partition.groups.partition(".")[2] if policy.partition else f"{made}_segments"
    yield (
        days,
        f"unit_days({use}, group={segment}, policy={stated})",
        False,
        _described(
            days, f"What each {policy.unit} gave to each day, each hour capped.", policy, segment,
            {"unit": "identifier", "day_utc": None, "hours": "sensitive", "contribution": "sensitive"},
        ),
    )  # fmt: skip
    yield (
        months,
        f"unit_months(days=ref('{days}'), group={segment}, apart={apart}, policy={stated})",
        False,
        _described(
            months, f"The {policy.units} that count in a month: measured in 95 % of it and not above the ceiling.",
            policy, segment, {"unit": "identifier", "period_hours": None, "contribution": "sensitive"},
        ),
    )  # fmt: skip
    if policy.partition:
        call = (
            f"merged_areas(months=ref('{months}'), neighbours=ref('{sums.neighbours}'), hours=ref('build_hours'), "
            f"published=ref('published_area_groups'), mart='{mart.name}', apart={apart}, policy={stated})"
        )
    else:
        steps = [{column: f"'{value}'" for column, value in step.items()} for step in sums.merge]
        call = (
            f"merged_segments(months=ref('{months}'), group={segment}, merge={steps}, "
            f"k={stated}.k.values() | min, apart={apart})"
        )
    yield groups, call, False, _described(groups, "Who is merged with whom in a month.", policy, segment, {})
    yield (
        contributions,
        f"unit_contributions({use}, days=ref('{days}'), months=ref('{months}'), groups=ref('{groups}'), "
        f"segment={found_by}, group={segment}, apart={apart}, policy={stated})",
        True,
        _described(
            contributions,
            f"Who counts in which cell with how much, at every grain. One row a {policy.unit} and cell; the release "
            "gate recounts the published cells from it.",
            policy, segment, {**_PERIOD, "unit": "identifier", "contribution": "sensitive"},
        ),
    )  # fmt: skip
    yield (
        cells,
        f"publishable_cells(contributions=ref('{contributions}'), group={segment}, measure='{policy.measure}', "
        f"policy={stated})",
        False,
        _described(
            cells, f"The cells that the policy of {mart.name} allows, with two columns that no mart selects.", policy,
            segment, {**_PERIOD, "units": None, policy.measure: None, "largest": "sensitive",
                      "second_largest": "sensitive"},
        ),
    )  # fmt: skip


_PERIOD = {"period_start_utc": None, "period_grain": None, "period_hours": None}
_WORDS = {
    "unit": "Whose contribution it is.",
    "month_utc": "Start of the month, UTC.",
    "day_utc": "Start of the day, UTC.",
    "hours": "Hours that were measured of the day.",
    "contribution": "What the unit gave, each hour at most the cap.",
    "period_start_utc": "Start of the hour, day or month, UTC.",
    "period_grain": "hour, day or month.",
    "period_hours": "Hours that it is about.",
    "units": "Units in the sum.",
    "largest": "Largest contribution; for the review alone.",
    "second_largest": "Second largest contribution; for the review alone.",
}


def _described(
    name: str, words: str, policy: AggregatePolicy, segment: list[str], columns: dict[str, str | None]
) -> dict[str, Any]:
    classes: dict[str, str | None] = {**dict.fromkeys([*segment, "month_utc"]), **columns}
    units = {"hours": "h", "period_hours": "h", "units": policy.units}
    units |= dict.fromkeys(("contribution", "largest", "second_largest", policy.measure), policy.cap.unit)
    described = []
    for column, privacy in classes.items():
        meta = {"privacy": privacy} if privacy else {}
        if column in units:
            meta["unit"] = units[column]
        entry: dict[str, Any] = {"name": column, "description": _WORDS.get(column, "As in the mart.")}
        described.append({**entry, "config": {"meta": meta}} if meta else entry)
    return {"name": name, "description": f"Private. {words}", "columns": described}
