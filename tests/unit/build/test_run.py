"""A build as a whole: what fails alone, what stops everything, and what it leaves behind."""

import logging
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from lakehouse.build import run as run_module
from lakehouse.build.dbt import DbtProject
from lakehouse.privacy.lineage import UncoveredPrivateData
from lakehouse.release.gate import CandidateBlocked, gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.manifest import Candidate, read_candidate
from lakehouse.storage.lake import ObjectNotFound
from tests.mini_exchange import DAYS, TRAFFIC, WATER, Mini


def candidate_of(mini: Mini, mart: str) -> Candidate:
    [name] = [row["candidate"] for row in waiting_candidates(mini.exchange) if row["mart"] == mart]
    return read_candidate(mini.exchange, mart=mart, candidate=name)


def hashes(candidate: Candidate) -> dict[str, str | None]:
    return {name: file.sha256 if file else None for name, file in candidate.built.items()}


def test_a_candidate_says_what_it_was_made_of(built: Mini) -> None:
    made = candidate_of(built, TRAFFIC)
    assert (made.base, made.whole, made.reason) == (None, True, "it was never released")
    assert len(made.built) == DAYS
    assert {entry.dataset for entry in made.inputs} == {"city/traffic_counts", "city/sensors"}
    assert len(made.inputs) == DAYS + 1
    file = made.built["2024-10-07"]
    assert file is not None
    assert file.path == "day=2024-10-07/part-0.parquet"
    assert file.rows == 48
    # That day's delivery and the register, not the other 29.
    assert len(file.deliveries) == 2
    assert {(check.gate, check.name) for check in made.checks} == {("dbt", "not_null_traffic_by_road_hour_vehicles")}
    assert {check.gate for check in candidate_of(built, WATER).checks} == {"privacy"}


def test_an_interval_over_the_end_of_a_month_counts_in_it(built: Mini) -> None:
    made = candidate_of(built, WATER)
    path = built.exchange.lake.local_path("candidates", f"{made.prefix}/month=2024-10/part-0.parquet")
    table = pq.read_table(path).to_pydict()
    # The use of the 31st is known from the reading of November 1st, which is another partition.
    assert max(table["period_start_utc"]).day == 31
    assert set(table["area"]) == {"north", "south"}, "two households of the harbour are too few"
    assert made.built["2024-11"] is None


def test_the_documentation_is_kept_as_one_page(built: Mini) -> None:
    page = built.exchange.lake.read_bytes("reports", "dbt/index.html").decode()
    assert "Vehicles that all of them counted" in page


@pytest.mark.parametrize("threads", [1, 4])
def test_the_same_inputs_give_the_same_bytes(filled: Mini, built: Mini, threads: int) -> None:
    other = replace(filled, threads=threads)
    other.build()
    for mart in (TRAFFIC, WATER):
        assert hashes(candidate_of(other, mart)) == hashes(candidate_of(built, mart))
        assert candidate_of(other, mart).candidate == candidate_of(built, mart).candidate


def test_batches_give_what_one_build_of_all_gives(
    filled: Mini, built: Mini, parsed: DbtProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "BATCH_ROWS", 4000)
    said: list[str] = []
    run_module.build(filled.exchange, project=parsed, progress=said.append)
    assert len([line for line in said if line.startswith("batch ")]) == 3
    for mart in (TRAFFIC, WATER):
        assert hashes(candidate_of(filled, mart)) == hashes(candidate_of(built, mart))
        assert candidate_of(filled, mart).checks == candidate_of(built, mart).checks


def test_a_mart_whose_sql_fails_does_not_keep_the_others_from_being_built(filled: Mini) -> None:
    filled.edit("conformed/traffic_counts.sql", "vehicles') }}", "bicycles') }}")
    summary = filled.build()
    assert [made["mart"] for made in summary.candidates] == [WATER]
    assert set(summary.failed) == {TRAFFIC}
    assert "bicycles" in summary.failed[TRAFFIC]
    assert waiting_candidates(filled.exchange) == summary.candidates


