"""The clean files that a build reads: those of its plans' periods, as they stood at one change, and no others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import sqlalchemy as sa

from lakehouse.build.area_groups import write_area_groups
from lakehouse.build.periods import Span, partition_names, span_of
from lakehouse.build.plan import MartPlan, margin
from lakehouse.contracts.derive import UNDATED, clean_columns
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.release.manifest import AreaGroup
from lakehouse.storage.index import clean_files, replaced_files
from lakehouse.storage.sql import identifier, literal

DOWNLOADS = 8
# Below what any database takes as parameters of one statement.
ASKED_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class CleanFile:
    dataset: str
    partition: str
    key: str
    delivery: str
    rows: int


class Inputs:
    """The clean files of some plans. The index is asked once, so that every part of a build sees the same."""

    def __init__(self, exchange: Exchange, plans: Sequence[MartPlan]) -> None:
        self._exchange = exchange
        wanted: dict[str, set[str]] = defaultdict(set)
        for plan in plans:
            for dataset, partition in self._wanted(plan, plan.partitions):
                wanted[dataset].add(partition)
        change = max((plan.change for plan in plans), default=0)
        self._files = {
            dataset: _standing(exchange, dataset, sorted(partitions), change) for dataset, partitions in wanted.items()
        }

    def of(self, plan: MartPlan, partitions: Iterable[str]) -> set[CleanFile]:
        """The files that building these partitions of a mart reads."""
        return {
            file
            for dataset, partition in self._wanted(plan, partitions)
            for file in self._files[dataset].get(partition, ())
        }

    def _wanted(self, plan: MartPlan, partitions: Iterable[str]) -> Iterator[tuple[str, str]]:
        spans = [span_of(partition, plan.mart.exchange.partition.grain) for partition in partitions]
        for dataset in plan.inputs:
            contract = self._exchange.contract(dataset)
            time = contract.exchange.time
            if time is None:
                yield dataset, UNDATED
                continue
            for span in spans:
                for name in partition_names(span.widened(margin(contract)), time.partition):
                    # Clean partitions are named by their first day.
                    yield dataset, f"{name}-01-01"[:10]


def _standing(exchange: Exchange, dataset: str, partitions: Sequence[str], change: int) -> dict[str, list[CleanFile]]:
    """The files that stood at the change, by partition: also those that a replay has taken away since."""
    provider, name = dataset.split("/")
    found: dict[str, list[CleanFile]] = defaultdict(list)
    for start in range(0, len(partitions), ASKED_AT_ONCE):
        asked = [
            sa.select(table.c.partition, table.c.key, table.c.delivery, table.c.rows).where(
                table.c.provider == provider,
                table.c.dataset == name,
                table.c.partition.in_(partitions[start : start + ASKED_AT_ONCE]),
                table.c.change <= change,
                *([] if table is clean_files else [table.c.replaced > change]),
            )
            for table in (clean_files, replaced_files)
        ]
        for row in exchange.index.rows(sa.union_all(*asked)):
            file = CleanFile(
                dataset=dataset,
                partition=row["partition"],
                key=row["key"],
                delivery=row["delivery"],
                rows=row["rows"],
            )
            found[file.partition].append(file)
    return found


def prepare_sources(
    exchange: Exchange,
    *,
    files: Iterable[CleanFile],
    spans: Iterable[Span],
    areas: Iterable[tuple[str, AreaGroup]] = (),
    database: Path,
    folder: Path,
) -> None:
    """Makes the relations that dbt's sources name: one view a contract, over explicit files. What is not on
    this machine is downloaded below ``folder``. Beside them ``calendar.hours``: the hours of the periods that
    are built, which are known without reading a row; and ``published.area_groups``: of each mart the groups of areas
    that stand."""

    def fetch(file: CleanFile) -> Path:
        local = exchange.lake.local_path("clean", file.key)
        return local or exchange.lake.download("clean", file.key, folder / file.key)

    ordered = sorted(files, key=lambda file: file.key)
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        paths = list(pool.map(fetch, ordered))
    by_dataset: dict[str, list[Path]] = defaultdict(list)
    for file, path in zip(ordered, paths, strict=True):
        by_dataset[file.dataset].append(path)
    with duckdb.connect(str(database)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA calendar")
        connection.execute("CREATE TABLE calendar.hours (hour_utc TIMESTAMPTZ)")
        for span in sorted(set(spans)):
            # A day of one mart lies in a month of another that is built beside it.
            connection.execute(
                "INSERT INTO calendar.hours SELECT unnest(range(?::TIMESTAMPTZ, ?::TIMESTAMPTZ, INTERVAL 1 HOUR)) "
                "EXCEPT FROM calendar.hours",
                [span.start, span.end],
            )
        write_area_groups(connection, areas)
        for key, contract in sorted(exchange.contracts.items()):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(contract.provider)}")
            connection.execute(
                f"CREATE VIEW {identifier(contract.provider)}.{identifier(contract.dataset)} AS "
                f"{_clean_rows(contract, by_dataset[key])}"
            )


def _clean_rows(contract: Contract, paths: Sequence[Path]) -> str:
    """SQL of the files' rows with the contract's columns; one that a file of an older contract lacks is null."""
    columns = clean_columns(contract)
    nothing = ", ".join(f"NULL::{kind} AS {identifier(name)}" for name, kind in columns.items())
    if not paths:
        return f"SELECT {nothing} WHERE false"
    listed = ", ".join(literal(str(path)) for path in paths)
    names = ", ".join(f"{identifier(name)}::{kind} AS {identifier(name)}" for name, kind in columns.items())
    return (
        f"SELECT {names} FROM (SELECT {nothing} WHERE false UNION ALL BY NAME "
        f"FROM read_parquet([{listed}], hive_partitioning=false, union_by_name=true))"
    )
