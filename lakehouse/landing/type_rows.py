"""The typed rows of one file, and its faults: set at a time, in one pass over the text."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from lakehouse.contracts.derive import duckdb_type
from lakehouse.contracts.forms import FileForm, shares_lines
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.landing.excel import excel_rules
from lakehouse.landing.local_time import has_local_time
from lakehouse.landing.plain_rows import show_exact_rows
from lakehouse.landing.row_rules import Rule, rules
from lakehouse.landing.unpack import PlainFile
from lakehouse.landing.values import local_of, mark_of, text_of, typed_rows
from lakehouse.storage.sql import identifier, literal

# With the files that an archive may hold, below 2^40: what the newest version is picked by has room for it.
PART_LINES = 10**9
ONE_PASS = "both passes through the hour, one after the other in one file; what reads as one is taken as the first"


@dataclass(frozen=True, kw_only=True)
class FileRows:
    """What one file held, in rows; ``warned`` ones are among the good."""

    delivered: int
    bad: int
    warned: int


def create_tables(connection: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Makes the empty tables that the files of one delivery fill.

    ``exact_rows(exchange_line, exchange_ordinal, <columns typed>, exchange_bad, exchange_warned)``, where the ordinal
    tells rows of one line apart, and puts them in order; and of them, with those that
    :class:`lakehouse.landing.plain_rows.PlainRows` shows, the views ``rows`` and ``typed``: those without fault;
    ``faults(part, member, line, ordinal, column_name, value, rule, expected, warning, row_text)``, where ``line`` is
    the member's own; ``parts(exchange_part, exchange_member)``: the names of an archive's files.
    """
    columns = ", ".join(f"{identifier(c.name)} {duckdb_type(c)}" for c in contract.columns)
    marks = "".join(f", {mark_of(c)} VARCHAR, {local_of(c)} TIMESTAMP" for c in _in_sequence(contract))
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE exact_rows (
            exchange_line BIGINT, exchange_ordinal BIGINT, {columns}{marks}, exchange_bad BOOLEAN,
            exchange_warned BOOLEAN
        );
        CREATE OR REPLACE TEMP TABLE faults (
            part INTEGER, member VARCHAR, line BIGINT, ordinal BIGINT, column_name VARCHAR, value VARCHAR,
            rule VARCHAR, expected VARCHAR, warning BOOLEAN, row_text VARCHAR
        );
        CREATE OR REPLACE TEMP TABLE parts (exchange_part INTEGER, exchange_member VARCHAR);
        """
    )
    show_exact_rows(connection, [column.name for column in contract.columns])


def type_rows(*, connection: duckdb.DuckDBPyConnection, contract: Contract, file: PlainFile, part: int) -> FileRows:
    """Reads ``delivered`` and ``malformed``; adds to the tables of :func:`create_tables`.

    Every fault of every row is kept: a row with several has several. ``part`` numbers the files of an archive:
    lines of the second begin at ``PART_LINES`` in ``exact_rows``, and so on.
    """
    found = [*rules(contract, file.form, damaged=file.damaged), *excel_rules(contract, file.form)]
    names = ", ".join(identifier(column.name) for column in contract.columns)
    marks = "".join(f", {mark_of(c)}, {local_of(c)}" for c in _in_sequence(contract))
    first, last = part * PART_LINES, (part + 1) * PART_LINES
    typed = (
        f"SELECT *, {_any(found, warning=False)} AS exchange_bad, {_any(found, warning=True)} AS exchange_warned "
        f"FROM ({typed_rows(contract.columns, file.form, ordinal=_ordinal(file.form))})"
    )
    if not file.whole:
        # Of what other ways leave most rows have a fault: their text is typed once.
        connection.execute(f"CREATE OR REPLACE TEMP TABLE typed_rest AS {_marked(contract, file, found)}")
        typed = "FROM typed_rest"
    connection.execute(
        f"INSERT INTO exact_rows SELECT exchange_line + {first}, exchange_ordinal, {names}{marks}, exchange_bad, "
        f"exchange_warned FROM ({typed})"
    )
    scope = f"exchange_line BETWEEN {first} AND {last - 1}"
    # Values stand in the SQL: the first bound parameter would load pandas, which takes longer than most deliveries.
    member = "NULL" if file.member is None else literal(file.member)
    unsure = 0
    for column in _in_sequence(contract):
        _resolve_by_sequence(connection, contract, column, scope)
        unsure += _warn_of_one_pass(connection, contract, column, scope, part, member)
    good, bad, warned, malformed = connection.execute(
        "SELECT count(*) FILTER (NOT exchange_bad), count(*) FILTER (exchange_bad), "
        "count(*) FILTER (exchange_warned AND NOT exchange_bad), (SELECT count(*) FROM malformed) "
        f"FROM exact_rows WHERE {scope}"
    ).fetchone() or (0, 0, 0, 0)
    connection.execute(f"INSERT INTO parts VALUES ({part}, {member})")
    if bad or warned:
        _collect(connection, contract, file, found, part, member)
    if malformed:
        connection.execute(
            f"INSERT INTO faults SELECT {part}, {member}, exchange_line, 0, NULL, left(text, 500), 'malformed_row', "
            "problem, false, text FROM malformed"
        )
    connection.execute("DROP TABLE IF EXISTS typed_rest")
    return FileRows(delivered=good + bad + malformed, bad=bad + malformed, warned=warned + unsure)


def type_joined(connection: duckdb.DuckDBPyConnection, contract: Contract, form: FileForm) -> set[int]:
    """The same of the rows of many files, which are numbered by part already, without their faults: the parts in which
    there is any are returned, to be looked at alone."""
    found = [*rules(contract, form, damaged=False), *excel_rules(contract, form)]
    names = ", ".join(identifier(column.name) for column in contract.columns)
    connection.execute(
        f"INSERT INTO exact_rows SELECT exchange_line, exchange_ordinal, {names}, {_any(found, warning=False)}, "
        f"{_any(found, warning=True)} FROM ({typed_rows(contract.columns, form, ordinal=_ordinal(form))})"
    )
    struck = connection.execute(
        f"SELECT exchange_line // {PART_LINES} FROM exact_rows WHERE exchange_bad OR exchange_warned "
        f"UNION SELECT exchange_line // {PART_LINES} FROM malformed"
    ).fetchall()
    return {part for (part,) in struck}


def _ordinal(form: FileForm) -> str:
    return "exchange_ordinal" if shares_lines(form) else "0"


def _in_sequence(contract: Contract) -> list[Column]:
    return [c for c in contract.columns if has_local_time(c) and c.parse.ambiguous == "sequence"]


def _any(found: list[Rule], *, warning: bool) -> str:
    return " OR ".join(f"coalesce({r.condition}, false)" for r in found if r.warning == warning) or "false"


def _resolve_by_sequence(connection: duckdb.DuckDBPyConnection, contract: Contract, column: Column, scope: str) -> None:
    """In the repeated hour of a series, a time that is no later than one before it is of the second pass.

    A series is told by the key without the time column; its order is the file's, or the reverse where the times
    of that day fall from row to row. Rows that are refused for something else take part: they were measured too.
    """
    mark, local, time = mark_of(column), local_of(column), identifier(column.name)
    series = _series(contract, column)
    day = ", ".join([*series, f"{local}::DATE"])
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE second_pass AS (
            WITH steps AS (
                SELECT exchange_line, exchange_ordinal, {mark}, {local}, {", ".join([*series, ""])}
                       row_number() OVER in_order AS exchange_place,
                       sign(epoch({local} - lag({local}) OVER in_order)) AS exchange_step
                FROM exact_rows
                WHERE {scope} AND {local}::DATE IN (
                    SELECT DISTINCT {local}::DATE FROM exact_rows WHERE {scope} AND {mark} = 'ambiguous'
                )
                WINDOW in_order AS (PARTITION BY {day} ORDER BY exchange_line, exchange_ordinal)
            ),
            directed AS (
                SELECT * REPLACE (exchange_place * CASE WHEN sum(exchange_step) OVER (PARTITION BY {day}) < 0 THEN -1
                                  ELSE 1 END AS exchange_place)
                FROM steps
            )
            SELECT exchange_line, exchange_ordinal FROM directed WHERE {mark} = 'ambiguous'
            QUALIFY {local} <= max({local}) OVER (
                PARTITION BY {day} ORDER BY exchange_place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        );
        UPDATE exact_rows SET {time} = exact_rows.{time} + INTERVAL 1 HOUR, {mark} = 'second pass' FROM second_pass
        WHERE exact_rows.exchange_line = second_pass.exchange_line
          AND exact_rows.exchange_ordinal = second_pass.exchange_ordinal
        """
    )


