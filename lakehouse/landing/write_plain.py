"""Plain rows into the partitions of ``clean``: by columns, in the order of their lines, a partition at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from lakehouse.contracts.derive import UNDATED
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.pseudonymise import Hidden
from lakehouse.storage.sql import identifier

ROW_GROUP = 122_880
# Rows of DuckDB's at a time.
BATCH = 1_000_000
STEPS = {"day": "1d", "month": "1mo", "year": "1y"}


def write_plain_rows(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    delivery: dict[str, Any],
    plain: PlainRows,
    hidden: Hidden,
    folder: Path,
) -> dict[Path, int]:
    """Writes ``plain`` and the rows of ``fresh_exact``, ids as pseudonyms; returns each file, named by its partition,
    with its rows.

    The same rows give the same bytes.
    """
    more = PlainRows(contract, folder.with_name("more"))
    more.folder.mkdir()
    for frame in _exact_frames(connection, contract, plain):
        more.add(frame)
    written = {}
    pseudonyms = hidden.frames(connection)
    found: dict[str, list[tuple[pl.LazyFrame, int]]] = defaultdict(list)
    for part in (plain, more):
        _by_partition(contract, part, found)
    for partition, parts in sorted(found.items()):
        path = folder / f"event_date={partition}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        rows = _hidden(pl.concat([one for one, _ in parts]), pseudonyms).select(
            *(column.name for column in contract.columns),
            # A category is not hashed again for each row.
            pl.lit(delivery["delivery"]).cast(pl.Categorical(pl.Categories.random())).alias("exchange_delivery"),
            "exchange_line",
            pl.lit(delivery["received_at"]).cast(pl.Datetime("us", "UTC")).alias("exchange_known_at"),
            pl.lit(False).alias("exchange_withdrawn"),
        )
        rows.sink_parquet(path, compression="zstd", row_group_size=ROW_GROUP, maintain_order=True)
        written[path] = sum(count for _, count in parts)
    return written


def _hidden(rows: pl.LazyFrame, pseudonyms: dict[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The rows with pseudonyms in place of ids. An id that nothing stands for would be lost, not shown."""
    for name, known in pseudonyms.items():
        joined = rows.join(known, left_on=name, right_on="id", how="left", maintain_order="left")
        rows = joined.drop(name).rename({"pseudonym": name})
    return rows


def partitions_of_plain(contract: Contract, plain: PlainRows) -> set[str]:
    """The partitions that plain rows belong to."""
    found: set[str] = set()
    time = contract.exchange.time
    for frame in plain.only([time.column] if time else []):
        found |= {_name(value) for value in _partitions(contract, frame)}
    return found


def _exact_frames(
    connection: duckdb.DuckDBPyConnection, contract: Contract, plain: PlainRows
) -> Iterator[pl.DataFrame]:
    names = ", ".join(identifier(column.name) for column in contract.columns)
    schema = plain.schema
    found = connection.execute(f"SELECT exchange_line, {names} FROM fresh_exact ORDER BY exchange_line")
    for batch in found.to_arrow_reader(BATCH):
        yield pl.DataFrame(batch).cast(schema)


def _by_partition(contract: Contract, plain: PlainRows, found: dict[str, list[tuple[pl.LazyFrame, int]]]) -> None:
    """Adds to each partition its rows, lazily, and how many there are."""
    for number, (frame, scanned) in enumerate(plain.parts()):
        values = _partitions(contract, frame)
        if len(values) == 1:
            found[_name(values[0])].append((scanned, frame.height))
            continue
        dated = frame.with_columns(event_date=_partition_of(contract))
        for (value,), rows in dated.partition_by("event_date", as_dict=True, include_key=False).items():
            name, part = _name(value), rows.lazy()
            if plain.is_spilt:
                path = plain.folder / f"plain-rows-{number}-{name}.arrow"
                rows.write_ipc(path, compression="lz4")
                part = pl.scan_ipc(path)
            found[name].append((part, rows.height))


def _partitions(contract: Contract, frame: pl.DataFrame) -> list[date | None]:
    """The partitions of a frame's rows."""
    place = _partition_of(contract)
    time = contract.exchange.time
    if time is None:
        return [None]
    ends = frame.select(pl.col(time.column).min().alias("first"), pl.col(time.column).max().alias("last"))
    spread = pl.concat([ends.select(pl.col(end).alias(time.column)) for end in ("first", "last")]).select(place)
    # Files mostly go by time: then nobody needs to look at each row.
    if spread.n_unique() == 1:
        return spread.to_series().head(1).to_list()
    return frame.select(place.unique()).to_series().sort().to_list()


def _name(partition: date | None) -> str:
    return UNDATED if partition is None else str(partition)


def _partition_of(contract: Contract) -> pl.Expr:
    """The partition of a row, as :func:`lakehouse.landing.clean.partition_of` has it."""
    time = contract.exchange.time
    if time is None:
        return pl.lit(None, pl.Date)
    return pl.col(time.column).dt.truncate(STEPS[time.partition]).cast(pl.Date)
