"""Whether the rows of a Parquet file stand sorted, read in a bounded stream."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

STREAMED_ROWS = 131_072

Flags = npt.NDArray[np.bool_]


def rows_out_of_order(*, path: Path, by: Sequence[str]) -> int:
    """How many rows belong before the row above them, in the ascending order of the columns `by`, nulls last
    and text by its bytes (as DuckDB's ORDER BY has it). Memory is bounded by one row group of those
    columns."""
    count = 0
    above: pa.Table | None = None
    with pq.ParquetFile(path) as parquet:
        for batch in parquet.iter_batches(batch_size=STREAMED_ROWS, columns=list(by)):
            rows = pa.Table.from_batches([batch])
            # The last row of a piece stands above the first of the next.
            joined = rows if above is None else pa.concat_tables([above, rows])
            count += int(_misplaced(joined, by).sum())
            above = joined.slice(joined.num_rows - 1)
    return count


def _misplaced(rows: pa.Table, by: Sequence[str]) -> Flags:
    """For each row but the first: whether it belongs before the one above it."""
    misplaced: Flags = np.zeros(max(rows.num_rows - 1, 0), dtype=bool)
    tied: Flags = np.ones_like(misplaced)
    for name in by:
        values = rows.column(name)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        above, below = values.slice(0, len(misplaced)), values.slice(1)
        above_empty, below_empty = _flags(pc.is_null(above)), _flags(pc.is_null(below))
        later = _flags(pc.greater(above, below)) | (above_empty & ~below_empty)
        same = _flags(pc.equal(above, below)) | (above_empty & below_empty)
        misplaced |= tied & later
        tied &= same
    return misplaced


def _flags(answers: pa.ChunkedArray) -> Flags:
    flags: Flags = pc.fill_null(answers, False).to_numpy()
    return flags
