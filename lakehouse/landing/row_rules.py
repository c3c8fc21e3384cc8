"""The ways in which a row can be against its contract, as SQL conditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import starmap

from lakehouse.contracts.derive import duckdb_type
from lakehouse.contracts.forms import FileForm
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.contracts.rules import row_condition
from lakehouse.landing.local_time import has_local_time
from lakehouse.landing.text import REPLACEMENT
from lakehouse.landing.values import is_fraction, mark_of, text_of
from lakehouse.storage.sql import identifier, literal

LIMITS = (
    ("minimum", "<", "below_minimum", "at least"),
    ("maximum", ">", "above_maximum", "at most"),
    ("exclusiveMinimum", "<=", "below_minimum", "more than"),
    ("exclusiveMaximum", ">=", "above_maximum", "less than"),
)
# Beyond them lie the year 24, and milliseconds taken for seconds.
END_OF_TIME = "'9999-12-31 23:59:59.999999'"
FOUR_DIGIT_YEARS = f"'1000-01-01' AND {END_OF_TIME}"
# A time of this year stands for none, and the day behind it has no name.
LAST_YEAR = f"'9999-01-01' AND {END_OF_TIME}"
# Words that DuckDB takes for dates.
NO_DATES = "'epoch', 'infinity', '-infinity'"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One way in which a row is wrong. ``condition`` is SQL over the rows of
    :func:`lakehouse.landing.values.typed_rows`; ``column`` is None for a rule over several."""

    rule: str
    column: str | None
    condition: str
    expected: str
    warning: bool = False


def rules(contract: Contract, form: FileForm, *, damaged: bool) -> list[Rule]:
    """Every rule by which a row of this contract can be refused, or accepted with a warning.

    ``damaged``: the file had bytes that were no text; rows that hold what stands for them are refused.
    """
    found = [rule for column in contract.columns for rule in _column_rules(column, form)]
    if contract.exchange.time is not None:
        found.append(
            Rule(
                rule="above_maximum",
                column=contract.exchange.time.column,
                condition=f"{identifier(contract.exchange.time.column)} BETWEEN {LAST_YEAR}",
                expected="a time before the year 9999, since it dates the row",
            )
        )
    if damaged:
        found += [
            Rule(
                rule="wrong_encoding",
                column=column.name,
                condition=f"contains({text_of(column)}, {literal(REPLACEMENT)})",
                expected=f"text in {getattr(form, 'encoding', 'utf-8')}",
            )
            for column in contract.columns
        ]
    for quality in contract.schema_[0].quality:
        if quality.type == "sql" and quality.query:
            found.append(
                Rule(
                    rule=quality.name or "row_rule",
                    column=None,
                    condition=f"({row_condition(quality.query)})",
                    expected=quality.description or quality.query,
                    warning=quality.severity == "warning",
                )
            )
    return found


def _column_rules(column: Column, form: FileForm) -> Iterator[Rule]:
    def rule(name: str, condition: str, expected: str, warning: bool = False) -> Rule:
        return Rule(rule=name, column=column.name, condition=condition, expected=expected, warning=warning)

    if column.required:
        yield rule("missing_value", f"{text_of(column)} IS NULL", "a value")
    if column.logicalType == "string":
        # No value of another type has one.
        yield rule("wrong_encoding", f"contains({text_of(column)}, chr(0))", "text without NUL bytes")
    yield from starmap(rule, _type_faults(column, form))
    yield from starmap(rule, _limit_faults(column))
    for quality in column.quality:
        if quality.metric == "invalidValues":
            allowed = [str(item) for item in quality.arguments["validValues"]]
            listed = ", ".join(literal(item) for item in allowed)
            shown = ", ".join(allowed[:12]) + (" …" if len(allowed) > 12 else "")
            condition = f"{identifier(column.name)}::VARCHAR NOT IN ({listed})"
            yield rule("not_in_list", condition, f"one of {shown}", quality.severity == "warning")


