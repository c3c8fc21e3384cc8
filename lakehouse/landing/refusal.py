"""Why a delivery is refused whole."""

from __future__ import annotations


class DeliveryRefused(Exception):
    """A file that cannot be read at all. ``rule`` names the kind; ``problem`` and ``advice`` are for people."""

    def __init__(self, rule: str, problem: str, advice: str, *, line: int | None = None) -> None:
        self.rule = rule
        self.problem = problem
        self.advice = advice
        self.line = line
        super().__init__(f"{problem} {advice}")
