"""Adding up what batches found of one check, and saying it in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from lakehouse.gates.batches import Batch
from lakehouse.gates.judge import Outcome
from lakehouse.gates.reductions import KEYS, ONE_VALUE, ROW_COUNTS, Reduction
from lakehouse.gates.report import GateResult, counted
from lakehouse.gates.suite import Check
from lakehouse.gates.vocabulary import EXPECTATIONS, listed

SHOWN_EXAMPLES = 20
SHOWN_PARTITIONS = 50
NAMED_PARTITIONS = 3
SHOWN_MESSAGE = 200


@dataclass(kw_only=True)
class Tally:
    """What is known so far of one check. `missing_in` names columns that the data lacks, with the partitions
    that lack them; such a check is not evaluated. With `private`, no value of the data is taken in at all."""

    check: Check
    private: bool
    missing_in: Mapping[str, Sequence[str]] = field(default_factory=dict)
    elements: int = 0
    unexpected: int = 0
    empty: int = 0
    partitions: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)
    observed: str | None = None
    failed: bool = False
    fault: str | None = None

    def add_rows(self, *, outcome: Outcome, batch: Batch, keys: Sequence[str]) -> None:
        """One batch's outcome of a row-wise check; `keys` are the columns that name a row."""
        self.elements += outcome.element_count
        self.unexpected += outcome.unexpected_count
        self.empty += outcome.missing_count
        self.partitions.update(batch.partitions_of(outcome.rows))
        if outcome.fault is not None:
            self.add_fault(outcome.fault)
        if not self.private:
            positions = _spread(outcome.rows, SHOWN_EXAMPLES - len(self.examples))
            shown = [*keys, *(column for column in self.check.columns if column not in keys)]
            rows = _rows_in_words(batch.frame.loc[list(positions), shown])
            self.examples += [
                {"partition": batch.partition_at(position), **row}
                for position, row in zip(positions, rows, strict=True)
            ]

    def add_table(self, *, outcome: Outcome, reduction: Reduction, rows: int) -> None:
        """The outcome of a check of the whole table of `rows` rows, judged on its reduction."""
        if outcome.fault is not None:
            self.add_fault(outcome.fault)
            return
        self.failed = not outcome.success
        self.elements = rows
        self.observed = self._table_in_words(outcome, reduction)
        if self.check.type in KEYS:
            self.unexpected = reduction.repeated_rows
            self.partitions.update(reduction.repeated)
            if not self.private:
                self.examples = _rows_in_words(reduction.frame.drop_duplicates().head(SHOWN_EXAMPLES))

    def add_schema(self, *, outcome: Outcome, columns: Sequence[str], partitions: Mapping[str, int]) -> None:
        """The outcome for the files that have these `columns`; `partitions` gives the rows of each."""
        if outcome.fault is not None:
            self.add_fault(outcome.fault)
        elif not outcome.success:
            self.failed = True
            self.partitions.update(partitions)
            self.observed = f"the columns {listed(columns)}"

    def add_fault(self, message: str) -> None:
        """The check could not be evaluated. The message may quote the data, so a private mart's is
        dropped."""
        shown = "" if self.private else f" ({message.strip().splitlines()[0][:SHOWN_MESSAGE]})"
        self.fault = f"the check could not be evaluated; compare its arguments with the column's type{shown}"

    def result(self, *, name: str) -> GateResult:
        """The check's result over everything that was added."""
        check = self.check
        columns = check.columns
        worst = dict(self.partitions.most_common(SHOWN_PARTITIONS))
        result = GateResult(
            name=name,
            expectation=check.type,
            severity=check.severity,
            success=self._holds(),
            expected=check.expected,
            reason="",
            column=columns[0] if len(columns) == 1 else None,
            arguments=dict(check.arguments),
            notes=check.notes,
            partition=next(iter(worst)) if len(worst) == 1 else None,
            partitions=worst,
            partition_count=len(self.partitions),
            examples=self.examples,
        )
        if self.missing_in or self.fault:
            # A check that was not evaluated has proven nothing, so it blocks whatever its severity.
            found = self.fault or self._missing_in_words()
            return replace(result, severity="blocking", success=False, observed=found, reason=_reason(check, found))
        by_rows = EXPECTATIONS[check.type].judged == "rows" or check.type in KEYS
        found = self._rows_in_words() if by_rows else (self.observed or "it is so")
        return replace(
            result,
            observed=found,
            reason=_reason(check, found),
            unexpected_count=self.unexpected if by_rows else None,
            element_count=self.elements if by_rows else None,
        )

    def _holds(self) -> bool:
        if self.missing_in or self.fault or self.failed:
            return False
        if self.unexpected == 0 or EXPECTATIONS[self.check.type].judged != "rows":
            return True
        considered = self.elements - self.empty
        mostly = float(self.check.arguments.get("mostly", 1))
        return considered > 0 and (considered - self.unexpected) / considered >= mostly

    def _rows_in_words(self) -> str:
        if self.elements == 0:
            return "no row to which it applies"
        if self.unexpected == 0:
            return f"it holds in {counted(self.elements, 'row')}"
        otherwise = "share their key with another" if self.check.type in KEYS else "fail"
        allowed = ", which is within what is allowed" if self._holds() else ""
        share = share_in_words(self.unexpected, self.elements)
        found = f"{self.unexpected:,} of {self.elements:,} rows ({share}) {otherwise}{allowed}"
        return f"{found}, in {partitions_in_words(self.partitions)}" if self.partitions else found

    def _missing_in_words(self) -> str:
        return "; ".join(
            f"the data has no column {column}, in {counted(len(partitions), 'partition')}"
            f" ({', '.join([*partitions[:NAMED_PARTITIONS], *['…'][: len(partitions) - NAMED_PARTITIONS]])})"
            for column, partitions in self.missing_in.items()
        )

    def _table_in_words(self, outcome: Outcome, reduction: Reduction) -> str | None:
        kind = self.check.type
        if kind in ROW_COUNTS:
            return counted(int(outcome.observed), "row")
        if kind in KEYS:
            return None
        if kind in ONE_VALUE:
            if self.private:
                return "a value within that" if outcome.success else "a value outside that"
            return f"it is {value_in_words(outcome.observed)}"
        found = counted(len(reduction.frame), "different value")
        return found if self.private or outcome.success else found + self._difference(reduction.frame)

    def _difference(self, frame: pd.DataFrame) -> str:
        """Which values are there and should not be, and the reverse, for a check of a set of values."""
        if "value_set" not in self.check.arguments:
            return ""
        found = [value_in_words(value) for value in frame.iloc[:, 0]]
        wanted = [value_in_words(value) for value in self.check.arguments["value_set"]]
        beyond = [value for value in found if value not in wanted] if "contain" not in self.check.type else []
        lacking = [value for value in wanted if value not in found] if "in_set" not in self.check.type else []
        parts = [f"; not expected: {listed(beyond)}"] if beyond else []
        parts += [f"; not found: {listed(lacking)}"] if lacking else []
        return "".join(parts)