def test_a_failed_dbt_test_blocks_its_own_mart_alone(filled: Mini) -> None:
    filled.edit(f"{TRAFFIC}.yml", "          - not_null\n", "          - accepted_values: {arguments: {values: [1]}}\n")
    summary = filled.build()
    assert [made["mart"] for made in summary.candidates] == [TRAFFIC, WATER]
    made = candidate_of(filled, TRAFFIC)
    with pytest.raises(
        CandidateBlocked, match=r"accepted_values_traffic_by_road_hour_vehicles__1: [\d,]+ rows against it"
    ):
        gate(filled.exchange, mart=filled.mart(TRAFFIC), candidate=made.candidate)
    filled.release()
    with pytest.raises(ObjectNotFound):
        filled.exchange.lake.read_bytes("marts", f"{TRAFFIC}/v1/latest.json")
    assert filled.latest(WATER).rows == 122


def test_a_failed_test_above_a_mart_keeps_it_from_being_built(filled: Mini) -> None:
    path = filled.root / "project" / "dbt_project" / "models" / "conformed" / "conformed.yml"
    path.write_text(
        "models:\n  - name: traffic_counts\n    columns:\n      - name: vehicles\n        data_tests:\n"
        "          - accepted_values: {arguments: {values: [1]}}\n"
    )
    summary = filled.build()
    assert "accepted_values_traffic_counts_vehicles__1" in summary.failed[TRAFFIC]
    assert [made["mart"] for made in summary.candidates] == [WATER]


def test_units_that_an_author_made_are_no_people_and_fail_their_mart_alone(filled: Mini) -> None:
    filled.edit("water_contributions.sql", "meter_id as unit", "meter_id || '-' || day(day_utc) as unit")
    summary = filled.build()
    assert "none of the people in the vault: its unit has to be meter_id" in summary.failed[WATER]
    assert [made["mart"] for made in summary.candidates] == [TRAFFIC]


def test_an_open_mart_of_private_data_stops_the_build(filled: Mini) -> None:
    text = filled.path(f"{WATER}.yml").read_text()
    start, end = text.index("          privacy:\n"), text.index("    columns:")
    filled.path(f"{WATER}.yml").write_text(text[:start] + "          privacy: {kind: open}\n" + text[end:])
    with pytest.raises(UncoveredPrivateData, match="utility/meter_readings: meter_id, read_at, reading_l"):
        filled.build()
    assert not list(filled.exchange.lake.list("candidates"))


def test_an_unknown_mart_is_told_with_those_that_there_are(filled: Mini, parsed: DbtProject) -> None:
    with pytest.raises(KeyError, match=f"no mart nothing; there are: {TRAFFIC}, {WATER}"):
        filled.build(["nothing"], project=parsed)


def test_no_private_value_is_left_in_what_a_failed_build_says_and_keeps(
    filled: Mini, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    # DuckDB's own message quotes the name of the meter that it could not make a number of.
    filled.edit("water_contributions.sql", "meter_id as unit", "cast(meter_id as bigint) as unit")
    summary = filled.build()
    assert "Conversion Error; the message is kept back" in summary.failed[WATER]
    printed = capfd.readouterr()
    kept = [path.read_bytes() for path in (filled.root / "home").rglob("*") if path.is_file() and path.suffix != ".db"]
    said = "\n".join([str(summary), caplog.text, printed.out, printed.err]).encode()
    assert not [text for text in (said, *kept) if b"meter-north" in text]


def test_a_policy_that_names_no_relation_fails_its_mart_alone(filled: Mini) -> None:
    filled.edit(f"{WATER}.yml", "anonymised.water_contributions", "anonymised.nowhere")
    summary = filled.build()
    assert summary.failed[WATER] == ("its thresholds cannot be recounted (CatalogException): see privacy.contributions")
    assert [made["mart"] for made in summary.candidates] == [TRAFFIC]


def test_a_build_leaves_nothing_of_its_own(built_once: Mini) -> None:
    assert [path.name for path in (built_once.root / "home" / "work").iterdir()] == [".lock"]
