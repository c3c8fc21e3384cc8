"""Source expectations: what a contract expects of a delivery, in Great Expectations' vocabulary.

They are derived from the contract and evaluated by the same pass that types the rows (set at a time), so
they say of each rule how many delivered rows were against it. ``row``: those rows are refused; ``error``:
the delivery is refused; ``warning``: it is taken and the receipt says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from lakehouse.contracts.odcs import Contract, Quality
from lakehouse.storage.sql import identifier

EXPECTATION_OF_RULE = {
    "missing_value": "expect_column_values_to_not_be_null",
    "below_minimum": "expect_column_values_to_be_between",
    "above_maximum": "expect_column_values_to_be_between",
    "wrong_form": "expect_column_values_to_match_regex",
    "too_long": "expect_column_value_lengths_to_be_between",
    "too_short": "expect_column_value_lengths_to_be_between",
    "not_in_list": "expect_column_values_to_be_in_set",
    "malformed_row": "expect_table_columns_to_match_ordered_list",
}


def delivery_checks(connection: duckdb.DuckDBPyConnection, contract: Contract, delivered: int) -> list[dict[str, Any]]:
    """Each expectation with ``unexpected_count`` and whether it held; ``typed`` and ``faults`` are read."""
    against: dict[tuple[str, str | None], int] = {}
    warned: set[tuple[str, str | None]] = set()
    for rule, column, warning, rows in connection.execute(
        "SELECT rule, column_name, warning, count(*) FROM faults GROUP BY ALL"
    ).fetchall():
        if warning and rule == "time_ambiguous":
            continue  # it was read as a time
        expectation = EXPECTATION_OF_RULE.get(rule)
        if expectation is None:
            expectation = "expect_column_values_to_be_of_type" if column else f"expect_rows_to_hold: {rule}"
        against[expectation, column] = against.get((expectation, column), 0) + rows
        if warning:
            warned.add((expectation, column))
    checks = [
        _check(
            expectation,
            column,
            "warning" if (expectation, column) in warned else "row",
            against.pop((expectation, column), 0),
        )
        for expectation, column in _derived(contract)
    ]
    checks += [
        _check(expectation, column, "warning" if (expectation, column) in warned else "row", rows)
        for (expectation, column), rows in sorted(against.items(), key=str)
    ]
    limited = [column.name for column in contract.columns if any(q.metric == "nullValues" for q in column.quality)]
    nulls = {
        name: (connection.execute(f"SELECT count(*) FROM typed WHERE {identifier(name)} IS NULL").fetchone() or (0,))[0]
        for name in limited
    }
    return [*checks, *_of_all_rows(contract, delivered, nulls)]


def checks_held(contract: Contract, delivered: int, nulls: Mapping[str, int]) -> list[dict[str, Any]]:
    """The same of a delivery without a fault, of which ``nulls`` tells by column how many rows lack a value."""
    held = [_check(expectation, column, "row", 0) for expectation, column in _derived(contract)]
    return [*held, *_of_all_rows(contract, delivered, nulls)]


def _of_all_rows(contract: Contract, delivered: int, nulls: Mapping[str, int]) -> list[dict[str, Any]]:
    counted = [
        _row_count(quality, delivered) for quality in contract.schema_[0].quality if quality.metric == "rowCount"
    ]
    missing = [
        _null_share(nulls[column.name], quality, column.name, delivered)
        for column in contract.columns
        for quality in column.quality
        if quality.metric == "nullValues"
    ]
    return counted + missing


def _derived(contract: Contract) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for column in contract.columns:
        options = column.logicalTypeOptions
        if column.required:
            found.append(("expect_column_values_to_not_be_null", column.name))
        if column.logicalType != "string":
            found.append(("expect_column_values_to_be_of_type", column.name))
        bounds = (options.minimum, options.maximum, options.exclusiveMinimum, options.exclusiveMaximum)
        if any(bound is not None for bound in bounds):
            found.append(("expect_column_values_to_be_between", column.name))
        if options.pattern is not None:
            found.append(("expect_column_values_to_match_regex", column.name))
        if any(quality.metric == "invalidValues" for quality in column.quality):
            found.append(("expect_column_values_to_be_in_set", column.name))
    found += [
        (f"expect_rows_to_hold: {quality.name or 'row_rule'}", None)
        for quality in contract.schema_[0].quality
        if quality.type == "sql"
    ]
    return found


def _check(
    expectation: str, column: str | None, severity: str, unexpected: int, found: str | None = None
) -> dict[str, Any]:
    return {
        "expectation": expectation,
        "column": column,
        "severity": severity,
        "unexpected_count": unexpected,
        "success": unexpected == 0,
        "found": found or f"{unexpected:,} rows against it",
    }


def _row_count(quality: Quality, delivered: int) -> dict[str, Any]:
    low, high, exactly = quality.mustBeGreaterOrEqualTo, quality.mustBeLessOrEqualTo, quality.mustBe
    wrong = (
        (low is not None and delivered < low)
        or (high is not None and delivered > high)
        or (exactly is not None and delivered != exactly)
    )
    if exactly is not None:
        bounds = str(exactly)
    else:
        bounds = f"at least {low}" if high is None else f"between {low or 0} and {high}"
    return _check(
        "expect_table_row_count_to_be_between",
        None,
        quality.severity,
        int(wrong),
        f"{delivered:,} rows delivered, expected {bounds}",
    )


def _null_share(nulls: int, quality: Quality, column: str, delivered: int) -> dict[str, Any]:
    share = nulls / delivered * 100 if quality.unit == "percent" and delivered else nulls
    limit = quality.mustBeLessOrEqualTo if quality.mustBeLessOrEqualTo is not None else quality.mustBe
    wrong = limit is not None and share > limit
    shown = f"{share:.1f} %" if quality.unit == "percent" else f"{nulls:,}"
    check = _check(
        "expect_column_values_to_not_be_null",
        column,
        quality.severity,
        nulls,
        f"{shown} of {column} without a value, at most {limit} allowed",
    )
    return {**check, "success": not wrong}
