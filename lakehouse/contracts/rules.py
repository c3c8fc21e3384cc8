"""Faults of a contract that no single field shows: each with its place in the file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from fnmatch import translate

from lakehouse.contracts.extension import CsvForm, XlsxForm
from lakehouse.contracts.odcs import Column, Contract

Place = tuple[str | int, ...]

RESERVED = ("delivery", "line", "known_at")
NUMERIC_PHYSICAL = re.compile(r"^(DOUBLE|BIGINT|INTEGER|SMALLINT|DECIMAL\((\d{1,2}),\s*(\d{1,2})\))$", re.IGNORECASE)


def contract_faults(contract: Contract) -> list[tuple[Place, str]]:
    """All (place, problem) pairs of a contract whose fields are each well formed."""
    return [
        *_key_faults(contract),
        *(fault for index, column in enumerate(contract.columns) for fault in _column_faults(index, column)),
        *_time_faults(contract),
        *_form_faults(contract),
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
    physical = column.physicalType
    if column.logicalType == "number":
        if physical is None or not NUMERIC_PHYSICAL.match(physical):
            yield (
                _property(index, "physicalType"),
                f"of number {column.name!r} must be DOUBLE or DECIMAL(precision, scale)",
            )
    if column.logicalType in ("integer", "number") and column.unit is None and not column.primaryKey:
        yield (
            _property(index, "customProperties"),
            f"{column.name!r} is a number without a unit: add `property: unit` (`value: '1'` for a pure number)",
        )
    if column.logicalTypeOptions.pattern is not None:
        try:
            re.compile(column.logicalTypeOptions.pattern)
        except re.error as error:
            yield _property(index, "logicalTypeOptions", "pattern"), f"is no regular expression: {error}"
    if column.parse.zone and column.logicalType != "timestamp":
        yield _property(index, "parse", "zone"), "only a timestamp has a time zone"
    for number, rule in enumerate(column.quality):
        if rule.type == "library" and rule.metric == "invalidValues" and "validValues" not in rule.arguments:
            yield _property(index, "quality", number, "arguments"), "invalidValues needs `validValues: [...]`"
        if rule.type == "sql":
            yield _property(index, "quality", number, "type"), "a rule in sql belongs under the table's quality"


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


def _form_faults(contract: Contract) -> Iterator[tuple[Place, str]]:
    delivery = contract.exchange.delivery
    for name, times in Counter(form.format for form in delivery.forms).items():
        if times > 1:
            yield ("exchange", "delivery", "forms"), f"{name} stands {times} times; one form of each format"
    try:
        re.compile(translate(delivery.name_pattern))
    except re.error as error:
        yield ("exchange", "delivery", "name_pattern"), f"is no file pattern: {error}"
    for index, form in enumerate(delivery.forms):
        encoding = getattr(form, "encoding", "utf-8")
        try:
            "".encode(encoding)
        except LookupError:
            yield ("exchange", "delivery", "forms", index, "encoding"), f"{encoding!r} is not a known encoding"
        if isinstance(form, CsvForm | XlsxForm) and form.decimal == form.thousands:
            place: Place = ("exchange", "delivery", "forms", index, "thousands")
            yield place, "must differ from the decimal sign"


def _reference_faults(contract: Contract) -> Iterator[tuple[Place, str]]:
    extension, names = contract.exchange, {column.name for column in contract.columns}
    if extension.subject is not None and extension.subject not in names:
        yield ("exchange", "subject"), f"{extension.subject!r} is not a column of this contract"
    if extension.readings is not None and extension.readings.column not in names:
        yield ("exchange", "readings", "column"), f"{extension.readings.column!r} is not a column"
    if any(column.classification.value == "identifier" for column in contract.columns) and not extension.subject:
        yield ("exchange",), "`subject` is missing: a dataset with an identifier states the column of its subject"
    if extension.extract is not None:
        if not any(server.type == "api" for server in contract.servers):
            yield ("servers",), "an extract needs a server of `type: api` with its live `location`"
        if extension.history_start is None:
            yield ("exchange",), "`history_start` is missing: the day from which the extract is asked for"
    if extension.history_start is not None:
        try:
            date.fromisoformat(extension.history_start)
        except ValueError:
            yield ("exchange", "history_start"), f"{extension.history_start!r} is no date, as 2024-01-31"
