"""Which type each column of a sample has: the first whose every value intake itself would take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from lakehouse.contracts.extension import ParseRule
from lakehouse.contracts.forms import CsvForm, FileForm, XlsxForm
from lakehouse.contracts.odcs import Column
from lakehouse.landing.local_time import is_nonexistent
from lakehouse.landing.row_rules import FOUR_DIGIT_YEARS
from lakehouse.landing.sniff import FoundColumn
from lakehouse.landing.values import CLAIMS_OFFSET, local_of, text_of, typed_rows
from lakehouse.storage.sql import identifier, literal

NULL_TOKENS = (
    "NA", "N/A", "n/a", "#N/A", "#DIV/0!", "#VALUE!", "#REF!", "NaN", "nan", "NULL", "null", "None", "-", "--", "..",
    "?",
)  # fmt: skip
COMMA = r"[+-]?\d+,\d+"
COMMA_GROUPED = r"[+-]?\d{1,3}(\.\d{3})+,\d+"
POINT = r"[+-]?\d+\.\d+"
POINT_GROUPED = r"[+-]?\d{1,3}(,\d{3})+\.\d+"
WKT = r"(?i)\s*(multi)?(point|linestring|polygon)\s*(z|m|zm)?\s*\(.*"
TIME_NAME = re.compile(
    r"time|date|stamp|dato|tid|zeit|updated|reported|epoch|(^|_)(at|ts|dt|day|dag)($|_)", re.IGNORECASE
)
DAYS = (
    "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%b-%Y",
    "%d/%m/%y", "%d-%m-%y", "%d.%m.%y", "%m/%d/%y", "%d-%b-%y",
)  # fmt: skip
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%H.%M")
DIGITS = {8: ("%Y%m%d",), 10: ("%Y%m%d%H",), 12: ("%Y%m%d%H%M",), 14: ("%Y%m%d%H%M%S",)}
# Seconds from 2000 to 2040: a count in this range, in a column with a name of time, is hardly anything else.
EPOCH = (946_684_800, 2_208_988_800)
LOCAL_ZONE = "Europe/Copenhagen"
# Columns in one statement: to plan it takes longer with the square of these.
TESTED = 32


@dataclass(frozen=True, kw_only=True)
class Guess:
    """The type of one column, with why. ``nulls`` and ``distinct`` count rows and values; ``zone_why`` says why its
    zone, for a time that needs one. ``length``: characters of a value, on average."""

    found: FoundColumn
    place: str
    logical: str
    physical: str | None
    parse: ParseRule
    why: str
    zone_why: str | None
    nulls: int
    distinct: int
    length: float

    @property
    def time(self) -> bool:
        return self.logical in ("timestamp", "date")

    @property
    def number(self) -> bool:
        return self.logical in ("integer", "number")


def guess_signs(connection: duckdb.DuckDBPyConnection, form: FileForm, width: int) -> tuple[FileForm, dict[str, str]]:
    """The form with the signs of its numbers in text (``decimal``, ``thousands``), and why."""
    tests = [
        f"{{comma: {_all(n, COMMA)}, comma_grouped: {_some(n, COMMA_GROUPED)} AND {_all(n, COMMA_GROUPED, COMMA)}, "
        f"point: {_all(n, POINT)}, point_grouped: {_some(n, POINT_GROUPED)} AND {_all(n, POINT_GROUPED, POINT)}}}"
        for n in range(width)
    ]
    rows: list[dict[str, bool]] = []
    for first in range(0, width, TESTED):
        some = ", ".join(tests[first : first + TESTED])
        rows += connection.execute(f"SELECT [{some}] FROM sample_text").fetchall()[0][0]
    count = {sign: sum(bool(row[sign]) for row in rows) for sign in rows[0]}
    commas, points = count["comma"] + count["comma_grouped"], count["point"] + count["point_grouped"]
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if commas > points and "decimal" in type(form).model_fields:
        changes["decimal"] = ","
        reasons["decimal"] = f"{commas} columns have a comma in their numbers, {points} a point"
    grouped = "comma_grouped" if "decimal" in changes else "point_grouped"
    if count[grouped] and isinstance(form, CsvForm):
        changes["thousands"] = "." if "decimal" in changes else ","
        reasons["thousands"] = f"it parts the digits of numbers in {count[grouped]} columns"
    return form.model_copy(update=changes), reasons


def _text(number: int) -> str:
    """The text of a column; NULL for what is no value."""
    return f"nullif(trim(c{number}), '')"


def _all(number: int, *patterns: str) -> str:
    """Every value is a number, and one at least of a form that is none of a whole number."""
    form = "|".join([*patterns, r"[+-]?\d+", *(re.escape(token) for token in NULL_TOKENS)])
    return f"coalesce(bool_and(regexp_full_match({_text(number)}, {literal(form)})), false) AND " + _some(
        number, *patterns
    )


def _some(number: int, *patterns: str) -> str:
    return f"coalesce(bool_or(regexp_full_match({_text(number)}, {literal('|'.join(patterns))})), false)"


def guess_types(
    *, connection: duckdb.DuckDBPyConnection, form: FileForm, columns: list[FoundColumn]
) -> tuple[list[Guess], FileForm]:
    """A guess for each column of ``sample_text``, and the form with the tokens that stand for no value."""
    with_tokens = form.model_copy(update={"null_values": NULL_TOKENS})
    guesses = [_guess(connection, with_tokens, column, f"c{number}") for number, column in enumerate(columns)]
    # In a column of text a token may be a value, as NA of Namibia.
    used = _tokens(connection, [guess.place for guess in guesses if guess.logical != "string" or guess.distinct == 0])
    final = form.model_copy(update={"null_values": used})
    return [_counted(connection, final, guess) if guess.logical == "string" else guess for guess in guesses], final


def _tokens(connection: duckdb.DuckDBPyConnection, places: list[str]) -> tuple[str, ...]:
    listed = ", ".join(literal(token) for token in NULL_TOKENS)
    found: set[str] = set()
    for place in places:
        rows = connection.execute(f"SELECT DISTINCT trim({place}) FROM sample_text WHERE trim({place}) IN ({listed})")
        found |= {token for (token,) in rows.fetchall()}
    return tuple(token for token in NULL_TOKENS if token in found)


def _counted(connection: duckdb.DuckDBPyConnection, form: FileForm, guess: Guess) -> Guess:
    nulls, distinct, length = _counts(connection, form, guess.place)
    return Guess(**{**guess.__dict__, "nulls": nulls, "distinct": distinct, "length": length})


def _cleaned(connection: duckdb.DuckDBPyConnection, form: FileForm, place: str) -> str:
    """SQL of a column's text as intake cleans it."""
    probe = _column("probe", "string")
    return f"(SELECT {text_of(probe)} AS t FROM ({typed_rows([probe], form)}))".replace(
        "FROM delivered", f"FROM (SELECT 0 AS exchange_line, {identifier(place)} AS probe FROM sample_text)"
    )


