"""A mart with noise in a whole build: what its SQL may read, what it costs, and what its release says."""

import json
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lakehouse.build.dbt import DbtProject
from lakehouse.cli import app
from lakehouse.contracts.load import ContractError
from lakehouse.privacy.attacks import noise as noise_module
from lakehouse.privacy.attacks.noise import attack_policy
from lakehouse.privacy.dp import noise_of
from lakehouse.privacy.ledger import entries
from lakehouse.privacy.lineage import UncoveredPrivateData
from lakehouse.release import noise_gate
from lakehouse.release.doctor import rebuild_index
from lakehouse.release.gate import CandidateBlocked, gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.manifest import read_candidate
from tests.mini_exchange import METERS, READINGS, Mini, Replayed
from tests.noisy_mart import MODELS, NOISY, add_noisy_mart, dp_policy


@pytest.fixture(scope="module")
def noisy_once(filled_once: Mini, tmp_path_factory: pytest.TempPathFactory) -> Mini:
    mini = filled_once.copy(tmp_path_factory.mktemp("noisy"))
    add_noisy_mart(mini)
    assert mini.build([NOISY]).failed == {}
    # What the attacks on its noise come to is kept from now on: they take seconds.
    assert all(outcome.passed for outcome in attack_policy(mini.exchange, dp_policy(mini.mart(NOISY))))
    return mini


@pytest.fixture
def noisy(noisy_once: Mini, tmp_path: Path) -> Mini:
    return noisy_once.copy(tmp_path)


def test_every_public_cell_is_published_and_the_manifest_says_what_was_spent(noisy: Mini) -> None:
    made = noisy.release()
    assert [(outcome["mart"], outcome["status"]) for outcome in made] == [(NOISY, "released")]
    manifest = noisy.latest(NOISY)
    hours = 24 * (31 + 30 + 31 + 30 + 31)
    assert manifest.rows == 4 * hours
    files = [str(noisy.exchange.lake.local_path("marts", f"{manifest.prefix}/{f.path}")) for f in manifest.files]
    rows = duckdb.sql(
        f"SELECT area, count(*), count(homes), min(homes) FROM read_parquet({files}) GROUP BY 1"
    ).fetchall()
    assert {row[0] for row in rows} == {"north", "south", "harbour", "hills"}
    assert {row[1:3] for row in rows} == {(hours, hours)}
    assert all(row[3] < 0 for row in rows)
    assert manifest.privacy["spent"]["partitions"] == {f"2024-{month:02d}": "0.5" for month in range(8, 13)}
    assert manifest.privacy["spent"]["rho"] == "2.5"
    said = json.dumps(manifest.model_dump(mode="json"))
    assert not [row for row in entries(noisy.exchange) if row["digest"] in said]


def test_the_gate_counts_again(noisy: Mini) -> None:
    [name] = {path.name for path in (noisy.root / "lake" / "candidates" / NOISY).iterdir()}
    made = read_candidate(noisy.exchange, mart=NOISY, candidate=name)
    found = {check.name: check.success for check in made.checks if check.gate == "privacy"}
    assert found == dict.fromkeys(
        ["each_cell_once", "every_public_cell_is_there", "ledger_is_within_its_caps", "no_cell_beyond_the_public_ones",
         "noise_in_every_cell", "noise_is_on_the_ledger", "unit_counts_once_in_a_cell", "unit_is_capped"], True,
    )  # fmt: skip


