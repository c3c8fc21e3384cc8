"""Expectations of the house that Great Expectations does not bring; importing this module registers them.

Importing it imports Great Expectations, which takes seconds: do so only where a suite is read or run.
"""

# Great Expectations' base classes and decorators come without types.
# mypy: disable-error-code="misc,untyped-decorator"

from typing import Any

import pandas as pd
from great_expectations.compatibility import pydantic
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)

MINUTES_OF_A_DAY = 24 * 60


class CellHoldsAtLeastKUnits(ColumnMapMetricProvider):
    """Row-wise: the cell's count of units is known and not below k."""

    condition_metric_name = "column_values.at_least_k_units"
    condition_value_keys = ("k",)
    # A cell that does not say how many units it holds has proven nothing: an empty count must fail, not be
    # skipped.
    filter_column_isnull = False

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: "pd.Series[Any]", k: int, **_: object) -> "pd.Series[bool]":
        return column.fillna(0) >= k


class ExpectCellsToHoldAtLeastKUnits(ColumnMapExpectation):
    """Each row (a published cell) counts at least `k` units (households, meters) in `column`; empty counts
    fail.

    A threshold of privacy holds for every cell, so `mostly` is refused.
    """

    column: str
    k: int = pydantic.Field(ge=2)

    map_metric = "column_values.at_least_k_units"
    success_keys = ("k", "mostly")
    args_keys = ("column", "k")

    @pydantic.validator("mostly")
    def _holds_for_every_cell(cls, mostly: object) -> object:
        if mostly != 1:
            raise ValueError("a threshold of privacy holds for every cell: leave mostly out")
        return mostly

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine[Any] | None = None,
    ) -> Any:
        outcome = super()._validate(metrics, runtime_configuration, execution_engine)
        # The base class calls a column of nothing but nulls a success.
        failing = metrics[f"{self.map_metric}.unexpected_count"]
        return outcome if failing == 0 else {**outcome, "success": False}


class TimestampOnGrid(ColumnMapMetricProvider):
    """Row-wise: the timestamp is a whole number of steps of `minutes` after midnight UTC."""

    condition_metric_name = "column_values.on_time_grid"
    condition_value_keys = ("minutes",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: "pd.Series[Any]", minutes: int, **_: object) -> "pd.Series[bool]":
        on_grid: pd.Series[bool] = column == column.dt.floor(f"{minutes}min")
        return on_grid


class ExpectTimestampsOnGrid(ColumnMapExpectation):
    """Each timestamp of `column` is on a step of `minutes` after midnight UTC; by default the full hour."""

    column: str
    minutes: int = pydantic.Field(default=60, ge=1, le=MINUTES_OF_A_DAY)

    map_metric = "column_values.on_time_grid"
    success_keys = ("minutes", "mostly")
    args_keys = ("column", "minutes")

    @pydantic.validator("minutes")
    def _divides_a_day(cls, minutes: int) -> int:
        if MINUTES_OF_A_DAY % minutes:
            raise ValueError(f"{minutes} minutes do not divide a day: use a divisor of {MINUTES_OF_A_DAY}")
        return minutes