def _counts(connection: duckdb.DuckDBPyConnection, form: FileForm, place: str) -> tuple[int, int, float]:
    nulls, distinct, length = connection.execute(
        "SELECT count(*) - count(t), count(DISTINCT t), coalesce(avg(length(t)), 0) "
        f"FROM {_cleaned(connection, form, place)}"
    ).fetchall()[0]
    return int(nulls), int(distinct), float(length)


def _column(name: str, logical: str, physical: str | None = None, parse: ParseRule | None = None) -> Column:
    rule = (parse or ParseRule()).model_dump(mode="json", exclude_defaults=True)
    return Column.model_validate(
        {
            "name": name,
            "logicalType": logical,
            "physicalType": physical,
            "description": "text",
            "classification": "sensitive",
            "customProperties": [{"property": "parse", "value": rule}],
        }
    )


def _guess(connection: duckdb.DuckDBPyConnection, form: FileForm, found: FoundColumn, place: str) -> Guess:
    nulls, distinct, length = _counts(connection, form, place)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE probed AS SELECT DISTINCT t FROM {_cleaned(connection, form, place)} "
        "WHERE t IS NOT NULL"
    )
    logical, physical, parse, why = _type(connection, form, found, distinct)
    zone_why = None
    if logical == "timestamp" and parse.epoch is None:
        zone, zone_why = _zone(connection, form, found, parse)
        parse = parse.model_copy(update=zone)
    if found.path:
        parse = parse.model_copy(update={"path": found.path})
    return Guess(
        found=found, place=place, logical=logical, physical=physical, parse=parse, why=why, zone_why=zone_why,
        nulls=nulls, distinct=distinct, length=length,
    )  # fmt: skip


