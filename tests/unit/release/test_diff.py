"""Two releases beside each other: columns, partitions, rows by the mart's key, and the distribution of measures."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.build.dbt import DbtProject
from lakehouse.release.diff.compare import compare
from lakehouse.release.diff.forms import write_diff
from lakehouse.release.diff.keep import keep_diff, kept_diff
from lakehouse.release.diff.sides import Part, Side, of_release
from lakehouse.release.gate import CandidateBlocked, gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.manifest import Column, File, read_candidate, read_manifest
from lakehouse.release.promote import NotPromotable, promote
from tests.mini_exchange import DAYS, SENSORS, TRAFFIC, WATER, Mini

COLUMNS = (
    ("place", "VARCHAR", None),
    ("hour", "BIGINT", "h"),
    ("use", "DECIMAL(9,2)", "kWh"),
    ("note", "VARCHAR", None),
)
Rows = list[tuple[str, int, float | None, str]]


def side(mini: Mini, name: str, partitions: dict[str, Rows], **changes: Any) -> Side:
    """A release of made-up rows, written to the lake; partitions of equal rows are one file by their hash."""
    parts = {}
    for partition, rows in partitions.items():
        columns = list(zip(*rows, strict=True))
        types = [pa.string(), pa.int64(), pa.decimal128(9, 2), pa.string()]
        columns[2] = tuple(None if value is None else Decimal(str(value)) for value in columns[2])
        table = pa.table([pa.array(c, t) for c, t in zip(columns, types, strict=True)], names=[c[0] for c in COLUMNS])
        key = f"made/{name}/{partition}.parquet"
        path = mini.root / "made.parquet"
        pq.write_table(table, path)
        mini.exchange.lake.upload("marts", key, path)
        sha256 = f"{hash(tuple(rows)) & (2**64 - 1):064x}"
        file = File(
            path=f"month={partition}/part-0.parquet",
            partition=partition,
            rows=len(rows),
            bytes=1,
            sha256=sha256,
            deliveries=(),
        )
        parts[partition] = Part(file=file, bucket="marts", key=key)
    made = Side(
        mart="made", name=name, major=1, key=("place", "hour"), partition={"column": "hour", "grain": "month"}, parts=parts,
        columns=tuple(Column(name=n, type=t, description=n, unit=u) for n, t, u in COLUMNS),
    )  # fmt: skip
    return replace(made, **changes)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "rows.parquet").to_pylist()


@pytest.fixture
def before(filled: Mini) -> Side:
    return side(
        filled,
        "0001",
        {"2024-01": [("a", 1, 10, "x"), ("a", 2, 20, "x"), ("b", 1, None, "x")], "2024-02": [("a", 3, 1, "x")]},
    )


def test_rows_are_matched_by_the_key_and_told_with_old_and_new_values(
    filled: Mini, before: Side, tmp_path: Path
) -> None:
    after = side(
        filled,
        "0002",
        {"2024-01": [("a", 1, 10, "x"), ("a", 2, 25.5, "y"), ("c", 1, 7, "x")], "2024-02": [("a", 3, 1, "x")]},
    )
    found = write_diff(filled.exchange, before=before, after=after, title="Made", folder=tmp_path)
    assert found["partitions"] == [
        {"partition": "2024-01", "change": "changed", "rows_before": 3, "rows_after": 3, "added": 1, "removed": 1, "restated": 1}
    ]  # fmt: skip
    assert found["rows"] == {"added": 1, "removed": 1, "restated": 1}
    assert found["partitions_carried"] == 1
    by_change = {row["diff_change"]: row for row in rows_of(tmp_path)}
    assert {change: (row["place"], row["hour"]) for change, row in by_change.items()} == {
        "added": ("c", 1), "removed": ("b", 1), "restated": ("a", 2),
    }  # fmt: skip
    columns = pq.read_table(tmp_path / "columns.parquet").to_pylist()
    assert [(row["column"], row["change"], row["rows_restated"]) for row in columns] == [
        ("use", None, 1),
        ("note", None, 1),
    ]
    restated = by_change["restated"]
    assert restated["diff_columns"] == ["use", "note"]
    assert (float(restated["use_before"]), float(restated["use_after"]), restated["note_after"]) == (20, 25.5, "y")
    assert by_change["added"]["use_before"] is None
    assert by_change["removed"]["note_before"] == "x"
    assert [(entry["column"], entry["rows"]) for entry in found["restated"]] == [("use", 1), ("note", 1)]
    assert found["restated"][0]["examples"] == [
        {"key": {"place": "a", "hour": "2"}, "before": "20.00", "after": "25.50"}
    ]


def test_a_partition_that_came_or_went_is_counted_row_by_row(filled: Mini, before: Side, tmp_path: Path) -> None:
    after = side(filled, "0002", {"2024-02": [("a", 3, 1, "x")], "2024-03": [("a", 9, 4, "x"), ("b", 9, 5, "x")]})
    found = write_diff(filled.exchange, before=before, after=after, title="Made", folder=tmp_path)
    assert [(e["partition"], e["change"], e["added"], e["removed"]) for e in found["partitions"]] == [
        ("2024-01", "removed", 0, 3), ("2024-03", "added", 2, 0),
    ]  # fmt: skip
    assert len(rows_of(tmp_path)) == 5
    # The new one is held against the one before it, and that is read once.
    assert found["measured"] == {"before": ["2024-01", "2024-02"], "after": ["2024-03"]}


def test_only_files_that_differ_are_opened(filled: Mini, before: Side) -> None:
    for part in before.parts.values():
        filled.exchange.lake.delete(part.bucket, part.key)
    found = compare(filled.exchange, before=before, after=replace(before, name="0002"))
    assert (found["partitions"], found["partitions_carried"], found["rows"]["added"]) == ([], 2, 0)
    other = replace(before, parts={"2024-01": before.parts["2024-01"]})
    with pytest.raises(duckdb.IOException):
        compare(filled.exchange, before=before, after=other)


def test_columns_that_came_went_or_changed_are_told_and_the_rest_is_compared(filled: Mini, before: Side) -> None:
    old = before.columns
    renamed = (old[0], old[1], Column(name="use", type="DOUBLE", description="Use.", unit="MWh"))
    after = side(filled, "0002", {"2024-01": [("a", 1, 10, "y"), ("a", 2, 21, "x"), ("b", 1, None, "x")]})
    found = compare(filled.exchange, before=before, after=replace(after, columns=renamed))
    assert [(entry["column"], entry["change"], entry["what"]) for entry in found["columns"]] == [
        ("use", "changed", ["type", "unit", "description"]), ("note", "removed", []),
    ]  # fmt: skip
    assert (found["columns"][0]["unit_before"], found["columns"][0]["unit_after"]) == ("kWh", "MWh")
    # `note` is gone, so its other value restates nothing.
    assert [entry["restated"] for entry in found["partitions"]] == [1, 0]


def test_rows_without_a_common_key_are_not_matched_and_it_says_why(filled: Mini, before: Side) -> None:
    after = side(filled, "0001-v2", {"2024-01": [("a", 1, 11, "x")]}, key=("hour",), major=2)
    found = compare(filled.exchange, before=before, after=after)
    assert found["unmatched"] == "the key was (place, hour) and is (hour)"
    assert found["rows"] == {"added": None, "removed": None, "restated": None}
    assert found["measures"][0]["before"]["rows"] == 4


def test_where_partitions_are_cut_otherwise_all_is_compared_at_once(filled: Mini, before: Side) -> None:
    rows: Rows = [("a", 1, 10, "x"), ("a", 2, 20, "x"), ("b", 1, None, "x"), ("a", 3, 2, "x")]
    year = {"column": "hour", "grain": "year"}
    found = compare(
        filled.exchange, before=before, after=side(filled, "0001-v2", {"2024": rows}, partition=year, major=2)
    )
    assert [entry["partition"] for entry in found["partitions"]] == ["all"]
    assert found["rows"] == {"added": 0, "removed": 0, "restated": 1}


def test_a_key_that_stands_twice_is_said_and_not_multiplied(filled: Mini, before: Side) -> None:
    after = side(filled, "0002", {"2024-01": [("a", 1, 10, "x"), ("a", 1, 11, "x")], "2024-02": [("a", 3, 2, "x")]})
    found = compare(filled.exchange, before=before, after=after)
    assert [entry["restated"] for entry in found["partitions"]] == [None, 1]
    assert found["rows"]["restated"] is None


def test_figures_of_a_measure_are_those_that_other_tools_find(filled: Mini) -> None:
    old, new = [float(n * n % 101) for n in range(200)], [float(n * 7 % 53) for n in range(120)]
    before = side(filled, "0001", {"2024-01": [("a", n, value, "x") for n, value in enumerate(old)]})
    months: dict[str, Rows] = {
        "2024-01": [("a", n, value, "x") for n, value in enumerate(new[:70])],
        "2024-02": [("a", n + 70, value, "x") for n, value in enumerate(new[70:])] + [("b", 1, None, "x")],
    }
    [measure] = compare(filled.exchange, before=before, after=side(filled, "0002", months))["measures"]
    assert (measure["column"], measure["unit"]) == ("use", "kWh")
    for values, found in ((old, measure["before"]), (new, measure["after"])):
        assert (found["min"], found["max"], found["sum"]) == (min(values), max(values), sum(values))
        assert found["mean"] == pytest.approx(statistics.fmean(values))
        ordered = sorted(values)
        for name, share in (("q1", 0.25), ("median", 0.5), ("q3", 0.75)):
            assert found[name] == ordered[int(share * len(values)) - 1]
    assert (measure["after"]["rows"], measure["after"]["nulls"]) == (121, 1)

    def below(values: list[float], limit: float) -> float:
        return sum(value <= limit for value in values) / len(values)

    drift = max(abs(below(old, value) - below(new, value)) for value in {*old, *new})
    assert measure["drift"] == pytest.approx(drift, abs=1e-4)
    for name in ("before", "after"):
        assert sum(entry[name] for entry in measure["bins"]) == pytest.approx(1)


def test_drift_is_nothing_for_the_same_values_and_all_for_values_apart(filled: Mini, before: Side) -> None:
    same = side(filled, "0002", {"2024-02": [("a", 3, 1, "another note")], "2024-01": [*_rows(before)]})
    [measure] = compare(filled.exchange, before=before, after=same)["measures"]
    assert measure["drift"] == 0
    apart = side(filled, "0003", {"2024-02": [("a", 3, 5000, "x")], "2024-01": [*_rows(before)]})
    [measure] = compare(filled.exchange, before=before, after=apart)["measures"]
    assert measure["drift"] == 1


def _rows(before: Side) -> Rows:
    return [("a", 1, 10, "x"), ("a", 2, 20, "x"), ("b", 1, None, "x")]


def test_a_release_holds_its_diff_against_the_one_before(second: Mini) -> None:
    [row] = waiting_candidates(second.exchange)
    made = read_candidate(second.exchange, mart=TRAFFIC, candidate=row["candidate"])
    gate(second.exchange, mart=second.mart(TRAFFIC), candidate=made.candidate)
    lake = second.exchange.lake
    # Before anybody approves, and one click from the report.
    assert kept_diff(second.exchange, made)["rows"] == {"added": 0, "removed": 0, "restated": 48}
    assert b'href="diff/index.html"' in lake.read_bytes("reports", f"{made.prefix}/index.html")
    promote(second.exchange, mart=second.mart(TRAFFIC), candidate=made.candidate)
    manifest = second.latest(TRAFFIC)
    names = {
        "index.html",
        "summary.json",
        "rows.parquet",
        "partitions.parquet",
        "columns.parquet",
        "measures.parquet",
    }
    folder = f"{TRAFFIC}/{manifest.release}/diff/"
    assert {entry.key.removeprefix(folder) for entry in lake.list("reports", folder)} == names
    assert manifest.diff["rows_restated"] == 48
    # Not beside the data: a reader globs that folder.
    found = {Path(entry.key).name for entry in lake.list("marts", f"{manifest.prefix}/")}
    assert {name for name in found if name.endswith(".parquet")} == {"part-0.parquet"}
    first = read_manifest(second.exchange, mart=TRAFFIC, major=1, release=manifest.diff["before"])
    again = compare(second.exchange, before=of_release(first), after=of_release(manifest))
    kept = json.loads(lake.read_bytes("reports", f"{folder}summary.json"))
    assert {**again, "after": made.candidate} == kept


def test_without_its_diff_nothing_is_released(second: Mini) -> None:
    [row] = waiting_candidates(second.exchange)
    gate(second.exchange, mart=second.mart(TRAFFIC), candidate=row["candidate"])
    before = second.latest(TRAFFIC)
    second.exchange.lake.delete("reports", f"{TRAFFIC}/{row['candidate']}/diff/summary.json")
    with pytest.raises(NotPromotable, match=f"has no diff against {before.release}: judge it again"):
        promote(second.exchange, mart=second.mart(TRAFFIC), candidate=row["candidate"])
    assert second.latest(TRAFFIC) == before


def test_a_first_release_is_all_new(released: Mini) -> None:
    diff = released.latest(TRAFFIC).diff
    assert (diff["compared_with"], diff["rows_added"], diff["rows_restated"]) == (None, DAYS * 48, 0)
    page = released.exchange.lake.read_bytes("reports", f"{TRAFFIC}/{released.latest(TRAFFIC).release}/diff/index.html")
    assert b"The first release: 1,440 rows, all of them new." in page


def test_a_row_that_left_one_place_for_another_is_added_and_removed(released: Mini, parsed: DbtProject) -> None:
    before = released.latest(TRAFFIC)
    released.deliver(SENSORS, "moved.csv", ["sensor_id,road", "s3,Nørrebrogade"])
    released.build([TRAFFIC], project=parsed)
    released.release()
    found = compare(released.exchange, before=of_release(before), after=of_release(released.latest(TRAFFIC)))
    assert {(e["added"], e["removed"], e["restated"]) for e in found["partitions"]} == {(24, 24, 0)}
    assert len(found["partitions"]) == DAYS


def test_the_first_of_a_new_major_is_held_against_the_newest_of_the_one_before(released: Mini) -> None:
    before = released.latest(TRAFFIC)
    released.edit(f"{TRAFFIC}.yml", "major: 1", "major: 2\n          overlap_days: 30")
    released.build([TRAFFIC])
    [outcome] = released.release()
    manifest = read_manifest(released.exchange, mart=TRAFFIC, major=2, release=outcome["release"])
    assert manifest.diff["before"] is None
    assert manifest.diff["compared_with"] == f"v1/{before.release}"


def test_of_a_private_candidate_that_is_blocked_there_is_no_diff(built: Mini) -> None:
    [name] = [row["candidate"] for row in waiting_candidates(built.exchange) if row["mart"] == WATER]
    built.edit(
        f"{WATER}.json",
        '"expectations": [',
        '"expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1000000}, "severity": "critical", "meta": {"notes": "more than there are"}},',
    )
    with pytest.raises(CandidateBlocked):
        gate(built.exchange, mart=built.mart(WATER), candidate=name)
    assert list(built.exchange.lake.list("reports", f"{WATER}/{name}/diff/")) == []
    made = read_candidate(built.exchange, mart=WATER, candidate=name)
    keep_diff(built.exchange, built.mart(WATER), made)
    assert list(built.exchange.lake.list("reports", f"{WATER}/{name}/diff/"))


def test_the_page_stands_by_itself_and_shows_what_the_summary_says(filled: Mini, before: Side, tmp_path: Path) -> None:
    after = side(
        filled, "0002", {"2024-01": [("a", 1, 10, "<b>x</b>"), ("a", 2, 25.5, "y")], "2024-03": [("a", 7, 3, "x")]}
    )
    write_diff(filled.exchange, before=before, after=after, title="Made <up>", folder=tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert not re.search(r'(?:src|href)="(?:https?:)?//|<script|@import|url\(', page)
    assert "1 rows added, 2 removed, 2 restated." in page
    assert page.count("<svg") >= 3
    assert "Made &lt;up&gt;" in page
    assert "<b>x</b>" not in page
    measures = pq.read_table(tmp_path / "measures.parquet").to_pylist()
    assert [(row["column"], row["rows_before"], row["rows_after"]) for row in measures] == [("use", 4, 3)]


def test_what_differs_is_read_by_the_partition_and_not_by_the_release(second: Mini) -> None:
    first = second.latest(TRAFFIC)
    asked: list[str] = []
    lake = second.exchange.lake
    local = lake.local_path
    lake.local_path = lambda bucket, key: (asked.append(key), local(bucket, key))[1]  # type: ignore[method-assign, assignment]
    [row] = waiting_candidates(second.exchange)
    made = read_candidate(second.exchange, mart=TRAFFIC, candidate=row["candidate"])
    keep_diff(second.exchange, second.mart(TRAFFIC), made)
    assert {key for key in asked if key.endswith("part-0.parquet")} == {
        f"{made.prefix}/day=2024-10-02/part-0.parquet",
        f"{first.prefix}/day=2024-10-02/part-0.parquet",
    }
