"""The candidate's Parquet as bounded pandas frames: a batch holds whole partitions, or a piece of a large
one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True, kw_only=True)
class CandidateFile:
    """One Parquet file of a candidate: where it lies, its partition, and the rows that the writer says it
    holds."""

    path: Path
    partition: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Footer:
    """What the file itself says: the rows it holds and its schema."""

    file: CandidateFile
    rows: int
    schema: pa.Schema


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows and where each partition begins among them (`starts[i]` is the first row of
    `partitions[i]`)."""

    frame: pd.DataFrame
    schema: pa.Schema
    partitions: list[str]
    starts: list[int]

    def partitions_of(self, positions: Sequence[int]) -> Mapping[str, int]:
        """How many of the rows at `positions` each partition holds; partitions without any are left out."""
        slots = np.searchsorted(self.starts, np.asarray(positions, dtype=np.int64), side="right") - 1
        counts = np.bincount(slots, minlength=len(self.starts))
        found: dict[str, int] = {}
        for slot in np.flatnonzero(counts):
            found[self.partitions[slot]] = found.get(self.partitions[slot], 0) + int(counts[slot])
        return found

    def partition_at(self, position: int) -> str:
        """The partition of one row."""
        return self.partitions[int(np.searchsorted(self.starts, position, side="right")) - 1]


def read_footers(*, files: Sequence[CandidateFile]) -> list[Footer]:
    """The footers, in the order of `files`; no data is read. Raises OSError when a file is not there, and
    pyarrow.ArrowInvalid when it is not Parquet."""
    metadata = [(file, pq.read_metadata(file.path)) for file in files]
    return [Footer(file=file, rows=held.num_rows, schema=held.schema.to_arrow_schema()) for file, held in metadata]


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Arrow to pandas, keeping types: timestamps keep their zone, dates become midnights that can be
    compared.

    Decimals become float64, because bounds in a JSON suite are floats and Python raises when a Decimal meets
    one; 15 digits are more than any bound states. A whole-number column with nulls becomes float64 likewise.
    """
    floats = [
        pa.field(column.name, pa.float64()) if pa.types.is_decimal(column.type) else column for column in table.schema
    ]
    table = table.cast(pa.schema(floats))
    # The index must be the row's position: Parquet written by pandas may carry another.
    frame: pd.DataFrame = table.to_pandas(
        date_as_object=False, ignore_metadata=True, split_blocks=True, self_destruct=True
    )
    return frame


def read_batches(*, footers: Sequence[Footer], columns: Sequence[str], batch_rows: int) -> Iterator[Batch]:
    """The named columns of all files in batches of at most `batch_rows` rows.

    Small files are gathered until the next would pass the bound or has another schema; a file above the bound
    is read in pieces of that size, so memory is bounded by `batch_rows` and one row group.
    """
    gathered: list[tuple[str, pa.Table]] = []
    for footer in footers:
        present = [name for name in columns if name in footer.schema.names]
        for piece in _pieces(footer, columns=present, batch_rows=batch_rows):
            rows = sum(table.num_rows for _, table in gathered) + piece.num_rows
            if gathered and (rows > batch_rows or gathered[0][1].schema != piece.schema):
                yield _batch(gathered)
                gathered = []
            gathered.append((footer.file.partition, piece))
    if gathered:
        yield _batch(gathered)


def _pieces(footer: Footer, *, columns: list[str], batch_rows: int) -> Iterator[pa.Table]:
    with pq.ParquetFile(footer.file.path) as parquet:
        if footer.rows <= batch_rows:
            yield parquet.read(columns=columns).replace_schema_metadata(None)
            return
        for piece in parquet.iter_batches(batch_size=batch_rows, columns=columns):
            yield pa.Table.from_batches([piece]).replace_schema_metadata(None)


def _batch(gathered: Sequence[tuple[str, pa.Table]]) -> Batch:
    sizes = [table.num_rows for _, table in gathered]
    table = pa.concat_tables([table for _, table in gathered])
    schema = table.schema
    return Batch(
        frame=to_frame(table),
        schema=schema,
        partitions=[partition for partition, _ in gathered],
        starts=[0, *np.cumsum(sizes)[:-1].tolist()],
    )
