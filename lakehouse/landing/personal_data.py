"""Personal data in columns that a contract calls public: found set at a time, refused, and masked wherever kept.

Candidates come from one expression over the distinct texts of a column; only distinct candidates go through the
libraries that know what a civil registration number or a telephone number is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import phonenumbers
import pyarrow as pa
from stdnum.dk import cpr

from lakehouse.contracts.odcs import Column, Contract
from lakehouse.landing.receipt import MASK
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.storage.sql import identifier, literal

RULE = "personal_data"
EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
# A dash may stand between date and serial; digits around would make it part of a longer number.
CPR = r"(?:^|[^0-9-])(\d{6}-\d{4})(?:$|[^0-9-])"
BARE_CPR = r"(?:^|[^0-9-])((?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{6})(?:$|[^0-9-])"
TEN_DIGITS = r"(?:^|[^0-9-])(\d{10})(?:$|[^0-9-])"
# Eight digits in a row are too often something else.
PHONE = r"(?:^|[^\w.,])(\+\d[\d ()/-]{6,}\d|\d\d \d\d \d\d \d\d)(?:$|[^\w.,])"
PREFILTER = r"\d{6}-?\d{4}|\+\d|\d\d \d\d \d\d \d\d"
SHORTEST = 6
# A number of ten digits is a date of birth by chance in one case of 25.
SAMPLE, LEAST_DISTINCT, LEAST_SHARE = 10_000, 20, 0.5
BATCH = 50_000
ANY_KIND = f"{EMAIL}|\\d{{6}}-\\d{{4}}|\\+\\d[\\d ()/-]{{6,}}\\d|\\b\\d\\d \\d\\d \\d\\d \\d\\d\\b"


def refuse_personal_data(connection: duckdb.DuckDBPyConnection, contract: Contract) -> int:
    """Refuses the rows of ``rows`` with personal data in a public column; returns how many were good before.

    What was found is masked in ``faults``, in the faults that such a row had before too.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE personal (exchange_line BIGINT, column_name VARCHAR, kind VARCHAR, found VARCHAR)"
    )
    for column in _searched(contract):
        if column.logicalType == "string":
            _search_text(connection, column)
        else:
            _search_integers(connection, column)
    (hits,) = connection.execute("SELECT count(*) FROM personal").fetchone() or (0,)
    refused = _refuse(connection, contract) if hits else 0
    _mask_faults(connection, contract)
    return refused


def _searched(contract: Contract) -> Iterator[Column]:
    """Columns that anybody may read, but for published contacts and those whose values are listed or shapes."""
    for column in contract.columns:
        listed = any(quality.metric == "invalidValues" and quality.severity == "error" for quality in column.quality)
        if column.classification.private or column.published_contact or listed or column.parse.geometry:
            continue
        if column.logicalType in ("string", "integer"):
            yield column


def _search_text(connection: duckdb.DuckDBPyConnection, column: Column) -> None:
    name = identifier(column.name)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE suspects AS
        SELECT text FROM (SELECT DISTINCT {name} AS text FROM rows WHERE strlen({name}) >= {SHORTEST})
        WHERE contains(text, '@') OR regexp_matches(text, {literal(PREFILTER)})
        """
    )
    (suspects,) = connection.execute("SELECT count(*) FROM suspects").fetchone() or (0,)
    if not suspects:
        return
    connection.execute("CREATE OR REPLACE TEMP TABLE found_texts (text VARCHAR, kind VARCHAR, found VARCHAR)")
    connection.execute(
        "INSERT INTO found_texts SELECT text, 'an e-mail address', "
        f"unnest(regexp_extract_all(text, {literal(EMAIL)})) FROM suspects WHERE contains(text, '@')"
    )
    _keep_valid(connection, CPR, "a CPR number", cpr.is_valid)
    _keep_valid(connection, PHONE, "a telephone number", _is_phone)
    if _holds_cpr(connection, f"SELECT unnest(regexp_extract_all(text, {literal(TEN_DIGITS)}, 1)) FROM suspects"):
        _keep_valid(connection, BARE_CPR, "a CPR number", cpr.is_valid)
    connection.execute(
        f"INSERT INTO personal SELECT DISTINCT exchange_line, {literal(column.name)}, kind, found "
        f"FROM found_texts JOIN rows ON rows.{name} = found_texts.text"
    )


def _search_integers(connection: duckdb.DuckDBPyConnection, column: Column) -> None:
    """Whole numbers that are CPR numbers; a spreadsheet has taken the zero before the day."""
    name = identifier(column.name)
    bounded = f"{name} BETWEEN 100000000 AND 9999999999"
    padded = f"lpad({name}::VARCHAR, 10, '0')"
    if not _holds_cpr(connection, f"SELECT {padded} FROM rows WHERE {bounded}"):
        return
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE suspects AS SELECT DISTINCT {padded} AS text FROM rows WHERE {bounded}"
    )
    connection.execute("CREATE OR REPLACE TEMP TABLE found_texts (text VARCHAR, kind VARCHAR, found VARCHAR)")
    _keep_valid(connection, BARE_CPR, "a CPR number", cpr.is_valid)
    connection.execute(
        f"INSERT INTO personal SELECT exchange_line, {literal(column.name)}, kind, {name}::VARCHAR "
        f"FROM found_texts JOIN rows ON {padded} = found_texts.text WHERE {bounded}"
    )


def _holds_cpr(connection: duckdb.DuckDBPyConnection, numbers: str) -> bool:
    """Whether most of a column's ten-digit numbers are CPR numbers, by a sample of the distinct ones."""
    sample = connection.execute(
        f"SELECT number FROM (SELECT DISTINCT number FROM ({numbers}) AS n (number)) "
        f"ORDER BY hash(number) LIMIT {SAMPLE}"
    ).fetchall()
    valid = sum(cpr.is_valid(number) for (number,) in sample)
    return valid >= LEAST_DISTINCT and valid >= LEAST_SHARE * len(sample)


