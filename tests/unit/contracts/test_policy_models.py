"""A private mart is one macro call: what stands between private use and it is written from its policy."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from lakehouse.contracts.mart import read_marts
from lakehouse.contracts.policy import AggregatePolicy, Policy
from lakehouse.contracts.policy_models import write_policy_models

PROJECT = Path(__file__).resolve().parents[3]
MARTS = PROJECT / "dbt_project" / "models" / "marts"
GUIDE = PROJECT / "docs" / "guide-data-engineer.md"
CALL = re.compile(r"\{\{\s*(\w+)\(")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = {
    "kind": "aggregate", "unit": "home", "unit_column": "meter", "measure": "gas_wh", "k": {"month": 15},
    "cap": {"value": 9, "unit": "Wh"}, "max_share_percent": 15, "p_percent": 10,
    "contributions": "anonymised.gas_contributions",
    "sums": {"of": "gas_by_home_hour", "unit": "meter", "hour": "hour_utc", "kinds": ["street"],
             "merge": [{"street": "all streets"}]},
}  # fmt: skip


def calls(path: Path) -> list[str]:
    return [name for name in CALL.findall(path.read_text()) if name != "config"]


def test_a_private_mart_is_one_macro_call() -> None:
    marts = read_marts(MARTS)
    found = {name: calls(MARTS / f"{name}.sql") for name, mart in marts.items() if mart.private}
    assert found == {
        "bike_trips_by_district_hour": ["cells_for_noise"],
        "heat_households_by_building": ["table_with_totals"],
        "heat_use_by_segment_hour": ["published_sums"],
        "water_use_by_area_hour": ["published_sums"],
    }


def test_the_models_of_its_policy_are_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "gone_cells.sql").write_text("select 1")
    marts = read_marts(MARTS).values()
    written = {path.name for path in write_policy_models(marts, tmp_path)}
    models = ("unit_days", "unit_months", "contributions", "cells")
    assert {path.name for path in tmp_path.iterdir()} == written == {
        "heat_use_by_segment_hour.yml", "water_use_by_area_hour.yml", "heat_use_segments.sql", "water_use_areas.sql",
        *(f"{use}_use_{model}.sql" for use in ("heat", "water") for model in models),
    }  # fmt: skip
    for path in tmp_path.glob("*.sql"):
        assert len(calls(path)) == 1, path.name
    described = yaml.safe_load((tmp_path / "water_use_by_area_hour.yml").read_text())["models"]
    [days] = [model for model in described if model["name"] == "water_use_unit_days"]
    privacy = {column["name"]: column.get("config", {}).get("meta") for column in days["columns"]}
    assert privacy["unit"] == {"privacy": "identifier"}
    assert privacy["contribution"] == {"privacy": "sensitive", "unit": "L"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"contributions": "anonymised.gas"}, r"it is anonymised\.<name>_contributions"),
        ({"sums": SMALL["sums"] | {"neighbours": "streets"}}, "no neighbours"),
        ({"sums": SMALL["sums"] | {"merge": []}}, "the last step of merge gives a value to each of: street"),
        ({"sums": SMALL["sums"] | {"merge": [{"road": "x"}, {"street": "all"}]}}, "merge names road"),
        ({"sums": SMALL["sums"] | {"merge": [{"street": "it's"}]}}, "String should match pattern"),
        (
            {"partition": {"area": "a", "name": "n", "k": 9, "frozen_for": "month", "groups": "anonymised.areas"}},
            "with a partition, sums has neighbours",
        ),
    ],
)
def test_what_cannot_be_written_is_told(changes: dict[str, object], problem: str) -> None:
    AggregatePolicy.model_validate(SMALL)
    with pytest.raises(ValidationError, match=problem):
        AggregatePolicy.model_validate(SMALL | changes)


def test_the_smallest_marts_of_the_guide_are_what_the_exchange_takes() -> None:
    section = GUIDE.read_text().split("**The smallest private mart of each kind.**")[1].split("\n## ")[0]
    blocks = [(kind, textwrap.dedent(text)) for kind, text in BLOCK.findall(section)]
    policies = [
        TypeAdapter(Policy).validate_python(yaml.safe_load(text)["privacy"]) for kind, text in blocks if kind == "yaml"
    ]
    assert [policy.kind for policy in policies] == ["aggregate", "suppress", "dp"]
    sql = [text for kind, text in blocks if kind == "sql"]
    assert [CALL.findall(text)[0] for text in sql[::2]] == ["published_sums", "table_with_totals", "cells_for_noise"]
    macros = "".join(path.read_text() for path in (PROJECT / "dbt_project" / "macros").glob("*.sql"))
    for text in sql:
        for name in CALL.findall(text):
            assert name in ("ref", "config") or f"macro {name}(" in macros
