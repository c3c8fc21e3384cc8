"""Personal data in texts: e-mail addresses, telephone and CPR numbers, street addresses with a house number, and what
may stand for an id.

Used on what is delivered and on what is about to be published. Candidates come from one expression over distinct
texts; only distinct candidates go through the libraries that know what a civil registration number or a telephone
number is.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import phonenumbers
import pyarrow as pa
from stdnum.dk import cpr

from lakehouse.storage.sql import literal

EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
# A dash may stand between date and serial; digits around would make it part of a longer number.
CPR = r"(?:^|[^0-9-])(\d{6}-\d{4})(?:$|[^0-9-])"
BARE_CPR = r"(?:^|[^0-9-])((?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{6})(?:$|[^0-9-])"
TEN_DIGITS = r"(?:^|[^0-9-])(\d{10})(?:$|[^0-9-])"
# Eight digits in a row are too often something else.
PHONE = r"(?:^|[^\w.,])(\+\d[\d ()/-]{6,}\d|\d\d \d\d \d\d \d\d)(?:$|[^\w.,])"
PREFILTER = r"\d{6}-?\d{4}|\+\d|\d\d \d\d \d\d \d\d"
# A street by its ending, and a number of at most three digits with a letter or none.
ADDRESS = (
    r"(?i)(\b[\p{L}.' -]*(?:vej|gade|gaden|allé|alle|plads|stræde|vænget|parken|boulevard|torv|gate|gata|veien|vegen|"
    r"straße|strasse|straat|street|road)\s+\d{1,3}\s?[a-zæøå]?)(?:$|[^\p{L}\d])"
)
# What stands for an id: a pseudonym of `clean`, or a digest that somebody made of an id without a key.
PSEUDONYM = r"(?:^|[^0-9A-Za-z])([0-9a-fA-F]{32,64})(?:$|[^0-9A-Za-z])"
SHORTEST = 6
# A number of ten digits is a date of birth by chance in one case of 25.
SAMPLE, LEAST_DISTINCT, LEAST_SHARE = 10_000, 20, 0.5
BATCH = 50_000
ANY_KIND = f"{EMAIL}|\\d{{6}}-\\d{{4}}|\\+\\d[\\d ()/-]{{6,}}\\d|\\b\\d\\d \\d\\d \\d\\d \\d\\d\\b"
# Of a CPR number before 2007: the sum of its digits by these is a multiple of eleven; of any other by chance.
MODULUS, WEIGHTS = 11, (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)


def find_in_texts(connection: duckdb.DuckDBPyConnection, texts: str) -> bool:
    """Fills ``found_texts`` (text, kind, found) with what the texts of a query hold; says whether there was anything
    to look into."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE suspects AS
        SELECT text FROM (SELECT DISTINCT text FROM ({texts}) AS given (text) WHERE strlen(text) >= {SHORTEST})
        WHERE contains(text, '@') OR regexp_matches(text, {literal(PREFILTER)})
        """
    )
    make_found(connection)
    (suspects,) = connection.execute("SELECT count(*) FROM suspects").fetchone() or (0,)
    if not suspects:
        return False
    connection.execute(
        "INSERT INTO found_texts SELECT text, 'an e-mail address', "
        f"unnest(regexp_extract_all(text, {literal(EMAIL)})) FROM suspects WHERE contains(text, '@')"
    )
    keep_valid(connection, CPR, "a CPR number", cpr.is_valid)
    keep_valid(connection, PHONE, "a telephone number", _is_phone)
    if holds_cpr(connection, f"SELECT unnest(regexp_extract_all(text, {literal(TEN_DIGITS)}, 1)) FROM suspects"):
        keep_valid(connection, BARE_CPR, "a CPR number", cpr.is_valid)
    return True


def find_in_numbers(connection: duckdb.DuckDBPyConnection, numbers: str) -> bool:
    """The same for a query of whole numbers, as texts of ten digits: CPR numbers of which a spreadsheet has taken the
    zero before the day."""
    make_found(connection)
    if not holds_cpr(connection, numbers):
        return False
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE suspects AS SELECT DISTINCT text FROM ({numbers}) AS given (text)"
    )
    keep_valid(connection, BARE_CPR, "a CPR number", cpr.is_valid)
    return True


def find_addresses(connection: duckdb.DuckDBPyConnection, texts: str) -> None:
    """Adds to ``found_texts`` what reads as a street with a house number."""
    connection.execute(
        "INSERT INTO found_texts SELECT text, 'a street address', "
        f"unnest(regexp_extract_all(text, {literal(ADDRESS)}, 1)) "
        f"FROM (SELECT DISTINCT text FROM ({texts}) AS given (text) WHERE strlen(text) >= {SHORTEST})"
    )


def find_pseudonyms(connection: duckdb.DuckDBPyConnection, texts: str) -> None:
    """Adds to ``found_texts`` what may stand for a person's id."""
    connection.execute(
        "INSERT INTO found_texts SELECT text, 'a pseudonym or digest', "
        f"unnest(regexp_extract_all(text, {literal(PSEUDONYM)}, 1)) "
        f"FROM (SELECT DISTINCT text FROM ({texts}) AS given (text))"
    )


def by_modulus(numbers: list[str]) -> int:
    """How many of some CPR numbers keep to modulus 11: all of real ones before 2007, one in eleven by chance."""
    digits = [[int(digit) for digit in number if digit.isdigit()] for number in numbers]
    return sum(
        sum(weight * digit for weight, digit in zip(WEIGHTS, one, strict=True)) % MODULUS == 0
        for one in digits
        if len(one) == len(WEIGHTS)
    )


def make_found(connection: duckdb.DuckDBPyConnection) -> None:
    """``found_texts``, empty."""
    connection.execute("CREATE OR REPLACE TEMP TABLE found_texts (text VARCHAR, kind VARCHAR, found VARCHAR)")


def holds_cpr(connection: duckdb.DuckDBPyConnection, numbers: str) -> bool:
    """Whether most of a column's ten-digit numbers are CPR numbers, by a sample of the distinct ones."""
    sample = connection.execute(
        f"SELECT number FROM (SELECT DISTINCT number FROM ({numbers}) AS n (number)) "
        f"ORDER BY hash(number) LIMIT {SAMPLE}"
    ).fetchall()
    valid = sum(cpr.is_valid(number) for (number,) in sample)
    return valid >= LEAST_DISTINCT and valid >= LEAST_SHARE * len(sample)


def keep_valid(connection: duckdb.DuckDBPyConnection, pattern: str, kind: str, is_valid: Callable[[str], bool]) -> None:
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
