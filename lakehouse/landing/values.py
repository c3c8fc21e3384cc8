"""From text columns to typed ones: the SQL of each column's value and of each way it can be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from lakehouse.contracts.derive import duckdb_type
from lakehouse.contracts.extension import FileForm
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.storage.sql import identifier, literal

OFFSET = r"(?:[Zz]|[+-]\d{2}:?\d{2}|[+-]\d{2})$"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One way in which a row is wrong. ``condition`` is SQL over ``delivered``'s text columns (``t_<name>``:
    cleaned text) and typed ones (``v_<name>``); ``column`` is None for a rule over several."""

    rule: str
    column: str | None
    condition: str
    expected: str
    warning: bool = False


def cleaned(column: Column, form: FileForm) -> str:
    """The text without surrounding blanks, and NULL for what the contract calls no value."""
    nulls = ("", *form.null_values, *column.parse.null_values)
    trimmed = f"trim({identifier(column.name)}, chr(32) || chr(9) || chr(13) || chr(160))"
    if len(nulls) == 1:
        return f"nullif({trimmed}, '')"
    return f"CASE WHEN {trimmed} NOT IN ({', '.join(literal(null) for null in nulls)}) THEN {trimmed} END"


def typed(column: Column, form: FileForm) -> str:
    """SQL that turns ``t_<name>`` into the column's type; NULL where it cannot."""
    text = _text(column)
    if column.parse.geometry:
        return _geometry(column, text)
    match column.logicalType:
        case "string":
            return text
        case "integer" | "number":
            return f"TRY_CAST({_plain_number(text, form)} AS {duckdb_type(column)})"
        case "boolean":
            return f"TRY_CAST({text} AS BOOLEAN)"
        case "date":
            return f"coalesce({_with_formats(column, text)}TRY_CAST({text} AS DATE))::DATE"
        case "timestamp":
            return _timestamp(column, text)


def local_time(column: Column) -> str:
    """The time as written, without zone, for the rules of the repeated and the missing hour."""
    return f"coalesce({_with_formats(column, _text(column))}TRY_CAST({_text(column)} AS TIMESTAMP))"


def has_local_time(column: Column) -> bool:
    return column.logicalType == "timestamp" and column.parse.zone not in (None, "UTC") and not column.parse.epoch


def is_nonexistent(column: Column) -> str:
    zone, local = literal(column.parse.zone or "UTC"), f"l_{column.name}"
    return _near_change(column, f"timezone({zone}, timezone({zone}, {local})) <> {local}")


def is_ambiguous(column: Column) -> str:
    zone, local = literal(column.parse.zone or "UTC"), f"l_{column.name}"
    # ICU resolves a repeated time to one of its two moments: the other is an hour to either side.
    other = " OR ".join(
        f"timezone({zone}, timezone({zone}, {local}) {sign} INTERVAL 1 HOUR) = {local}" for sign in "+-"
    )
    return _near_change(column, f"({other})")


def earlier_moment(column: Column) -> str:
    """The first of the two moments that a repeated local time can mean."""
    zone, local = literal(column.parse.zone or "UTC"), f"l_{column.name}"
    moment = f"timezone({zone}, {local})"
    before = f"{moment} - INTERVAL 1 HOUR"
    return f"CASE WHEN timezone({zone}, {before}) = {local} THEN {before} ELSE {moment} END"


def rules(contract: Contract, forms: FileForm) -> list[Rule]:
    """Every rule by which a row of this contract can be refused, or accepted with a warning."""
    found: list[Rule] = []
    for column in contract.columns:
        found.extend(_column_rules(column))
    for quality in contract.schema_[0].quality:
        if quality.type == "sql" and quality.query:
            found.append(
                Rule(
                    rule=quality.name or "row_rule",
                    column=None,
                    condition=row_condition(quality.query, contract),
                    expected=quality.description or quality.query,
                    warning=quality.severity == "warning",
                )
            )
    return found


