"""What meters of any kind have in common: a day of hourly readings, delivered with its quirks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Ints
from lakehouse.simulate.faults import Fault, Place, Plan, write_spoilt
from lakehouse.simulate.files import DeliveryFile

# Meters at a time: a day of them takes some 300 MB, whatever the city's size.
_BLOCK = 1 << 16

# Hours that a silent meter says nothing.
SILENCE = 3


class MeterDay(Protocol):
    """A local day of a block of meters: cells of ``hours`` a meter, numbered meter by meter."""

    @property
    def day_index(self) -> int: ...

    @property
    def block(self) -> slice: ...

    @property
    def hours(self) -> int: ...

    def rows(self, cells: Ints) -> pl.DataFrame:
        """The readings of some cells as their source delivers them."""


def blocks(meters: int) -> Iterator[slice]:
    """Consecutive meters, a block at a time."""
    for start in range(0, meters, _BLOCK):
        yield slice(start, min(start + _BLOCK, meters))


def positions(place: Place, hours: int) -> Ints:
    """The cells of a place."""
    cells: Ints = place.rows * hours + place.hours
    return cells


def silent_cells(place: Place, hours: int) -> Ints:
    """The cells that a silent meter leaves out."""
    return np.concatenate([positions(place, hours) + step for step in range(SILENCE)])


def write_day(
    *, file: DeliveryFile, day: MeterDay, plan: Plan, faults: Sequence[Fault], noted: Sequence[str]
) -> pl.DataFrame:
    """Appends a block's day, then its duplicates and faulty copies; returns the rows that come late.

    ``noted`` are kinds of which each event is one quirk in rows that are written anyway.
    """

    def cells(kind: str) -> Ints:
        return positions(plan.on(kind, day=day.day_index, block=day.block), day.hours)

    late = cells("late_rows")
    silent = silent_cells(plan.on("missing_rows", day=day.day_index, block=day.block), day.hours)
    count = (day.block.stop - day.block.start) * day.hours
    file.write(day.rows(np.delete(np.arange(count), np.concatenate([late, silent]))))
    file.note("missing_rows", silent.size)
    file.write(day.rows(cells("duplicate_rows")), quirk="duplicate_rows")
    for fault in faults:
        spoilt = cells(fault.kind)
        if spoilt.size:
            write_spoilt(file=file, rows=day.rows(spoilt), fault=fault)
    for kind in noted:
        file.note(kind, cells(kind).size)
    return day.rows(late)
