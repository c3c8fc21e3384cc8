"""Plain rows into the partitions of ``clean``: by columns, in the order of their lines, a partition at a time."""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from polars.io.plugins import register_io_source

from lakehouse.contracts.derive import UNDATED
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.held_columns import ByPlace
from lakehouse.landing.pieces import AHEAD, in_turn
from lakehouse.landing.plain_rows import ARROW, PlainFrame, PlainRows
from lakehouse.landing.pseudonymise import Hidden
from lakehouse.storage.sql import identifier

ROW_GROUP = 122_880
# Rows of DuckDB's at a time.
BATCH = 1_000_000
# Of a column's texts, to be written as categories.
MOST_CATEGORIES = 10_000
STEPS = {"day": "1d", "month": "1mo", "year": "1y"}


def write_exact_rows(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    delivery: dict[str, Any],
    plain: PlainRows,
    hidden: Hidden,
    folder: Path,
) -> dict[Path, int]:
    """Writes the rows of ``fresh_exact`` into files of their own, beside those of ``plain``, as :func:`write_frames`
    does."""
    more = PlainRows(contract, folder.with_name("more"))
    more.folder.mkdir()
    names = ", ".join(identifier(name) for name in plain.columns)
    found = connection.execute(f"SELECT exchange_line, {names} FROM fresh_exact ORDER BY exchange_line")
    for batch in found.to_arrow_reader(BATCH):
        more.add(PlainFrame.of(pl.DataFrame(batch).cast(plain.schema)))
    return write_frames(contract, delivery, more.frames, folder, "part-1", hidden.frames(connection))


def write_frames(
    contract: Contract,
    delivery: dict[str, Any],
    frames: Sequence[PlainFrame],
    folder: Path,
    name: str,
    pseudonyms: Mapping[str, pl.LazyFrame],
) -> dict[Path, int]:
    """Writes frames, ids as pseudonyms: a file for each partition, by ``name``, in a folder that is named by it.
    Returns how many rows each holds.

    The same rows give the same bytes.
    """
    columns = [column.name for column in contract.columns]
    written = {}
    for partition, parts in sorted(_by_partition(contract, frames, folder.with_name(f"split-{name}")).items()):
        path = folder / f"event_date={partition}" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = _hidden(_read_later(parts, columns, but=pseudonyms), pseudonyms).select(
            *columns,
            # A category is not hashed again for each row, and of an enumeration it takes a byte.
            pl.lit(delivery["delivery"], dtype=pl.Enum([delivery["delivery"]])).alias("exchange_delivery"),
            "exchange_line",
            pl.lit(delivery["received_at"]).cast(pl.Datetime("us", "UTC")).alias("exchange_known_at"),
            pl.lit(False).alias("exchange_withdrawn"),
        )
        rows.sink_parquet(
            path,
            compression="zstd",
            row_group_size=ROW_GROUP,
            maintain_order=True,
            metadata={"ARROW:schema": _without_categories(rows.collect_schema())},
        )
        written[path] = sum(part.rows for part in parts)
    return written


def _without_categories(schema: pl.Schema) -> str:
    """What readers by Arrow are told of a file: its texts are texts, however they were written."""
    told = pl.Schema(
        {name: pl.String() if isinstance(type_, pl.Categorical | pl.Enum) else type_ for name, type_ in schema.items()}
    )
    return b64encode(told.to_frame().to_arrow(compat_level=ARROW).schema.serialize().to_pybytes()).decode()


def _read_later(frames: Sequence[PlainFrame], columns: list[str], *, but: Container[str]) -> pl.LazyFrame:
    """The rows of frames, made one frame after the other while they are written; texts, ``but`` for those of some
    columns, as categories."""
    frames = _as_categories(frames, but=but)

    def rows(
        names: list[str] | None, predicate: pl.Expr | None, most: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        parts = (make for frame in frames for make in frame.parts(columns, ROW_GROUP))
        with ThreadPoolExecutor(AHEAD) as pool:
            for made in in_turn(pool, lambda make: make(), parts):
                made = made if predicate is None else made.filter(predicate)
                yield made if names is None else made.select(names)

    return register_io_source(rows, schema=frames[0].schema)


def _as_categories(frames: Sequence[PlainFrame], *, but: Container[str]) -> list[PlainFrame]:
    """The same, their texts as categories where each frame holds them by place: a third of the price of texts."""
    known: dict[str, list[pl.Series]] = defaultdict(list)
    for frame in frames:
        for name, coding in frame.codings.items():
            if isinstance(coding, ByPlace) and coding.each.dtype == pl.String and name not in but:
                known[name].append(coding.each.drop_nulls())
    made: dict[str, pl.Enum] = {}
    for name, parts in known.items():
        each = pl.concat(parts).unique().sort()
        if len(parts) == len(frames) and len(each) <= MOST_CATEGORIES:
            # In order, for the least and the greatest of a file are found by it.
            made[name] = pl.Enum(each)
    return [
        replace(
            frame,
            codings={
                name: ByPlace(coding.each.cast(made[name])) if name in made and isinstance(coding, ByPlace) else coding
                for name, coding in frame.codings.items()
            },
        )
        for frame in frames
    ]


def _hidden(rows: pl.LazyFrame, pseudonyms: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The rows with pseudonyms in place of ids. An id that nothing stands for would be lost, not shown."""
    for name, known in pseudonyms.items():
        joined = rows.join(known, left_on=name, right_on="id", how="left", maintain_order="left")
        rows = joined.drop(name).rename({"pseudonym": name})
    return rows


def partitions_of_plain(contract: Contract, plain: PlainRows) -> set[str]:
    """The partitions that plain rows belong to."""
    return {_name(value) for frame in plain.frames for value in _partitions(contract, frame)}


def _by_partition(contract: Contract, frames: Sequence[PlainFrame], folder: Path) -> dict[str, list[PlainFrame]]:
    """The frames of each partition; of one that has rows of several a part goes to each."""
    found: dict[str, list[PlainFrame]] = defaultdict(list)
    for number, frame in enumerate(frames):
        values = _partitions(contract, frame)
        if len(values) == 1:
            found[_name(values[0])].append(frame)
            continue
        for value, part in frame.split(lambda given: _of_each(contract, given)).items():
            name = _name(value)
            if isinstance(frame.held, Path):
                folder.mkdir(exist_ok=True)
                part = part.filed(folder / f"{number}-{name}.arrow")
            found[name].append(part)
    return found


def _partitions(contract: Contract, frame: PlainFrame) -> list[date | None]:
    """The partitions of a frame's rows."""
    time = contract.exchange.time
    if time is None:
        return [None]
    held, coding = frame.column(time.column)
    # Files mostly go by time: then nobody needs to look at each row.
    if not coding.lacks_some(held):
        least, most = coding.ends(held)
        ends = _days(time.partition, pl.Series([least, most]))
        if ends.null_count() == 0 and ends.n_unique() == 1:
            return ends.head(1).to_list()
    values = coding.occurring(held)
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