def _warn_of_one_pass(
    connection: duckdb.DuckDBPyConnection, contract: Contract, column: Column, scope: str, part: int, member: str
) -> int:
    """A warning for each row of a series that reads as one pass alone through the repeated hour, since the other is
    not in the file or both are sorted into one: which it is nobody knows. Returns how many."""
    mark, local = mark_of(column), local_of(column)
    day = ", ".join([*_series(contract, column), f"{local}::DATE"])
    told = connection.execute(
        f"""
        INSERT INTO faults
        SELECT {part}, {member}, exchange_line - {part * PART_LINES}, exchange_ordinal, {literal(column.name)},
               {local}::VARCHAR, 'time_ambiguous', {literal(ONE_PASS)}, true, NULL
        FROM (
            SELECT exchange_line, exchange_ordinal, {local}, exchange_bad FROM exact_rows
            WHERE {scope} AND {mark} IN ('ambiguous', 'second pass')
            QUALIFY NOT bool_or({mark} = 'second pass') OVER (PARTITION BY {day})
        )
        WHERE NOT exchange_bad
        """
    ).fetchone()
    return int(told[0]) if told else 0


def _series(contract: Contract, column: Column) -> list[str]:
    return [identifier(key.name) for key in contract.primary_key if key.name != column.name]


