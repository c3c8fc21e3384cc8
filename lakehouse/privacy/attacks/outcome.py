"""What an attack came to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

# Cells named in a report; the rest are counted.
NAMED = 50


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``success``: how far the attack got, in its own measure; ``chance``: how far guessing gets; ``limit``: the
    most that may be released. ``cells`` are named to reviewers and to nobody else; ``found`` names none."""

    attack: str
    success: float
    chance: float
    limit: float
    passed: bool
    found: str
    cells: tuple[str, ...] = ()
    mart: str = ""
    release: str = ""

    @classmethod
    def of_finds(cls, attack: str, finds: int, *, found: str, cells: Iterable[str]) -> Outcome:
        """Of an attack that passes where it finds nothing. ``cells`` is read as far as they are named."""
        named = tuple(islice(cells, NAMED))
        return cls(attack=attack, success=finds, chance=0, limit=0, passed=not finds, found=found, cells=named)

    def of(self, mart: str, release: str, partition: str) -> Outcome:
        return replace(self, mart=mart, release=release, found=f"{partition}: {self.found}")

    @property
    def public(self) -> dict[str, Any]:
        """What may be told to anyone: no cell."""
        names = ("attack", "mart", "release", "success", "chance", "limit", "passed")
        return {name: getattr(self, name) for name in names}


def worse(one: Outcome, other: Outcome) -> Outcome:
    """Of the same attack on two partitions one outcome: the one that got further past its limit, with all cells."""
    worst = max((one, other), key=lambda outcome: (not outcome.passed, abs(outcome.success - outcome.chance)))
    return replace(worst, cells=(one.cells + other.cells)[:NAMED], passed=one.passed and other.passed)
