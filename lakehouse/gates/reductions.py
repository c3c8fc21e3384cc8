"""Checks about the whole table, reduced by DuckDB to a frame that fits in memory and gives the same verdict.

The smallest value of a column is the smallest of a frame that holds it alone; the different values of a
column are those of the frame of its different values; a key repeats in the table exactly when it repeats in
the frame of the keys that repeat. Great Expectations judges the frame. So batches and partitions never enter
these verdicts: a key that stands in two partitions is found, which a check a batch would miss.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import pandas as pd
import pyarrow as pa

from lakehouse.gates.batches import Footer, to_frame
from lakehouse.gates.suite import Check
from lakehouse.storage.sql import identifier

MEMORY = "512MB"
SHOWN_KEYS = 1_000

ONE_VALUE = {
    "expect_column_min_to_be_between": "min({column})",
    "expect_column_max_to_be_between": "max({column})",
    "expect_column_mean_to_be_between": "avg({column})",
    "expect_column_median_to_be_between": "median({column})",
    "expect_column_sum_to_be_between": "sum({column})",
}
ROW_COUNTS = {"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"}
KEYS = {"expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique"}


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """The frame to judge, its Arrow schema and, for keys, how many rows of each partition share a key with
    another row (`repeated`, in all `repeated_rows`)."""

    frame: pd.DataFrame
    schema: pa.Schema
    repeated_rows: int = 0
    repeated: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def open_table(*, footers: Sequence[Footer]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A private in-memory DuckDB with the candidate as the view `candidate`; memory bounded, spilling to a
    temporary folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="gate-") as spill, duckdb.connect(":memory:") as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'; SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        connection.execute("SET temp_directory = $spill", {"spill": spill})
        connection.execute("SET VARIABLE files = $files", {"files": [str(footer.file.path) for footer in footers]})
        connection.execute(
            "CREATE VIEW candidate AS FROM read_parquet(getvariable('files'),"
            " hive_partitioning = false, union_by_name = true, filename = '__file')"
        )
        yield connection


def reduce_table(*, connection: duckdb.DuckDBPyConnection, check: Check, footers: Sequence[Footer]) -> Reduction:
    """The reduction of the table for one check of the `table` kind. Raises duckdb.Error when the column's
    type has no such property (the mean of a text)."""
    if check.type in ROW_COUNTS:
        rows = sum(footer.rows for footer in footers)
        return Reduction(frame=pd.DataFrame(index=pd.RangeIndex(rows)), schema=pa.schema([]))
    if check.type in KEYS:
        return _repeated_keys(connection, keys=check.columns, footers=footers)
    column = identifier(check.arguments["column"])
    if check.type in ONE_VALUE:
        return _reduction(
            connection, f"SELECT {ONE_VALUE[check.type].format(column=column)} AS {column} FROM candidate"
        )
    return _reduction(connection, f"SELECT DISTINCT {column} FROM candidate WHERE {column} IS NOT NULL ORDER BY 1")


def _repeated_keys(
    connection: duckdb.DuckDBPyConnection, *, keys: Sequence[str], footers: Sequence[Footer]
) -> Reduction:
    names = ", ".join(identifier(key) for key in keys)
    # As Great Expectations does, a row whose key is empty in every part is left out.
    some = " OR ".join(f"{identifier(key)} IS NOT NULL" for key in keys)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE repeated AS SELECT {names}, count(*) AS __rows"
        f" FROM candidate WHERE {some} GROUP BY {names} HAVING count(*) > 1"
    )
    total = connection.execute("SELECT coalesce(sum(__rows), 0)::BIGINT FROM repeated").fetchone()
    repeated_rows = int(total[0]) if total else 0
    # Each key twice is enough to be seen as repeating, however often it does.
    pair = f"SELECT {names} FROM (FROM repeated ORDER BY {names} LIMIT {SHOWN_KEYS}), range(2) ORDER BY {names}"
    reduction = _reduction(connection, pair)
    counts = _rows_by_file(connection, keys=keys) if repeated_rows else {}
    partitions: dict[str, int] = {}
    for footer in footers:
        if rows := counts.get(str(footer.file.path), 0):
            partitions[footer.file.partition] = partitions.get(footer.file.partition, 0) + rows
    return Reduction(frame=reduction.frame, schema=reduction.schema, repeated_rows=repeated_rows, repeated=partitions)


def _rows_by_file(connection: duckdb.DuckDBPyConnection, *, keys: Sequence[str]) -> dict[str, int]:
    same = " AND ".join(f"candidate.{identifier(key)} IS NOT DISTINCT FROM repeated.{identifier(key)}" for key in keys)
    rows = connection.execute(
        f"SELECT __file, count(*) FROM candidate SEMI JOIN repeated ON {same} GROUP BY __file"
    ).fetchall()
    return {str(file): int(count) for file, count in rows}


def _reduction(connection: duckdb.DuckDBPyConnection, query: str) -> Reduction:
    table = connection.execute(query).to_arrow_table()
    schema = table.schema
    return Reduction(frame=to_frame(table), schema=schema)
