"""csv of any dialect into ``delivered`` and ``malformed``, each row with the physical line it begins on.

DuckDB reads; it does not say where a record stands, counts records instead of lines in its rejects, and lets
a quote that is never closed swallow the rest of the file. This module adds those three things.
"""

from __future__ import annotations

import csv
import mmap
import re
import shutil
from codecs import BOM_UTF8
from pathlib import Path

import duckdb

from lakehouse.contracts.forms import CsvForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.columns import header_names, selected, with_lists
from lakehouse.landing.lines import BUFFER_BYTES, MAX_LINE_BYTES, NO_TEXT, refuse_long_lines
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import identifier, literal

CHUNK = 1 << 20
# Each round finds the next lines with an open quote; a file that needs more has no quoting to speak of.
ROUNDS = 24
# Lines that are taken out one by one, a round.
MOST_TAKEN_OUT = 100_000
BLOCK = 1024
MOST_FILLED = 500
UNIT_SEPARATOR = "\x1f"
SEPARATOR_LINE = re.compile(rb"(?:%s)?\"?sep=[^\r\n]\"?[,;\t]*\r?\n?" % BOM_UTF8, re.IGNORECASE)
# A rejected record, and its first byte: DuckDB counts from 1, and takes blank lines before it along.
RECORD = "trim(csv_line, chr(10) || chr(13))"
START = "line_byte_position - 1 + strlen(csv_line) - strlen(ltrim(csv_line, chr(10) || chr(13)))"
# DuckDB keeps no more of a rejected record than this.
KEPT_BYTES = 10_000
# Of a column as it is held: one named rowid would hide the place of each record.
HELD = "exchange_c_"
PROBLEMS = {
    "MISSING COLUMNS": "fewer columns than the header",
    "TOO MANY COLUMNS": "more columns than the header",
    "UNQUOTED VALUE": "a quote that is not closed, or text behind a closing quote",
    "LINE SIZE OVER MAXIMUM": f"a line of more than {MAX_LINE_BYTES:,} bytes",
}


def read_csv(connection: duckdb.DuckDBPyConnection, file: PlainFile, form: CsvForm, contract: Contract) -> list[str]:
    """Makes ``delivered`` and fills ``malformed``; returns the names in the header.

    Raises :class:`DeliveryRefused` for a header that is missing or not the contract's.
    """
    names, skip = head_of_csv(file.path, form, contract)
    found = header_names(names, contract, line=form.skip_lines + 1, place=lambda number: f"c{number}")
    found = with_lists(found, form.unpivot)
    columns = f"{selected(contract, found, prefix=HELD)}, {_filled(contract, found, len(names))}"
    refuse_long_lines(file)
    form = without_quotes(file.path, form)
    path = _close_head(file, form, skip)
    path = _load_closed(connection, file, path, form, columns, len(names), skip)
    rows, rejected, open_quotes = _counts(connection)
    shown = ", ".join(f"{identifier(HELD + c.name)} AS {identifier(c.name)}" for c in contract.columns)
    # In a file of one column a blank line is a record to DuckDB, but no row to anyone else.
    each_line_a_record = len(names) > 1 and open_quotes == 0 and rows + rejected == file.lines - skip
    if each_line_a_record and rejected == 0:
        connection.execute(
            "CREATE OR REPLACE TEMP VIEW delivered AS "
            f"SELECT rowid + {skip + 1} AS exchange_line, {shown} FROM delivered_rows WHERE exchange_filled"
        )
    elif each_line_a_record and not form.quote:
        _number_single_lines(connection, skip, shown)
    else:
        if form.quote:
            _load(connection, path, form, f"{columns}, {_more_lines(len(names))}", len(names), skip)
        else:
            # No record has more than one line: what was read can stay.
            connection.execute("ALTER TABLE delivered_rows ADD COLUMN exchange_more BIGINT DEFAULT 0")
        _number_lines(connection, path, len(names), skip, shown)
    return list(found)


def head_of_csv(path: Path, form: CsvForm, contract: Contract) -> tuple[list[str], int]:
    """The names of the columns, and the number of lines before the data."""
    skip = form.skip_lines or lines_for_excel(path)
    if not form.header:
        return [column.source for column in contract.columns], skip
    with path.open(encoding="utf-8-sig", newline="") as text:
        for _ in range(skip):
            text.readline(MAX_LINE_BYTES)
        lines = iter(lambda: text.readline(MAX_LINE_BYTES).replace(form.delimiter, UNIT_SEPARATOR), "")
        reader = csv.reader(
            lines,
            delimiter=UNIT_SEPARATOR,
            quotechar=form.quote or None,
            quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE,
            doublequote=form.escape == form.quote,
            escapechar=form.escape if form.escape not in ("", form.quote) else None,
        )
        try:
            names = next((row for row in reader if any(row)), [])
        except csv.Error:
            names = []
        names = [name.replace(UNIT_SEPARATOR, form.delimiter) for name in names]
        return names, skip + reader.line_num


