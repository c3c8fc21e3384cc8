"""A candidate is judged on its physical Parquet; what is blocked changes nothing that a consumer can see."""

import json
from pathlib import Path

import pytest

from lakehouse.release.gate import CandidateBlocked, gate
from lakehouse.release.listing import list_releases, waiting_candidates
from lakehouse.release.promote import NotPromotable, promote
from tests.mini_exchange import TRAFFIC, WATER, Mini, read_release


def suite(mini: Mini, *, severity: str, most: int = 5) -> None:
    """A limit that traffic does not keep to."""
    path = mini.root / "project" / "expectations" / f"{TRAFFIC}.json"
    document = json.loads(path.read_text())
    document["expectations"][0] |= {"severity": severity}
    document["expectations"][0]["kwargs"]["max_value"] = most
    path.write_text(json.dumps(document))


def candidate(mini: Mini, mart: str = TRAFFIC) -> str:
    [name] = [row["candidate"] for row in waiting_candidates(mini.exchange) if row["mart"] == mart]
    return name


def marts(mini: Mini) -> dict[str, bytes]:
    lake = mini.exchange.lake
    return {entry.key: lake.read_bytes("marts", entry.key) for entry in lake.list("marts")}


def test_a_failed_suite_blocks_and_changes_nothing_that_is_published(second: Mini) -> None:
    suite(second, severity="critical")
    before, name = marts(second), candidate(second)
    with pytest.raises(CandidateBlocked) as blocked:
        gate(second.exchange, mart=second.mart(TRAFFIC), candidate=name)
    assert any("vehicles is at least 0 and at most 5" in reason for reason in blocked.value.reasons)
    assert marts(second) == before
    standing = read_release(second, TRAFFIC)
    assert standing is not None
    assert standing.release.startswith("0001-")
    with pytest.raises(NotPromotable, match="is blocked; it must have passed its gate"):
        promote(second.exchange, mart=second.mart(TRAFFIC), candidate=name)
    assert waiting_candidates(second.exchange) == []


def test_the_report_of_a_blocked_candidate_says_why(second: Mini) -> None:
    suite(second, severity="critical")
    name = candidate(second)
    with pytest.raises(CandidateBlocked) as blocked:
        gate(second.exchange, mart=second.mart(TRAFFIC), candidate=name)
    lake = second.exchange.lake
    page = lake.read_bytes("reports", f"{TRAFFIC}/{name}/index.html").decode()
    assert "vehicles is at least 0 and at most 5" in page
    assert Path(blocked.value.report).read_text() == page
    results = json.loads(lake.read_bytes("reports", f"{TRAFFIC}/{name}/results.json"))
    assert results["blocked"]
    assert results["context"]["Release before"].startswith("0001-")
    gates = {result["gate"] for result in results["results"]}
    others = {"dbt tests", "Licences", "Personal data in texts", "The gate's test of itself"}
    assert gates == {"Great Expectations", "Physical Parquet", *others}


def test_a_warning_blocks_nothing_and_is_kept_with_the_release(second: Mini) -> None:
    suite(second, severity="warning")
    [outcome] = second.release()
    assert outcome["status"] == "released"
    manifest = second.latest(TRAFFIC)
    assert manifest.gates["status"] == "passed with warnings"
    assert "vehicles is at least 0 and at most 5" in manifest.gates["warnings"][0]


def test_after_the_suite_is_mended_the_same_candidate_passes(second: Mini) -> None:
    suite(second, severity="critical")
    name = candidate(second)
    with pytest.raises(CandidateBlocked):
        gate(second.exchange, mart=second.mart(TRAFFIC), candidate=name)
    suite(second, severity="critical", most=10000)
    assert gate(second.exchange, mart=second.mart(TRAFFIC), candidate=name)["status"] == "passed"
    assert promote(second.exchange, mart=second.mart(TRAFFIC), candidate=name)["status"] == "released"


def test_a_file_that_is_not_as_it_was_built_blocks(built: Mini) -> None:
    lake, name = built.exchange.lake, candidate(built)
    other = lake.read_bytes("candidates", f"{TRAFFIC}/{name}/day=2024-10-08/part-0.parquet")
    lake.write_bytes("candidates", f"{TRAFFIC}/{name}/day=2024-10-07/part-0.parquet", other)
    with pytest.raises(CandidateBlocked, match="sha256 that the build wrote down. Found: 1 of 30 files differ"):
        gate(built.exchange, mart=built.mart(TRAFFIC), candidate=name)


def test_an_open_mart_without_a_row_is_blocked(built: Mini) -> None:
    lake, name = built.exchange.lake, candidate(built)
    key = f"{TRAFFIC}/{name}/candidate.json"
    made = json.loads(lake.read_bytes("candidates", key))
    made["built"] = dict.fromkeys(made["built"])
    lake.write_bytes("candidates", key, json.dumps(made).encode())
    with pytest.raises(CandidateBlocked, match="holds no rows"):
        gate(built.exchange, mart=built.mart(TRAFFIC), candidate=name)


def test_what_came_to_a_release_is_not_judged_again(second: Mini) -> None:
    name = candidate(second)
    second.release()
    suite(second, severity="critical")
    assert gate(second.exchange, mart=second.mart(TRAFFIC), candidate=name)["status"] == "passed"
    assert [row["latest"] for row in list_releases(second.exchange)] == [True, False]


def test_the_private_mart_is_judged_by_its_recounted_thresholds(built: Mini) -> None:
    verdict = gate(built.exchange, mart=built.mart(WATER), candidate=candidate(built, WATER))
    assert verdict["status"] == "passed"
    report = built.exchange.lake.read_bytes("reports", f"{WATER}/{candidate(built, WATER)}/results.json").decode()
    assert "cell_holds_k_units" in report
    assert "meter-north" not in report
