"""The index can be lost: the lake holds all of it that matters."""

from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lakehouse.build.dbt import DbtProject
from lakehouse.landing.intake import intake
from lakehouse.landing.replay import replay
from lakehouse.release.doctor import rebuild_index, sweep
from lakehouse.release.listing import list_releases
from lakehouse.storage.index import clean_files, deliveries
from tests.mini_exchange import COUNTS, DAYS, READINGS, TRAFFIC, WATER, Mini, read_release, readings, traffic


def lose(mini: Mini) -> Mini:
    """The same exchange, opened after its database was deleted."""
    mini.exchange.index.close()
    for path in (mini.root / "home").glob("exchange.db*"):
        path.unlink()
    mini.__dict__.pop("exchange")
    return mini


def rows(mini: Mini, table: sa.Table, *without: str) -> list[dict[str, Any]]:
    found = mini.exchange.index.rows(sa.select(table).order_by(*table.primary_key))
    return [{name: row[name] for name in row if name not in without} for row in found]


def test_a_lost_index_is_made_again_and_nothing_has_changed(released: Mini, parsed: DbtProject) -> None:
    released.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 7), more=1))
    released.build(project=parsed)
    released.release()
    before = (
        rows(released, deliveries, "inbox_version"),
        rows(released, clean_files, "change"),
        list_releases(released.exchange),
    )
    found = rebuild_index(lose(released).exchange)
    assert found.problems == []
    assert (found.deliveries, found.clean_files, found.releases) == (DAYS + 4, len(before[1]), 3)
    after = (
        rows(released, deliveries, "inbox_version"),
        rows(released, clean_files, "change"),
        list_releases(released.exchange),
    )
    assert after == before
    summary = released.build(project=parsed)
    assert set(summary.unchanged.values()) == {"no input has changed since its last release"}
    assert intake(released.exchange, released.exchange.contract(COUNTS)) == []


def test_what_was_known_is_still_known_after_it(released: Mini) -> None:
    rebuild_index(lose(released).exchange)
    [receipt] = released.deliver(COUNTS, "again.csv", traffic(date(2024, 10, 7)))
    assert (receipt["status"], receipt["duplicates"]) == ("repeated", 72)


def test_what_no_release_has_taken_in_is_built_after_it(released: Mini, parsed: DbtProject) -> None:
    released.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 7), more=1))
    rebuild_index(lose(released).exchange)
    [made] = released.build([TRAFFIC], project=parsed).candidates
    released.release()
    manifest = released.latest(TRAFFIC)
    assert manifest.candidate == made["candidate"]
    assert manifest.diff["partitions_changed"] == ["2024-10-07"]


def test_late_data_that_was_held_stays_held_after_it(released: Mini, parsed: DbtProject) -> None:
    released.deliver(READINGS, "late.csv", readings(date(2024, 10, 5), date(2024, 10, 6), more=1))
    released.build([WATER], project=parsed)
    released.release()
    before = released.latest(WATER)
    rebuild_index(lose(released).exchange)
    assert "2024-10" in released.build([WATER], project=parsed).held[WATER]
    released.release()
    assert released.latest(WATER) == before


def test_a_delivery_that_was_sealed_and_not_loaded_is_loaded_after_it(released: Mini) -> None:
    released.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 7), more=1))
    [receipt] = [r for r in rows(released, deliveries) if r["file"] == "late.csv"]
    for suffix in ("json", "html"):
        released.exchange.lake.delete("landing-city", f"receipts/traffic_counts/{receipt['delivery']}.{suffix}")
    found = rebuild_index(lose(released).exchange)
    assert found.problems == []
    [again] = intake(released.exchange, released.exchange.contract(COUNTS))
    assert (again["delivery"], again["accepted"], again["corrections"]) == (receipt["delivery"], 72, 72)


def test_clean_files_that_do_not_add_up_to_the_receipt_are_told_and_loaded_again(released: Mini) -> None:
    [entry, *_] = released.exchange.lake.list("clean", f"{COUNTS}/event_date=2024-10-07/")
    whole = released.exchange.lake.read_bytes("clean", entry.key)
    released.exchange.lake.delete("clean", entry.key)
    found = rebuild_index(lose(released).exchange)
    assert len(found.problems) == 1
    assert "hold 0 rows, its receipt says 72 were accepted: it will be loaded again" in found.problems[0]
    [again] = intake(released.exchange, released.exchange.contract(COUNTS))
    assert again["accepted"] == 72
    assert len(released.exchange.lake.read_bytes("clean", entry.key)) == len(whole)