def _marked(contract: Contract, file: PlainFile, found: list[Rule], source: str = "delivered") -> str:
    """SQL of typed rows, with what they are against: a mark for each rule, and those that tell good from bad."""
    marks = ", ".join(f"coalesce({rule.condition}, false) AS {_mark(number)}" for number, rule in enumerate(found))
    bad, warned = (
        " OR ".join(_mark(number) for number, rule in enumerate(found) if rule.warning == warning) or "false"
        for warning in (False, True)
    )
    typed = typed_rows(contract.columns, file.form, source=source, ordinal=_ordinal(file.form))
    return (
        f"SELECT *, {bad} AS exchange_bad, {warned} AS exchange_warned "
        f"FROM (SELECT *{', ' if marks else ''}{marks} FROM ({typed}))"
    )


def _mark(number: int) -> str:
    return f"exchange_f_{number}"


def _collect(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    file: PlainFile,
    found: list[Rule],
    part: int,
    member: str,
) -> None:
    """The faults of the rows that have any: their text is typed a second time, the rest is not kept."""
    first = part * PART_LINES
    against = list(enumerate(found))
    # A line may hold several rows, of which some are good.
    source = "FROM typed_rest WHERE exchange_bad OR exchange_warned"
    if file.whole:
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE struck_rows AS SELECT exchange_line - {first} AS exchange_line "
            f"FROM exact_rows WHERE exchange_line >= {first} AND (exchange_bad OR exchange_warned)"
        )
        source = _marked(contract, file, found, "(FROM delivered SEMI JOIN struck_rows USING (exchange_line))")
    else:
        # Each rule costs each row its part, and few of them are broken.
        asked = ", ".join(f"bool_or({_mark(number)})" for number, _ in against)
        broken = connection.execute(f"SELECT {asked} FROM typed_rest").fetchone() or ()
        against = [one for one, struck in zip(against, broken, strict=True) if struck]
    named = ", ".join(
        f"({number}, {literal(rule.rule)}, {literal(rule.column) if rule.column else 'NULL'}, "
        f"{literal(rule.expected)}, {rule.warning})"
        for number, rule in against
    )
    faults = ", ".join(
        f"CASE WHEN {_mark(number)} AND {'NOT ' if rule.warning else ''}exchange_bad "
        f"THEN {{number: {number}, value: {_value_of(contract, rule)}}} END"
        for number, rule in against
    )
    row = ", ".join(f"{literal(c.name)}: {text_of(c)}" for c in contract.columns)
    connection.execute(
        f"""
        INSERT INTO faults
        SELECT {part}, {member}, exchange_line, exchange_ordinal, column_name, struck.value, rule, expected, warning,
               row_text
        FROM (
            -- Filtered first: what stands beside unnest is made anew for each of its rows.
            SELECT exchange_line, exchange_ordinal, unnest(list_filter([{faults}], lambda s: s IS NOT NULL)) AS struck,
                   to_json({{{row}}})::VARCHAR AS row_text
            FROM ({source})
        )
        JOIN (VALUES {named}) AS r (number, rule, column_name, expected, warning) ON r.number = struck.number
        """
    )


def _value_of(contract: Contract, rule: Rule) -> str:
    return "NULL::VARCHAR" if rule.column is None else text_of(contract.column(rule.column))