def _type_faults(column: Column, form: FileForm) -> Iterator[tuple[str, str, str]]:
    text, value = text_of(column), identifier(column.name)
    kind = "geometry" if column.parse.geometry else column.logicalType
    excused = ""
    if kind == "string":
        return
    if kind == "geometry":
        # Metres of a national grid, which no reader would tell from degrees.
        west, east, south, north = (f"ST_{side}({value})" for side in ("XMin", "XMax", "YMin", "YMax"))
        outside = f"{west} < -180 OR {east} > 180 OR {south} < -90 OR {north} > 90"
        yield f"not_a_{kind}", f"({outside})", "degrees of EPSG:4326, the longitude first"
        # An empty point would be one of no numbers to whom it is given.
        yield f"not_a_{kind}", f"ST_IsEmpty({value})", "a geometry that is not empty, or no value"
    if has_local_time(column):
        mark, zone = mark_of(column), column.parse.zone
        if column.parse.nonexistent == "refuse":
            yield "time_does_not_exist", f"{mark} = 'nonexistent'", f"a time that {zone} has"
        if column.parse.ambiguous == "refuse":
            expected = f"a time with an offset, since {zone} has this hour twice"
            yield "time_ambiguous", f"{mark} = 'ambiguous'", expected
        excused = f" AND {mark} IS NULL"
    if kind == "integer" and not column.parse.seconds_of_day:
        excused = f" AND NOT ({is_fraction(column, form)})"
        yield "not_a_whole_number", is_fraction(column, form), "a whole number"
    wrong = f"{value} IS NULL"
    if column.logicalType in ("date", "timestamp"):
        wrong = f"({wrong} OR {value} NOT BETWEEN {FOUR_DIGIT_YEARS} OR lower({text}) IN ({NO_DATES}))"
    elif duckdb_type(column) == "DOUBLE":
        wrong = f"({wrong} OR NOT isfinite({value}))"
    article = "an" if kind == "integer" else "a"
    yield f"not_{article}_{kind}", f"{text} IS NOT NULL AND {wrong}{excused}", _expected(column, form)


def _expected(column: Column, form: FileForm) -> str:
    if column.parse.geometry:
        return "a geometry as WKT or GeoJSON"
    match column.logicalType:
        case "date" | "timestamp" if column.parse.epoch:
            return f"a count of {column.parse.epoch} since 1970"
        case "date" | "timestamp" if column.parse.formats:
            return f"a {column.logicalType} as {' or '.join(column.parse.formats)}"
        case "timestamp" if column.parse.zone is None:
            return "a timestamp with an offset, as 2024-01-31T12:00:00Z"
        case "integer" if column.parse.seconds_of_day:
            return "a clock time, as 25:30:00"
        case "integer":
            return "a whole number"
        case "number":
            decimal, type_ = getattr(form, "decimal", "."), duckdb_type(column)
            sign = "comma" if decimal == "," else "point"
            return f"a number with a decimal {sign}" + (f" that fits {type_}" if type_ != "DOUBLE" else "")
        case "timestamp":
            return "a timestamp, as 2024-01-31 12:00:00"
        case "date":
            return "a date, as 2024-01-31"
        case "boolean":
            return "true or false, yes or no, 1 or 0"
        case _:
            return f"a {column.logicalType}"


def _limit_faults(column: Column) -> Iterator[tuple[str, str, str]]:
    text, value, options = text_of(column), identifier(column.name), column.logicalTypeOptions
    for name, sign, rule, words in LIMITS:
        bound = getattr(options, name)
        if bound is not None:
            shown = f"{literal(str(bound))}::{duckdb_type(column)}" if isinstance(bound, date) else bound
            yield rule, f"{value} {sign} {shown}", f"{words} {bound}"
    if options.pattern is not None:
        matched = f"regexp_full_match({text}, {literal(options.pattern)})"
        yield "wrong_form", f"NOT {matched}", f"the form {options.pattern}"
    if options.maxLength is not None:
        yield "too_long", f"length({text}) > {options.maxLength}", f"at most {options.maxLength} characters"
    if options.minLength is not None:
        yield "too_short", f"length({text}) < {options.minLength}", f"at least {options.minLength} characters"
