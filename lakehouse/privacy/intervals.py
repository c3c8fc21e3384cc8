"""Between which bounds published sums hold what was not published, by linear programmes (HiGHS)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import highspy
import numpy as np
import numpy.typing as npt

from lakehouse.privacy.combinations import Ints

Floats = npt.NDArray[np.float64]


class NotSolved(RuntimeError):
    """A programme without an optimum: what is published contradicts itself or its bounds."""


def intervals(
    *, matrix: Ints, sums: Ints, least: Ints, most: Floats, targets: Iterable[frozenset[int]]
) -> Iterator[tuple[frozenset[int], float, float]]:
    """Least and most that each target (a set of unknowns) can sum to.

    ``matrix`` (cells by unknowns, 0 and 1) times the unknowns is ``sums``; each unknown is from ``least`` to
    ``most``, as is publicly known. Two programmes a target, each begun from the basis of the last.
    """
    rows, columns = matrix.shape
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.silent()
    programme = highspy.HighsLp()
    programme.num_col_, programme.num_row_ = columns, rows
    programme.col_cost_ = np.zeros(columns)
    programme.col_lower_, programme.col_upper_ = least.astype(np.float64), most
    programme.row_lower_ = programme.row_upper_ = sums.astype(np.float64)
    programme.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    places, entries = np.nonzero(matrix)
    programme.a_matrix_.start_ = np.searchsorted(places, np.arange(rows + 1)).astype(np.int32)
    programme.a_matrix_.index_ = entries.astype(np.int32)
    programme.a_matrix_.value_ = matrix[places, entries].astype(np.float64)
    solver.passModel(programme)
    for target in targets:
        for column in target:
            solver.changeColCost(column, 1.0)
        yield target, _best(solver, highspy.ObjSense.kMinimize), _best(solver, highspy.ObjSense.kMaximize)
        for column in target:
            solver.changeColCost(column, 0.0)


def _best(solver: highspy.Highs, sense: highspy.ObjSense) -> float:
    solver.changeObjectiveSense(sense)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise NotSolved(f"the programme ended {solver.modelStatusToString(solver.getModelStatus())}")
    return float(solver.getObjectiveValue())