def lines_for_excel(path: Path) -> int:
    """1 where the first line tells Excel the delimiter, as ``sep=;``, else 0: it is no header, and no data."""
    with path.open("rb") as source:
        return int(SEPARATOR_LINE.fullmatch(source.readline(len(BOM_UTF8) + 16)) is not None)


def _close_head(file: PlainFile, form: CsvForm, skip: int) -> Path:
    """The path to read, without the quotes of a head that leaves one open: DuckDB skips records, not lines."""
    with file.path.open("rb") as source:
        head = [source.readline(MAX_LINE_BYTES) for _ in range(skip)]
    quote = form.quote.encode()
    if not quote or all(line.count(quote) % 2 == 0 for line in head):
        return file.path
    path = _copied(file)
    with path.open("r+b") as copy:
        copy.write(b"".join(head).replace(quote, b" " * len(quote)))
    return path


def without_quotes(path: Path, form: CsvForm) -> CsvForm:
    """The form as it is, or one that has no quotes where the file has none: no record of it has two lines."""
    if not form.quote or form.escape != form.quote:
        return form
    quote = form.quote.encode()[:1]
    with path.open("rb") as file:
        if any(quote in piece for piece in iter(lambda: file.read(CHUNK), b"")):
            return form
    return form.model_copy(update={"quote": "", "escape": ""})


def _copied(file: PlainFile) -> Path:
    """A copy that may be written to; what was delivered may not."""
    return Path(shutil.copyfile(file.path, file.scratch / "closed"))


def _source(path: Path, form: CsvForm, columns: int, skip: int) -> str:
    typed = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(columns))
    # An open quote is told of only as far as a buffer reaches: then it is to be DuckDB's own large one.
    buffer = "" if form.quote else f", buffer_size={BUFFER_BYTES}"
    return (
        f"read_csv({literal(str(path))}, auto_detect=false, header=false, skip={skip}, columns={{{typed}}}, "
        f"delim={literal(form.delimiter)}, quote={literal(form.quote)}, escape={literal(form.escape)}, "
        "strict_mode=true, null_padding=false, store_rejects=true, rejects_limit=0, "
        f"rejects_table='csv_rejects', rejects_scan='csv_scans', max_line_size={MAX_LINE_BYTES}{buffer})"
    )


def _load(
    connection: duckdb.DuckDBPyConnection, path: Path, form: CsvForm, selection: str, columns: int, skip: int
) -> None:
    """Records into ``delivered_rows``, in their order, and what is no record into ``csv_rejects``."""
    connection.execute("DROP TABLE IF EXISTS csv_rejects")
    connection.execute("DROP TABLE IF EXISTS csv_scans")
    rows = _is_text("c0") if columns == 1 else "true"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE delivered_rows AS SELECT {selection} "
        f"FROM {_source(path, form, columns, skip)} WHERE {rows}"
    )


