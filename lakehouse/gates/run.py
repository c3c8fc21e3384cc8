"""Running suites of expectations on a candidate's Parquet."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from lakehouse.gates.batches import CandidateFile, Footer, read_batches, read_footers, to_frame
from lakehouse.gates.judge import Judge
from lakehouse.gates.reductions import KEYS, open_table, reduce_table
from lakehouse.gates.report import GateReport, GateResult
from lakehouse.gates.suite import Check, read_suite
from lakehouse.gates.tally import Tally
from lakehouse.gates.vocabulary import EXPECTATIONS

EMPTY = GateResult(
    name="candidate_holds_rows",
    expectation="candidate_holds_rows",
    severity="blocking",
    success=False,
    expected="the candidate holds rows",
    reason="The candidate holds no rows, so nothing else was checked. See what the build read and refused.",
    observed="0 rows",
    unexpected_count=0,
    element_count=0,
)


def run_suite(
    *,
    mart: str,
    candidate: str,
    suite_path: Path,
    shared_suites: Sequence[Path],
    files: Sequence[CandidateFile],
    private: bool,
    batch_rows: int = 1_000_000,
) -> GateReport:
    """Judge a candidate by its suite and the shared ones, with Great Expectations.

    Row-wise checks run in batches of at most `batch_rows` rows and their counts are added, so the verdict is
    the same for any batch size. What is about the whole table (number of rows, keys that must be unique,
    sums, distinct values) is never judged a batch: the number of rows comes from the footers, the rest from a
    reduction that DuckDB makes over all files (see `reductions`). Memory is bounded by one batch.

    With `private`, neither the results nor the reasons hold a value of the data; otherwise up to twenty
    failing rows are shown a check, with their partition and key.

    A column that is missing in the data, a check that cannot be evaluated and a candidate without rows are
    failures of the candidate, which block. Raises SuiteError for a fault of a suite, OSError for a file that
    is not there, pyarrow.ArrowInvalid for one that is not Parquet.
    """
    began = time.monotonic()
    footers = [footer for footer in read_footers(files=files) if footer.rows]
    columns = list(dict.fromkeys(name for footer in footers for name in footer.schema.names))
    checks = read_checks(suite_path=suite_path, shared_suites=shared_suites, columns=columns)
    results = _results(checks, footers=footers, private=private, batch_rows=batch_rows) if footers else [EMPTY]
    return GateReport(
        mart=mart,
        candidate=candidate,
        results=results,
        seconds=round(time.monotonic() - began, 3),
        rows_checked=sum(footer.rows for footer in footers),
        partitions_checked=len({footer.file.partition for footer in footers}),
        private=private,
        checked_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def read_checks(*, suite_path: Path, shared_suites: Sequence[Path], columns: Sequence[str]) -> list[Check]:
    """The checks of a mart's suite, and those of the shared ones that apply to its columns. Raises SuiteError."""
    checks = read_suite(path=suite_path, columns=None, shared=False)
    for shared in shared_suites:
        checks += read_suite(path=shared, columns=columns, shared=True)
    return checks


def passing(*, checks: Sequence[Check], file: CandidateFile) -> list[Check]:
    """Those of the checks that hold of one file, which has rows."""
    results = _results(checks, footers=read_footers(files=[file]), private=True, batch_rows=file.rows)
    return [check for check, result in zip(checks, results, strict=True) if result.success]


def _results(checks: Sequence[Check], *, footers: Sequence[Footer], private: bool, batch_rows: int) -> list[GateResult]:
    tallies = [Tally(check=check, private=private, missing_in=_missing(check, footers)) for check in checks]
    by_kind: dict[str, list[Tally]] = {"rows": [], "table": [], "schema": []}
    for tally in tallies:
        if not tally.missing_in:
            by_kind[EXPECTATIONS[tally.check.type].judged].append(tally)
    judge = Judge()
    if rows := by_kind["rows"]:
        _judge_rows(judge, rows, footers=footers, keys=_key_columns(tallies), batch_rows=batch_rows)
    if table := by_kind["table"]:
        _judge_table(judge, table, footers=footers)
    if schema := by_kind["schema"]:
        _judge_schema(judge, schema, footers=footers)
    names = _distinct_names([check.name for check in checks])
    return [tally.result(name=name) for tally, name in zip(tallies, names, strict=True)]


def _missing(check: Check, footers: Sequence[Footer]) -> dict[str, list[str]]:
    """Columns of the check that are not in the data, each with the partitions that lack it. A check about the
    schema finds that out itself."""
    if EXPECTATIONS[check.type].judged == "schema":
        return {}
    lacking = {
        column: list(dict.fromkeys(f.file.partition for f in footers if column not in f.schema.names))
        for column in check.columns
    }
    return {column: partitions for column, partitions in lacking.items() if partitions}


def _key_columns(tallies: Sequence[Tally]) -> list[str]:
    """The columns that name a row: those of the first check that asks a key not to repeat."""
    keys = (tally.check.columns for tally in tallies if tally.check.type in KEYS and not tally.missing_in)
    return next(keys, [])


def _distinct_names(names: Sequence[str]) -> list[str]:
    """The names, numbered where one stands twice (bounds on one column in two severities, say)."""
    in_all, seen = Counter(names), Counter[str]()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(f"{name} #{seen[name]}" if in_all[name] > 1 else name)
    return distinct


def _judge_rows(
    judge: Judge, tallies: Sequence[Tally], *, footers: Sequence[Footer], keys: Sequence[str], batch_rows: int
) -> None:
    checks = [tally.check for tally in tallies]
    columns = list(dict.fromkeys([*keys, *(column for check in checks for column in check.columns)]))
    for batch in read_batches(footers=footers, columns=columns, batch_rows=batch_rows):
        outcomes = judge.evaluate(frame=batch.frame, schema=batch.schema, checks=checks)
        for tally, outcome in zip(tallies, outcomes, strict=True):
            tally.add_rows(outcome=outcome, batch=batch, keys=keys)


def _judge_table(judge: Judge, tallies: Sequence[Tally], *, footers: Sequence[Footer]) -> None:
    rows = sum(footer.rows for footer in footers)
    with open_table(footers=footers) as connection:
        for tally in tallies:
            try:
                reduction = reduce_table(connection=connection, check=tally.check, footers=footers)
            except duckdb.Error as error:
                tally.add_fault(str(error))
                continue
            [outcome] = judge.evaluate(frame=reduction.frame, schema=reduction.schema, checks=[tally.check])
            tally.add_table(outcome=outcome, reduction=reduction, rows=rows)


def _judge_schema(judge: Judge, tallies: Sequence[Tally], *, footers: Sequence[Footer]) -> None:
    alike: dict[tuple[str, ...], list[Footer]] = {}
    for footer in footers:
        alike.setdefault(tuple(footer.schema.names), []).append(footer)
    for columns, members in alike.items():
        schema = members[0].schema
        checks = [tally.check for tally in tallies]
        outcomes = judge.evaluate(frame=to_frame(schema.empty_table()), schema=schema, checks=checks)
        partitions = Counter({footer.file.partition: footer.rows for footer in members})
        for tally, outcome in zip(tallies, outcomes, strict=True):
            tally.add_schema(outcome=outcome, columns=columns, partitions=partitions)
