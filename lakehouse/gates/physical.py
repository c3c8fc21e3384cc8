"""What of the Parquet itself must be right and no frame can show: schema, field metadata, footers, order on
disk."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.gates.batches import CandidateFile
from lakehouse.gates.ordering import rows_out_of_order
from lakehouse.gates.report import PHYSICAL, GateResult, Severity, counted

COMPRESSION = "ZSTD"
MOST_ROWS_A_GROUP = 1_048_576
SHOWN_PARTITIONS = 50
TYPE_NAME = re.compile(r"[A-Za-z0-9_ ,()\[\]\"]+")


@dataclass(frozen=True, kw_only=True)
class ColumnContract:
    """A column as the mart's contract states it: `type` is a DuckDB type name, `unit` what a number counts or
    measures ('1' for a pure number), `required` that it is never null."""

    name: str
    type: str
    description: str
    unit: str | None = None
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class _Parquet:
    """One file, what its footer says, and the DuckDB types that a reader gets."""

    file: CandidateFile
    footer: pq.FileMetaData
    schema: pa.Schema
    types: Mapping[str, str]

    @property
    def chunks(self) -> Iterator[pq.ColumnChunkMetaData]:
        for number in range(self.footer.num_row_groups):
            group = self.footer.row_group(number)
            yield from (group.column(column) for column in range(group.num_columns))


@dataclass(frozen=True, kw_only=True)
class _Property:
    """Something that must be so of each file; `fault` says in words what of a file is not, or None."""

    name: str
    expected: str
    fault: Callable[[_Parquet], str | None]
    notes: str
    severity: Severity = "blocking"


def check_physical(
    *,
    files: Sequence[CandidateFile],
    columns: Sequence[ColumnContract],
    sort_by: Sequence[str] = (),
    partition_by: str | None = None,
) -> list[GateResult]:
    """One result a property, over all files. All but the order are read from the footers.

    Blocking: the columns are the contract's, in its order, with its types; every field carries its
    description and, when numeric, its unit; the rows are as many as the writer declared, and not none;
    required columns hold no null; rows stand sorted by `sort_by` within each file, and lie by `partition_by`, a
    moment, a date or a year, in the partition that the file is of. Warning: zstd, statistics
    for each column, and row groups of at most 1,048,576 rows, without which readers are slow but not wrong.

    In a result `partitions` gives all rows of the partitions concerned. Raises OSError for a file that is not
    there, pyarrow.ArrowInvalid for one that is not Parquet, ValueError for a type that DuckDB does not know.
    """
    with duckdb.connect(":memory:") as connection:
        types = {column.name: _full_name(connection, column) for column in columns}
        opened = _opened(connection, files)
    properties = [*_of_contract(columns, types), *_of_rows(columns, sort_by, partition_by), *_of_storage()]
    return [_result(judged, opened) for judged in properties]


def _full_name(connection: duckdb.DuckDBPyConnection, column: ColumnContract) -> str:
    """The type's full name, so that `timestamptz` and `TIMESTAMP WITH TIME ZONE` are one."""
    if not TYPE_NAME.fullmatch(column.type):
        raise ValueError(f"column {column.name}: {column.type!r} is not a type; see the mart's yml")
    try:
        return str(connection.sql(f"SELECT CAST(NULL AS {column.type})").types[0])
    except duckdb.Error as error:
        raise ValueError(f"column {column.name}: DuckDB knows no type {column.type!r}; see the mart's yml") from error


def _opened(connection: duckdb.DuckDBPyConnection, files: Sequence[CandidateFile]) -> list[_Parquet]:
    """The footers; DuckDB is asked for the types of each distinct schema once, not of each file."""
    types: dict[str, dict[str, str]] = {}
    opened = []
    for file in files:
        footer = pq.read_metadata(file.path)
        schema = footer.schema.to_arrow_schema()
        alike = str(footer.schema)
        if alike not in types:
            relation = connection.read_parquet(str(file.path), hive_partitioning=False)
            types[alike] = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
        opened.append(_Parquet(file=file, footer=footer, schema=schema, types=types[alike]))
    return opened