def _load_closed(
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    path: Path,
    form: CsvForm,
    selection: str,
    columns: int,
    skip: int,
) -> Path:
    """Loads, and where quotes are left open, again without the lines that open them: only those are lost. So are lines
    in which text stands behind two closing quotes: DuckDB tells of them at the line before, and takes what is behind
    the second for a record.

    Returns the path that was read at last; the lines taken out of it are in ``opened``.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE opened (start BIGINT, text VARCHAR)")
    for _ in range(ROUNDS):
        _load(connection, path, form, selection, columns, skip)
        places = [
            place
            for (place,) in connection.execute(
                # Of a record with several such faults the line is wrong, and the place of the first is right.
                f"""
                SELECT CASE WHEN count(*) > 1 THEN min(byte_position) - 1 ELSE min({START}) END AS place
                FROM csv_rejects WHERE error_type = 'UNQUOTED VALUE' GROUP BY line_byte_position
                HAVING count(*) > 1 OR bool_or(contains({RECORD}, chr(10)) OR strlen(csv_line) >= {KEPT_BYTES})
                ORDER BY place LIMIT {MOST_TAKEN_OUT + 1}
                """
            ).fetchall()
        ]
        if not places:
            return path
        if len(places) > MOST_TAKEN_OUT:
            break
        if path == file.path:
            path = _copied(file)
        taken = _take_out(path, places)
        values = ", ".join(f"({start}, {literal(text)})" for start, text in taken)
        connection.execute(f"INSERT INTO opened VALUES {values}")
    raise DeliveryRefused(
        "unreadable",
        f"The quotes in {file.name} do not pair up.",
        "Put quotes round whole values only, double those within, and deliver the file anew.",
    )


def _take_out(path: Path, places: list[int]) -> list[tuple[int, str]]:
    """Writes blanks over the lines of these bytes; returns where each began, and its text."""
    taken = []
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        for start in sorted({content.rfind(b"\n", 0, place) + 1 for place in places}):
            end = content.find(b"\n", start)
            end = len(content) if end < 0 else end
            line = content[start:end].rstrip(b"\r")
            content[start : start + len(line)] = b" " * len(line)
            taken.append((start, line.decode(errors="replace")))
    return taken


def _counts(connection: duckdb.DuckDBPyConnection) -> tuple[int, int, int]:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM delivered_rows), (SELECT count(DISTINCT line) FROM csv_rejects), "
        "(SELECT count(*) FROM opened)"
    ).fetchone()
    return row or (0, 0, 0)


def _number_single_lines(connection: duckdb.DuckDBPyConnection, skip: int, shown: str) -> None:
    """Where every line is a record, good or rejected: then what DuckDB counts are lines.

    A good record's place among the good follows from its number; the lines that were left out before that place
    are added again: those before its block of records at once, those within it one by one.
    """
    connection.execute(
        f"""
        INSERT INTO malformed
        SELECT line, {_problem()}, text FROM (
            SELECT line, first({RECORD}) AS text, first(error_type::VARCHAR ORDER BY column_idx) AS error_type
            FROM csv_rejects GROUP BY line
        ) WHERE {_is_text("text")};
        CREATE OR REPLACE TEMP TABLE blocks AS
        WITH left_out AS (
            SELECT line - row_number() OVER (ORDER BY line) AS place FROM (SELECT DISTINCT line FROM csv_rejects)
        ),
        struck AS (
            SELECT CASE WHEN place <= {skip} THEN -1 ELSE (place - {skip} - 1) // {BLOCK} END AS block,
                   list(place) AS inside
            FROM left_out GROUP BY block
        ),
        numbers AS (
            SELECT unnest(range(-1, (SELECT count(*) FROM delivered_rows) // {BLOCK} + 1)) AS block
        )
        SELECT block, inside, coalesce(sum(len(inside)) OVER (
            ORDER BY block ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::BIGINT AS before
        FROM numbers LEFT JOIN struck USING (block);
        CREATE OR REPLACE TEMP VIEW delivered AS
        SELECT place + before + CASE WHEN inside IS NULL THEN 0 ELSE len(list_filter(inside, lambda p: p < place)) END
               AS exchange_line, {shown}
        FROM (SELECT rowid + {skip + 1} AS place, rowid // {BLOCK} AS block, * FROM delivered_rows)
        JOIN blocks USING (block) WHERE exchange_filled
        """
    )


def _problem() -> str:
    """SQL of the words for ``error_type``."""
    named = ", ".join(f"{literal(kind)}: {literal(words)}" for kind, words in PROBLEMS.items())
    return f"coalesce(MAP {{{named}}}[error_type], lower(error_type))"


def _number_lines(connection: duckdb.DuckDBPyConnection, path: Path, columns: int, skip: int, shown: str) -> None:
    """Gives each record its physical line where some lines are no record, or some records several lines.

    Lines that are no record (blank or malformed) are taken out of the count on both sides: a record's place
    among the others follows from the lines that each takes up, and the lines left out before that place are
    added again. A blank line within a value is left out too.
    """
    _find_lines(connection, path, columns, skip)
    _fill_malformed(connection)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE numbered AS
        WITH left_out AS (
            SELECT line, line - row_number() OVER (ORDER BY line) AS place
            FROM (SELECT line FROM found_lines WHERE blank UNION SELECT line FROM rejected_lines)
        ),
        gaps AS (SELECT place, count(*) AS lines FROM left_out GROUP BY place),
        running AS (SELECT place, sum(lines) OVER (ORDER BY place) AS before FROM gaps),
        records AS (
            SELECT record, {skip} + record + coalesce(sum(more) OVER (
                ORDER BY record ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS place
            FROM (SELECT rowid + 1 AS record, exchange_more AS more FROM delivered_rows)
        )
        SELECT r.record, (r.place + coalesce(x.before, 0))::BIGINT AS exchange_line
        FROM records AS r ASOF LEFT JOIN running AS x ON r.place > x.place
        """
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW delivered AS SELECT exchange_line, {shown} "
        "FROM delivered_rows JOIN numbered ON record = delivered_rows.rowid + 1 WHERE exchange_filled"
    )


def _filled(contract: Contract, found: dict[str, str], columns: int) -> str:
    """Whether a record has any value: one of delimiters alone, as Excel leaves them below a table, is no row.

    Of a very wide file that is not asked, as all of its columns would have to be read.
    """
    if columns > MOST_FILLED:
        return "true AS exchange_filled"
    text = _is_text(f"concat({', '.join(f'c{number}' for number in range(columns))})")
    # Nearly every row has its key, so that nothing else is asked. All blanks sort before '!'.
    key = next((found[column.source] for column in contract.primary_key if column.source in found), None)
    asked = f"CASE WHEN {key} >= '!' THEN true ELSE {text} END" if key and key[1:].isdigit() else text
    return f"{asked} AS exchange_filled"


def _more_lines(columns: int) -> str:
    """How many lines a record takes up beyond its first, without the blank ones."""
    # A letter between the values, so that a line with the end of one value or of two is never blank.
    values = ", 'x', ".join(f"c{number}" for number in range(columns))
    text = f"concat('x', {values}, 'x')"
    lines = f"list_filter(string_split({text}, chr(10))[2:], lambda line: {_is_text('line')})"
    return f"CASE WHEN contains({text}, chr(10)) THEN len({lines}) ELSE 0 END AS exchange_more"


def _find_lines(connection: duckdb.DuckDBPyConnection, path: Path, columns: int, skip: int) -> None:
    """``found_lines``: the line and first byte of each blank line and of each line that begins a rejected record."""
    # Four bytes that stand together in no text: every line is one value.
    lines = (
        f"read_csv({literal(str(path))}, auto_detect=false, header=false, columns={{'l': 'VARCHAR'}}, "
        f"delim='\x1f\x1e\x1f\x1e', quote='', escape='', max_line_size={MAX_LINE_BYTES}, "
        f"buffer_size={BUFFER_BYTES})"
    )
    with path.open("rb") as file:
        head = file.read(1 << 20)
    mark = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    line_end = 2 if head.partition(b"\n")[0].endswith(b"\r") else 1
    # In a file of one column an empty value in quotes is no row either.
    blank = f"NOT {_is_text('l')}" + (" OR trim(l, chr(13)) = '\"\"'" if columns == 1 else "")
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE found_lines AS
        SELECT line, start, coalesce({blank}, true) AS blank FROM (
            SELECT row_number() OVER () AS line, l,
                   {mark} + sum(strlen(coalesce(l, '')) + {line_end}) OVER (ROWS UNBOUNDED PRECEDING)
                   - strlen(coalesce(l, '')) - {line_end} AS start
            FROM {lines}
        )
        WHERE line > {skip} AND (coalesce({blank}, true) OR start IN (SELECT {START} FROM csv_rejects))
        """
    )


def _fill_malformed(connection: duckdb.DuckDBPyConnection) -> None:
    """One malformed row for each rejected record, and one for each line that opened a quote and was taken out.

    ``rejected_lines``: all lines that these take up.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE rejected_lines AS
        SELECT line + generate_subscripts(lines, 1) - 1 AS line, unnest(lines) AS text, problem,
               generate_subscripts(lines, 1) = 1 AS first
        FROM (
            SELECT line, string_split(csv_line, chr(10)) AS lines,
                   {_problem()} AS problem
            FROM (
                SELECT {START} AS start, first({RECORD}) AS csv_line,
                       first(error_type::VARCHAR ORDER BY column_idx) AS error_type
                FROM csv_rejects GROUP BY start
            ) JOIN found_lines USING (start)
        )
        """
    )
    connection.execute(
        f"""
        INSERT INTO malformed
        SELECT min(line), first(problem ORDER BY line), string_agg(text, chr(10) ORDER BY line)
        FROM (SELECT *, sum(first::INTEGER) OVER (ORDER BY line) AS record FROM rejected_lines)
        GROUP BY record HAVING bool_or({_is_text("text")})
        UNION ALL
        SELECT line, {literal(PROBLEMS["UNQUOTED VALUE"])}, text FROM opened JOIN found_lines USING (start)
        """
    )


def _is_text(value: str) -> str:
    return f"trim(coalesce({value}, ''), {NO_TEXT}) <> ''"