def _type(
    connection: duckdb.DuckDBPyConnection, form: FileForm, found: FoundColumn, distinct: int
) -> tuple[str, str | None, ParseRule, str]:
    """Logical and physical type, how its text is read, and why."""
    if found.geometry:
        return "string", None, ParseRule(geometry=found.geometry), "the feature's geometry"
    if distinct == 0:
        return "string", None, ParseRule(), "the sample has no value, so nothing is known of it"
    if _holds(connection, f"regexp_full_match(t, {literal(WKT)})"):
        return "string", None, ParseRule(geometry="wkt"), "every value is a geometry as WKT"
    if _holds(connection, "lower(t) IN ('true', 'false', 'yes', 'no')"):
        return "boolean", None, ParseRule(), "every value is yes or no"
    if isinstance(form, XlsxForm) and _holds(connection, r"regexp_full_match(t, '\d{4}-\d{2}-\d{2} 00:00:00')"):
        # Excel has no days but as the midnight that they begin with.
        return "date", None, ParseRule(), "every cell is a day, without a time"
    for logical, parse, why in _times(connection, found, distinct):
        if _passes(connection, form, _column("probe", logical, None, parse)):
            return logical, None, parse, why
    if _holds(connection, r"regexp_full_match(t, '\d{1,3}:[0-5]\d:[0-5]\d')"):
        return "integer", None, ParseRule(seconds_of_day=True), "every value is a clock time, as seconds of the day"
    # Some software writes 100000 as 1e+05.
    if _holds(connection, r"regexp_full_match(t, '[+-]?\d+([eE]\+?\d+)?')"):
        if not _holds(connection, r"NOT regexp_full_match(t, '0\d+|[+-]?\d{19,}')"):
            return "string", None, ParseRule(), "digits with zeros before them, or too many for a count, are a code"
        return "integer", None, ParseRule(), "every value is a whole number"
    if _passes(connection, form, _column("probe", "number", "DOUBLE")):
        return "number", _decimal(connection, form), ParseRule(), "every value is a number; the size has room"
    return "string", None, ParseRule(), "some value is neither a number nor a time"


def _holds(connection: duckdb.DuckDBPyConnection, condition: str) -> bool:
    return bool(connection.execute(f"SELECT bool_and({condition}) FROM probed").fetchall()[0][0])


def _times(
    connection: duckdb.DuckDBPyConnection, found: FoundColumn, distinct: int
) -> Iterator[tuple[str, ParseRule, str]]:
    """The ways in which the values might be times, by the look of them; the likeliest first."""
    named = TIME_NAME.search(found.source) is not None
    if _holds(connection, r"regexp_full_match(t, '\d{4}-\d{2}-\d{2}')"):
        yield "date", ParseRule(), "every value is a day as ISO 8601"
    elif _holds(connection, r"regexp_matches(t, '^\d{4}-\d{2}-\d{2}[T ]')"):
        yield "timestamp", ParseRule(zone="UTC"), "every value is a time as ISO 8601"
    elif _holds(connection, r"regexp_full_match(t, '\d+')"):
        first, last = EPOCH
        for unit, factor in (("seconds", 1), ("milliseconds", 1000)):
            if named and _holds(connection, f"t::HUGEINT BETWEEN {first * factor} AND {last * factor}"):
                yield "timestamp", ParseRule.model_validate({"epoch": unit}), f"counts {unit} since 1970, by its size"
        for width, formats in DIGITS.items():
            # Eight digits that happen to be a day, each time, are one.
            likely = named or (width == 8 and distinct >= 5)
            if likely and _holds(connection, rf"regexp_full_match(t, '(19|20)\d{{{width - 2}}}')"):
                kind = "date" if width == 8 else "timestamp"
                zone = None if width == 8 else "UTC"
                yield kind, ParseRule(formats=formats, zone=zone), f"every value is {formats[0]}"
    elif _holds(connection, r"regexp_matches(t, '^\d{1,4}[-/.][0-9A-Za-z]{1,3}[-/.]\d{2,4}')"):
        either = _holds(connection, r"regexp_matches(t, '^(0?\d|1[0-2])[-/.](0?\d|1[0-2])[-/.]')")
        also = "; no day is above the 12th, so month and day may be the other way round" if either else ""
        for day in DAYS:
            yield "date", ParseRule(formats=(day,)), f"every value is {day}{also}"
            needed = _needed(connection, [f"{day}{join}{clock}" for clock in CLOCKS for join in (" ", "T")])
            if needed:
                yield "timestamp", ParseRule(formats=needed, zone="UTC"), f"every value is {' or '.join(needed)}{also}"