def test_a_release_that_was_never_published_is_told_and_not_listed(released: Mini) -> None:
    manifest = released.latest(TRAFFIC)
    stray = manifest.model_copy(update={"release": "0002-deadbeef"})
    released.exchange.lake.write_bytes("marts", f"{stray.prefix}/manifest.json", stray.model_dump_json().encode())
    found = rebuild_index(lose(released).exchange)
    assert found.problems == [
        f"{TRAFFIC}/v1/releases/0002-deadbeef: was never published; `exchange doctor --sweep` removes it"
    ]
    swept = sweep(released.exchange)
    assert swept.marts == (f"{stray.prefix}/manifest.json",)
    assert released.exchange.lake.stat("marts", f"{stray.prefix}/manifest.json") is None
    assert read_release(released, TRAFFIC) is not None
    assert [row["release"] for row in list_releases(released.exchange, mart=TRAFFIC)] == [manifest.release]


def replayed(mini: Mini) -> Mini:
    """Of two days in November one has one row alone, and the mended contract refuses one row of each."""
    lines = [*traffic(date(2024, 11, 6)), "s1,2024-11-05T00:00:00Z,99", "s2,2024-11-06T23:30:00Z,99"]
    mini.deliver(COUNTS, "late.csv", lines)
    mini.edit("traffic_counts.odcs.yaml", "{minimum: 0}", "{minimum: 0, maximum: 98}")
    mini.edit("traffic_counts.odcs.yaml", "version: 1.0.0", "version: 1.1.0")
    return mini


def test_a_partition_whose_only_rows_a_replay_refused_leaves_the_next_release(
    released: Mini, parsed: DbtProject
) -> None:
    mini = replayed(released)
    mini.build([TRAFFIC], project=parsed)
    mini.release()
    before = mini.latest(TRAFFIC)
    done = replay(mini.exchange, mini.exchange.contract(COUNTS))
    assert [entry.partitions for entry in done if entry.partitions] == [("2024-11-05", "2024-11-06")]
    mini.build([TRAFFIC], project=parsed)
    mini.release()
    after = mini.latest(TRAFFIC)
    assert "2024-11-05" in {file.partition for file in before.files}
    assert after.diff["partitions_removed"] == ["2024-11-05"]
    assert {file.partition for file in after.files} == {file.partition for file in before.files} - {"2024-11-05"}


def test_a_replay_that_no_release_has_taken_in_is_not_lost_with_the_index(released: Mini, parsed: DbtProject) -> None:
    mini = replayed(released)
    mini.build([TRAFFIC], project=parsed)
    mini.release()
    replay(mini.exchange, mini.exchange.contract(COUNTS))
    before = rows(mini, deliveries, "inbox_version"), rows(mini, clean_files, "change")
    assert rebuild_index(lose(mini).exchange).problems == []
    assert (rows(mini, deliveries, "inbox_version"), rows(mini, clean_files, "change")) == before
    mini.build([TRAFFIC], project=parsed)
    mini.release()
    assert mini.latest(TRAFFIC).diff["partitions_removed"] == ["2024-11-05"]
    swept = [key.split("/")[2] for key in sweep(mini.exchange).clean]
    assert swept == ["event_date=2024-11-05", "event_date=2024-11-06"]
    assert rebuild_index(lose(mini).exchange).problems == []
    assert rows(mini, clean_files, "change") == before[1]


def test_a_trial_of_the_doctor_leaves_the_index_alone(released: Mini) -> None:
    before = rows(released, clean_files)
    assert rebuild_index(released.exchange, dry_run=True).clean_files == len(before)
    assert rows(released, clean_files) == before


def test_an_empty_lake_makes_an_empty_index(tmp_path: Path) -> None:
    found = rebuild_index(Mini.make(tmp_path).exchange)
    assert (found.deliveries, found.clean_files, found.releases, found.problems) == (0, 0, 0, [])


def test_candidates_that_lead_nowhere_give_their_room_back(second: Mini, parsed: DbtProject) -> None:
    second.deliver(COUNTS, "later.csv", traffic(date(2024, 10, 3), more=1))
    [made] = second.build([TRAFFIC], project=parsed).candidates
    # The superseded candidate's one file goes; the one that waits keeps its two.
    told = sweep(second.exchange, dry_run=True)
    assert sweep(second.exchange) == told
    assert (len(told.candidates), told.clean) == (1, ())
    left = {entry.key for entry in second.exchange.lake.list("candidates") if entry.key.endswith(".parquet")}
    assert left == {f"{TRAFFIC}/{made['candidate']}/day=2024-10-0{day}/part-0.parquet" for day in (2, 3)}
    second.release()
    assert sweep(second.exchange).candidates == ()
