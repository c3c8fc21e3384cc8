"""Plain rows into the partitions of ``clean``: by columns, in the order of their lines, a partition at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from polars.io.plugins import register_io_source

from lakehouse.contracts.derive import UNDATED
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.held_columns import ByPlace
from lakehouse.landing.plain_rows import PlainFrame, PlainRows
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
    for exact in _exact_rows(connection, contract, plain):
        more.add(PlainFrame.of(exact))
    written = {}
    pseudonyms = hidden.frames(connection)
    for partition, frames in sorted(_by_partition(contract, [*plain.frames, *more.frames], more.folder).items()):
        path = folder / f"event_date={partition}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        rows = _hidden(_read_later(frames, plain), pseudonyms).select(
            *plain.columns,
            # A category is not hashed again for each row.
            pl.lit(delivery["delivery"]).cast(pl.Categorical(pl.Categories.random())).alias("exchange_delivery"),
            "exchange_line",
            pl.lit(delivery["received_at"]).cast(pl.Datetime("us", "UTC")).alias("exchange_known_at"),
            pl.lit(False).alias("exchange_withdrawn"),
        )
        rows.sink_parquet(path, compression="zstd", row_group_size=ROW_GROUP, maintain_order=True)
        written[path] = sum(frame.rows for frame in frames)
    return written


def _read_later(frames: list[PlainFrame], plain: PlainRows) -> pl.LazyFrame:
    """The rows of frames, made one frame after the other while they are written."""

    def rows(
        columns: list[str] | None, predicate: pl.Expr | None, most: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        for frame in frames:
            made = frame.frame(plain.columns)
            made = made if predicate is None else made.filter(predicate)
            yield made if columns is None else made.select(columns)

    return register_io_source(rows, schema=plain.schema)


def _hidden(rows: pl.LazyFrame, pseudonyms: dict[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The rows with pseudonyms in place of ids. An id that nothing stands for would be lost, not shown."""
    for name, known in pseudonyms.items():
        joined = rows.join(known, left_on=name, right_on="id", how="left", maintain_order="left")
        rows = joined.drop(name).rename({"pseudonym": name})
    return rows


def partitions_of_plain(contract: Contract, plain: PlainRows) -> set[str]:
    """The partitions that plain rows belong to."""
    return {_name(value) for frame in plain.frames for value in _partitions(contract, frame)}


def _exact_rows(connection: duckdb.DuckDBPyConnection, contract: Contract, plain: PlainRows) -> Iterator[pl.DataFrame]:
    names = ", ".join(identifier(column.name) for column in contract.columns)
    schema = plain.schema
    found = connection.execute(f"SELECT exchange_line, {names} FROM fresh_exact ORDER BY exchange_line")
    for batch in found.to_arrow_reader(BATCH):
        yield pl.DataFrame(batch).cast(schema)


def _by_partition(contract: Contract, frames: list[PlainFrame], folder: Path) -> dict[str, list[PlainFrame]]:
    """The frames of each partition; of one that has rows of several a part goes to each."""
    found: dict[str, list[PlainFrame]] = defaultdict(list)
    for number, frame in enumerate(frames):
        values = _partitions(contract, frame)
        if len(values) == 1:
            found[_name(values[0])].append(frame)
            continue
        for value, part in frame.split(lambda given: _of_each(contract, given)).items():
            name = _name(value)
            in_file = isinstance(frame.held, Path)
            found[name].append(part.filed(folder / f"part-{number}-{name}.arrow") if in_file else part)
    return found


def _partitions(contract: Contract, frame: PlainFrame) -> list[date | None]:
    """The partitions of a frame's rows."""
    time = contract.exchange.time
    if time is None:
        return [None]
    held, coding = frame.column(time.column)
    values = coding.occurring(held)
    # Files mostly go by time: then nobody needs to look at each row.
    ends = _days(time.partition, pl.Series([values.min(), values.max()], dtype=values.dtype))
    if values.null_count() == 0 and ends.n_unique() == 1:
        return ends.head(1).to_list()
    return _days(time.partition, values).unique().sort().to_list()


def _of_each(contract: Contract, frame: PlainFrame) -> pl.Series:
    """The partition of each of a frame's rows."""
    time = contract.exchange.time
    assert time is not None
    held, coding = frame.column(time.column)
    if isinstance(coding, ByPlace):
        return _days(time.partition, coding.each).gather(held)
    return _days(time.partition, coding.values(held))


def _name(partition: date | None) -> str:
    return UNDATED if partition is None else str(partition)


def _days(partition: str, times: pl.Series) -> pl.Series:
    """The partition of each time, as :func:`lakehouse.landing.clean.partition_of` has it."""
    return times.dt.truncate(STEPS[partition]).cast(pl.Date)