def _result(judged: _Property, opened: Sequence[_Parquet]) -> GateResult:
    faults = [(held, fault) for held in opened if (fault := judged.fault(held))]
    partitions: dict[str, int] = {}
    for held, _ in faults:
        partitions[held.file.partition] = partitions.get(held.file.partition, 0) + held.footer.num_rows
    if not sum(held.footer.num_rows for held in opened):
        found = "no rows at all"
    elif not faults:
        found = f"it is so in {counted(len(opened), 'file')}"
    else:
        held, fault = faults[0]
        others = f", and the like in {counted(len(faults) - 1, 'more file')}" if len(faults) > 1 else ""
        found = f"{fault}, in partition {held.file.partition}{others}"
    return GateResult(
        name=judged.name,
        expectation=judged.name,
        severity=judged.severity,
        # Files without rows would hold every property: nothing is proven by them.
        success=not faults and found != "no rows at all",
        expected=judged.expected,
        observed=found,
        reason=f"Expected: {judged.expected}. Found: {found}.",
        notes=judged.notes,
        gate=PHYSICAL,
        partition=next(iter(partitions)) if len(partitions) == 1 else None,
        partitions=dict(list(partitions.items())[:SHOWN_PARTITIONS]),
        partition_count=len(partitions),
    )


def _of_contract(columns: Sequence[ColumnContract], types: Mapping[str, str]) -> list[_Property]:
    names = [column.name for column in columns]
    descriptions = {column.name: column.description for column in columns}
    units = {column.name: column.unit for column in columns}
    return [
        _Property(
            name="parquet_columns",
            expected=f"the columns are {', '.join(names)}, in this order",
            fault=lambda held: _other_columns(held, names),
            notes="A consumer reads by the contract's names; a change of them is a new major version.",
        ),
        _Property(
            name="parquet_types",
            expected="each column has the type that the contract states",
            fault=lambda held: _other_types(held, types),
            notes="A query written against the contract must run on every partition.",
        ),
        _Property(
            name="parquet_descriptions",
            expected="each field carries the contract's description in its metadata",
            fault=lambda held: _other_metadata(held, "description", descriptions, names=held.schema.names),
            notes="Whoever has only the file must still learn what a column means.",
        ),
        _Property(
            name="parquet_units",
            expected="each numeric field carries the contract's unit in its metadata",
            fault=lambda held: _other_metadata(held, "unit", units, names=_with_unit(held, units)),
            notes="A number without its unit cannot be used; a pure number says 1.",
        ),
    ]


def _other_columns(held: _Parquet, names: Sequence[str]) -> str | None:
    found = held.schema.names
    if found == names:
        return None
    lacking = [name for name in names if name not in found]
    beyond = [name for name in found if name not in names]
    parts = [f"{', '.join(lacking)} missing"] if lacking else []
    parts += [f"{', '.join(beyond)} not in the contract"] if beyond else []
    return "; ".join(parts) or f"the order {', '.join(found)}"


def _other_types(held: _Parquet, types: Mapping[str, str]) -> str | None:
    wrong = [
        f"{name} is {found} and not {types[name]}"
        for name, found in held.types.items()
        if name in types and types[name] != found
    ]
    return "; ".join(wrong) or None


def _with_unit(held: _Parquet, units: Mapping[str, str | None]) -> list[str]:
    return [field.name for field in held.schema if units.get(field.name) or _is_number(field.type)]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _other_metadata(held: _Parquet, key: str, wanted: Mapping[str, str | None], *, names: Sequence[str]) -> str | None:
    """Fields of `names` whose metadata lacks `key`, or has another text there than the contract."""
    wrong = []
    for name in names:
        text = (held.schema.field(name).metadata or {}).get(key.encode(), b"").decode()
        if not text:
            wrong.append(f"{name} has no {key}")
        elif (right := wanted.get(name)) and text != right.strip():
            wrong.append(f"{name} has the {key} {text!r} and not {right.strip()!r}")
    return "; ".join(wrong) or None


def _of_rows(columns: Sequence[ColumnContract], sort_by: Sequence[str], partition_by: str | None) -> list[_Property]:
    required = [column.name for column in columns if column.required]
    properties = [
        _Property(
            name="parquet_rows",
            expected="each file holds as many rows as its writer declared",
            fault=_other_rows,
            notes="A file cut short or written twice must not be released.",
        )
    ]
    if required:
        properties.append(
            _Property(
                name="parquet_nulls",
                expected=f"no null in {', '.join(required)}",
                fault=lambda held: _nulls(held, required),
                notes="The contract says that these columns are always filled.",
            )
        )
    if sort_by:
        properties.append(
            _Property(
                name="parquet_order",
                expected=f"rows stand sorted by {', '.join(sort_by)} within each file",
                fault=lambda held: _disorder(held, sort_by),
                notes="The order makes files equal from build to build, and lets readers skip row groups.",
            )
        )
    if partition_by is not None:
        properties.append(
            _Property(
                name="parquet_partition",
                expected=f"by {partition_by} the rows of each file lie in the partition that it is of",
                fault=lambda held: _other_partition(held, partition_by),
                notes="A file of another period is stale, and its rows would be read as news of this one.",
            )
        )
    return properties


