"""Which cells of a table with totals are withheld: those of few units, and as many more as it takes to hide them.

Greedy first: each line of the table (a total and its parts) that would give a withheld cell away loses another
published cell too, the one that gives the fewest other lines away, and of these the least. Then audited by programmes
over the whole table, and repaired: a sensitive cell that is known too well loses one of the published cells that its
bound rests on, a group of few units that some combination tells of one of the cells combined. Withholding more only
widens bounds, so what is protected once stays so. Ties go to the lower number, and programmes take the same steps
each time: the same table has the same pattern.

Method: Fischetti and Salazar, Solving the cell suppression problem on tabular data (2001), whose audit this is; its
choice of cells is optimal, this one is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lakehouse.privacy.combinations import Ints
from lakehouse.privacy.intervals import TOLERANCE, Programme
from lakehouse.privacy.smallest_group import smallest_group

Bools = npt.NDArray[np.bool_]


class Unprotectable(RuntimeError):
    """A table of which some sensitive cell is known whatever is withheld of the cells that may be."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """``incidence``: cells by leaves, the finest classes. ``units`` and ``values`` of each leaf. ``sensitive``: the
    cells that must not be known. ``told``: those that are told elsewhere, so that withholding them hides nothing.
    ``lines``: lines by cells, each a total with its parts."""

    incidence: Bools
    units: Ints
    values: Ints
    sensitive: Bools
    told: Bools
    lines: Bools

    @property
    def matrix(self) -> Ints:
        return self.incidence.astype(np.int64)

    @property
    def cell_units(self) -> Ints:
        return self.matrix @ self.units

    @property
    def cell_values(self) -> Ints:
        return self.matrix @ self.values


def margin(value: int, percent: int) -> int:
    """How far from its value, in whole numbers, a cell's bounds must be."""
    return max(1, -(-value * percent // 100))


def suppress(table: Table, *, k: int, percent: int, at_least: Bools | None = None) -> Bools:
    """The cells that are withheld, ``at_least`` among them. Raises :class:`Unprotectable`."""
    withheld = table.sensitive.copy() if at_least is None else table.sensitive | at_least
    if (withheld & table.told).any():
        raise Unprotectable(f"{int((withheld & table.told).sum()):,} cells that are told elsewhere hold too few units")
    _by_lines(table, withheld, k)
    _by_programmes(table, withheld, percent)
    _by_groups(table, withheld, k)
    return withheld


def unprotected(table: Table, withheld: Bools, *, k: int, percent: int) -> int:
    """Sensitive cells that a pattern leaves open: published, known too well, or in a group that is told of."""
    if (table.sensitive & ~withheld).any():
        return int((table.sensitive & ~withheld).sum())
    published = np.flatnonzero(~withheld)
    programme = _programme(table, published)
    values = table.cell_values
    known = 0
    for cell in np.flatnonzero(table.sensitive):
        leaves = np.flatnonzero(table.incidence[cell])
        known += not (
            _low_enough(programme.least(leaves), int(values[cell]), percent)
            and _high_enough(programme.most(leaves), int(values[cell]), percent)
        )
    held = table.units > 0
    return known + (smallest_group(table.matrix[published][:, held], table.units[held], k) is not None)


def _by_lines(table: Table, withheld: Bools, k: int) -> None:
    """A line in which one cell is withheld gives it away, and one whose withheld cells hold 1 to K - 1 units tells
    of a group below K."""
    lines = table.lines.astype(np.int64)
    units, values = table.cell_units, table.cell_values
    # The total of a line has all the units of its parts.
    totals = np.array([cells[np.argmax(table.incidence[cells].sum(axis=1))] for cells in _each(table.lines)], dtype=int)
    while True:
        left = lines @ (withheld * units)
        open_total = ~withheld[totals]
        broken = (lines @ withheld == 1) | (open_total & (left > 0) & (left < k))
        choices = broken & (lines @ (~withheld & ~table.told) > 0)
        if not choices.any():
            return
        # How many lines a cell would break that are whole so far: each costs another cell.
        opened = lines[lines @ withheld == 0].sum(axis=0)
        cost = opened * (values.max() + 1) + values
        _withhold_cheapest(table, withheld, cost, np.flatnonzero(table.lines[np.argmax(choices)]))


def _each(lines: Bools) -> list[npt.NDArray[np.intp]]:
    return [np.flatnonzero(line) for line in lines]


def _by_programmes(table: Table, withheld: Bools, percent: int) -> None:
    published = np.flatnonzero(~withheld)
    programme = _programme(table, published)
    values = table.cell_values
    for cell in np.flatnonzero(table.sensitive):
        leaves, value = np.flatnonzero(table.incidence[cell]), int(values[cell])
        while not _low_enough(programme.least(leaves), value, percent):
            _forget_cheapest(table, programme, published, withheld)
        while not _high_enough(programme.most(leaves), value, percent):
            _forget_cheapest(table, programme, published, withheld)


def _programme(table: Table, published: npt.NDArray[np.intp]) -> Programme:
    leaves = len(table.units)
    return Programme(
        matrix=table.matrix[published],
        sums=table.cell_values[published],
        least=np.zeros(leaves, dtype=np.int64),
        most=np.full(leaves, np.inf),
    )


def _low_enough(least: float, value: int, percent: int) -> bool:
    return value == 0 or math.ceil(least - TOLERANCE) <= max(value - margin(value, percent), 0)


def _high_enough(most: float, value: int, percent: int) -> bool:
    return most == np.inf or math.floor(most + TOLERANCE) >= value + margin(value, percent)


def _forget_cheapest(table: Table, programme: Programme, published: npt.NDArray[np.intp], withheld: Bools) -> None:
    rows = programme.binding()
    cell = _withhold_cheapest(table, withheld, table.cell_values, published[rows])
    programme.forget(int(np.searchsorted(published, cell)))


def _withhold_cheapest(table: Table, withheld: Bools, cost: Ints, cells: npt.NDArray[np.intp]) -> int:
    """Of some cells the one with the least cost that is published and need not be; the lowest number of equals."""
    open_cells = cells[~withheld[cells] & ~table.told[cells]]
    if not open_cells.size:
        raise Unprotectable("a cell that must not be known follows from cells that are told elsewhere")
    cell = int(open_cells[np.argmin(cost[open_cells])])
    withheld[cell] = True
    return cell


def _by_groups(table: Table, withheld: Bools, k: int) -> None:
    held = table.units > 0
    values = table.cell_values
    while True:
        published = np.flatnonzero(~withheld)
        group = smallest_group(table.matrix[published][:, held], table.units[held], k)
        if group is None:
            return
        _withhold_cheapest(table, withheld, values, published[sorted(group.coefficients)])
