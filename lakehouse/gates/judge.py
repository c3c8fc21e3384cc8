"""Great Expectations behind one door: some checks on one pandas frame, no context on disk, no telemetry, no
values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from lakehouse.gates.loading import implementation_of, load_great_expectations
from lakehouse.gates.suite import Check

# COMPLETE is asked for its row numbers alone: with exclude_unexpected_values no failing value enters a
# result, so a private mart and an open one are judged by the same run. Examples for open marts are looked up
# by row number.
RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "partial_unexpected_count": 0,
    "exclude_unexpected_values": True,
    "return_unexpected_index_query": False,
}

BOUNDS_ARE_NUMBERS = {
    "expect_column_value_lengths_to_be_between",
    "expect_column_unique_value_count_to_be_between",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What Great Expectations said of one check on one frame.

    `rows` are the positions of failing rows; `observed` is what a check of the whole table measured; `fault`
    is the message when the check could not be evaluated at all. `observed` and `fault` may hold values of the
    data.
    """

    success: bool
    element_count: int = 0
    unexpected_count: int = 0
    missing_count: int = 0
    rows: Sequence[int] = ()
    observed: Any = None
    fault: str | None = None


class Judge:
    """One ephemeral Great Expectations context, to be asked any number of times. Making one takes seconds the
    first time in a process, for the import."""

    def __init__(self) -> None:
        load_great_expectations()
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("candidate").add_dataframe_asset("table")
        self._whole = asset.add_batch_definition_whole_dataframe("batch")

    def evaluate(self, *, frame: pd.DataFrame, schema: pa.Schema, checks: Sequence[Check]) -> list[Outcome]:
        """One outcome a check, in the order of `checks`. `schema` gives the Arrow types behind `frame`, by
        which moments in the arguments are read. A check that cannot be evaluated is an outcome with a
        fault."""
        from great_expectations.core.expectation_suite import ExpectationSuite

        outcomes: dict[int, Outcome] = {}
        expectations = []
        for number, check in enumerate(checks):
            try:
                arguments = _fitted(check, schema)
            except ValueError as error:
                outcomes[number] = Outcome(success=False, fault=str(error))
            else:
                # Results come back in another order: the number in meta brings each home.
                expectations.append(implementation_of(check.type)(**arguments, meta={"check": number}))
        suite = ExpectationSuite(name="checks", expectations=expectations)
        batch = self._whole.get_batch({"dataframe": frame})
        results: Sequence[Any] = batch.validate(suite, result_format=RESULT_FORMAT).results
        outcomes |= {result.expectation_config.meta["check"]: _outcome(result) for result in results}
        return [outcomes[number] for number in range(len(checks))]


def _outcome(result: Any) -> Outcome:
    faults = _faults(result.exception_info)
    found = result.result
    return Outcome(
        success=bool(result.success) and not faults,
        element_count=found.get("element_count") or 0,
        unexpected_count=found.get("unexpected_count") or 0,
        missing_count=found.get("missing_count") or 0,
        rows=found.get("unexpected_index_list") or (),
        observed=found.get("observed_value"),
        fault=faults[0] if faults else None,
    )


def _faults(information: Mapping[str, Any]) -> list[str]:
    """The messages of exceptions, whose record is either one of them or one a metric."""
    records = [information] if "raised_exception" in information else list(information.values())
    return [str(record["exception_message"]) for record in records if record.get("raised_exception")]


def _fitted(check: Check, schema: pa.Schema) -> dict[str, Any]:
    """The arguments with moments in the form that compares with the column: aware for a column with a zone (a
    moment without one is UTC), naive for dates and timestamps without. Other columns are left as they are.
    Raises ValueError for a bound of a moment that is not one."""
    arguments = dict(check.arguments)
    column = arguments.get("column")
    if column not in schema.names or check.type in BOUNDS_ARE_NUMBERS:
        return arguments
    kind = schema.field(column).type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return arguments
    zone = pa.types.is_timestamp(kind) and kind.tz is not None
    bounds = {
        key: _moment(arguments[key], zone).isoformat()
        for key in ("min_value", "max_value")
        if arguments.get(key) is not None
    }
    if "value_set" in arguments:
        arguments["value_set"] = [_moment(value, zone) for value in arguments["value_set"]]
    return {**arguments, **bounds}


def _moment(value: Any, zone: bool) -> pd.Timestamp:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a moment; write it in ISO 8601")
    moment = pd.Timestamp(value)
    if moment.tzinfo is None:
        return moment.tz_localize("UTC") if zone else moment
    moment = moment.tz_convert("UTC")
    return moment if zone else moment.tz_localize(None)
