"""A private candidate is attacked at its gate, beside all that was released of the same households."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from lakehouse.cli import app
from lakehouse.privacy.vault import Vault
from lakehouse.release import file_faults, suite_faults
from lakehouse.release.attacks import attack_release
from lakehouse.release.gate import CandidateBlocked, gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.storage.index import candidates
from tests.mini_exchange import TRAFFIC, WATER, Mini


def candidate(mini: Mini) -> str:
    [name] = [row["candidate"] for row in waiting_candidates(mini.exchange) if row["mart"] == WATER]
    return name


def record(mini: Mini, name: str) -> Path:
    path = mini.exchange.lake.local_path("audit", f"{WATER}/{name}/month=2024-10/members.parquet")
    assert path is not None
    return path.parent


def rewrite(path: Path, query: str) -> None:
    """Another table in the file's place; the object is not changed, for other lakes link to it."""
    content = path.with_suffix(".new")
    rows = query.format(file=f"read_parquet('{path}', hive_partitioning=false)")
    duckdb.sql(f"COPY ({rows}) TO '{content}' (FORMAT parquet)")
    content.replace(path)


def test_who_is_in_which_cell_is_kept_under_pseudonyms(built: Mini) -> None:
    folder = record(built, candidate(built))
    cells, members = (
        duckdb.sql(f"FROM read_parquet('{folder / name}.parquet', hive_partitioning=false)")
        for name in ("cells", "members")
    )
    assert members.columns == ["cell", "unit", "contribution"]
    assert cells.aggregate("sum(units)").fetchone() == members.aggregate("count(*)").fetchone()
    assert cells.aggregate("sum(value)").fetchone() == members.aggregate("sum(contribution)").fetchone()
    key = built.root / "home" / "keys" / "exchange.audit.1.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    written = [path.read_bytes() for path in (built.root / "lake" / "audit").rglob("*.parquet")]
    assert written
    assert not any(b"meter-" in content or key.read_bytes() in content for content in written)


def test_a_candidate_that_isolates_nobody_passes_and_says_what_was_tried(built: Mini) -> None:
    name = candidate(built)
    assert gate(built.exchange, mart=built.mart(WATER), candidate=name)["status"] == "passed"
    outcomes = json.loads(built.exchange.lake.read_bytes("reports", f"{WATER}/{name}/attacks.json"))
    assert {"recount", "differencing", "interval", "relinking"} <= {outcome["attack"] for outcome in outcomes}
    assert all(outcome["passed"] for outcome in outcomes)
    report = json.loads(built.exchange.lake.read_bytes("reports", f"{WATER}/{name}/results.json"))
    passed = {result["name"] for result in report["results"] if result["success"]}
    assert {"gate_sees_known_faults", "cells_are_as_recorded", "attack_differencing"} <= passed


@pytest.mark.parametrize(
    ("check", "unseen"),
    [
        (
            "physical_passes",
            "an identifier column let through: parquet_columns; nulls: parquet_nulls; a stale partition: parquet_partition",
        ),
        ("found_in_files", "a CPR number in a text: no_personal_data_in_texts"),
    ],
)
def test_an_open_mart_s_gate_tests_itself_too(
    built: Mini, monkeypatch: pytest.MonkeyPatch, check: str, unseen: str
) -> None:
    [name] = [row["candidate"] for row in waiting_candidates(built.exchange) if row["mart"] == TRAFFIC]
    monkeypatch.setattr(file_faults, check, lambda *_: check == "physical_passes")
    with pytest.raises(CandidateBlocked, match=f"is seen by its check. Found: green on {unseen}"):
        gate(built.exchange, mart=built.mart(TRAFFIC), candidate=name)
    monkeypatch.undo()
    assert gate(built.exchange, mart=built.mart(TRAFFIC), candidate=name)["status"] == "passed"
    report = json.loads(built.exchange.lake.read_bytes("reports", f"{TRAFFIC}/{name}/results.json"))
    [itself] = [result for result in report["results"] if result["name"] == "gate_sees_known_faults"]
    assert itself["success"]
    assert itself["reason"].endswith("Found: green on none")


def edit_suite(mini: Mini, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    path = mini.path(f"{TRAFFIC}.json")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "expectations": change(document["expectations"])}))


def named(kind: str, column: str | None = None) -> Callable[[dict[str, Any]], bool]:
    return lambda one: one["type"] == f"expect_{kind}" and column in (None, one["kwargs"].get("column"))


def judged(mini: Mini) -> str:
    """What the gate's test of itself says of the open mart's candidate that waits. Raises where it is blocked."""
    [name] = [row["candidate"] for row in waiting_candidates(mini.exchange) if row["mart"] == TRAFFIC]
    gate(mini.exchange, mart=mini.mart(TRAFFIC), candidate=name)
    report = json.loads(mini.exchange.lake.read_bytes("reports", f"{TRAFFIC}/{name}/results.json"))
    [reason] = [result["reason"] for result in report["results"] if result["name"] == "gate_sees_known_faults"]
    return str(reason).partition("Found: ")[2]


