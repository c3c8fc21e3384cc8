"""The smallest group that published sums tell of together, by mathematical programmes (HiGHS).

A combination c of the sums tells of the unknowns on which y = c·M is not 0. Scaled so that its largest entry is 1,
the number of units it tells of is at least the sum of |y|, weighted by units: a linear programme for each entry
that may be the largest is a lower bound, and a proof where it reaches K. Where it does not, whole numbers decide.
"""

from __future__ import annotations

import highspy
import numpy as np
import numpy.typing as npt

from lakehouse.privacy.combinations import Combination, Ints, isolated
from lakehouse.privacy.intervals import TOLERANCE, Floats, fixed_solver, set_rows


def smallest_group(matrix: Ints, units: Ints, least: int) -> Combination | None:
    """A combination of the rows of ``matrix`` (sums by unknowns, 0 and 1) that tells of fewer than ``least`` units,
    or none. ``units`` of each unknown, at least 1. What is found is verified in rational numbers."""
    rows, first = np.unique(matrix, axis=0, return_index=True)
    rows, first = rows[rows.any(axis=1)], first[rows.any(axis=1)]
    # An unknown that is published by itself can be taken out of any sum.
    alone = np.zeros(len(units), dtype=bool)
    alone[[int(np.flatnonzero(row)[0]) for row in rows if row.sum() == 1]] = True
    small = np.flatnonzero(alone & (units < least))
    if small.size:
        return _verified(matrix, small[:1])
    kept = np.flatnonzero(~alone)
    reduced = np.unique(rows[:, kept], axis=0)
    reduced = reduced[reduced.any(axis=1)]
    light = np.flatnonzero(units[kept] < least)
    if not len(reduced) or not light.size:
        return None
    search = _Search(reduced, units[kept], light)
    for column in range(len(light)):
        told = search.fewest(column, whole=False)
        if told is not None and units[kept[told]].sum() >= least and search.value < least - TOLERANCE:
            told = search.fewest(column, whole=True)
        if told is not None and units[kept[told]].sum() < least:
            return _verified(matrix, kept[told])
    return None


class _Search:
    """Unknowns: a factor of each sum, then y and its size for each light column."""

    def __init__(self, matrix: Ints, units: Ints, light: Ints) -> None:
        rows, columns = matrix.shape
        count = len(light)
        self._light, self._first = light, rows
        self._solver = fixed_solver()
        equal = np.zeros((columns, rows + 2 * count))
        equal[:, :rows] = matrix.T
        equal[light, rows + np.arange(count)] = -1
        above, below = np.zeros((count, rows + 2 * count)), np.zeros((count, rows + 2 * count))
        for bound, sign in ((above, 1.0), (below, -1.0)):
            bound[np.arange(count), rows + np.arange(count)] = sign
            bound[np.arange(count), rows + count + np.arange(count)] = -1
        programme = highspy.HighsLp()
        programme.num_col_, programme.num_row_ = rows + 2 * count, columns + 2 * count
        programme.col_cost_ = np.concatenate([np.zeros(rows + count), units[light].astype(np.float64)])
        unbounded = np.full(rows, highspy.kHighsInf)
        programme.col_lower_ = np.concatenate([-unbounded, -np.ones(count), np.zeros(count)])
        programme.col_upper_ = np.concatenate([unbounded, np.ones(2 * count)])
        programme.row_lower_ = np.concatenate([np.zeros(columns), np.full(2 * count, -highspy.kHighsInf)])
        programme.row_upper_ = np.zeros(columns + 2 * count)
        set_rows(programme, np.vstack([equal, above, below]))
        self._solver.passModel(programme)
        self.value = 0.0

    def fewest(self, column: int, *, whole: bool) -> npt.NDArray[np.intp] | None:
        """The light columns that a combination tells of whose entry there is 1 and the largest; ``None`` if there
        is none. ``value``: its weight, or with ``whole`` the units of the fewest."""
        count, y = len(self._light), self._first + column
        kind = highspy.HighsVarType.kInteger if whole else highspy.HighsVarType.kContinuous
        sizes = np.arange(self._first + count, self._first + 2 * count, dtype=np.int32)
        if whole:
            for size in sizes:
                self._solver.changeColIntegrality(int(size), kind)
        self._solver.changeColBounds(y, 1.0, 1.0)
        self._solver.run()
        status = self._solver.getModelStatus()
        found: npt.NDArray[np.intp] | None = None
        if status == highspy.HighsModelStatus.kOptimal:
            self.value = float(self._solver.getObjectiveValue())
            solution: Floats = np.asarray(self._solver.getSolution().col_value)
            found = self._light[np.abs(solution[self._first : self._first + count]) > TOLERANCE]
        elif status != highspy.HighsModelStatus.kInfeasible:
            raise ArithmeticError(f"the search ended {self._solver.modelStatusToString(status)}")
        self._solver.changeColBounds(y, -1.0, 1.0)
        if whole:
            for size in sizes:
                self._solver.changeColIntegrality(int(size), highspy.HighsVarType.kContinuous)
        return found


def _verified(matrix: Ints, told: npt.NDArray[np.intp]) -> Combination:
    """A combination that vanishes on all other columns, found modulo a prime and verified in rational numbers."""
    others = np.ones(matrix.shape[1], dtype=bool)
    others[told] = False
    found = isolated(matrix, others, lambda signatures, cells: True).isolated
    if not found:
        raise ArithmeticError("a group that a programme found is not told of in whole numbers")
    return min(found, key=lambda one: (len(one.signatures), sorted(one.signatures)))
