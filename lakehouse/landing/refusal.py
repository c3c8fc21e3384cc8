"""Why a delivery is refused whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DeliveryRefused(Exception):
    """A file that cannot be read at all. ``rule`` names the kind; ``problem`` and ``advice`` are for people.

    ``found``: the columns that the file has, where the contract's are not among them. ``change``: how file and
    contract differ, with a drafted change of the contract, as the receipt shows it. ``member``: the file of an archive
    that it is about, once that is known.
    """

    def __init__(
        self,
        rule: str,
        problem: str,
        advice: str,
        *,
        line: int | None = None,
        found: Sequence[str] = (),
        change: dict[str, Any] | None = None,
    ) -> None:
        self.rule = rule
        self.problem = problem
        self.advice = advice
        self.line = line
        self.found = tuple(found)
        self.change = change
        self.member: str | None = None
        super().__init__(f"{problem} {advice}")

    @property
    def words(self) -> str:
        """The problem, with the file of an archive that has it."""
        named = self.member is None or self.problem.startswith(self.member)
        return self.problem if named else f"{self.member}: {self.problem}"
