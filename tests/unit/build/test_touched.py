"""What one delivery costs once a month of days stands: a test that counts what is read and what is written."""

from datetime import date
from pathlib import PurePosixPath

import pytest

from lakehouse.build.dbt import DbtProject
from tests.counting_lake import CountingLake
from tests.mini_exchange import COUNTS, DAYS, SENSORS, TRAFFIC, Mini, traffic

READ = ("read_bytes", "open_read", "download", "local_path", "duckdb_url")
WRITTEN = ("write_bytes", "upload", "write_if")


@pytest.fixture
def counted(released: Mini) -> tuple[Mini, CountingLake]:
    """30 days are loaded and released; every call of the lake is counted from here."""
    lake = CountingLake(released.exchange.lake)
    released.exchange.__dict__["lake"] = lake
    return released, lake


def partitions(keys: set[str]) -> set[str]:
    """The folders `event_date=…` and `day=…` among keys."""
    return {part for key in keys for part in PurePosixPath(key).parts if "=" in part}


def since(lake: CountingLake) -> CountingLake:
    """What was counted so far; the count begins anew."""
    done = CountingLake(lake)
    done.calls = list(lake.calls)
    lake.calls.clear()
    return done


def test_a_second_delivery_of_a_day_reads_and_writes_that_day(
    counted: tuple[Mini, CountingLake], parsed: DbtProject
) -> None:
    mini, lake = counted
    before = mini.latest(TRAFFIC)
    lake.calls.clear()

    mini.deliver(COUNTS, "late.csv", traffic(date(2024, 10, 7), more=1))
    intake = since(lake)
    [summary] = mini.build(project=parsed).candidates
    build = since(lake)
    mini.release()
    release = since(lake)
    after = mini.latest(TRAFFIC)

    # Intake: of 30 clean partitions it reads the one that the delivery touches, and adds one file to it.
    assert partitions(intake.keys(*READ, bucket="clean")) == {"event_date=2024-10-07"}
    assert len(intake.keys(*READ, bucket="clean")) == 1
    assert partitions(intake.keys(*WRITTEN, bucket="clean")) == {"event_date=2024-10-07"}
    assert len(intake.keys(*WRITTEN, bucket="clean")) == 1
    assert intake.keys("list", bucket="clean") == set()

    # Build: both files of that day and the register; one partition goes to the candidate.
    read = build.keys(*READ, bucket="clean")
    assert len(read) == 3
    assert partitions(read) == {"event_date=2024-10-07", "event_date=undated"}
    assert {key.split("/event_date")[0] for key in read} == {COUNTS, SENSORS}
    prefix = f"{TRAFFIC}/{summary['candidate']}"
    assert build.keys(*WRITTEN, bucket="candidates") == {
        f"{prefix}/day=2024-10-07/part-0.parquet",
        f"{prefix}/candidate.json",
    }
    assert build.keys(*WRITTEN, bucket="marts") | build.keys("copy", bucket="marts") == set()
    assert build.keys("list", bucket="clean") | build.keys("list", bucket="marts") == set()

    # Release: of the marts' bytes none is carried through here; 30 files are linked, manifest, signature and pointer written.
    assert release.keys("copy", bucket="marts") == {f"{after.prefix}/{file.path}" for file in after.files}
    assert len(release.keys("copy", bucket="marts")) == DAYS
    said = {f"{after.prefix}/manifest.json", f"{after.prefix}/manifest.json.sig", f"{TRAFFIC}/v1/latest.json"}
    assert release.keys(*WRITTEN, bucket="marts") == said
    small = {f"{before.prefix}/manifest.json", f"{before.prefix}/manifest.json.sig", f"{TRAFFIC}/v1/latest.json"}
    # The diff reads the partition that changed as it was before, and no other.
    was = f"{before.prefix}/day=2024-10-07/part-0.parquet"
    assert release.keys(*READ, bucket="marts") == {*small, was}
    assert partitions(release.keys(*READ, bucket="candidates")) == {"day=2024-10-07"}
    assert release.keys("list", bucket="marts") | release.keys("list", bucket="clean") == set()

    # The carried partitions are the same files, and not only equal ones.
    for file in after.files:
        places = [mini.exchange.lake.local_path("marts", f"{m.prefix}/{file.path}") for m in (before, after)]
        assert (places[0].stat().st_ino == places[1].stat().st_ino) == (file.partition != "2024-10-07")  # type: ignore[union-attr]


def test_where_nothing_has_changed_no_data_is_read(counted: tuple[Mini, CountingLake], parsed: DbtProject) -> None:
    mini, lake = counted
    summary = mini.build(project=parsed)
    assert len(summary.unchanged) == 2
    assert lake.keys(*READ, bucket="clean") == set()
    assert {PurePosixPath(key).name for key in lake.keys(*READ, bucket="marts")} == {"latest.json", "manifest.json"}
    assert {call.operation for call in lake.calls} == {"read_bytes", "stat"}
    assert lake.bytes_written() == 0


def test_the_same_bytes_again_read_and_write_no_partition(counted: tuple[Mini, CountingLake]) -> None:
    mini, lake = counted
    [receipt] = mini.deliver(COUNTS, "again.csv", traffic(date(2024, 10, 7)))
    assert receipt["status"] == "repeated"
    assert lake.keys(*READ, *WRITTEN, bucket="clean") == set()
