"""What a gate found: one result a check, and the report that decides whether a candidate may be released."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

Severity = Literal["blocking", "warning"]
Verdict = Literal["passed", "passed with warnings", "blocked"]

GREAT_EXPECTATIONS = "Great Expectations"
PHYSICAL = "Physical Parquet"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 file`, `1,200 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """The outcome of one check.

    `reason` is the sentence for a person: what was expected, what was found, in how many rows. `expected` is
    its first half alone. `observed` and `examples` never hold a value of a mart that comes from private data.
    `partitions` maps the partitions concerned to the number of rows that fail in each, the worst first and at
    most fifty; `partition_count` says how many there are in all; `partition` is set when there is exactly
    one.
    """

    name: str
    expectation: str
    severity: Severity
    success: bool
    reason: str
    column: str | None = None
    arguments: dict[str, object] = field(default_factory=dict)
    observed: str | None = None
    unexpected_count: int | None = None
    element_count: int | None = None
    partition: str | None = None
    expected: str = ""
    notes: str = ""
    gate: str = GREAT_EXPECTATIONS
    partitions: dict[str, int] = field(default_factory=dict)
    partition_count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of_check(
        cls, name: str, *, expected: str, success: bool, found: str, gate: str, severity: Severity = "blocking"
    ) -> GateResult:
        """Of a check that is no expectation of a suite. ``found`` ends its sentence itself."""
        reason = f"Expected: {expected}. Found: {found}"
        return cls(
            name=name, expectation=name, severity=severity, success=success, reason=reason, expected=expected, gate=gate
        )

    @property
    def blocks(self) -> bool:
        """Whether this result alone keeps the candidate from being released."""
        return self.severity == "blocking" and not self.success


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """All results of one candidate. `seconds` is wall time, `checked_at` an ISO 8601 moment in UTC."""

    mart: str
    candidate: str
    results: list[GateResult]
    seconds: float
    rows_checked: int
    partitions_checked: int
    private: bool
    checked_at: str

    @property
    def blocked(self) -> bool:
        """True when any blocking check failed: the candidate may not be released."""
        return any(result.blocks for result in self.results)

    @property
    def blocking(self) -> list[GateResult]:
        """The failed checks that block."""
        return [result for result in self.results if result.blocks]

    @property
    def warnings(self) -> list[GateResult]:
        """The failed checks that only warn."""
        return [result for result in self.results if not result.success and not result.blocks]

    @property
    def passed(self) -> list[GateResult]:
        """The checks that hold."""
        return [result for result in self.results if result.success]

    @property
    def verdict(self) -> Verdict:
        """One word for the whole: blocked, passed with warnings, or passed."""
        if self.blocked:
            return "blocked"
        return "passed with warnings" if self.warnings else "passed"

    @property
    def summary(self) -> dict[str, object]:
        """The short form that a manifest keeps: counts, verdict and the reasons of what failed; no times."""
        return {
            "verdict": self.verdict,
            "blocked": self.blocked,
            "checks": len(self.results),
            "passed": len(self.passed),
            "blocking_failed": len(self.blocking),
            "warnings": len(self.warnings),
            "rows_checked": self.rows_checked,
            "partitions_checked": self.partitions_checked,
            "failed": [
                {
                    "name": failed.name,
                    "gate": failed.gate,
                    "severity": failed.severity,
                    "reason": failed.reason,
                }
                for failed in [*self.blocking, *self.warnings]
            ],
        }

    def joined(self, results: Sequence[GateResult]) -> GateReport:
        """The same report with the results of other gates (physical, privacy, dbt) beside its own."""
        return replace(self, results=[*self.results, *results])

    def to_dict(self) -> dict[str, object]:
        """Everything, ready for JSON."""
        return {
            "mart": self.mart,
            "candidate": self.candidate,
            "checked_at": self.checked_at,
            "seconds": self.seconds,
            "private": self.private,
            **self.summary,
            "results": [asdict(result) for result in self.results],
        }