def _keep_valid(
    connection: duckdb.DuckDBPyConnection, pattern: str, kind: str, is_valid: Callable[[str], bool]
) -> None:
    """Adds to ``found_texts`` the matches of ``pattern`` in ``suspects`` that are valid."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE matches AS SELECT text, unnest(regexp_extract_all(text, "
        f"{literal(pattern)}, 1)) AS found FROM suspects"
    )
    connection.execute("CREATE OR REPLACE TEMP TABLE distinct_matches AS SELECT DISTINCT found FROM matches")
    first = 0
    while batch := connection.execute(
        f"SELECT found FROM distinct_matches WHERE rowid >= {first} AND rowid < {first + BATCH}"
    ).fetchall():
        first += BATCH
        kept = pa.table({"found": pa.array([found for (found,) in batch if is_valid(found)], pa.string())})
        connection.register("valid_batch", kept)
        connection.execute(
            f"INSERT INTO found_texts SELECT text, {literal(kind)}, found FROM matches JOIN valid_batch USING (found)"
        )
        connection.unregister("valid_batch")


def _is_phone(text: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, "DK"))
    except phonenumbers.NumberParseException:
        return False


def _refuse(connection: duckdb.DuckDBPyConnection, contract: Contract) -> int:
    """Marks the rows of ``personal`` as bad, with a fault for each column; all that was found is masked."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE personal_lines AS SELECT exchange_line, "
        "list(DISTINCT found ORDER BY length(found) DESC, found) AS found FROM personal GROUP BY exchange_line"
    )
    connection.execute(
        f"UPDATE faults SET value = {_masked('value')}, row_text = {_masked('row_text')} FROM personal_lines AS p "
        f"WHERE faults.part = p.exchange_line // {PART_LINES} AND faults.line = p.exchange_line % {PART_LINES}"
    )
    row = ", ".join(f"{literal(c.name)}: {identifier(c.name)}::VARCHAR" for c in contract.columns)
    values = " ".join(
        f"WHEN {literal(column.name)} THEN {identifier(column.name)}::VARCHAR" for column in _searched(contract)
    )
    connection.execute(
        f"""
        INSERT INTO faults
        SELECT exchange_line // {PART_LINES}, member, exchange_line % {PART_LINES}, column_name,
               {_masked(f"CASE column_name {values} END")}, {literal(RULE)},
               'no personal data, since the contract calls this column public; found ' || kinds, false,
               {_masked(f"to_json({{{row}}})::VARCHAR")}
        FROM (
            SELECT exchange_line, column_name, string_agg(DISTINCT kind, ' and ' ORDER BY kind) AS kinds
            FROM personal GROUP BY exchange_line, column_name
        )
        JOIN personal_lines AS p USING (exchange_line)
        JOIN rows USING (exchange_line)
        LEFT JOIN parts ON part = exchange_line // {PART_LINES}
        """
    )
    struck = "exchange_line IN (SELECT exchange_line FROM personal_lines)"
    (good,) = connection.execute(f"SELECT count(*) FROM rows WHERE NOT exchange_bad AND {struck}").fetchone() or (0,)
    connection.execute(f"UPDATE rows SET exchange_bad = true WHERE {struck}")
    # What a warning said of a row that is now refused is not said of an accepted one.
    connection.execute(
        f"DELETE FROM faults WHERE warning AND part * {PART_LINES} + line IN (SELECT exchange_line FROM personal_lines)"
    )
    return int(good)


def _masked(text: str) -> str:
    """SQL of a text without any of the things that were found in its row."""
    return f"list_reduce(list_prepend({text}, p.found), lambda masked, one: replace(masked, one, {literal(MASK)}))"


def _mask_faults(connection: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """What looks like personal data goes out of the other faults too: a malformed row, a text where a number is due.

    Of a dataset with private columns a row as a whole is private already, and only values of public columns are
    looked at.
    """
    public = ", ".join(literal(c.name) for c in contract.columns if not c.classification.private) or "NULL"
    places = [("value", f"column_name IN ({public})" if contract.private else "true")]
    if not contract.private:
        places.append(("row_text", "true"))
    for text, where in places:
        connection.execute(
            f"UPDATE faults SET {text} = regexp_replace({text}, {literal(ANY_KIND)}, {literal(MASK)}, 'g') "
            f"WHERE {where} AND regexp_matches({text}, {literal(ANY_KIND)})"
        )
