"""From text columns to typed ones: the SQL of each column's value."""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.contracts.derive import duckdb_type
from lakehouse.contracts.forms import CsvForm, FileForm, FixedWidthForm
from lakehouse.contracts.odcs import Column
from lakehouse.landing.local_time import (
    earlier_moment,
    has_local_time,
    is_ambiguous,
    is_nonexistent,
)
from lakehouse.storage.sql import identifier, literal

# A byte order mark in the middle, where files were joined, is one too.
BLANKS = " \t\n\r\u00a0\ufeff"
WIDE_BLANKS = "\u00a0\ufeff"
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
WHOLE_DAY = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}(?:[T ]00:00(?::00(?:\.0+)?)?)?\s?(?:[Zz]|[+-]\d{2}(?::?\d{2})?)?"
# What follows a time of day: an offset, or letters that claim one.
CLAIMS_OFFSET = r"[:T]\d{1,2}(?:\.\d*)?\s?(?:[A-Za-z][A-Za-z_/]*|[+-][\d:]+)$"
OFFSET = r"(?:[Zz]|UTC|GMT|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)$"


def text_of(column: Column) -> str:
    """The cleaned text of a column, where :func:`cleaned_rows` stands."""
    return f"exchange_t_{column.name}"


def mark_of(column: Column) -> str:
    """NULL, ``ambiguous`` or ``nonexistent``, for a column with :func:`has_local_time`."""
    return f"exchange_m_{column.name}"


def local_of(column: Column) -> str:
    """The time as written, without zone; NULL where it has an offset."""
    return f"exchange_l_{column.name}"


def typed_rows(columns: list[Column], form: FileForm, *, source: str = "delivered", ordinal: str = "0") -> str:
    """SQL of ``delivered`` with, for each column, its cleaned text and its typed value under its own name.

    ``source`` may be some of its rows; ``ordinal``: SQL of a row's order among those of its line. A value is NULL where
    the text is none of its type. Local times carry their marks.
    """
    texts = [f"{_cleaned(column, form)} AS {text_of(column)}" for column in columns]
    rows = f"SELECT exchange_line, {ordinal} AS exchange_ordinal, {', '.join(texts)} FROM {source}"
    times = [column for column in columns if column.logicalType == "timestamp" and not column.parse.epoch]
    rows = _with(rows, (f"{_moment(c)} AS {_moment_of(c)}, {_local(c)} AS {local_of(c)}" for c in times))
    local = [column for column in times if has_local_time(column)]
    rows = _with(rows, (f"{_mark(column)} AS {mark_of(column)}" for column in local))
    return _with(rows, (f"{_typed(column, form)} AS {identifier(column.name)}" for column in columns))


def _with(rows: str, expressions: Iterable[str]) -> str:
    added = ", ".join(expressions)
    return f"SELECT *, {added} FROM ({rows})" if added else rows


def _cleaned(column: Column, form: FileForm) -> str:
    """The text without blanks around it, and NULL for what the contract calls no value."""
    text = identifier(column.name)
    # Trimming costs as much as typing, and hardly any text needs it. All control characters sort before '!'.
    behind = " OR ".join(f"ends_with({text}, '{blank}')" for blank in BLANKS)
    before = " OR ".join(f"starts_with({text}, '{blank}')" for blank in WIDE_BLANKS)
    around = f"{text} < '!' OR {before} OR {behind}"
    trimmed = f"CASE WHEN {around} THEN trim({text}, '{BLANKS}') ELSE {text} END"
    nulls = ("", *form.null_values, *column.parse.null_values)
    if len(nulls) == 1:
        return f"nullif({trimmed}, '')"
    listed = ", ".join(literal(null) for null in nulls)
    return f"CASE WHEN ({trimmed}) NOT IN ({listed}) THEN {trimmed} END"


