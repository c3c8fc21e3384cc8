"""Suites of expectations as hand-written JSON: reading, and every fault of a file at once."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lakehouse.gates.loading import implementation_of
from lakehouse.gates.report import Severity
from lakehouse.gates.vocabulary import EXPECTATIONS, condition_columns, in_words, named_columns

SEVERITIES: dict[str, Severity] = {"critical": "blocking", "warning": "warning"}


class SuiteError(ValueError):
    """A suite file that cannot be used. `faults` holds every fault, each naming the file and what to do."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Notes(_Strict):
    notes: str = Field(min_length=1)


class _Expectation(_Strict):
    type: str
    kwargs: dict[str, Any]
    severity: Literal["critical", "warning"] = "critical"
    meta: _Notes


class _Suite(_Strict):
    name: str = Field(min_length=1)
    expectations: list[_Expectation] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One expectation of a suite, ready to be run."""

    suite: str
    type: str
    arguments: Mapping[str, Any]
    severity: Severity
    notes: str

    @property
    def columns(self) -> list[str]:
        """The columns it names."""
        return named_columns(self.arguments)

    @property
    def expected(self) -> str:
        """What it asks for, in words."""
        return in_words(expectation=self.type, arguments=self.arguments)

    @property
    def name(self) -> str:
        """A short name that stays from release to release."""
        return f"{self.type.removeprefix('expect_')}({', '.join(self.columns)})"


def validate_suite(*, path: Path, columns: Sequence[str], shared: bool = False) -> list[str]:
    """Every fault of a suite file against the mart's `columns`; an empty list when all is well. Works
    offline.

    A `shared` suite speaks of columns by pattern and applies to those that a mart has, so none is missing
    there.
    """
    try:
        read_suite(path=path, columns=columns, shared=shared)
    except SuiteError as error:
        return error.faults
    return []


def read_suite(*, path: Path, columns: Sequence[str] | None, shared: bool) -> list[Check]:
    """The checks of one suite.

    `columns` are the mart's; with `shared`, `column` may be a pattern (`*_share`) that stands for each column
    it matches, and a check whose columns the mart lacks does not apply. Without `shared`, a column outside
    `columns` is a fault; `columns=None` leaves that question to the data.

    Raises SuiteError with every fault: broken JSON (with its line), unknown keys, an unknown expectation or
    one that cannot be judged in batches, arguments that Great Expectations refuses, a check that can never
    fail.
    """
    suite = _parsed(path)
    faults, checks = [], []
    for number, entry in enumerate(suite.expectations, start=1):
        check = Check(
            suite=suite.name,
            type=entry.type,
            arguments=entry.kwargs,
            severity=SEVERITIES[entry.severity],
            notes=entry.meta.notes,
        )
        found = _faults_of(check, columns=None if shared else columns)
        faults += [f"{path}: expectation {number} ({entry.type}): {fault}" for fault in found]
        checks += [] if found else _applied(check, columns=columns or []) if shared else [check]
    if faults:
        raise SuiteError(faults)
    return checks


def _parsed(path: Path) -> _Suite:
    try:
        return _Suite.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise SuiteError([f"{path}: there is no such suite; write one expectations/<mart>.json a mart"]) from None
    except json.JSONDecodeError as error:
        fault = f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}; mend the line"
        raise SuiteError([fault]) from None
    except UnicodeDecodeError as error:
        raise SuiteError([f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8"]) from None
    except ValidationError as error:
        raise SuiteError([f"{path}: {_place(item['loc'])}: {item['msg']}" for item in error.errors()]) from None


def _place(location: Sequence[int | str]) -> str:
    """`expectations, 2, kwargs` as `expectation 2, kwargs`, counting from one as people do."""
    if len(location) > 1 and location[0] == "expectations" and isinstance(location[1], int):
        return ", ".join([f"expectation {location[1] + 1}", *map(str, location[2:])])
    return ", ".join(map(str, location)) or "the file"


def _faults_of(check: Check, *, columns: Sequence[str] | None) -> list[str]:
    if check.type not in EXPECTATIONS:
        near = difflib.get_close_matches(check.type, EXPECTATIONS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(sorted(EXPECTATIONS))}"
        return [f"not an expectation that a suite may use; {hint}"]
    faults = _argument_faults(check)
    if faults or columns is None:
        return faults
    return [_unknown_column(name, columns) for name in check.columns if name not in columns]


def _unknown_column(name: str, columns: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, columns, n=1)
    return f"the mart has no column {name!r}; " + (f"did you mean {near[0]!r}?" if near else "see its contract")


def _argument_faults(check: Check) -> list[str]:
    arguments = check.arguments
    judged = EXPECTATIONS[check.type].judged
    if judged != "rows":
        only_rows = [key for key in ("row_condition", "mostly", "ignore_row_if") if key in arguments]
        if only_rows:
            return [f"{', '.join(only_rows)} cannot be used here: the check is about the whole {judged}"]
    condition = arguments.get("row_condition")
    if condition is not None and not condition_columns(condition):
        return ["row_condition must be Great Expectations' object form, with type, column, operator and parameter"]
    faults = _refusals(check)
    if not faults and not arguments.get("value_set", True):
        faults.append("value_set is empty: the check could never fail")
    bounds = [arguments.get("min_value"), arguments.get("max_value")]
    if not faults and check.type.endswith("_to_be_between") and bounds == [None, None]:
        faults.append("neither min_value nor max_value is given: the check could never fail")
    return faults


def _refusals(check: Check) -> list[str]:
    """What Great Expectations itself says against the arguments."""
    implementation = implementation_of(check.type)
    from great_expectations.compatibility.pydantic import ValidationError as ArgumentError

    try:
        implementation(**check.arguments)
    except ArgumentError as error:
        # Faults of several arguments together come under the name __root__.
        return [
            f"{', '.join(map(str, item['loc']))}: {item['msg']}".removeprefix("__root__: ") for item in error.errors()
        ]
    except (TypeError, ValueError) as error:
        return [str(error)]
    return []


def _applied(check: Check, *, columns: Sequence[str]) -> list[Check]:
    """A shared check once for each column that its pattern matches; nothing where the mart lacks its
    columns."""
    pattern = check.arguments.get("column")
    if isinstance(pattern, str):
        matched = [column for column in columns if fnmatchcase(column, pattern)]
        return [replace(check, arguments={**check.arguments, "column": column}) for column in matched]
    return [check] if set(check.columns) <= set(columns) else []
