"""Each release that stands is a snapshot of its mart's Iceberg table, over the same files, and a tag of its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFile
from pyiceberg.table import Table

from lakehouse.build.dbt import DbtProject
from lakehouse.release.manifest import Manifest, read_manifest
from lakehouse.sharing import iceberg_register, iceberg_tables
from lakehouse.sharing.iceberg_register import MANIFEST, Registered, register_releases, tags
from lakehouse.storage.index import releases
from tests.mini_exchange import COUNTS, DAYS, TRAFFIC, WATER, Mini, traffic

CORRECTED = date(2024, 10, 2)


@pytest.fixture(scope="session")
def twice_once(released_once: Mini, parsed: DbtProject, tmp_path_factory: pytest.TempPathFactory) -> Mini:
    """A second release of the open mart, in which one of thirty days differs; no table is made yet."""
    mini = released_once.copy(tmp_path_factory.mktemp("twice"))
    mini.deliver(COUNTS, "late.csv", traffic(CORRECTED, more=1))
    mini.build([TRAFFIC], project=parsed)
    mini.release()
    return mini


@pytest.fixture
def twice(twice_once: Mini, tmp_path: Path) -> Mini:
    return twice_once.copy(tmp_path / "twice")


def table_of(mini: Mini, mart: str = TRAFFIC) -> Table:
    table = iceberg_tables.load(iceberg_tables.open_catalog(mini.exchange), mart, 1)
    assert table is not None
    return table


def names(mini: Mini, mart: str = TRAFFIC) -> list[str]:
    rows = mini.exchange.index.rows(sa.select(releases.c.release).where(releases.c.mart == mart))
    return sorted(row["release"] for row in rows)


def manifest_of(mini: Mini, release: str) -> Manifest:
    return read_manifest(mini.exchange, mart=TRAFFIC, major=1, release=release)


def of_files(mini: Mini, manifest: Manifest) -> pl.DataFrame:
    """What a consumer reads who globs the release, and nothing of Iceberg's."""
    paths = [mini.root / "lake" / "marts" / manifest.prefix / file.path for file in manifest.files]
    return pl.concat(pl.from_arrow(pq.ParquetFile(path).read()) for path in paths)  # type: ignore[misc]


def at(table: Table, release: str) -> Any:
    return table.scan(snapshot_id=tags(table)[release])


