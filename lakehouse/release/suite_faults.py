"""Known faults that a mart's suite of expectations is to see, put into a copy of some of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange

if TYPE_CHECKING:
    from lakehouse.gates.suite import Check

DUPLICATES, SHIFTED = "duplicates", "a shifted unit"
BOUNDS = {
    f"expect_column_{of}_to_be_between" for of in ("values", "min", "max", "mean", "median", "sum")
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SuiteFaults:
    """``unseen``: each fault with the check that stayed green on it. ``untried``: with the reason why it says
    nothing of this mart."""

    unseen: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()


def faults_of_suite(exchange: Exchange, mart: Mart, rows: pa.Table, *, partition: str, folder: Path) -> SuiteFaults:
    """Each row twice, and every measure times a thousand (kWh taken for Wh, metres for kilometres).

    A mart has a key, so its suite has to say that the key does not repeat. Bounds a suite may do without. One check
    that blocks and turns red is enough. What is red on the rows as they are cannot turn: the candidate is blocked by
    it already.
    """
    # Great Expectations takes seconds to import; see lakehouse.release.gate.
    from lakehouse.gates.batches import CandidateFile
    from lakehouse.gates.reductions import KEYS
    from lakehouse.gates.run import passing, read_checks

    expectations = exchange.settings.expectations_path
    checks = [
        check
        for check in read_checks(
            suite_path=expectations / f"{mart.name}.json",
            shared_suites=sorted((expectations / "shared").glob("*.json")),
            columns=rows.schema.names,
        )
        if check.severity == "blocking"
    ]

    def green(checks: list[Check], table: pa.Table, name: str) -> list[Check]:
        # A file each: DuckDB remembers what it read of a path.
        path = folder / f"{name}.parquet"
        pq.write_table(table, path, compression="zstd")
        return passing(checks=checks, file=CandidateFile(path=path, partition=partition, rows=table.num_rows))

    keys = [check for check in checks if check.type in KEYS]
    measures = _measures(mart, rows)
    bounds = [check for check in checks if check.type in BOUNDS and check.columns[0] in measures]
    sound = green([*keys, *bounds], rows, "as it is") if keys or bounds else []
    unseen, untried = [], []
    if not keys:
        unseen.append(f"{DUPLICATES}: the suite has no check that blocks where {' + '.join(mart.exchange.key)} repeats")
    elif (able := [check for check in keys if check in sound]) and able == green(able, _doubled(rows), DUPLICATES):
        unseen.append(f"{DUPLICATES}: {able[0].name}")
    if not bounds:
        untried.append(f"{SHIFTED}, for no check of the suite that blocks bounds a measure that is not zero")
    elif (able := [check for check in bounds if check in sound]) and able == green(
        able, _shifted(rows, measures), SHIFTED
    ):
        unseen.append(f"{SHIFTED}: {', '.join(dict.fromkeys(check.name for check in able))}")
    return SuiteFaults(unseen=tuple(unseen), untried=tuple(untried))


def _measures(mart: Mart, rows: pa.Table) -> list[str]:
    """Columns of numbers that name no row. One that is nothing but zero or empty is the same in any unit."""
    return [
        field.name
        for field in rows.schema
        if _is_number(field.type)
        and field.name not in (*mart.exchange.key, mart.exchange.partition.column)
        and pc.any(pc.not_equal(rows.column(field.name).cast(pa.float64()), 0.0)).as_py()
    ]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _doubled(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, rows])


def _shifted(rows: pa.Table, measures: list[str]) -> pa.Table:
    for name in measures:
        # As floats, which hold any number a thousand times as large.
        shifted = pc.multiply(rows.column(name).cast(pa.float64()), 1000.0)
        rows = rows.set_column(rows.schema.get_field_index(name), name, shifted)
    return rows
