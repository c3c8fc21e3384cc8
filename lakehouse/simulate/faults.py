"""The quirks of real deliveries, put in in numbers that are known.

Refused by a strict contract (each is a spoilt copy of a good row, so that the good rows stay complete):

``bad_number``        a number that is none (csv)
``missing_number``    a number that is null (Parquet, whose columns are typed)
``impossible_date``   30 or 31 February, a fifth quarter and the like
``missing_key``       no identifier
``gap_times``         a local time in the hour that spring leaves out

Not refused, but to be dealt with:

``duplicate_rows``      exact copies
``late_rows``           rows of the day before, delivered with a day
``missing_rows``        rows never delivered
``withheld_rows``       rows that only a late delivery brings
``corrections``         rows with the key of one delivered earlier and another value
``resets``              meters exchanged: the reading falls to almost nothing and goes on from there
``jumps``               single readings some 248,000 litres too high
``negative_diffs``      readings that fall by a few litres
``repeated_hour_keys``  rows of autumn's second two o'clock hour with the very local time of one of the first
``repeated_sites``, ``years_unknown``, ``over_capacity``, ``gap_rows``  as named, see their datasets
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Ints, chance
from lakehouse.simulate.files import DeliveryFile

# Events stand at these hours of a day: clear of the hours that clocks skip or repeat, and of its ends.
_HOURS = (5, 18)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What ``kind`` makes of ``column``'s text."""

    kind: str
    column: str
    value: pl.Expr


def bad_number(column: str, text: str = "12x7") -> Fault:
    return Fault(kind="bad_number", column=column, value=pl.lit(text))


def missing_key(column: str) -> Fault:
    return Fault(kind="missing_key", column=column, value=pl.lit(None, dtype=pl.String))


def impossible_date(column: str, pattern: str, text: str) -> Fault:
    """``pattern`` of the date is replaced by ``text``."""
    return Fault(kind="impossible_date", column=column, value=pl.col(column).str.replace(pattern, text))


def write_spoilt(*, file: DeliveryFile, rows: pl.DataFrame, fault: Fault) -> None:
    """Appends copies of good rows, each with the fault. A number in Parquet becomes null."""
    if file.dialect:
        file.write(file.dialect.as_text(rows).with_columns(fault.value.alias(fault.column)), quirk=fault.kind)
    elif rows.schema[fault.column] == pl.String:
        file.write(rows.with_columns(fault.value.alias(fault.column)), quirk=fault.kind)
    else:
        kind = "missing_number" if fault.kind == "bad_number" else fault.kind
        file.write(rows.with_columns(pl.lit(None, rows.schema[fault.column]).alias(fault.column)), quirk=kind)


def write_with_faults(
    *, file: DeliveryFile, rows: pl.DataFrame, seed: int, faults: Sequence[Fault], duplicates: int = 2
) -> None:
    """Appends the rows of a small delivery, copies of a few of them, and one or more rows of each fault."""
    file.write(rows)
    each = 1 + rows.height // 50_000
    wanted = min(rows.height, duplicates + each * len(faults))
    taken = rows[chance(seed=seed, purpose=f"faults {file.path.name}").choice(rows.height, wanted, replace=False)]
    file.write(taken[:duplicates], quirk="duplicate_rows")
    for number, fault in enumerate(faults):
        write_spoilt(file=file, rows=taken[duplicates + number * each :][:each], fault=fault)


@dataclass(frozen=True, kw_only=True)
class Place:
    """One kind of event within a day and a block of meters: ``rows`` of the block, ``hours`` of the day."""

    rows: Ints
    hours: Ints


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which meter has which event at which day and hour: at most one each, so that none disturbs another."""

    meters: Mapping[str, Ints]
    days: Mapping[str, Ints]
    hours: Mapping[str, Ints]

    def on(self, kind: str, *, day: int, block: slice) -> Place:
        meters = self.meters.get(kind, np.empty(0, dtype=np.int64))
        if not meters.size:
            return Place(rows=meters, hours=meters)
        here = (self.days[kind] == day) & (meters >= block.start) & (meters < block.stop)
        return Place(rows=meters[here] - block.start, hours=self.hours[kind][here])

    def meters_on(self, *, day: int, block: slice) -> Ints:
        """Rows of the block that have any event on the day."""
        places = [self.on(kind, day=day, block=block).rows for kind in self.meters]
        return np.concatenate([np.empty(0, dtype=np.int64), *places])


def plan(
    *,
    seed: int,
    purpose: str,
    meters: int,
    days: int,
    counts: Mapping[str, int],
    dated: Mapping[str, Iterable[int]],
) -> Plan:
    """Draws ``counts`` events of each kind over the span; those in ``dated`` fall on one of its days.

    Kinds that cannot happen in the span are left out, as are late rows of a single day; of few meters
    each kind gets its equal share at most.
    """
    generator = chance(seed=seed, purpose=f"plan {purpose}")
    free = generator.permutation(meters).astype(np.int64)
    last_day = {"late_rows": days - 1}
    chosen: dict[str, Ints] = {}
    when: dict[str, Ints] = {}
    hours: dict[str, Ints] = {}
    for kind, count in counts.items():
        on = np.array(list(dated.get(kind, range(last_day.get(kind, days)))), dtype=np.int64)
        taken, free = np.split(free, [min(count, meters // len(counts), free.size)])
        drawn = generator.integers(0, max(on.size, 1), size=taken.size)
        hours[kind] = generator.integers(*_HOURS, size=taken.size)
        if on.size:
            chosen[kind], when[kind] = taken, on[drawn]
    return Plan(meters=chosen, days=when, hours=hours)