def row_condition(query: str, contract: Contract) -> str:
    """The condition of ``SELECT count(*) FROM ${object} WHERE <condition>``, over the typed columns.

    Raises ``ValueError`` where the query has another form.
    """
    head, where, condition = query.partition(" WHERE ")
    if head.strip().lower() != "select count(*) from ${object}" or not where:
        raise ValueError("a row rule reads: SELECT count(*) FROM ${object} WHERE <what a wrong row fulfils>")
    return condition.strip()


def _column_rules(column: Column) -> list[Rule]:
    text, value, options = _text(column), _value(column), column.logicalTypeOptions
    found = []

    def add(rule: str, condition: str, expected: str, *, warning: bool = False) -> None:
        found.append(Rule(rule=rule, column=column.name, condition=condition, expected=expected, warning=warning))

    if column.required:
        add("missing_value", f"{text} IS NULL", "a value")
    kind = "geometry" if column.parse.geometry else column.logicalType
    if kind != "string":
        excused = ""
        if has_local_time(column):
            if column.parse.nonexistent == "refuse":
                add("time_does_not_exist", f"x_{column.name} = 'nonexistent'", f"a time that {column.parse.zone} has")
            if column.parse.ambiguous == "refuse":
                add(
                    "time_ambiguous",
                    f"x_{column.name} = 'ambiguous'",
                    f"a time with an offset, since {column.parse.zone} has this hour twice",
                )
            excused = f" AND x_{column.name} IS NULL"
        add(f"not_a_{kind}", f"{text} IS NOT NULL AND {value} IS NULL{excused}", _expected(column))
    if column.logicalType == "integer":
        fraction = f"(contains({text}, '.') OR contains({text}, ',')) AND {value} IS NOT NULL"
        plain = f"TRY_CAST(replace({text}, ',', '.') AS DOUBLE)"
        add("not_a_whole_number", f"{fraction} AND {plain} <> trunc({plain})", "a whole number")
    if column.logicalType == "number" and duckdb_type(column) == "DOUBLE":
        add("not_finite", f"NOT isfinite({value})", "a finite number")
    for name, sign, words in (
        ("minimum", "<", "at least"),
        ("maximum", ">", "at most"),
        ("exclusiveMinimum", "<=", "more than"),
        ("exclusiveMaximum", ">=", "less than"),
    ):
        bound = getattr(options, name)
        if bound is not None:
            shown = literal(str(bound)) + f"::{duckdb_type(column)}" if isinstance(bound, date) else str(bound)
            add(f"below_minimum" if "inimum" in name else "above_maximum", f"{value} {sign} {shown}", f"{words} {bound}")
    if options.pattern is not None:
        add("wrong_form", f"NOT regexp_full_match({text}, {literal(options.pattern)})", f"the form {options.pattern}")
    if options.maxLength is not None:
        add("too_long", f"length({text}) > {options.maxLength}", f"at most {options.maxLength} characters")
    if options.minLength is not None:
        add("too_short", f"length({text}) < {options.minLength}", f"at least {options.minLength} characters")
    for quality in column.quality:
        if quality.metric == "invalidValues":
            allowed = [str(item) for item in quality.arguments.get("validValues", [])]
            listed = ", ".join(literal(item) for item in allowed)
            shown = ", ".join(allowed[:12]) + (" …" if len(allowed) > 12 else "")
            condition = f"{value}::VARCHAR NOT IN ({listed})"
            add("not_in_list", condition, f"one of {shown}", warning=quality.severity == "warning")
    return found


def _expected(column: Column) -> str:
    if column.parse.geometry:
        return "a geometry as WKT or GeoJSON"
    if column.logicalType in ("date", "timestamp") and column.parse.formats:
        return f"a {column.logicalType} as {' or '.join(column.parse.formats)}"
    if column.logicalType == "timestamp" and column.parse.zone is None and not column.parse.epoch:
        return "a timestamp with an offset, as 2024-01-31T12:00:00Z"
    return f"a {column.logicalType}"