def _reason(check: Check, found: str) -> str:
    return f"Expected: {check.expected}. Found: {found}."


def _spread(positions: Sequence[int], most: int) -> Sequence[int]:
    """At most so many of the positions, from all over and not from the beginning alone."""
    step = max(1, -(-len(positions) // most)) if most else 1
    return positions[::step][:most]


def _rows_in_words(frame: pd.DataFrame) -> list[dict[str, str]]:
    return [{str(column): value_in_words(value) for column, value in row.items()} for row in frame.to_dict("records")]


def value_in_words(value: Any) -> str:
    """A value as a person reads it: moments in ISO 8601, an empty one as such."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "(empty)"
    if isinstance(value, pd.Timestamp):
        return str(value.isoformat())
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def share_in_words(part: int, whole: int) -> str:
    """A share in per cent that never rounds something to nothing or to all."""
    percent = 100 * part / whole
    if 0 < percent < 0.01:
        return "less than 0.01 %"
    if 99.99 < percent < 100:
        return "more than 99.99 %"
    return f"{percent:.2f}".rstrip("0").rstrip(".") + " %"


def partitions_in_words(partitions: Counter[str]) -> str:
    """The worst partitions by name with their rows, and how many there are."""
    named = "; ".join(f"{partition}: {rows:,}" for partition, rows in partitions.most_common(NAMED_PARTITIONS))
    if len(partitions) == 1:
        return f"partition {next(iter(partitions))}"
    return f"{len(partitions):,} partitions ({named}{'; …' if len(partitions) > NAMED_PARTITIONS else ''})"
