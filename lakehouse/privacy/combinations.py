"""Which groups a linear combination of cells isolates.

A cell is a row of 0 and 1 over signatures (units that are in the same cells). A combination of published sums tells
the sum of a group when the same combination of rows is nonzero on that group's signatures alone. So the combinations
that tell of fewer than K units are among those that vanish on every signature of K or more: the space W below. If W
holds only 0, no combination isolates anything, which is a proof; else its elements of least support are examined.

Ranks are taken modulo the prime 2^31 - 1, in whole numbers. What is found is verified over the rationals.
Method: Dobra and Fienberg, Bounds for cell entries in contingency tables (2000); Schlörer's trackers (1975) are the
special case of sums and differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
import numpy.typing as npt

PRIME = 2**31 - 1
# A coefficient p/q is found again from its remainder when p and q are below the root of half the prime.
LARGEST = 32_767

Ints = npt.NDArray[np.int64]
# Whether the union of signatures is too few units to be told of by a combination of these cells.
IsSmall = Callable[[frozenset[int], Sequence[int]], bool]


@dataclass(frozen=True)
class Combination:
    """``coefficients`` of cells (by row), and the signatures (columns) of which their sum tells."""

    coefficients: dict[int, Fraction]
    signatures: frozenset[int]


@dataclass(frozen=True)
class Found:
    """Combinations that tell of too few units. ``unproven``: how many dimensions were left of which the search
    is not complete; a careful caller refuses them."""

    isolated: list[Combination]
    unproven: int


def isolated(matrix: Ints, large: npt.NDArray[np.bool_], is_small: IsSmall) -> Found:
    """``matrix``: cells by signatures, 0 and 1. ``large``: signatures that are large enough whatever tells of them.
    Work: rows² x columns."""
    rows, columns = matrix.shape
    order = np.concatenate([np.flatnonzero(large), np.flatnonzero(~large)])
    # Beside each row stands the combination of cells that made it.
    work = np.concatenate([matrix[:, order], np.eye(rows, dtype=np.int64)], axis=1) % PRIME
    pivots = _reduce(work, columns)
    first_light = int(large.sum())
    basis = np.array([row for row, column in enumerate(pivots) if column >= first_light], dtype=np.int64)
    found: dict[frozenset[int], Combination] = {}
    unproven = 0
    for part in _parts(work[basis, :columns] != 0):
        space = work[basis[part]]
        for vector in _candidates(space, columns):
            support = frozenset(int(order[column]) for column in np.flatnonzero(vector[:columns]))
            if support not in found and is_small(support, np.flatnonzero(vector[columns:]).tolist()):
                found[support] = _verified(matrix, vector[columns:], support)
        # Vectors of least support in two dimensions have all been seen; in more there may be others.
        whole = frozenset(int(order[column]) for column in np.flatnonzero((space[:, :columns] != 0).any(axis=0)))
        if len(part) > 2 and not any(combination <= whole for combination in found):
            unproven += len(part)
    return Found(list(found.values()), unproven)


def _reduce(work: Ints, columns: int) -> list[int]:
    """Reduced row echelon form in place, of the first ``columns``; returns each row's pivot."""
    pivots: list[int] = []
    for column in range(columns):
        row = len(pivots)
        if row == len(work):
            break
        candidates = np.flatnonzero(work[row:, column])
        if not candidates.size:
            continue
        chosen = row + int(candidates[0])
        work[[row, chosen]] = work[[chosen, row]]
        work[row] = work[row] * pow(int(work[row, column]), -1, PRIME) % PRIME
        others = np.flatnonzero(work[:, column])
        others = others[others != row]
        work[others] = (work[others] - work[others, column][:, None] * work[row] % PRIME) % PRIME
        pivots.append(column)
    return pivots


def _parts(nonzero: npt.NDArray[np.bool_]) -> Iterator[list[int]]:
    """Rows that share a column, together: what holds of one part holds whatever the others are."""
    left = set(range(len(nonzero)))
    while left:
        part, reached = {left.pop()}, np.zeros(nonzero.shape[1], dtype=bool)
        fresh = set(part)
        while fresh:
            reached |= nonzero[list(fresh)].any(axis=0)
            fresh = {row for row in left if (nonzero[row] & reached).any()}
            left -= fresh
            part |= fresh
        yield sorted(part)


def _candidates(space: Ints, columns: int) -> Iterator[Ints]:
    """The rows, then of each two that share a column the combination without it."""
    yield from space
    for one, other in combinations(space, 2):
        for column in np.flatnonzero((one[:columns] != 0) & (other[:columns] != 0)):
            factor = int(one[column]) * pow(int(other[column]), -1, PRIME) % PRIME
            yield (one - factor * other % PRIME) % PRIME


def _verified(matrix: Ints, remainders: Ints, support: frozenset[int]) -> Combination:
    """The same combination in rational numbers. Raises ``ArithmeticError`` where it does not hold in them."""
    coefficients = {int(row): _rational(int(remainders[row])) for row in np.flatnonzero(remainders)}
    sums = [sum((value * int(matrix[row, column]) for row, value in coefficients.items()), Fraction(0))
            for column in range(matrix.shape[1])]  # fmt: skip
    if {column for column, value in enumerate(sums) if value} != support:
        raise ArithmeticError("a combination found modulo a prime does not hold in rational numbers")
    return Combination(coefficients, support)


def _rational(remainder: int) -> Fraction:
    """The fraction of small numerator and denominator with this remainder (Wang's reconstruction)."""
    before, now, factor_before, factor = PRIME, remainder, 0, 1
    while now > LARGEST:
        quotient = before // now
        before, now = now, before - quotient * now
        factor_before, factor = factor, factor_before - quotient * factor
    return Fraction(now, factor)