def _typed(column: Column, form: FileForm) -> str:
    text = text_of(column)
    if column.parse.geometry:
        return _geometry(column, text)
    match column.logicalType:
        case "string":
            return text
        case "integer" if column.parse.seconds_of_day:
            return _seconds_of_day(text)
        case "integer":
            return _integer(_plain_number(text, form))
        case "number":
            return _number(_plain_number(text, form), duckdb_type(column))
        case "boolean":
            return f"TRY_CAST({text} AS BOOLEAN)"
        case "date":
            return f"coalesce({_from_formats(column, text)}{_iso_date(text)})::DATE"
        case "timestamp":
            return _timestamp(column, text)


def _integer(plain: str) -> str:
    """Digits, or a number that is whole (``12.0``, ``1e3``): a cast alone would round ``1.5`` to 2."""
    whole = f"TRY_CAST({plain} AS DOUBLE) = trunc(TRY_CAST({plain} AS DOUBLE))"
    # There and back is a fraction of the price of a pattern, and most texts come back as they were.
    return (
        f"CASE WHEN TRY_CAST({plain} AS BIGINT)::VARCHAR = {plain} THEN TRY_CAST({plain} AS BIGINT) "
        f"WHEN regexp_full_match({plain}, '[+-]?\\d+') THEN TRY_CAST({plain} AS BIGINT) "
        f"WHEN regexp_full_match({plain}, {literal(NUMBER)}) AND {whole} THEN TRY_CAST({plain} AS BIGINT) END"
    )


def _iso_date(text: str) -> str:
    """A day, also where it is written as the moment it begins: a cast alone would drop what stands behind a day."""
    day = f"TRY_CAST({text} AS DATE)"
    return f"CASE WHEN {day}::VARCHAR = {text} OR regexp_full_match({text}, {literal(WHOLE_DAY)}) THEN {day} END"


def _seconds_of_day(text: str) -> str:
    """A trip that ends after midnight has times past 24:00:00; on days of 23 or 25 hours noon is what holds."""
    hours, minutes, seconds = (f"split_part({text}, ':', {place})::BIGINT" for place in (1, 2, 3))
    clock = "\\d{1,3}:[0-5]\\d:[0-5]\\d"
    return f"CASE WHEN regexp_full_match({text}, '{clock}') THEN {hours} * 3600 + {minutes} * 60 + {seconds} END"


def _number(plain: str, type_: str) -> str:
    # No decimal begins with a letter: a cast that fails costs ten times what one does that does not.
    begins = f"{plain} < ':' AND " if type_.upper().startswith("DECIMAL") else ""
    # A cast alone would take 1_000.
    return f"CASE WHEN {begins}NOT contains({plain}, '_') THEN TRY_CAST({plain} AS {type_}) END"


def is_fraction(column: Column, form: FileForm) -> str:
    """Whether the text of an integer column without a value is a number, only not a whole one."""
    plain = _plain_number(text_of(column), form)
    # CASE asks of the few rows without a value; AND would ask of all.
    return (
        f"CASE WHEN {identifier(column.name)} IS NULL AND {text_of(column)} IS NOT NULL THEN coalesce("
        f"regexp_full_match({plain}, {literal(NUMBER)}) AND TRY_CAST({plain} AS DOUBLE) % 1 <> 0, false) "
        "ELSE false END"
    )


def _plain_number(text: str, form: FileForm) -> str:
    """The number with a decimal point and no thousands; NULL where its signs are not those of the form.

    Numbers of JSON and Excel have a decimal point whatever the form says of numbers in text.
    """
    decimal, thousands = getattr(form, "decimal", "."), getattr(form, "thousands", "")
    if not isinstance(form, CsvForm | FixedWidthForm):
        return f"replace({text}, ',', '.')" if decimal == "," else text
    if thousands:
        # 12.5 where the point parts thousands must not become 125.
        group, point = (f"[{sign}]" for sign in (thousands, decimal))
        form_of = f"[+-]?(?:\\d{{1,3}}(?:{group}\\d{{3}})+|\\d+)(?:{point}\\d*)?"
        plain = f"replace(replace({text}, {literal(thousands)}, ''), ',', '.')"
        return f"CASE WHEN regexp_full_match({text}, {literal(form_of)}) THEN {plain} END"
    if decimal == ",":
        return f"CASE WHEN NOT contains({text}, '.') THEN replace({text}, ',', '.') END"
    return text


