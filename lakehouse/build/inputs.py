"""The clean files that a build reads: those of its plans' periods, as they stood at one change, and no others."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb
import sqlalchemy as sa

from lakehouse.build.area_groups import write_area_groups
from lakehouse.build.periods import Span, joined, partition_names, span_of
from lakehouse.build.plan import MartPlan, margin
from lakehouse.contracts.derive import UNDATED, clean_columns
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.moves import rows_move
from lakehouse.release.manifest import AreaGroup
from lakehouse.storage.index import clean_files, replaced_files
from lakehouse.storage.sql import identifier, literal

DOWNLOADS = 8
# Below what any database takes as parameters of one statement.
ASKED_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class CleanFile:
    """A delivery's rows in a file, which ``sharers`` deliveries have rows in."""

    dataset: str
    partition: str
    key: str
    delivery: str
    rows: int
    sharers: int = 1


# Some partitions of a mart.
Part = tuple[MartPlan, Sequence[str]]


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

    def rows_of(self, plan: MartPlan, partitions: Iterable[str]) -> dict[CleanFile, int]:
        """The same files with the rows of each that are read, reckoned as spread evenly over its partition."""
        partitions = list(partitions)
        reaches = _reaches(self._exchange, [(plan, partitions)])
        return {file: _rows_within(self._exchange, file, reaches) for file in self.of(plan, partitions)}

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
        rows = exchange.index.rows(sa.union_all(*asked))
        sharers = Counter(row["key"] for row in rows)
        for row in rows:
            file = CleanFile(
                dataset=dataset,
                partition=row["partition"],
                key=row["key"],
                delivery=row["delivery"],
                rows=row["rows"],
                sharers=sharers[row["key"]],
            )
            found[file.partition].append(file)
    return found


def _reaches(exchange: Exchange, parts: Iterable[Part]) -> dict[str, list[Span]]:
    """Of datasets whose readings state how far they bear on another hour: the spans that they are read in, apart.

    Their clean partitions are months, of which the month before and the one after need a day. Only where the key holds
    the time: else a version of a row could be read without the one that took its place.
    """
    found: dict[str, list[Span]] = {}
    for plan, partitions in parts:
        for dataset in plan.inputs:
            contract = exchange.contract(dataset)
            if margin(contract) and not rows_move(contract):
                spans = (span_of(name, plan.mart.exchange.partition.grain) for name in partitions)
                found.setdefault(dataset, []).extend(span.widened(margin(contract)) for span in spans)
    return {dataset: joined(spans) for dataset, spans in found.items()}


def _rows_within(exchange: Exchange, file: CleanFile, reaches: Mapping[str, list[Span]]) -> int:
    time = exchange.contract(file.dataset).exchange.time
    if file.dataset not in reaches or time is None:
        return file.rows
    whole = span_of(file.partition, time.partition)
    read = sum((whole.common(span) for span in reaches[file.dataset]), timedelta(0))
    return math.ceil(file.rows * (read / (whole.end - whole.start)))


def prepare_sources(
    exchange: Exchange,
    *,
    files: Iterable[CleanFile],
    parts: Sequence[Part],
    areas: Iterable[tuple[str, AreaGroup]] = (),
    database: Path,
    folder: Path,
) -> None:
    """Makes the relations that dbt's sources name: one view a contract, over explicit files. What is not on
    this machine is downloaded below ``folder``. Beside them ``calendar.hours``: the hours of the periods that
    are built (``parts``), which are known without reading a row; and ``published.area_groups``: of each mart the
    groups of areas that stand."""

    def fetch(key: str) -> Path:
        local = exchange.lake.local_path("clean", key)
        return local or exchange.lake.download("clean", key, folder / key)

    by_key: dict[str, list[CleanFile]] = defaultdict(list)
    for file in sorted(files, key=lambda file: (file.key, file.delivery)):
        by_key[file.key].append(file)
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        paths = list(pool.map(fetch, by_key))
    by_dataset: dict[str, list[_Read]] = defaultdict(list)
    for sharing, path in zip(by_key.values(), paths, strict=True):
        # Rows of others in the file are not asked for where only some of its deliveries are: a release's, say.
        some = tuple(file.delivery for file in sharing) if len(sharing) < sharing[0].sharers else ()
        by_dataset[sharing[0].dataset].append(_Read(path=path, deliveries=some))
    spans = {span_of(name, plan.mart.exchange.partition.grain) for plan, partitions in parts for name in partitions}
    reaches = _reaches(exchange, parts)
    with duckdb.connect(str(database)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA calendar")
        connection.execute("CREATE TABLE calendar.hours (hour_utc TIMESTAMPTZ)")
        for span in sorted(spans):
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
                f"{_clean_rows(contract, by_dataset[key], reaches.get(key))}"
            )


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A file on this machine; ``deliveries``: whose rows of it, where not all are wanted."""

    path: Path
    deliveries: tuple[str, ...]


def _clean_rows(contract: Contract, files: Sequence[_Read], reach: Sequence[Span] | None) -> str:
    """SQL of the files' rows with the contract's columns, those within ``reach`` where there is one; a column that a
    file of an older contract lacks is null."""
    columns = clean_columns(contract)
    nothing = ", ".join(f"NULL::{kind} AS {identifier(name)}" for name, kind in columns.items())
    if not files:
        return f"SELECT {nothing} WHERE false"
    whole = [literal(str(file.path)) for file in files if not file.deliveries]
    sources = [f"read_parquet([{', '.join(whole)}], hive_partitioning=false, union_by_name=true)"] if whole else []
    sources += [
        f"(FROM read_parquet({literal(str(file.path))}, hive_partitioning=false) "
        f"WHERE exchange_delivery IN ({', '.join(map(literal, file.deliveries))}))"
        for file in files
        if file.deliveries
    ]
    names = ", ".join(f"{identifier(name)}::{kind} AS {identifier(name)}" for name, kind in columns.items())
    return (
        f"SELECT {names} FROM (SELECT {nothing} WHERE false UNION ALL BY NAME "
        f"{' UNION ALL BY NAME '.join(f'FROM {source}' for source in sources)}){_within(contract, reach)}"
    )


def _within(contract: Contract, reach: Sequence[Span] | None) -> str:
    time = contract.exchange.time
    if reach is None or time is None:
        return ""
    name, kind = identifier(time.column), clean_columns(contract)[time.column]
    bounds = " OR ".join(
        f"({name} >= {literal(span.start.isoformat())}::{kind} AND {name} < {literal(span.end.isoformat())}::{kind})"
        for span in reach
    )
    return f" WHERE {bounds}"
