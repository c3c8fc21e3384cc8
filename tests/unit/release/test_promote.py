"""A candidate that passed becomes one immutable release; what says nothing new becomes none."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from lakehouse.build.dbt import DbtProject
from lakehouse.release.gate import gate
from lakehouse.release.listing import list_releases, waiting_candidates
from lakehouse.release.promote import NotPromotable, promote
from lakehouse.storage.lake import Conflict
from tests.mini_exchange import COUNTS, DAYS, LATER, READINGS, TRAFFIC, WATER, Mini, read_release, readings, traffic


def judged(mini: Mini, mart: str = TRAFFIC) -> str:
    [name] = [row["candidate"] for row in waiting_candidates(mini.exchange) if row["mart"] == mart]
    gate(mini.exchange, mart=mini.mart(mart), candidate=name)
    return name


def test_a_release_says_what_it_is(released: Mini) -> None:
    manifest = released.latest(TRAFFIC)
    assert (manifest.rows, len(manifest.files)) == (DAYS * 48, DAYS)
    assert manifest.bytes == sum(file.bytes for file in manifest.files)
    assert [(column.name, column.unit) for column in manifest.columns] == [
        ("road", None), ("hour_utc", None), ("sensors", "sensors"), ("vehicles", "vehicles"),
        ("vehicles_mean", "vehicles"),
    ]  # fmt: skip
    assert manifest.attribution == ("The city",)
    assert manifest.simulated_inputs == ()
    assert manifest.gates["status"] == "passed"
    assert manifest.diff["before"] is None
    assert len(manifest.inputs) == DAYS + 1
    water = released.latest(WATER)
    assert water.simulated_inputs == ("utility/meter_readings",)
    assert water.privacy["kind"] == "aggregate"


def test_the_candidate_s_parquet_goes_and_its_description_and_reports_stay(released: Mini) -> None:
    lake = released.exchange.lake
    assert {Path(entry.key).name for entry in lake.list("candidates")} == {"candidate.json"}
    manifest = released.latest(TRAFFIC)
    for name in (manifest.candidate, manifest.release):
        assert lake.stat("reports", f"{TRAFFIC}/{name}/index.html") is not None


def test_files_of_a_release_cannot_be_changed_in_place(released: Mini) -> None:
    manifest = released.latest(TRAFFIC)
    path = released.exchange.lake.local_path("marts", f"{manifest.prefix}/{manifest.files[0].path}")
    assert path is not None
    assert os.stat(path).st_mode & 0o222 == 0


def test_promoting_again_says_the_same_and_does_nothing(second: Mini) -> None:
    name = judged(second)
    first = promote(second.exchange, mart=second.mart(TRAFFIC), candidate=name)
    before = {(entry.key, entry.version) for entry in second.exchange.lake.list("marts")}
    again = promote(second.exchange, mart=second.mart(TRAFFIC), candidate=name)
    assert (again["status"], again["release"]) == (first["status"], first["release"])
    assert {(entry.key, entry.version) for entry in second.exchange.lake.list("marts")} == before


def test_the_release_before_stays_as_it_was(second: Mini) -> None:
    lake, before = second.exchange.lake, second.latest(TRAFFIC)
    old = {e.key: lake.read_bytes("marts", e.key) for e in lake.list("marts", f"{before.prefix}/")}
    second.release()
    after = second.latest(TRAFFIC)
    assert after.release.startswith("0002-")
    assert {e.key: lake.read_bytes("marts", e.key) for e in lake.list("marts", f"{before.prefix}/")} == old
    assert after.diff == {
        "before": before.release,
        "partitions_added": [],
        "partitions_changed": ["2024-10-02"],
        "partitions_removed": [],
        "partitions_carried": 2,
        "rows_before": before.rows,
        "rows_after": after.rows,
        "compared_with": f"v1/{before.release}",
        "rows_added": 0,
        "rows_removed": 0,
        "rows_restated": 48,
        "columns": {},
        "columns_restated": {"vehicles": 48, "vehicles_mean": 48},
        "drift": after.diff["drift"],
        "report": "diff/index.html",
    }
    assert after.diff["drift"].keys() == {"sensors", "vehicles", "vehicles_mean"}
    assert [(row["release"], row["latest"]) for row in list_releases(second.exchange, mart=TRAFFIC)] == [
        (after.release, True),
        (before.release, False),
    ]


def test_a_candidate_that_says_nothing_new_makes_no_release(released: Mini, parsed: DbtProject) -> None:
    before = released.latest(TRAFFIC)
    lines = traffic(date(2024, 10, 7))
    # Another order: other bytes, so it is loaded, but every row is known.
    released.deliver(COUNTS, "twice.csv", [lines[0], *reversed(lines[1:])])
    assert released.build(project=parsed).candidates == []
    # A correction, and then the correction taken back.
    released.deliver(COUNTS, "wrong.csv", traffic(date(2024, 10, 7), more=1))
    released.deliver(COUNTS, "right.csv", [*traffic(date(2024, 10, 7)), ""])
    assert [made["mart"] for made in released.build(project=parsed).candidates] == [TRAFFIC]
    [outcome] = released.release()
    assert (outcome["status"], outcome["release"]) == ("unchanged", before.release)
    assert released.latest(TRAFFIC) == before
    assert released.build(project=parsed).unchanged[TRAFFIC] == "no input has changed since its last release"


def test_what_a_mart_states_of_itself_makes_a_release_of_the_same_bytes(released: Mini) -> None:
    before = released.latest(TRAFFIC)
    released.edit(f"{TRAFFIC}.yml", "access: open", "access: registered")
    released.build()
    [outcome] = released.release()
    after = released.latest(TRAFFIC)
    assert outcome["status"] == "released"
    assert (before.access, after.access) == ("open", "registered")
    assert [file.sha256 for file in after.files] == [file.sha256 for file in before.files]


def test_a_candidate_on_a_base_that_moved_is_not_promoted(second: Mini, parsed: DbtProject) -> None:
    old = judged(second)
    second.deliver(COUNTS, "later.csv", traffic(date(2024, 10, 3), more=1))
    second.build([TRAFFIC], project=parsed)
    with pytest.raises(NotPromotable, match=f"candidate {old} is superseded"):
        promote(second.exchange, mart=second.mart(TRAFFIC), candidate=old)
    new = judged(second)
    pointer = second.exchange.lake.read_bytes("marts", f"{TRAFFIC}/v1/latest.json")
    promote(second.exchange, mart=second.mart(TRAFFIC), candidate=new)
    # The old one, as if the index had never heard of the new.
    from lakehouse.storage.index import candidates

    with second.exchange.index.begin() as connection:
        connection.execute(candidates.update().where(candidates.c.candidate == old).values(status="passed"))
    with pytest.raises(NotPromotable, match="was built on 0001-.*, but the newest is now 0002-.*: build it again"):
        promote(second.exchange, mart=second.mart(TRAFFIC), candidate=old)
    assert second.exchange.lake.read_bytes("marts", f"{TRAFFIC}/v1/latest.json") != pointer


def test_a_candidate_that_was_not_judged_or_is_not_known_is_not_promoted(second: Mini) -> None:
    [waiting] = waiting_candidates(second.exchange)
    with pytest.raises(NotPromotable, match="is built; it must have passed its gate"):
        promote(second.exchange, mart=second.mart(TRAFFIC), candidate=waiting["candidate"])
    with pytest.raises(NotPromotable, match="c-nothing is not known"):
        promote(second.exchange, mart=second.mart(TRAFFIC), candidate="c-nothing")


@pytest.mark.parametrize("attempt", range(4))
def test_of_two_promoters_at_once_one_moves_the_pointer(second: Mini, attempt: int) -> None:
    name, before = judged(second), second.latest(TRAFFIC)
    start = Barrier(2)

    def run(_: int) -> dict[str, Any] | str:
        exchange = second.open()
        start.wait()
        try:
            return promote(exchange, mart=second.mart(TRAFFIC), candidate=name)
        except (Conflict, NotPromotable) as refusal:
            return type(refusal).__name__

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, range(2)))
    after = read_release(second, TRAFFIC)
    assert after is not None
    told = {outcome["release"] for outcome in outcomes if isinstance(outcome, dict)}
    assert told == {after.release}
    folders = {Path(entry.key).parts[3] for entry in second.exchange.lake.list("marts", f"{TRAFFIC}/v1/releases/")}
    assert folders == {before.release, after.release}
    assert [row["release"] for row in list_releases(second.exchange) if row["latest"]] == [after.release]


def test_a_private_mart_with_nothing_to_publish_is_withheld_and_goes_on(filled: Mini, parsed: DbtProject) -> None:
    """September and October are final; every area is below k."""
    filled.edit(f"{WATER}.yml", "k: {day: 3}", "k: {day: 300}")
    filled.edit("water_by_area_day.sql", ">= 3", ">= 300")
    summary = filled.build([WATER])
    assert summary.failed == {}
    [outcome] = filled.release()
    assert (outcome["status"], outcome["release"]) == ("withheld", None)
    assert "no cell of 5 partitions holds enough units" in outcome["reason"]
    assert not list(filled.exchange.lake.list("marts"))
    again = filled.build([WATER])
    assert again.unchanged == {WATER: "no input has changed since its last release"}


def test_a_withheld_month_leaves_the_release_before_it(released: Mini, parsed: DbtProject) -> None:
    before = released.latest(WATER)
    # In December two households alone are read.
    lines = readings(date(2024, 12, 1), date(2025, 1, 1))
    few = [line for line in lines if line.startswith(("meter_id", "meter-harbour"))]
    released.deliver(READINGS, "december.csv", few)
    released.build([WATER], project=parsed)
    [outcome] = released.release()
    assert (outcome["status"], outcome["release"]) == ("withheld", before.release)
    assert released.latest(WATER) == before
    assert released.build([WATER], project=parsed).candidates == []


def test_late_readings_of_a_published_month_are_held(released: Mini, parsed: DbtProject) -> None:
    before = released.latest(WATER)
    released.deliver(READINGS, "late.csv", readings(date(2024, 10, 5), date(2024, 10, 6), more=1))
    summary = released.build([WATER], project=parsed)
    assert summary.held[WATER]["2024-10"] == "published, and its policy allows no restatement"
    released.release()
    assert released.latest(WATER) == before


def test_a_month_is_published_once_it_is_final(filled: Mini, parsed: DbtProject) -> None:
    filled.build([WATER], now=datetime(2024, 11, 3, tzinfo=UTC), project=parsed)
    filled.release()
    early = filled.latest(WATER)
    assert [file.partition for file in early.files] == ["2024-09"]
    assert "2024-10" in early.waiting
    summary = filled.build([WATER], now=datetime(2024, 11, 4, tzinfo=UTC), project=parsed)
    assert "2024-10: not final before 2024-11-08" in summary.unchanged[WATER]
    filled.build([WATER], now=LATER, project=parsed)
    filled.release()
    late = filled.latest(WATER)
    assert [file.partition for file in late.files] == ["2024-09", "2024-10"]
    assert late.files[0] == early.files[0]