def _from_formats(column: Column, text: str, *, zoned: bool = False) -> str:
    """An argument of ``coalesce`` for the formats with an offset, or for those without."""
    formats = [form for form in column.parse.formats if ("%z" in form or "%Z" in form) == zoned]
    if not formats:
        return ""
    return f"try_strptime({text}, [{', '.join(literal(form) for form in formats)}]), "


def _moment_of(column: Column) -> str:
    return f"exchange_o_{column.name}"


def _moment(column: Column) -> str:
    """The moment that a text with an offset names; NULL for one without."""
    text = text_of(column)
    # DuckDB wants seconds before an offset, and no blank; few texts need to be put so.
    without_blank = f"regexp_replace({text}, '\\s+([+-][\\d:]+)$', '\\1')"
    put_so = f"regexp_replace({without_blank}, '([T ]\\d{{2}}:\\d{{2}})([Zz+-])', '\\1:00\\2')"
    read = f"coalesce(TRY_CAST({text} AS TIMESTAMPTZ), TRY_CAST({put_so} AS TIMESTAMPTZ))"
    right = f"{_claims_offset(text)} AND regexp_matches({text}, {literal(OFFSET)})"
    return f"coalesce({_from_formats(column, text, zoned=True)}CASE WHEN {right} THEN {read} END)"


def _local(column: Column) -> str:
    # DuckDB would read a time with an offset as local by dropping the offset.
    text = text_of(column)
    written = f"CASE WHEN NOT {_claims_offset(text)} THEN TRY_CAST({text} AS TIMESTAMP) END"
    return f"coalesce({_from_formats(column, text)}{written})"


def _claims_offset(text: str) -> str:
    return f"regexp_matches({text}, {literal(CLAIMS_OFFSET)})"


def _mark(column: Column) -> str:
    zone, local = column.parse.zone or "UTC", local_of(column)
    return (
        f"CASE WHEN {_moment_of(column)} IS NOT NULL OR {local} IS NULL THEN NULL "
        f"WHEN {is_nonexistent(zone, local)} THEN 'nonexistent' "
        f"WHEN {is_ambiguous(zone, local)} THEN 'ambiguous' END"
    )


def _timestamp(column: Column, text: str) -> str:
    parse, local = column.parse, local_of(column)
    if parse.epoch:
        divisor = {"seconds": 1, "milliseconds": 1000}[parse.epoch]
        return f"TRY(to_timestamp(TRY_CAST({text} AS DOUBLE) / {divisor}))"
    if parse.zone is None:
        return _moment_of(column)
    if parse.zone == "UTC":
        # The same moment as timezone('UTC', …), which asks a calendar for each row.
        return f"coalesce({_moment_of(column)}, make_timestamptz(epoch_us({local})))"
    zone, mark = literal(parse.zone), mark_of(column)
    earlier = earlier_moment(parse.zone, local)
    resolved = {
        "refuse": "NULL",
        "earlier": earlier,
        "later": f"({earlier}) + INTERVAL 1 HOUR",
        "sequence": earlier,
    }[parse.ambiguous]
    nonexistent = "NULL" if parse.nonexistent == "refuse" else f"timezone({zone}, {local})"
    return (
        f"CASE WHEN {_moment_of(column)} IS NOT NULL THEN {_moment_of(column)} "
        f"WHEN {mark} = 'ambiguous' THEN {resolved} WHEN {mark} = 'nonexistent' THEN {nonexistent} "
        f"ELSE timezone({zone}, {local}) END"
    )


def _geometry(column: Column, text: str) -> str:
    wkt, geojson = f"TRY(ST_GeomFromText({text}))", f"TRY(ST_GeomFromGeoJSON({text}))"
    match column.parse.geometry:
        case "wkt":
            return wkt
        case "geojson":
            return geojson
        case _:
            return f"CASE WHEN starts_with({text}, '{{') THEN {geojson} ELSE {wkt} END"
