"""Pseudo-random numbers that depend on a seed, a purpose and a place in it, and on nothing else."""

from __future__ import annotations

import math
import zlib
from functools import cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_STEPS = 1 << 16


def chance(*, seed: int, purpose: str, part: tuple[int, ...] = ()) -> np.random.Generator:
    """A generator of its own for each purpose and part (a day, a block of meters), so that a change in one
    dataset leaves the others' numbers as they were."""
    return np.random.Generator(np.random.SFC64([seed, zlib.crc32(purpose.encode()), *part]))


@cache
def _quantiles() -> Floats:
    # Rounded, so that the last bit of a processor's logarithm cannot change a delivery's bytes.
    return np.array([round(-math.log((step + 0.5) / _STEPS), 4) for step in range(_STEPS)])


def exponential(generator: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Exponential draws of mean 1, by table: many times faster than logarithms, and the same everywhere."""
    return _quantiles()[generator.integers(0, _STEPS, size=shape, dtype=np.uint16)]


def happens(generator: np.random.Generator, probability: Floats, shape: tuple[int, int]) -> Bools:
    """True with ``probability`` (one for each column of ``shape``, in steps of 1/65,536)."""
    limits = (probability * _STEPS).astype(np.uint32)
    return generator.integers(0, _STEPS, size=shape, dtype=np.uint16) < limits[None, :]