def same(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    return one.sort(one.columns).equals(other.sort(one.columns))


def set_status(mini: Mini, release: str, status: str) -> None:
    with mini.exchange.index.begin() as connection:
        connection.execute(sa.update(releases).where(releases.c.release == release).values(status=status))


def test_every_release_is_a_tag_over_its_own_files(twice: Mini) -> None:
    first, second = names(twice)
    [found, water] = register_releases(twice.exchange)
    assert (found.release, found.added, found.removed) == (second, (first, second), ())
    assert water.mart == WATER
    table = table_of(twice)
    assert tags(table).keys() == {first, second}
    for release in (first, second):
        manifest = manifest_of(twice, release)
        files = {task.file.file_path: task.file.record_count for task in at(table, release).plan_files()}
        lake = f"file://{twice.root / 'lake' / 'marts' / manifest.prefix}"
        assert files == {f"{lake}/{file.path}": file.rows for file in manifest.files}
        assert same(pl.from_arrow(at(table, release).to_arrow()), of_files(twice, manifest))  # type: ignore[arg-type]
    assert not same(of_files(twice, manifest_of(twice, first)), of_files(twice, manifest_of(twice, second)))


def test_the_snapshot_names_the_release_and_its_terms(twice: Mini) -> None:
    register_releases(twice.exchange)
    table, second = table_of(twice), names(twice)[1]
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    manifest = twice.root / "lake" / "marts" / manifest_of(twice, second).prefix / "manifest.json"
    said = snapshot.summary.additional_properties
    assert said["exchange.release"] == second
    assert said[MANIFEST] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert (said["exchange.licence"], said["exchange.attribution"]) == ("CC-BY-4.0", "The city")
    assert (table.properties["licence"], table.properties["attribution"]) == ("CC-BY-4.0", "The city")
    assert table.schema().find_field("vehicles").doc == "Vehicles that all of them counted. [vehicles]"


def test_a_filter_skips_partitions_of_carried_files_too(twice: Mini) -> None:
    register_releases(twice.exchange)
    scan = table_of(twice).scan(row_filter="hour_utc >= '2024-10-29T12:00:00+00:00'")
    assert len(list(scan.plan_files())) == 2
    expected = of_files(twice, twice.latest(TRAFFIC)).filter(
        pl.col("hour_utc") >= pl.datetime(2024, 10, 29, 12, time_zone="UTC")
    )
    assert same(pl.from_arrow(scan.to_arrow()), expected)  # type: ignore[arg-type]


def test_a_footer_is_read_once(twice: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thirty files one differs from the release before."""
    read: list[list[str]] = []
    whole = iceberg_register.parquet_files_to_data_files

    def counted(*, io: Any, table_metadata: Any, file_paths: Iterator[str]) -> Any:
        read.append(list(file_paths))
        return whole(io=io, table_metadata=table_metadata, file_paths=iter(read[-1]))

    monkeypatch.setattr(iceberg_register, "parquet_files_to_data_files", counted)
    register_releases(twice.exchange, mart=TRAFFIC)
    assert [len(paths) for paths in read] == [DAYS, 1]
    assert f"day={CORRECTED}" in read[1][0]


def test_polars_reads_it_by_the_table_and_by_the_metadata_that_the_hint_names(twice: Mini) -> None:
    register_releases(twice.exchange)
    expected = of_files(twice, twice.latest(TRAFFIC))
    folder = twice.root / "lake" / "iceberg" / TRAFFIC / "v1" / "metadata"
    hinted = folder / f"{(folder / 'version-hint.text').read_text()}.metadata.json"
    for source in (table_of(twice), str(hinted)):
        assert same(pl.scan_iceberg(source).collect(), expected)
    first = names(twice)[0]
    past = pl.scan_iceberg(str(hinted), snapshot_id=tags(table_of(twice))[first]).collect()
    assert same(past, of_files(twice, manifest_of(twice, first)))


def test_again_it_does_nothing(twice: Mini) -> None:
    [before, _] = register_releases(twice.exchange)
    [after, _] = register_releases(twice.exchange)
    assert (after.added, after.removed, after.metadata) == ((), (), before.metadata)


def test_what_was_withdrawn_is_gone_and_main_shows_what_stands(twice: Mini) -> None:
    first, second = names(twice)
    register_releases(twice.exchange)
    set_status(twice, second, "yanked")
    [found] = register_releases(twice.exchange, mart=TRAFFIC)
    assert (found.release, found.removed) == (first, (second,))
    table = table_of(twice)
    assert tags(table).keys() == {first}
    assert len(table.metadata.snapshots) == 1
    assert second not in Path(table.metadata_location.removeprefix("file://")).read_text()
    assert same(pl.from_arrow(table.scan().to_arrow()), of_files(twice, manifest_of(twice, first)))  # type: ignore[arg-type]


def test_an_older_release_may_go_and_come_back(twice: Mini) -> None:
    first, second = names(twice)
    register_releases(twice.exchange)
    set_status(twice, first, "removed")
    [found] = register_releases(twice.exchange, mart=TRAFFIC)
    assert (found.release, found.removed) == (second, (first,))
    set_status(twice, first, "released")
    [found] = register_releases(twice.exchange, mart=TRAFFIC)
    assert (found.release, found.added) == (second, (first,))
    table = table_of(twice)
    assert same(pl.from_arrow(table.scan().to_arrow()), of_files(twice, manifest_of(twice, second)))  # type: ignore[arg-type]


def test_main_follows_the_pointer_back(twice: Mini) -> None:
    first, _ = names(twice)
    register_releases(twice.exchange)
    lake, key = twice.exchange.lake, f"{TRAFFIC}/v1/latest.json"
    lake.write_bytes("marts", key, lake.read_bytes("marts", key).replace(names(twice)[1].encode(), first.encode()))
    [found] = register_releases(twice.exchange, mart=TRAFFIC)
    assert (found.release, found.added, found.removed) == (first, (), ())
    assert len(tags(table_of(twice))) == 2
    assert same(pl.from_arrow(table_of(twice).scan().to_arrow()), of_files(twice, manifest_of(twice, first)))  # type: ignore[arg-type]


def test_a_mart_of_which_nothing_stands_has_no_table(twice: Mini) -> None:
    register_releases(twice.exchange)
    for release in names(twice):
        set_status(twice, release, "yanked")
    [found] = register_releases(twice.exchange, mart=TRAFFIC)
    assert (found.release, found.metadata) == (None, None)
    assert iceberg_tables.load(iceberg_tables.open_catalog(twice.exchange), TRAFFIC, 1) is None
    assert not (twice.root / "lake" / "iceberg" / TRAFFIC / "v1" / "metadata" / "version-hint.text").exists()


def test_a_lost_catalogue_is_taken_back_from_the_lake(twice: Mini) -> None:
    [before, _] = register_releases(twice.exchange)
    with twice.exchange.index.begin() as connection:
        connection.execute(sa.text("DROP TABLE iceberg_tables"))
    [after, _] = register_releases(twice.exchange)
    assert (after.added, after.metadata) == ((), before.metadata)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_dies_at_a_commit_is_made_good(twice: Mini, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    whole = SqlCatalog.commit_table

    def dying(*arguments: Any) -> Any:
        if when == "after":
            whole(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(SqlCatalog, "commit_table", dying)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            register_releases(twice.exchange, mart=TRAFFIC)
        if when == "before" or len(tags(table_of(twice))) == 2:
            break
    monkeypatch.undo()
    _made_good(twice)


def test_a_run_that_dies_at_any_file_is_made_good(twice: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, deaths = PyArrowFile.create, 0
    while True:
        left = deaths

        def dying(file: PyArrowFile, overwrite: bool = False) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return whole(file, overwrite)

        monkeypatch.setattr(PyArrowFile, "create", dying)
        try:
            register_releases(twice.exchange, mart=TRAFFIC)
        except KeyboardInterrupt:
            deaths += 1
            _shows_only_whole_releases(twice)
        else:
            break
    assert deaths >= 3
    monkeypatch.undo()
    _made_good(twice)
    _swept(twice)


def _swept(mini: Mini) -> None:
    """What the dead left is swept, and not a file that a table needs."""
    told = iceberg_tables.sweep(mini.exchange, dry_run=True)
    assert len(told) >= 3
    assert iceberg_tables.sweep(mini.exchange) == told
    assert iceberg_tables.sweep(mini.exchange) == []
    for release in names(mini):
        assert same(pl.from_arrow(at(table_of(mini), release).to_arrow()), of_files(mini, manifest_of(mini, release)))  # type: ignore[arg-type]
    assert register_releases(mini.exchange, mart=TRAFFIC)[0].added == ()


def _shows_only_whole_releases(mini: Mini) -> None:
    table = iceberg_tables.load(iceberg_tables.open_catalog(mini.exchange), TRAFFIC, 1)
    for release, snapshot in (tags(table) if table else {}).items():
        files = list(table.scan(snapshot_id=snapshot).plan_files())  # type: ignore[union-attr]
        assert sum(task.file.record_count for task in files) == manifest_of(mini, release).rows


def _made_good(mini: Mini) -> None:
    [found] = register_releases(mini.exchange, mart=TRAFFIC)
    assert found.release == names(mini)[1]
    assert tags(table_of(mini)).keys() == set(names(mini))
    _shows_only_whole_releases(mini)


def test_of_two_at_once_each_release_comes_in_once(twice: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other comes first, just before this one's commit."""
    whole, inside = SqlCatalog.commit_table, list[list[Registered]]()

    def late(*arguments: Any) -> Any:
        if not inside:
            inside.append([])
            inside[0] = register_releases(twice.exchange, mart=TRAFFIC)
        return whole(*arguments)

    monkeypatch.setattr(SqlCatalog, "commit_table", late)
    [found] = register_releases(twice.exchange, mart=TRAFFIC)
    assert len(inside[0][0].added) == 2
    assert found.added == ()
    assert len(table_of(twice).metadata.snapshots) == 2
    _made_good(twice)


def test_a_lake_that_was_moved_is_described_anew(twice: Mini, tmp_path: Path) -> None:
    """Addresses in a table are absolute, and those of the old place would be followed as long as it stands."""
    register_releases(twice.exchange)
    moved = twice.copy(tmp_path / "moved")
    registered = {entry.mart: entry for entry in register_releases(moved.exchange)}
    assert set(registered[TRAFFIC].added) == set(names(moved))
    table = table_of(moved)
    [newest] = [release for release in names(moved) if release.startswith("0002-")]
    assert same(pl.from_arrow(at(table, newest).to_arrow()), of_files(moved, manifest_of(moved, newest)))  # type: ignore[arg-type]
    place = (tmp_path / "moved" / "lake").as_uri()
    assert table.metadata_location.startswith(place)
    assert all(task.file.file_path.startswith(place) for task in table.scan().plan_files())
    assert all(entry.added == () for entry in register_releases(moved.exchange))
    assert table_of(twice).metadata_location.startswith((tmp_path / "twice" / "lake").as_uri())
