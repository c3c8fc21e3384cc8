"""A release as consumers take it: fetched with its hashes, and by glob in the usual tools."""

from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from lakehouse.release.fetch import TamperedFile, fetch
from lakehouse.release.listing import NoSuchRelease, find_release, list_releases
from tests.mini_exchange import DAYS, TRAFFIC, WATER, Mini

ROWS = DAYS * 48


def folder_of(mini: Mini, mart: str) -> Path:
    [row] = list_releases(mini.exchange, mart=mart)
    return Path(row["path"])


def test_a_release_opens_by_a_glob_in_duckdb(released: Mini) -> None:
    folder = folder_of(released, TRAFFIC)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(
            f"SELECT count(*), count(DISTINCT day), min(day = hour_utc::DATE), sum(vehicles) FROM '{folder}/**/*.parquet'"
        ).fetchone()
    assert found is not None
    assert found[:3] == (ROWS, DAYS, True)


def test_a_release_opens_by_a_glob_in_pandas(released: Mini) -> None:
    frame = pd.read_parquet([str(path) for path in folder_of(released, TRAFFIC).glob("*/*.parquet")])
    assert len(frame) == ROWS
    assert str(frame["hour_utc"].dtype.tz) == "UTC"
    assert frame["vehicles"].dtype == "int64"


def test_a_release_opens_by_a_glob_in_polars(released: Mini) -> None:
    frame = pl.scan_parquet(f"{folder_of(released, TRAFFIC)}/**/*.parquet").collect()
    assert len(frame) == ROWS
    assert frame.schema["vehicles"] == pl.Int64
    assert frame.schema["hour_utc"] == pl.Datetime("us", "UTC")


def test_each_column_of_a_release_carries_its_description_and_unit(released: Mini) -> None:
    for mart in (TRAFFIC, WATER):
        for path in folder_of(released, mart).glob("*/*.parquet"):
            schema = pq.read_schema(path)
            for column in released.mart(mart).columns:
                facts = schema.field(column.name).metadata
                assert facts[b"description"].decode() == column.description
                assert facts.get(b"unit", b"").decode() == (column.unit or "")


def test_a_release_is_fetched_with_every_hash_checked(released: Mini, tmp_path: Path) -> None:
    manifest, said = released.latest(TRAFFIC), list[str]()
    folder = fetch(released.exchange, manifest, to=tmp_path, progress=said.append)
    assert folder == tmp_path / f"{TRAFFIC}-v1-{manifest.release}"
    assert len(pl.read_parquet(f"{folder}/*/*.parquet")) == ROWS
    beside = {path.name for path in folder.iterdir() if path.is_file()}
    assert beside == {"ATTRIBUTION.txt", "manifest.json", "manifest.json.sig", f"{manifest.signed_with}.pem"}
    assert said[-1] == f"{DAYS} of {DAYS}: day=2024-10-30/part-0.parquet"


def test_what_was_fetched_before_is_checked_and_not_fetched_again(
    released: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, lake = released.latest(TRAFFIC), released.exchange.lake
    folder = fetch(released.exchange, manifest, to=tmp_path)
    broken = folder / manifest.files[3].path
    broken.write_bytes(b"half a file")
    asked: list[str] = []
    whole = lake.download
    monkeypatch.setattr(lake, "download", lambda b, key, target: (asked.append(key), whole(b, key, target))[1])
    fetch(released.exchange, manifest, to=tmp_path)
    assert asked == [f"{manifest.prefix}/{manifest.files[3].path}"]
    assert len(pl.read_parquet(broken)) == 48


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_file_that_was_tampered_with_is_refused_and_not_kept(released: Mini, tmp_path: Path, form: str) -> None:
    manifest = released.latest(TRAFFIC)
    key = f"{manifest.prefix}/{manifest.files[0].path}"
    other = released.exchange.lake.read_bytes("marts", f"{manifest.prefix}/{manifest.files[1].path}")
    released.exchange.lake.write_bytes("marts", key, other)
    with pytest.raises(TamperedFile, match="day=2024-10-01/part-0.parquet is not what its manifest says"):
        fetch(released.exchange, manifest, to=tmp_path / "to", form=form)
    assert [path for path in (tmp_path / "to").rglob("*") if path.is_file()] == []


def test_a_release_as_csv_is_one_file_in_the_order_of_its_partitions(released: Mini, tmp_path: Path) -> None:
    manifest, to = released.latest(TRAFFIC), tmp_path / "to"
    folder = fetch(released.exchange, manifest, to=to, form="csv")
    beside = {"ATTRIBUTION.txt", "manifest.json", "manifest.json.sig", f"{manifest.signed_with}.pem", f"{TRAFFIC}.csv"}
    assert {path.name for path in folder.iterdir()} == beside
    assert [path.name for path in to.iterdir()] == [folder.name]
    lines = (folder / f"{TRAFFIC}.csv").read_text().splitlines()
    assert lines[0] == "road,hour_utc,sensors,vehicles,vehicles_mean"
    assert lines[1] == "Amagerbrogade,2024-10-01 00:00:00+00,2,12,6.00"
    assert len(lines) == ROWS + 1
    days = [line.split(",")[1][:10] for line in lines[1:]]
    assert days == sorted(days)


def test_no_other_format_is_known(released: Mini, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no format 'xlsx': parquet or csv"):
        fetch(released.exchange, released.latest(TRAFFIC), to=tmp_path, form="xlsx")


def test_a_release_is_found_by_its_name_its_number_its_major_or_as_the_newest(second: Mini) -> None:
    first = second.latest(TRAFFIC)
    second.release()
    newest = second.latest(TRAFFIC)
    for name in ("", "@v1", f"@{newest.release}", "@0002"):
        assert find_release(second.exchange, f"{TRAFFIC}{name}") == newest
    assert find_release(second.exchange, f"{TRAFFIC}@0001") == first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", f"'nothing' has no release; released are: {TRAFFIC}, {WATER}"),
        (f"{TRAFFIC}@0009", r"has no release '0009'; there are: 0001-\w+ \(v1\)"),
        (f"{TRAFFIC}@v2", r"has no release 'v2'; there are: 0001-"),
        (f"{TRAFFIC}@very-old", r"has no release 'very-old'; there are: 0001-"),
    ],
)
def test_a_release_that_is_not_there_is_told_with_those_that_are(released: Mini, name: str, message: str) -> None:
    with pytest.raises(NoSuchRelease, match=message):
        find_release(released.exchange, name)


def test_before_the_first_release_there_is_none(built: Mini) -> None:
    with pytest.raises(NoSuchRelease, match="released are: none yet"):
        find_release(built.exchange, TRAFFIC)