def test_an_open_mart_whose_suite_sees_no_repeated_key_is_not_released(built: Mini) -> None:
    edit_suite(built, lambda checks: [one for one in checks if not named("compound_columns_to_be_unique")(one)])
    with pytest.raises(
        CandidateBlocked, match=r"green on duplicates: the suite has no check .* where road \+ hour_utc repeats"
    ):
        judged(built)


def test_a_check_of_the_key_that_only_warns_sees_no_repeated_key(built: Mini) -> None:
    edit_suite(built, lambda checks: [{**one, "severity": "warning"} for one in checks])
    with pytest.raises(CandidateBlocked, match="green on duplicates: the suite has no check"):
        judged(built)


def test_a_check_of_the_key_that_is_blind_to_repeats_is_named(built: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_faults, "_doubled", lambda rows: rows)
    with pytest.raises(CandidateBlocked, match=r"green on duplicates: compound_columns_to_be_unique\(road, hour_utc\)"):
        judged(built)


def test_a_bound_so_wide_that_a_shifted_unit_passes_is_named(built: Mini) -> None:
    wide = {"column": "vehicles", "min_value": 0, "max_value": 10**9}
    edit_suite(
        built,
        lambda checks: [
            {**one, "kwargs": wide} if named("column_values_to_be_between")(one) else one for one in checks
        ],
    )
    with pytest.raises(CandidateBlocked, match=r"green on a shifted unit: column_values_to_be_between\(vehicles\)"):
        judged(built)


def test_what_says_nothing_of_a_mart_is_told_with_the_reason(built: Mini) -> None:
    edit_suite(
        built, lambda checks: [one for one in checks if not named("column_values_to_be_between", "vehicles")(one)]
    )
    assert judged(built) == (
        "green on none. Not tried: a shifted unit, for no check of the suite that blocks bounds a measure that is not zero"
    )


def test_a_file_that_says_otherwise_than_its_record_is_refused(built: Mini) -> None:
    name = candidate(built)
    rewrite(
        record(built, name) / "cells.parquet", "SELECT * REPLACE (value + (cell = 0)::INTEGER AS value) FROM {file}"
    )
    with pytest.raises(CandidateBlocked, match="every cell a row. Found: 2 differ"):
        gate(built.exchange, mart=built.mart(WATER), candidate=name)


def test_a_cell_of_too_few_is_named_to_the_reviewer_and_to_nobody_else(built: Mini) -> None:
    name = candidate(built)
    folder = record(built, name)
    small = f"SELECT cell FROM read_parquet('{folder}/cells.parquet') WHERE name LIKE 'area=south%2024-10-09%'"
    rewrite(
        folder / "members.parquet",
        f"FROM {{file}} WHERE cell NOT IN ({small}) OR unit IN (SELECT min(unit) FROM {{file}} WHERE cell IN ({small}))",
    )
    with pytest.raises(CandidateBlocked) as blocked:
        gate(built.exchange, mart=built.mart(WATER), candidate=name)
    assert len(blocked.value.reasons) >= 2
    assert "south" not in str(blocked.value)
    row = built.exchange.index.row(sa.select(candidates).where(candidates.c.candidate == name))
    assert "south" not in json.dumps(row, default=str)
    outcomes = json.loads(built.exchange.lake.read_bytes("reports", f"{WATER}/{name}/attacks.json"))
    named = {outcome["attack"]: outcome["cells"] for outcome in outcomes if not outcome["passed"]}
    # It tells of a series, not of a cell; and a household of which alone the record knows is told from it.
    named.pop("membership_inference", None)
    assert {"recount", "differencing", "relinking"} <= named.keys()
    assert all("south" in cells[0] and "2024-10-09" in cells[0] for cells in named.values())


def test_a_mart_that_is_published_again_after_a_late_delivery_is_refused(released: Mini) -> None:
    """The same mart under another major: its months are frozen no more, and one household is new."""
    mini = released
    mini.deliver("utility/meters", "more.csv", ["meter_id,area", "meter-south-0,north"])
    mini.edit("water_by_area_day.yml", "major: 1", "major: 2\n          overlap_days: 30")
    mini.build([WATER])
    with pytest.raises(CandidateBlocked, match="attack by differencing"):
        gate(mini.exchange, mart=mini.mart(WATER), candidate=candidate(mini))


def test_what_is_for_reviewers_stays_with_the_candidate(released: Mini) -> None:
    """The report of a release is for consumers too."""
    made = released.latest(WATER)

    def kept(name: str) -> set[str]:
        prefix = f"{WATER}/{name}/"
        return {entry.key.removeprefix(prefix) for entry in released.exchange.lake.list("reports", prefix)}

    assert kept(made.candidate) - kept(made.release) == {"attacks.json"}
    assert "index.html" in kept(made.release)