def test_a_build_of_the_same_input_gives_the_same_bytes_and_spends_nothing_and_one_too_many_is_refused(
    noisy: Mini, tmp_path: Path
) -> None:
    project = Replayed(DbtProject(noisy.exchange), tmp_path / "kept.duckdb")
    [name] = {path.name for path in (noisy.root / "lake" / "candidates" / NOISY).iterdir()}
    first = read_candidate(noisy.exchange, mart=NOISY, candidate=name)
    before = entries(noisy.exchange)
    noisy.build([NOISY], project=project)
    again = read_candidate(noisy.exchange, mart=NOISY, candidate=name)
    assert {n: f.sha256 for n, f in again.built.items() if f} == {n: f.sha256 for n, f in first.built.items() if f}
    assert entries(noisy.exchange) == before
    noisy.release()
    # The index is made anew from the lake: the ledger loses nothing.
    rebuild_index(noisy.exchange)
    assert entries(noisy.exchange) == before
    released = noisy.latest(NOISY).release
    noisy.deliver(READINGS, "july.csv", ["meter_id,read_at,reading_l", "meter-north-0,2024-07-15T00:00:00Z,1000"])
    summary = noisy.build([NOISY])
    assert "budget of mini_households does not reach: rho 2.5 of 2.5 is spent in 2024" in summary.failed[NOISY]
    assert summary.candidates == []
    assert noisy.latest(NOISY).release == released
    assert entries(noisy.exchange) == before


@pytest.mark.parametrize(
    "sql",
    [
        MODELS[f"marts/{NOISY}.sql"].replace("cast(null as bigint) as homes", "homes").replace("area_hours", "counted"),
        MODELS[f"marts/{NOISY}.sql"].replace("ref('area_hours')", "ref('home_contributions')"),
    ],
    ids=["a true count", "the contributions"],
)  # fmt: skip
def test_sql_that_reads_a_true_count_stops_the_build(noisy: Mini, sql: str) -> None:
    models = noisy.root / "project" / "dbt_project" / "models"
    (models / "anonymised" / "counted.sql").write_text(
        "select area, hour_utc, count(*) as homes from {{ ref('home_contributions') }} group by all"
    )
    (models / "marts" / f"{NOISY}.sql").write_text(sql)
    with pytest.raises(
        UncoveredPrivateData, match=r"'dp' but its SQL is made of private columns \(utility/meter_readings"
    ):
        noisy.build([NOISY])


def test_a_unit_that_is_no_person_is_not_charged(noisy: Mini) -> None:
    before = entries(noisy.exchange)
    noisy.edit("home_contributions.sql", "meter_id as unit", "meter_id || read_at as unit")
    summary = noisy.build([NOISY])
    assert "none of the people in the vault" in summary.failed[NOISY]
    assert entries(noisy.exchange) == before


def test_a_cell_that_the_sql_leaves_out_is_found(noisy: Mini) -> None:
    noisy.edit(f"{NOISY}.sql", "ref('area_hours') }}", "ref('area_hours') }} where area <> 'hills'")
    [made] = noisy.build([NOISY]).candidates
    newest = read_candidate(noisy.exchange, mart=NOISY, candidate=made["candidate"])
    failed = {check.name: check.found for check in newest.checks if not check.success}
    assert set(failed) == {"every_public_cell_is_there"}
    assert "cells against it" in failed["every_public_cell_is_there"]


def test_counts_come_from_a_second_node_of_the_lineage(noisy: Mini) -> None:
    lineage = DbtProject(noisy.exchange).lineage(NOISY)
    assert lineage.models == [NOISY, "home_contributions"]
    assert (lineage.selected, lineage.datasets) == (frozenset(), {READINGS, METERS})


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("partitions_a_year: 5", "partitions_a_year: 6", "rho 0.5 × 6 partitions a year is above year_rho"),
        ("lifetime_rho: 5", "lifetime_rho: 2", "year_rho is above lifetime_rho"),
        ("name: homes, data_type: bigint", "name: homes, data_type: double", "the column 'homes' must be a whole number: noise is never a float"),
        ("name: error_90", "name: error", "the policy needs the column 'error_90'"),
        ("key: [area, hour_utc]", "key: [area]", "the partition's column must be of the key: each cell belongs to one partition"),
        ("description: Homes,", "description: Homes, constraints: [{type: not_null}],", "the column 'homes' is empty until the build draws noise: leave not_null to the suite"),
        ("rho: 0.5", "rho: 0", "Input should be greater than 0"),
    ],
)  # fmt: skip
def test_a_policy_that_could_not_be_kept_is_a_fault(noisy: Mini, old: str, new: str, problem: str) -> None:
    noisy.edit(f"{NOISY}.yml", old, new)
    with pytest.raises(ContractError) as refused:
        noisy.mart(NOISY)
    assert any(problem in fault.problem for fault in refused.value.faults), refused.value.faults