def _other_rows(held: _Parquet) -> str | None:
    if held.footer.num_rows == held.file.rows:
        return None
    return f"{held.footer.num_rows:,} rows where {held.file.rows:,} were declared"


def _nulls(held: _Parquet, required: Sequence[str]) -> str | None:
    nulls = dict.fromkeys(required, 0)
    uncounted = set()
    for chunk in held.chunks:
        if chunk.path_in_schema not in nulls:
            continue
        if chunk.statistics is None or not chunk.statistics.has_null_count:
            uncounted.add(chunk.path_in_schema)
        else:
            nulls[chunk.path_in_schema] += chunk.statistics.null_count
    wrong = [f"{name} is null in {counted(count, 'row')}" for name, count in nulls.items() if count]
    wrong += [f"{name} has no null count in the footer" for name in sorted(uncounted)]
    return "; ".join(wrong) or None


def _other_partition(held: _Parquet, column: str) -> str | None:
    """Periods of the rows, which their smallest and largest name, that are not the file's."""
    if column not in held.schema.names:
        return f"{column} missing"
    ends = set()
    for chunk in held.chunks:
        if chunk.path_in_schema == column:
            if chunk.statistics is None or not chunk.statistics.has_min_max:
                return f"{column} has no range in the footer"
            ends |= {_period(end, held.file.partition) for end in (chunk.statistics.min, chunk.statistics.max)}
    others = sorted(ends - {held.file.partition})
    return f"rows of {' and '.join(others)}" if others else None


def _period(value: Any, like: str) -> str:
    """A moment, a date or a year as partitions of that grain are named: ``2024-10`` where ``like`` is a month."""
    return f"{value:%Y-%m-%d}"[: len(like)] if isinstance(value, date) else str(value)


def _disorder(held: _Parquet, sort_by: Sequence[str]) -> str | None:
    if lacking := [name for name in sort_by if name not in held.schema.names]:
        return f"{', '.join(lacking)} missing"
    rows = rows_out_of_order(path=held.file.path, by=sort_by)
    return f"{counted(rows, 'row')} out of order" if rows else None


def _of_storage() -> list[_Property]:
    return [
        _Property(
            name="parquet_compression",
            expected="every column is compressed with zstd",
            fault=_other_compression,
            notes="Readers are as right without it, and slower.",
            severity="warning",
        ),
        _Property(
            name="parquet_statistics",
            expected="footers state the null count and the range of every column",
            fault=_without_statistics,
            notes="With them a reader skips what it does not need.",
            severity="warning",
        ),
        _Property(
            name="parquet_row_groups",
            expected=f"no row group holds more than {MOST_ROWS_A_GROUP:,} rows",
            fault=_large_group,
            notes="A reader holds a row group in memory.",
            severity="warning",
        ),
    ]


def _other_compression(held: _Parquet) -> str | None:
    others = sorted({chunk.compression for chunk in held.chunks} - {COMPRESSION})
    return f"compressed with {', '.join(others)}" if others else None


def _without_statistics(held: _Parquet) -> str | None:
    bare = sorted({chunk.path_in_schema for chunk in held.chunks if not _has_statistics(chunk)})
    return f"no null count or range for {', '.join(bare)}" if bare else None


def _has_statistics(chunk: pq.ColumnChunkMetaData) -> bool:
    statistics = chunk.statistics
    if statistics is None or not statistics.has_null_count:
        return False
    # A chunk of nothing but nulls has no range to state.
    return bool(statistics.has_min_max or statistics.null_count == chunk.num_values)


def _large_group(held: _Parquet) -> str | None:
    sizes = [held.footer.row_group(number).num_rows for number in range(held.footer.num_row_groups)]
    largest = max(sizes, default=0)
    return f"a row group of {largest:,} rows" if largest > MOST_ROWS_A_GROUP else None
