"""Between which bounds published sums hold what was not published, by linear programmes (HiGHS)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import highspy
import numpy as np
import numpy.typing as npt

from lakehouse.privacy.combinations import Ints

Floats = npt.NDArray[np.float64]
# By how much an optimum may be off; beyond it lies the next whole number.
TOLERANCE = 1e-6


class NotSolved(RuntimeError):
    """A programme without an optimum: what is published contradicts itself or its bounds."""


class Programme:
    """Unknowns of which sums are known. One thread and fixed options: the same programmes end in the same way.

    ``matrix`` (sums by unknowns, 0 and 1) times the unknowns is ``sums``; each unknown is from ``least`` to
    ``most``, as is publicly known. Each optimum is begun from the basis of the last.
    """

    def __init__(self, *, matrix: Ints, sums: Ints, least: Ints | Floats, most: Floats) -> None:
        rows, columns = matrix.shape
        self._solver = fixed_solver()
        programme = highspy.HighsLp()
        programme.num_col_, programme.num_row_ = columns, rows
        programme.col_cost_ = np.zeros(columns)
        programme.col_lower_, programme.col_upper_ = least.astype(np.float64), most
        programme.row_lower_ = programme.row_upper_ = sums.astype(np.float64)
        set_rows(programme, matrix)
        self._solver.passModel(programme)

    def least(self, target: Iterable[int]) -> float:
        """The least that the unknowns of ``target`` can add up to."""
        return self._best(target, highspy.ObjSense.kMinimize)

    def most(self, target: Iterable[int]) -> float:
        """The most that they can add up to; infinite where no sum bounds them."""
        return self._best(target, highspy.ObjSense.kMaximize)

    def binding(self) -> Ints:
        """The sums that the last optimum rests on."""
        duals = np.asarray(self._solver.getSolution().row_dual)
        return np.flatnonzero(np.abs(duals) > TOLERANCE)

    def forget(self, row: int) -> None:
        """From now on as if the sum were not published."""
        self._solver.changeRowBounds(row, -highspy.kHighsInf, highspy.kHighsInf)

    def allow(self, row: int, *, least: float) -> None:
        """From now on of the sum is known only that it is ``least`` or more."""
        self._solver.changeRowBounds(row, least, highspy.kHighsInf)

    def _best(self, target: Iterable[int], sense: highspy.ObjSense) -> float:
        columns = [int(column) for column in target]
        for column in columns:
            self._solver.changeColCost(column, 1.0)
        self._solver.changeObjectiveSense(sense)
        self._solver.run()
        status, value = self._solver.getModelStatus(), float(self._solver.getObjectiveValue())
        for column in columns:
            self._solver.changeColCost(column, 0.0)
        if status in (highspy.HighsModelStatus.kUnbounded, highspy.HighsModelStatus.kUnboundedOrInfeasible):
            return np.inf if sense == highspy.ObjSense.kMaximize else -np.inf
        if status != highspy.HighsModelStatus.kOptimal:
            raise NotSolved(f"the programme ended {self._solver.modelStatusToString(status)}")
        return value


class _Silent(highspy.Highs):
    def __init__(self) -> None:
        # Not its own constructor, which prints a banner to standard output before it can be told not to.
        super(highspy.Highs, self).__init__()
        self.setOptionValue("output_flag", False)


def fixed_solver() -> highspy.Highs:
    """A solver that says nothing and takes the same steps each time."""
    solver = _Silent()
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("parallel", "off")
    solver.setOptionValue("random_seed", 0)
    return solver


def set_rows(programme: highspy.HighsLp, matrix: npt.NDArray[np.int64] | Floats) -> None:
    """The entries of a matrix other than 0, row by row."""
    places, entries = np.nonzero(matrix)
    programme.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    programme.a_matrix_.start_ = np.searchsorted(places, np.arange(len(matrix) + 1)).astype(np.int32)
    programme.a_matrix_.index_ = entries.astype(np.int32)
    programme.a_matrix_.value_ = matrix[places, entries].astype(np.float64)


def intervals(
    *, matrix: Ints, sums: Ints, least: Ints, most: Floats, targets: Iterable[frozenset[int]]
) -> Iterator[tuple[frozenset[int], float, float]]:
    """Least and most that each target (a set of unknowns) can sum to; two programmes each, see :class:`Programme`."""
    programme = Programme(matrix=matrix, sums=sums, least=least, most=most)
    for target in targets:
        yield target, programme.least(target), programme.most(target)