def _text(column: Column) -> str:
    return f"t_{column.name}"


def _value(column: Column) -> str:
    return f"v_{column.name}"


def _plain_number(text: str, form: FileForm) -> str:
    decimal, thousands = getattr(form, "decimal", "."), getattr(form, "thousands", "")
    plain = f"replace({text}, {literal(thousands)}, '')" if thousands else text
    return f"replace({plain}, ',', '.')" if decimal == "," else plain


def _with_formats(column: Column, text: str) -> str:
    if not column.parse.formats:
        return ""
    formats: Sequence[str] = column.parse.formats
    return f"try_strptime({text}, [{', '.join(literal(form) for form in formats)}]), "


def _timestamp(column: Column, text: str) -> str:
    parse = column.parse
    if parse.epoch == "seconds":
        return f"TRY(to_timestamp(TRY_CAST({text} AS DOUBLE)))"
    if parse.epoch == "milliseconds":
        return f"TRY(to_timestamp(TRY_CAST({text} AS DOUBLE) / 1000))"
    if parse.zone == "UTC":
        formats = _with_formats(column, text)
        local = f"timezone('UTC', {formats.removesuffix(', ')})" if formats else "NULL"
        return f"coalesce({local}, TRY_CAST({text} AS TIMESTAMPTZ))"
    with_offset = f"CASE WHEN regexp_matches({text}, {literal(OFFSET)}) THEN TRY_CAST({text} AS TIMESTAMPTZ) END"
    if parse.zone is None:
        # The hyphens of a date look like an offset's: a time with one is longer than a date.
        return f"CASE WHEN length({text}) > 10 THEN {with_offset} END"
    zone, mark = literal(parse.zone), f"x_{column.name}"
    earlier = earlier_moment(column)
    later = f"({earlier}) + INTERVAL 1 HOUR"
    ambiguous = {"refuse": "NULL", "earlier": earlier, "later": later, "sequence": earlier}[parse.ambiguous]
    nonexistent = "NULL" if parse.nonexistent == "refuse" else f"timezone({zone}, l_{column.name})"
    return (
        f"CASE WHEN length({text}) > 10 AND regexp_matches({text}, {literal(OFFSET)}) "
        f"THEN TRY_CAST({text} AS TIMESTAMPTZ) "
        f"WHEN {mark} = 'ambiguous' THEN {ambiguous} WHEN {mark} = 'nonexistent' THEN {nonexistent} "
        f"ELSE timezone({zone}, l_{column.name}) END"
    )


def _geometry(column: Column, text: str) -> str:
    wkt, geojson = f"TRY(ST_AsText(ST_GeomFromText({text})))", f"TRY(ST_AsText(ST_GeomFromGeoJSON({text})))"
    match column.parse.geometry:
        case "wkt":
            return wkt
        case "geojson":
            return geojson
        case _:
            return f"CASE WHEN starts_with({text}, '{{') THEN {geojson} ELSE {wkt} END"


def _near_change(column: Column, condition: str) -> str:
    """Asks the costly question only on the days on which the zone's offset changes."""
    days = ", ".join(f"DATE '{day}'" for day in offset_change_days(column.parse.zone or "UTC"))
    if not days:
        return "false"
    return f"CASE WHEN l_{column.name}::DATE IN ({days}) THEN {condition} ELSE false END"


@cache
def offset_change_days(zone: str) -> tuple[date, ...]:
    """Local days, 1970 to 2069, on which a zone's offset from UTC changes (and the day after)."""
    info, found = ZoneInfo(zone), []
    day = datetime(1970, 1, 1)
    last = info.utcoffset(day)
    for _ in range(36_525):
        day += timedelta(days=1)
        offset = info.utcoffset(day)
        if offset != last:
            found += [(day - timedelta(days=1)).date(), day.date()]
            last = offset
    return tuple(found)
