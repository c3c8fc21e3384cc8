"""Plain rows into the partitions of ``clean``: by columns, in the order of their lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.contracts.derive import UNDATED
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.held_columns import ByPlace, Coding, InUnits
from lakehouse.landing.pieces import AHEAD, in_turn
from lakehouse.landing.plain_rows import ARROW, PlainFrame, PlainRows
from lakehouse.landing.pseudonymise import Hidden
from lakehouse.storage.sql import identifier

ROW_GROUP = 122_880
# Of a file, about. Each is written by one thread, several beside each other.
FILE_ROWS, WRITERS = 2_000_000, 2
# Rows of DuckDB's at a time.
BATCH = 1_000_000
# Distinct texts of a column that each row group lists.
MOST_CATEGORIES = 4096
# Digits of a decimal that Parquet holds as a whole number.
MOST_OF_WORD = 18
TIMES: dict[str, pl.DataType] = {"date": pl.Date(), "timestamp": pl.Datetime("us", "UTC")}
STEPS = {"day": "1d", "month": "1mo", "year": "1y"}


def write_exact_rows(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    delivery: dict[str, Any],
    plain: PlainRows,
    hidden: Hidden,
    folder: Path,
) -> dict[Path, int]:
    """Writes the rows of ``fresh_exact`` into files of their own, beside those of ``plain``. Returns how many rows each
    holds."""
    more = PlainRows(contract, folder.with_name("more"))
    more.folder.mkdir()
    names = ", ".join(identifier(name) for name in plain.columns)
    found = connection.execute(f"SELECT exchange_line, {names} FROM fresh_exact ORDER BY exchange_line")
    for batch in found.to_arrow_reader(BATCH):
        more.add(PlainFrame.of(pl.DataFrame(batch).cast(plain.schema)))
    return Writing(contract, delivery, more.frames, folder, "part-1", hidden.frames(connection)).finish()


class Writing:
    """Frames on their way into files, ids as pseudonyms: files for each partition, by ``name``, in a ``folder`` that is
    named by it. As many threads write as join in. The same rows give the same bytes."""

    def __init__(
        self,
        contract: Contract,
        delivery: dict[str, Any],
        frames: Sequence[PlainFrame],
        folder: Path,
        name: str,
        pseudonyms: Mapping[str, pl.DataFrame],
    ) -> None:
        self._contract, self._delivery, self._pseudonyms = contract, delivery, pseudonyms
        files: dict[Path, list[PlainFrame]] = {}
        for partition, parts in sorted(_by_partition(contract, frames, folder.with_name(f"split-{name}")).items()):
            target = folder / f"event_date={partition}"
            target.mkdir(parents=True, exist_ok=True)
            for number, some in enumerate(_in_files(parts)):
                files[target / (f"{name}-{number}.parquet" if number else f"{name}.parquet")] = some
        self.rows = {path: sum(part.rows for part in parts) for path, parts in files.items()}
        # One for all threads: each takes what comes next.
        self._left = iter(list(files.items()))

    def join(self) -> None:
        """Writes until no file is left that nobody has begun."""
        for path, parts in self._left:
            _write(path, parts, _form(self._contract, parts), self._delivery, self._pseudonyms)

    def finish(self) -> dict[Path, int]:
        """Writes all, several files beside each other. Returns how many rows each holds."""
        with ThreadPoolExecutor(WRITERS) as pool:
            for one in [pool.submit(self.join) for _ in range(WRITERS)]:
                one.result()
        return self.rows

    def give_up(self) -> None:
        """Leaves the files that nobody has begun."""
        for _ in self._left:
            pass


def _in_files(frames: Sequence[PlainFrame]) -> list[list[PlainFrame]]:
    """The frames of each file, as even as these allow."""
    rows = np.cumsum([frame.rows for frame in frames])
    number = -(-int(rows[-1]) // FILE_ROWS)
    starts = np.searchsorted(rows, rows[-1] * np.arange(number) / number, side="right")
    return [list(frames[first:behind]) for first, behind in pairwise([*np.unique(starts).tolist(), len(frames)])]


def _write(
    path: Path,
    frames: Sequence[PlainFrame],
    form: pa.Schema,
    delivery: dict[str, Any],
    pseudonyms: Mapping[str, pl.DataFrame],
) -> None:
    same = {
        "exchange_delivery": pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(ROW_GROUP, np.int32)), pa.array([delivery["delivery"]], pa.large_string())
        ),
        "exchange_known_at": pa.repeat(
            pl.Series([delivery["received_at"]]).cast(pl.Datetime("us", "UTC")).to_arrow()[0], ROW_GROUP
        ),
        "exchange_withdrawn": pa.repeat(pa.scalar(False), ROW_GROUP),
    }

    def batch(part: PlainFrame) -> pa.RecordBatch:
        arrays = {name: array.slice(0, part.rows) for name, array in same.items()}
        arrays["exchange_line"] = pa.array(part.lines)
        return pa.record_batch(
            [
                arrays[field.name] if field.name in arrays else _array(field.type, *part.column(field.name))
                for field in form
            ],
            schema=form,
        )

    parts = (part for frame in frames for part in _under_pseudonyms(frame, pseudonyms).parts(ROW_GROUP) if part.rows)
    with (
        ThreadPoolExecutor(AHEAD) as pool,
        pq.ParquetWriter(
            path,
            form,
            compression="zstd",
            use_dictionary=[field.name for field in form if _is_text(field.type)],
            column_encoding={field.name: "DELTA_BINARY_PACKED" for field in form if _is_whole(field.type)},
            store_decimal_as_integer=True,
            # Readers by Arrow are told of no categories: texts are texts, however they were written.
            store_schema=False,
        ) as writer,
    ):
        for rows in in_turn(pool, batch, parts):
            writer.write_batch(rows)


def _form(contract: Contract, frames: Sequence[PlainFrame]) -> pa.Schema:
    """What is written: values as they are held, where all frames hold a column alike."""
    types = frames[0].schema.to_frame().to_arrow(compat_level=ARROW).schema
    fields = []
    for column in contract.columns:
        type_ = types.field(column.name).type
        codings = [frame.codings[column.name] for frame in frames]
        if pa.types.is_large_string(type_) and all(map(_is_few, codings)):
            type_ = pa.dictionary(pa.int32(), type_)
        elif all(map(_in_units, codings)) and type_.precision <= MOST_OF_WORD:
            type_ = pa.decimal64(type_.precision, type_.scale)
        fields.append(pa.field(column.name, type_, nullable=not column.required))
    return pa.schema(
        [
            *fields,
            pa.field("exchange_delivery", pa.dictionary(pa.int32(), pa.large_string()), nullable=False),
            pa.field("exchange_line", pa.int64(), nullable=False),
            pa.field("exchange_known_at", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("exchange_withdrawn", pa.bool_(), nullable=False),
        ]
    )


def _is_few(coding: Coding) -> bool:
    return isinstance(coding, ByPlace) and len(coding.each) <= MOST_CATEGORIES


def _in_units(coding: Coding) -> bool:
    return isinstance(coding.of if isinstance(coding, ByPlace) else coding, InUnits)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(type_) or pa.types.is_large_string(type_))


def _is_whole(type_: pa.DataType) -> bool:
    """Whether Parquet holds it as whole numbers: the differences of neighbours take a third of their room, and half
    of the time."""
    if pa.types.is_decimal(type_):
        return bool(type_.precision <= MOST_OF_WORD)
    return bool(pa.types.is_integer(type_) or pa.types.is_temporal(type_))


def _array(type_: pa.DataType, held: pl.Series, coding: Coding) -> pa.Array:
    if pa.types.is_dictionary(type_):
        assert isinstance(coding, ByPlace)
        return coding.dictionary(held)
    if pa.types.is_decimal64(type_):
        given = (coding.spelt(held) if isinstance(coding, ByPlace) else held).to_arrow()
        return pa.Array.from_buffers(type_, len(given), given.buffers(), offset=given.offset)
    return coding.values(held).to_arrow(compat_level=ARROW)


def _under_pseudonyms(frame: PlainFrame, pseudonyms: Mapping[str, pl.DataFrame]) -> PlainFrame:
    """The rows with pseudonyms in place of ids. One that nothing stands for is an error of ours, and not written."""
    for name, known in pseudonyms.items():
        frame = frame.recoded(name, partial(_pseudonyms_of, known))
    return frame


def _pseudonyms_of(known: pl.DataFrame, ids: pl.Series) -> pl.Series:
    return ids.to_frame("id").join(known, on="id", how="left", maintain_order="left")["pseudonym"]


def partitions_of_plain(contract: Contract, plain: PlainRows) -> set[str]:
    """The partitions that plain rows belong to."""
    return {_name(value) for values in _partitions(contract, plain.frames) for value in values}


def _by_partition(contract: Contract, frames: Sequence[PlainFrame], folder: Path) -> dict[str, list[PlainFrame]]:
    """The frames of each partition; of one that has rows of several a part goes to each."""
    found: dict[str, list[PlainFrame]] = defaultdict(list)
    for number, (frame, values) in enumerate(zip(frames, _partitions(contract, frames), strict=True)):
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


def _partitions(contract: Contract, frames: Sequence[PlainFrame]) -> list[list[date | None]]:
    """The partitions of each frame's rows."""
    time = contract.exchange.time
    if time is None:
        return [[None] for _ in frames]
    # Files mostly go by time: then nobody needs to look at each row.
    ends = [frame.ends(time.column) or (None, None) for frame in frames]
    event = contract.column(time.column)
    days = _days(time.partition, pl.Series(list(chain.from_iterable(ends)), dtype=TIMES[event.logicalType])).to_list()
    found = []
    for frame, least, most in zip(frames, days[::2], days[1::2], strict=True):
        if least is not None and least == most:
            found.append([least])
        else:
            held, coding = frame.column(time.column)
            found.append(_days(time.partition, coding.occurring(held)).unique().sort().to_list())
    return found


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