def test_two_marts_that_wait_together_are_audited_together(filled: Mini) -> None:
    """Each would pass alone: the second is of the same areas without one household, and calls households homes."""
    sibling = "water_without_one_day"
    contributions = filled.path("water_contributions.sql")
    meter = filled.exchange.contract("utility/meters").column("meter_id")
    one = Vault(filled.exchange, "utility").known(meter, "meter-north-0")
    fewer = f"select * from {{{{ ref('water_contributions') }}}} where unit <> '{one}'"
    contributions.with_name("fewer_contributions.sql").write_text(fewer)
    for suffix in (".yml", ".sql"):
        text = filled.path(f"{WATER}{suffix}").read_text()
        text = text.replace(WATER, sibling).replace("water_contributions", "fewer_contributions")
        text = text.replace("unit: household", "unit: home").replace("households", "homes")
        filled.path(f"{WATER}{suffix}").with_name(f"{sibling}{suffix}").write_text(text)
    suite = filled.path(f"{WATER}.json")
    suite.with_name(f"{sibling}.json").write_text(
        suite.read_text().replace(WATER, sibling).replace("households", "homes")
    )
    filled.__dict__.pop("exchange", None)
    summary = filled.build([WATER, sibling])
    assert len(summary.candidates) == 2, summary.failed
    first, second = summary.candidates
    with pytest.raises(CandidateBlocked, match="attack by differencing"):
        gate(filled.exchange, mart=filled.mart(first["mart"]), candidate=first["candidate"])
    assert gate(filled.exchange, mart=filled.mart(second["mart"]), candidate=second["candidate"])["status"] == "passed"


def test_records_of_another_key_are_refused_and_not_passed_over(built: Mini) -> None:
    (built.root / "home" / "keys" / "exchange.audit.1.key").write_bytes(b"x" * 32)
    with pytest.raises(CandidateBlocked, match=r"another key.*restore the key exchange\.audit\.1"):
        gate(built.exchange, mart=built.mart(WATER), candidate=candidate(built))


def test_the_command_attacks_a_release_and_fails_when_an_attack_wins(
    released: Mini, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in released.exchange.settings.model_dump(include={"project", "home", "lake", "database"}).items():
        monkeypatch.setenv(f"EXCHANGE_{name.upper()}", str(value))
    run = CliRunner()
    done = run.invoke(app, ["attack", WATER, "--json"])
    outcomes = json.loads(done.stdout)
    assert done.exit_code == 0, done.output
    assert all(set(o) == {"attack", "mart", "release", "success", "chance", "limit", "passed"} for o in outcomes)
    manifest = released.latest(WATER)
    folder = record(released, manifest.candidate)
    rewrite(folder / "members.parquet", "FROM {file} WHERE unit = (SELECT min(unit) FROM {file})")
    done = run.invoke(app, ["attack", "--all"])
    assert done.exit_code == 1
    assert "FAILED" in done.stdout
    assert "area=" not in done.stdout


EVERY_ATTACK = {"recount", "k_l_t", "differencing", "interval", "relinking", "membership_inference"}
SUMMED = """UPDATE cells SET units = held, value = total FROM (
    SELECT cell AS number, count(*) AS held, sum(contribution)::BIGINT AS total FROM members GROUP BY cell
) WHERE number = cells.cell"""


@pytest.mark.parametrize(
    ("protection", "members", "winners"),
    [
        ("none", "true", set()),
        ("areas of K", "unit IN (FROM two)", EVERY_ATTACK),
        ("K that hides a member", "unit IN (FROM few)", {"membership_inference"}),
        ("aggregation", "unit IN (FROM one)", EVERY_ATTACK),
    ],
)
def test_each_attack_wins_on_a_release_without_its_protection(
    released: Mini, protection: str, members: str, winners: set[str]
) -> None:
    """The record of a real release, of which so many households of each area are left as the missing protection
    would have let through."""
    folder = record(released, released.latest(WATER).candidate)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in ("cells", "members"):
            connection.execute(
                f"CREATE TABLE {name} AS FROM read_parquet('{folder / name}.parquet', hive_partitioning=false)"
            )
        for name, most in (("one", 1), ("two", 2), ("few", 12)):
            connection.execute(
                f"CREATE TABLE {name} AS SELECT unit FROM (SELECT DISTINCT unit, series FROM members JOIN cells USING "
                f"(cell)) QUALIFY row_number() OVER (PARTITION BY series ORDER BY unit) <= {most}"
            )
        connection.execute(f"DELETE FROM members WHERE NOT {members}; {SUMMED}")
        for name in ("cells", "members"):
            connection.execute(f"COPY {name} TO '{folder / name}.new' (FORMAT parquet)")
            (folder / f"{name}.new").replace(folder / f"{name}.parquet")
    outcomes = attack_release(released.exchange, released.latest(WATER))
    assert {outcome.attack for outcome in outcomes if not outcome.passed} == winners, protection