def test_the_attacks_on_noise_are_made_at_the_gate(noisy: Mini) -> None:
    noisy.release()
    manifest = noisy.latest(NOISY)
    folder = f"{NOISY}/{manifest.candidate}"
    results = json.loads(noisy.exchange.lake.read_bytes("reports", f"{folder}/results.json"))["results"]
    passed = {result["name"] for result in results if result["success"]}
    assert {"attack_black_box_epsilon", "attack_noise_support", "attack_doubled_draw"} <= passed
    assert {"cells_are_as_drawn", "every_draw_is_paid", "gate_sees_known_faults"} <= passed
    outcomes = json.loads(noisy.exchange.lake.read_bytes("reports", f"{folder}/attacks.json"))
    assert {outcome["attack"]: outcome["passed"] for outcome in outcomes} == {
        "black_box_epsilon": True, "noise_support": True, "doubled_draw": True,
    }  # fmt: skip


def judged(mini: Mini) -> str:
    """Why its candidate is blocked."""
    [waiting] = waiting_candidates(mini.exchange)
    with pytest.raises(CandidateBlocked) as blocked:
        gate(mini.exchange, mart=mini.mart(NOISY), candidate=waiting["candidate"])
    return str(blocked.value)


def test_a_release_of_less_noise_than_its_rho_is_refused(noisy: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_module, "noise_of", lambda policy: replace(noise_of(policy), scale=0, _measurement=list))
    said = judged(noisy)
    assert "the attack by black_box_epsilon" in said
    assert "the attack by noise_support" in said


def test_one_draw_in_two_months_is_refused(noisy: Mini) -> None:
    """The candidate's October gets November's numbers: no draw that was paid for has them."""
    [waiting] = waiting_candidates(noisy.exchange)
    files = [
        noisy.exchange.lake.local_path(
            "candidates", f"{NOISY}/{waiting['candidate']}/month=2024-{month}/part-0.parquet"
        )
        for month in (10, 12)
    ]
    october, december = (pq.read_table(file) for file in files)
    place = october.schema.get_field_index("homes")
    copied = files[0].with_suffix(".new")
    pq.write_table(october.set_column(place, october.schema.field(place), december.column("homes")), copied)
    copied.replace(files[0])
    said = judged(noisy)
    assert "the attack by doubled_draw" in said
    assert "a cell of the draw that was paid for, and every cell a row. Found:" in said


def test_a_check_that_sees_no_fault_of_noise_blocks(noisy: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_gate, "differing_from_draw", lambda *_: 0)
    monkeypatch.setattr(noise_gate, "beyond_paid", lambda *_: [])
    said = judged(noisy)
    for fault in ("duplicates", "a shifted unit in the file", "a second draw"):
        assert f"{fault}: cells_are_as_drawn" in said
    assert "a second draw beside the first: every_draw_is_paid" in said


def test_the_command_attacks_a_release_with_noise(noisy: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy.release()
    for name, value in noisy.exchange.settings.model_dump(include={"project", "home", "lake", "database"}).items():
        monkeypatch.setenv(f"EXCHANGE_{name.upper()}", str(value))
    done = CliRunner().invoke(app, ["attack", NOISY, "--json"])
    assert done.exit_code == 0, done.output
    assert [outcome["attack"] for outcome in json.loads(done.stdout)] == [
        "black_box_epsilon", "noise_support", "doubled_draw",
    ]  # fmt: skip