def _needed(connection: duckdb.DuckDBPyConnection, formats: list[str]) -> tuple[str, ...]:
    """Those of the formats by which some value can be read."""
    tests = ", ".join(f"bool_or(try_strptime(t, {literal(form)}) IS NOT NULL)" for form in formats)
    read = connection.execute(f"SELECT {tests} FROM probed").fetchall()[0]
    return tuple(form for form, some in zip(formats, read, strict=True) if some)


def _passes(connection: duckdb.DuckDBPyConnection, form: FileForm, column: Column) -> bool:
    """Whether intake would take every value."""
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS SELECT 0 AS exchange_line, t AS probe FROM probed")
    wrong = "probe IS NULL" + (" OR NOT isfinite(probe)" if column.logicalType != "boolean" else "")
    if column.logicalType in ("date", "timestamp"):
        wrong += f" OR probe NOT BETWEEN {FOUR_DIGIT_YEARS}"
    rows = typed_rows([column], form)
    return not connection.execute(f"SELECT count(*) FROM ({rows}) WHERE {wrong}").fetchall()[0][0]


def _decimal(connection: duckdb.DuckDBPyConnection, form: FileForm) -> str:
    """A DECIMAL with three more digits than the sample needs; DOUBLE where that is too much, or for 1e-5."""
    plain = f"replace(replace(t, {literal(getattr(form, 'thousands', ''))}, ''), ',', '.')"
    digits, scale, scientific = connection.execute(
        "SELECT max(length(regexp_replace(split_part(p, '.', 1), '\\D', '', 'g'))), "
        f"max(length(split_part(p, '.', 2))), bool_or(contains(lower(p), 'e')) FROM (SELECT {plain} AS p FROM probed)"
    ).fetchall()[0]
    precision = digits + scale + 3
    return "DOUBLE" if scientific or precision > 38 else f"DECIMAL({precision},{scale})"


def _zone(
    connection: duckdb.DuckDBPyConnection, form: FileForm, found: FoundColumn, parse: ParseRule
) -> tuple[dict[str, Any], str]:
    if _holds(connection, f"regexp_matches(t, {literal(CLAIMS_OFFSET)})"):
        return {"zone": None}, "every value has its offset"
    if re.search(r"utc|gmt", found.source, re.IGNORECASE):
        return {"zone": "UTC"}, "by its name"
    probe = _column("probe", "timestamp", None, parse)
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS SELECT 0 AS exchange_line, t AS probe FROM probed")
    skipped = is_nonexistent(LOCAL_ZONE, local_of(probe))
    count = connection.execute(f"SELECT count(*) FROM ({typed_rows([probe], form)}) WHERE {skipped}").fetchall()[0][0]
    if count:
        return {"zone": "UTC"}, f"{count} values are in an hour that the clocks of {LOCAL_ZONE} skip"
    changes = {"zone": LOCAL_ZONE, "ambiguous": "sequence"}
    return changes, "no value has an offset; where is the clock? The hour twice in autumn goes by the order of rows"
