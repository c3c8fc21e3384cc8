"""Faults of a contract that no single field shows: each with its place in the file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date

from lakehouse.contracts.extract_stores import OTHER_DATABASES, OTHERS, SqlRead
from lakehouse.contracts.form_rules import Place, form_faults
from lakehouse.contracts.odcs import Column, Contract, Quality

# Airflow reckons from the first day of an extract, and backwards as well: the year 1 has none before it.
OLDEST_YEAR = 1800
RESERVED = ("event_date",)  # names the folders of partitions
DECIMAL = re.compile(r"DECIMAL\((\d{1,2}),\s*(\d{1,2})\)", re.IGNORECASE)
# DuckDB's expressions are RE2's: they run in linear time and so have none of these.
NOT_IN_RE2 = re.compile(r"\(\?(?:[=!>]|<[=!])|(?<!\\)(?:\\\\)*\\[1-9]|[*+?}]\+")
DIRECTIVES = frozenset("aAwdbBhmyYHIpMSfgnzZjUWcxX%GVu")
ROW_RULE = re.compile(r"\s*select\s+count\(\*\)\s+from\s+\$\{object\}\s+where\s+(.+?)\s*", re.IGNORECASE | re.DOTALL)


def row_condition(query: str) -> str:
    """What a wrong row fulfils, over the typed columns, out of a table rule in SQL.

    Raises ``ValueError`` where the query has another form.
    """
    found = ROW_RULE.fullmatch(query)
    if found is None:
        raise ValueError("a row rule reads: SELECT count(*) FROM ${object} WHERE <what a wrong row fulfils>")
    return found[1]


def contract_faults(contract: Contract) -> list[tuple[Place, str]]:
    """All (place, problem) pairs of a contract whose fields are each well formed."""
    return [
        *_key_faults(contract),
        *(fault for index, column in enumerate(contract.columns) for fault in _column_faults(index, column)),
        *_table_faults(contract),
        *_time_faults(contract),
        *form_faults(contract),
        *_reference_faults(contract),
    ]


def _property(index: int, *rest: str | int) -> Place:
    return ("schema", 0, "properties", index, *rest)


def _key_faults(contract: Contract) -> Iterator[tuple[Place, str]]:
    if contract.id != f"{contract.provider}.{contract.dataset}":
        yield ("id",), f"must be {contract.provider}.{contract.dataset!s}, the provider and the dataset"
    for name, times in Counter(column.name for column in contract.columns).items():
        if times > 1:
            index = max(i for i, column in enumerate(contract.columns) if column.name == name)
            yield _property(index, "name"), f"{name!r} names {times} columns"
    if not contract.primary_key:
        yield (
            ("schema", 0, "properties"),
            "no column has primaryKey: true; duplicates and corrections are told apart by the key",
        )
    for index, column in enumerate(contract.columns):
        if column.primaryKey and not column.required:
            yield _property(index, "required"), f"{column.name!r} is part of the key and so must be required: true"


def _column_faults(index: int, column: Column) -> Iterator[tuple[Place, str]]:
    if column.name in RESERVED or column.name.startswith("exchange_"):
        yield _property(index, "name"), f"{column.name!r} is a name that the lake uses itself"
    if column.logicalType == "number" and not _is_numeric(column.physicalType or ""):
        problem = f"of number {column.name!r} must be DOUBLE or DECIMAL(precision to 38, scale within it)"
        yield _property(index, "physicalType"), problem
    if column.logicalType in ("integer", "number") and column.unit is None and not column.primaryKey:
        yield (
            _property(index, "customProperties"),
            f"{column.name!r} is a number without a unit: add `property: unit` (`value: '1'` for a pure number)",
        )
    yield from _limit_faults(index, column)
    yield from _parse_faults(index, column)
    for name, times in Counter(entry.property for entry in column.customProperties).items():
        if times > 1:
            yield _property(index, "customProperties"), f"property {name!r} stands {times} times"
    for number, rule in enumerate(column.quality):
        values = rule.arguments.get("validValues")
        if rule.type == "library" and rule.metric == "invalidValues" and not (values and isinstance(values, list)):
            yield _property(index, "quality", number, "arguments"), "invalidValues needs `validValues: [...]`"
        if rule.type == "sql" or rule.metric == "rowCount":
            yield _property(index, "quality", number), "a rule over whole rows belongs under the table's quality"
        elif wrong := _bound_problem(rule):
            yield _property(index, "quality", number), wrong


def _bound_problem(rule: Quality) -> str | None:
    """A bound that nothing looks at would seem to be kept."""
    least, most = rule.mustBeGreaterOrEqualTo, rule.mustBeLessOrEqualTo
    if rule.type == "sql" or rule.metric == "invalidValues":
        if rule.mustBe or least or most:
            return "each row against it is refused, or warned of: state `mustBe: 0` or no bound at all"
    elif rule.metric is None:
        return "needs a metric"
    elif rule.metric == "nullValues" and (least is not None or (rule.mustBe is None and most is None)):
        return "nullValues needs `mustBe` or `mustBeLessOrEqualTo`, and no other bound"
    elif rule.metric == "rowCount" and (rule.mustBe is None and least is None and most is None):
        return "rowCount needs `mustBe`, `mustBeGreaterOrEqualTo` or `mustBeLessOrEqualTo`"
    elif rule.metric == "rowCount" and rule.unit == "percent":
        return "rowCount is of rows, not of a share of them"
    return None


def _is_numeric(physical: str) -> bool:
    if physical.upper() == "DOUBLE":
        return True
    decimal = DECIMAL.fullmatch(physical)
    return decimal is not None and 1 <= int(decimal[1]) <= 38 and int(decimal[2]) <= int(decimal[1])


def _limit_faults(index: int, column: Column) -> Iterator[tuple[Place, str]]:
    options = column.logicalTypeOptions
    for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        bound = getattr(options, name)
        fits = ("date", "timestamp") if isinstance(bound, date) else ("integer", "number")
        if bound is not None and column.logicalType not in fits:
            yield _property(index, "logicalTypeOptions", name), f"{bound} is no limit for a {column.logicalType}"
    least, most = options.minimum, options.maximum
    if least is not None and type(least) is type(most) and least > most:  # type: ignore[operator]
        yield _property(index, "logicalTypeOptions", "minimum"), f"{least} is above the maximum, {most}: no value fits"
    if options.pattern is not None and (problem := _pattern_problem(options.pattern)):
        yield _property(index, "logicalTypeOptions", "pattern"), problem


def _pattern_problem(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is no regular expression: {error}"
    if NOT_IN_RE2.search(pattern):
        return "looks ahead or behind, refers back or is possessive: RE2, which checks it, cannot"
    return None


def _parse_faults(index: int, column: Column) -> Iterator[tuple[Place, str]]:
    parse, time = column.parse, column.logicalType in ("date", "timestamp")
    if parse.zone and column.logicalType != "timestamp":
        yield _property(index, "parse", "zone"), "only a timestamp has a time zone"
    if parse.epoch and column.logicalType != "timestamp":
        yield _property(index, "parse", "epoch"), "only a timestamp counts from 1970"
    if parse.formats and not time:
        yield _property(index, "parse", "formats"), "only a date or a timestamp has a format"
    if parse.geometry and column.logicalType != "string":
        yield _property(index, "parse", "geometry"), "a geometry is a string (WKT or GeoJSON)"
    if parse.geometry and column.primaryKey:
        yield _property(index, "primaryKey"), "a geometry cannot be part of the key"
    if parse.seconds_of_day and column.logicalType != "integer":
        yield _property(index, "parse", "seconds_of_day"), "seconds of a day are an integer"
    for number, form in enumerate(parse.formats):
        unknown = sorted(set(re.findall(r"%-?(.?)", form)) - DIRECTIVES)
        if unknown or "%" not in form:
            named = ", ".join(f"%{letter}" for letter in unknown) or "no directive at all"
            yield _property(index, "parse", "formats", number), f"{form!r} is no strptime format: {named}"


def _table_faults(contract: Contract) -> Iterator[tuple[Place, str]]:
    for number, rule in enumerate(contract.schema_[0].quality):
        place: Place = ("schema", 0, "quality", number)
        if rule.type == "sql":
            try:
                row_condition(rule.query or "")
            except ValueError as error:
                yield (*place, "query"), str(error)
        elif rule.metric != "rowCount":
            yield (*place, "metric"), "of the table, only rowCount and rules in sql are checked"
            continue
        if problem := _bound_problem(rule):
            yield place, problem
    if len(contract.customProperties) > 1:
        yield ("customProperties",), "property 'exchange' stands more than once"


def _time_faults(contract: Contract) -> Iterator[tuple[Place, str]]:
    extension, names = contract.exchange, {column.name: column for column in contract.columns}
    if extension.delivery.kind == "snapshot":
        if extension.time is not None:
            yield ("exchange", "time"), "a snapshot has no event time: leave it out, or use kind: events"
        return
    if extension.time is None:
        yield ("exchange",), "`time` is missing: events need the column that dates them"
        return
    column = names.get(extension.time.column)
    if column is None:
        yield ("exchange", "time", "column"), f"{extension.time.column!r} is not a column of this contract"
    elif column.logicalType not in ("timestamp", "date"):
        yield ("exchange", "time", "column"), f"{column.name!r} is a {column.logicalType}, not a timestamp or date"
    elif not column.required:
        yield ("exchange", "time", "column"), f"{column.name!r} dates the row and so must be required: true"


def _reference_faults(contract: Contract) -> Iterator[tuple[Place, str]]:
    extension, names = contract.exchange, {column.name: column for column in contract.columns}
    if extension.subject is not None and extension.subject not in names:
        yield ("exchange", "subject"), f"{extension.subject!r} is not a column of this contract"
    elif extension.subject is not None and names[extension.subject].classification.value != "identifier":
        stated = names[extension.subject].classification.value
        problem = f"{extension.subject!r} says whom the rows are about and is classified {stated}: it is an identifier"
        yield ("exchange", "subject"), problem
    if extension.readings is not None and extension.readings.column not in names:
        yield ("exchange", "readings", "column"), f"{extension.readings.column!r} is not a column"
    if any(column.classification.value == "identifier" for column in contract.columns) and not extension.subject:
        yield ("exchange",), "`subject` is missing: a dataset with an identifier states the column of its subject"
    for number, column in enumerate(contract.columns):
        if column.classification.value == "identifier" and column.logicalType not in ("string", "integer"):
            problem = f"{column.name!r} is a {column.logicalType}: an identifier is a string or an integer"
            yield ("schema", 0, "properties", number, "logicalType"), problem
    if extension.extract is not None:
        kinds = extension.extract.server_types
        if not any(server.type in kinds and server.address for server in contract.servers):
            other = isinstance(extension.extract, SqlRead) and any(s.type in OTHER_DATABASES for s in contract.servers)
            why = f"; {OTHERS}" if other else ""
            yield ("servers",), f"the extract needs a server of type {' or '.join(kinds)} with its live address{why}"
        for number, server in enumerate(contract.servers):
            if server.type == "api" in kinds and server.address and not re.match(r"https?://[^/]", server.address):
                problem = f"{server.address!r} is no address of an API, as https://api.example.org"
                yield ("servers", number, "location"), problem
        if extension.history_start is None and extension.extract.by_interval:
            yield ("exchange",), "`history_start` is missing: the day from which the extract is asked for"
    formats = {form.format for form in extension.delivery.forms}
    if isinstance(extension.extract, SqlRead) and "parquet" not in formats:
        yield ("exchange", "delivery", "forms"), "a table is delivered as Parquet: add {format: parquet}"
    if extension.history_start is not None:
        try:
            first = date.fromisoformat(extension.history_start)
        except ValueError:
            yield ("exchange", "history_start"), f"{extension.history_start!r} is no date, as 2024-01-31"
        else:
            if first.year < OLDEST_YEAR:
                yield ("exchange", "history_start"), f"{extension.history_start!r} lies before {OLDEST_YEAR}"
