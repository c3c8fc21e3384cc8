"""A candidate whose inputs' licences its mart does not keep is refused, by its actual inputs and by `exchange check`."""

import json
from pathlib import Path

import pytest

from lakehouse.orchestrate.lineage_check import lineage_faults
from lakehouse.release.fetch import fetch
from lakehouse.release.gate import CandidateBlocked, gate
from lakehouse.release.listing import waiting_candidates
from tests.mini_exchange import TRAFFIC, WATER, Mini, read_release


def relicense(mini: Mini, licence: str) -> str:
    """Has the waiting candidate's inputs delivered under another licence; returns its name."""
    [name] = [row["candidate"] for row in waiting_candidates(mini.exchange)]
    key = f"{TRAFFIC}/{name}/candidate.json"
    made = json.loads(mini.exchange.lake.read_bytes("candidates", key))
    assert made["inputs"]
    for entry in made["inputs"]:
        entry["licence"] = licence
    mini.exchange.lake.write_bytes("candidates", key, json.dumps(made).encode())
    return name


@pytest.mark.parametrize(
    ("licence", "why"),
    [("CC-BY-SA-4.0", "must stay under it"), ("CC-BY-ND-4.0", "nothing may be made"), ("LicenseRef-x", "nobody knows")],
)
def test_a_clash_with_an_actual_input_blocks(second: Mini, licence: str, why: str) -> None:
    name = relicense(second, licence)
    with pytest.raises(CandidateBlocked, match=rf"city/traffic_counts is under {licence}: .*{why}"):
        gate(second.exchange, mart=second.mart(TRAFFIC), candidate=name)
    standing = read_release(second, TRAFFIC)
    assert standing is not None
    assert standing.release.startswith("0001-")


def test_a_price_on_what_may_not_be_sold_blocks(second: Mini) -> None:
    name = relicense(second, "CC-BY-NC-4.0")
    second.edit(f"{TRAFFIC}.yml", "price: null", "price: {amount: 5, currency: EUR, unit: month}")
    with pytest.raises(CandidateBlocked, match="it may not be sold, and the mart has a price"):
        gate(second.exchange, mart=second.mart(TRAFFIC), candidate=name)


def test_the_check_finds_what_lineage_shows_before_anything_is_built(second: Mini) -> None:
    settings = second.exchange.settings
    assert lineage_faults(settings) == []
    second.edit("traffic_counts.odcs.yaml", "CC-BY-4.0", "CC-BY-SA-4.0")
    [fault] = lineage_faults(settings)
    assert fault.file.endswith(f"{TRAFFIC}.yml")
    assert "licence: {" in second.path(f"{TRAFFIC}.yml").read_text().splitlines()[fault.line - 1]
    assert "city/traffic_counts is under CC-BY-SA-4.0" in fault.problem
    second.edit("traffic_counts.odcs.yaml", "CC-BY-SA-4.0", "CC-BY-4.0")
    second.edit(f"{WATER}.yml", "unit_column: meter_id", "unit_column: home")
    [fault] = lineage_faults(second.exchange.settings)
    assert "privacy:" in second.path(f"{WATER}.yml").read_text().splitlines()[fault.line - 1]
    assert "unit_column is 'home', which is no id of a person" in fault.problem


def test_whom_to_name_goes_with_every_copy(second: Mini, tmp_path: Path) -> None:
    second.release()
    for form in ("parquet", "csv"):
        folder = fetch(second.exchange, second.latest(TRAFFIC), to=tmp_path / form, form=form)
        said = (folder / "ATTRIBUTION.txt").read_text()
        assert "Licence: CC-BY-4.0, https://creativecommons.org/licenses/by/4.0/" in said
        assert "- The city (city/traffic_counts), CC-BY-4.0" in said
        assert "Name every provider below" in said
