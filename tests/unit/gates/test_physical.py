"""Physical checks: each passes on a file that is right and fails on one that is not."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.gates.batches import CandidateFile
from lakehouse.gates.ordering import rows_out_of_order
from lakehouse.gates.physical import ColumnContract, check_physical
from lakehouse.gates.report import GateResult
from tests.unit.gates.conftest import WriteCandidate

COLUMNS = [
    ColumnContract(name="hour_utc", type="timestamptz", description="Beginning of the hour, UTC", required=True),
    ColumnContract(name="area", type="varchar", description="Area"),
    ColumnContract(name="use_m3", type="decimal(12, 3)", description="Water used\n", unit="m3"),
    ColumnContract(name="household_count", type="integer", description="Households", unit="1"),
]


def schema(**changes: pa.DataType) -> pa.Schema:
    types = {"hour_utc": pa.timestamp("us", tz="UTC"), "area": pa.string(), "use_m3": pa.decimal128(12, 3)}
    types |= {"household_count": pa.int32(), **changes}
    return pa.schema(
        [
            pa.field(
                column.name,
                types[column.name],
                metadata={
                    "description": column.description.strip(),
                    **({"unit": column.unit} if column.unit else {}),
                },
            )
            for column in COLUMNS
        ]
    )


def right_table(**changes: Any) -> pa.Table:
    values = {
        "hour_utc": [datetime(2024, 3, 1, hour, tzinfo=UTC) for hour in range(3)],
        "area": ["A", "A", "B"],
        "use_m3": [1, 2, None],
        "household_count": [40, 40, 41],
    }
    return pa.table({**values, **changes}, schema=schema())


def checked(files: list[CandidateFile]) -> dict[str, GateResult]:
    return {
        result.name: result for result in check_physical(files=files, columns=COLUMNS, sort_by=["area", "hour_utc"])
    }


def failures(results: dict[str, GateResult]) -> dict[str, str]:
    return {name: result.severity for name, result in results.items() if not result.success}


def without(field: str, key: str) -> pa.Table:
    table = right_table()
    number = table.schema.get_field_index(field)
    kept = {k: v for k, v in table.schema.field(field).metadata.items() if k.decode() != key}
    return table.cast(table.schema.set(number, table.schema.field(field).with_metadata(kept)))


def test_a_right_file_passes_every_check(write_candidate: WriteCandidate) -> None:
    results = checked(write_candidate({"day=0": right_table(), "day=1": right_table()}))
    assert failures(results) == {}
    assert len(results) == 10


@pytest.mark.parametrize(
    ("table", "failed", "words"),
    [
        (right_table().drop_columns(["area"]), "parquet_columns", "area missing"),
        (
            right_table().append_column("door", pa.array([1, 2, 3])),
            "parquet_columns",
            "door not in the contract",
        ),
        (
            right_table().select(["area", "hour_utc", "use_m3", "household_count"]),
            "parquet_columns",
            "the order area",
        ),
        (
            right_table().cast(schema(household_count=pa.int64())),
            "parquet_types",
            "household_count is BIGINT and not INTEGER",
        ),
        (
            right_table().cast(schema(hour_utc=pa.timestamp("us"))),
            "parquet_types",
            "hour_utc is TIMESTAMP and not",
        ),
        (without("area", "description"), "parquet_descriptions", "area has no description"),
        (without("use_m3", "unit"), "parquet_units", "use_m3 has no unit"),
        (
            right_table(hour_utc=[datetime(2024, 3, 1, tzinfo=UTC), None, None]),
            "parquet_nulls",
            "null in 2 rows",
        ),
        (right_table().take([1, 0, 2]), "parquet_order", "1 row out of order"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_property_can_fail_and_blocks(
    table: pa.Table, failed: str, words: str, write_candidate: WriteCandidate
) -> None:
    result = checked(write_candidate({"day=0": right_table(), "day=1": table}))[failed]
    assert (result.success, result.severity, result.partition) == (False, "blocking", "day=1")
    assert words in result.reason


@pytest.mark.parametrize(
    ("partition", "column", "values", "words"),
    [
        ("2024-03", "at", [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 31, 23, tzinfo=UTC)], None),
        ("2024-03", "at", [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)], "rows of 2024-04"),
        ("2024-03", "at", [datetime(2023, 3, 1), datetime(2024, 2, 29)], "rows of 2023-03 and 2024-02"),
        ("2024-03-01", "at", [date(2024, 3, 1)], None),
        ("2024-03-01", "at", [date(2024, 3, 2)], "rows of 2024-03-02"),
        ("2024", "at", [2024], None),
        ("2024", "at", [2023, 2024], "rows of 2023"),
        ("2024", "at", pa.array([None], pa.int32()), "at has no range in the footer"),
        ("2024", "when", [2024], "at missing"),
    ],
)  # fmt: skip
def test_rows_of_another_period_than_the_file_s_block(
    tmp_path: Path, partition: str, column: str, values: Any, words: str | None
) -> None:
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({column: values}), path)
    file = CandidateFile(path=path, partition=partition, rows=len(values))
    results = {result.name: result for result in check_physical(files=[file], columns=[], partition_by="at")}
    result = results["parquet_partition"]
    assert (result.success, result.severity) == (words is None, "blocking")
    assert (words or "it is so") in result.reason
    assert "parquet_partition" not in {result.name for result in check_physical(files=[file], columns=[])}


@pytest.mark.parametrize(
    ("options", "failed"),
    [
        ({"compression": "snappy"}, {"parquet_compression": "warning"}),
        ({"write_statistics": False}, {"parquet_statistics": "warning", "parquet_nulls": "blocking"}),
    ],
)
def test_storage_that_only_slows_readers_warns(
    options: dict[str, Any], failed: dict[str, str], write_candidate: WriteCandidate
) -> None:
    assert failures(checked(write_candidate({"day=0": right_table()}, **options))) == failed


def test_too_large_row_groups_warn(write_candidate: WriteCandidate) -> None:
    table = pa.table({"n": pa.array(range(1_048_577), pa.int32())})
    files = write_candidate({"day=0": table}, row_group_size=2_000_000)
    results = {r.name: r for r in check_physical(files=files, columns=[])}
    assert results["parquet_row_groups"].severity == "warning"
    assert not results["parquet_row_groups"].success


def test_a_file_that_is_shorter_than_declared_blocks(write_candidate: WriteCandidate) -> None:
    [file] = write_candidate({"day=0": right_table()})
    results = checked([CandidateFile(path=file.path, partition=file.partition, rows=4)])
    assert failures(results) == {"parquet_rows": "blocking"}
    assert "3 rows where 4 were declared" in results["parquet_rows"].reason


def test_nothing_is_proven_by_no_rows(write_candidate: WriteCandidate) -> None:
    for files in ([], write_candidate({"day=0": right_table().slice(0, 0)})):
        assert not any(result.success for result in checked(files).values())


def test_a_type_that_is_none_is_an_error(write_candidate: WriteCandidate) -> None:
    for kind in ("number", "INT); DROP TABLE x; --"):
        wrong = [ColumnContract(name="area", type=kind, description="Area")]
        with pytest.raises(ValueError, match="column area"):
            check_physical(files=write_candidate({"day=0": right_table()}), columns=wrong)


@pytest.mark.parametrize(
    ("values", "misplaced"),
    [([1, 1, 2], 0), ([2, 1, 2], 1), ([1, None, 2], 1), ([1, 2, None], 0), ([None, None], 0), ([3, 2, 1], 2)],
)
def test_order_counts_rows_with_nulls_last(
    values: list[int | None], misplaced: int, write_candidate: WriteCandidate
) -> None:
    [file] = write_candidate({"day=0": pa.table({"a": pa.array(values, pa.int32())})})
    assert rows_out_of_order(path=file.path, by=["a"]) == misplaced


def test_order_is_followed_over_row_groups_and_text_by_its_bytes(
    write_candidate: WriteCandidate, tmp_path: Path
) -> None:
    areas = pa.array(["Amager", "Valby", "Ørestad", "Østerbro"]).dictionary_encode()
    [file] = write_candidate({"day=0": pa.table({"area": areas})}, row_group_size=1)
    assert rows_out_of_order(path=file.path, by=["area"]) == 0
    [turned] = write_candidate({"day=0": pa.table({"area": areas.take(pa.array([0, 2, 1, 3]))})}, row_group_size=1)
    assert rows_out_of_order(path=turned.path, by=["area"]) == 1
