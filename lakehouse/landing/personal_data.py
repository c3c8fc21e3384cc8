"""Personal data in columns that a contract calls public: found set at a time, refused, and masked wherever kept."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np

from lakehouse.contracts.odcs import Column, Contract
from lakehouse.landing.plain_measures import any_between, suspect_texts
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.receipt import MASK
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.privacy.personal_data import ANY_KIND, find_in_numbers, find_in_texts
from lakehouse.storage.sql import identifier, literal

RULE = "personal_data"
NINE_OR_TEN_DIGITS = 100_000_000, 9_999_999_999


def refuse_personal_data(connection: duckdb.DuckDBPyConnection, contract: Contract, plain: PlainRows) -> int:
    """Refuses the rows of ``rows`` with personal data in a public column; returns how many were good before.

    What was found is masked in ``faults``, in the faults that such a row had before too.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE personal (exchange_line BIGINT, exchange_ordinal BIGINT, "
        "exchange_column VARCHAR, exchange_kind VARCHAR, exchange_found VARCHAR)"
    )
    for column in searched_columns(contract):
        if column.logicalType == "string":
            _search_text(connection, column, plain)
        else:
            _search_integers(connection, column, plain)
    (hits,) = connection.execute("SELECT count(*) FROM personal").fetchone() or (0,)
    if hits:
        lines = connection.execute("SELECT DISTINCT exchange_line FROM personal ORDER BY exchange_line").fetchnumpy()
        plain.take_out(connection, np.asarray(lines["exchange_line"], np.int64))
    refused = _refuse(connection, contract) if hits else 0
    _mask_faults(connection, contract)
    return refused


def searched_columns(contract: Contract) -> Iterator[Column]:
    """Columns that anybody may read, but for published contacts and those whose values are listed or shapes."""
    for column in contract.columns:
        listed = any(quality.metric == "invalidValues" and quality.severity == "error" for quality in column.quality)
        if column.classification.private or column.published_contact or listed or column.parse.geometry:
            continue
        if column.logicalType in ("string", "integer"):
            yield column


def _search_text(connection: duckdb.DuckDBPyConnection, column: Column, plain: PlainRows) -> None:
    name = identifier(column.name)
    connection.execute("CREATE OR REPLACE TEMP TABLE plain_texts (text VARCHAR)")
    for texts in suspect_texts(plain, column.name):
        connection.register("suspect_texts", texts.to_arrow())
        connection.execute("INSERT INTO plain_texts FROM suspect_texts")
        connection.unregister("suspect_texts")
    if find_in_texts(connection, f"SELECT {name} FROM exact_rows UNION ALL FROM plain_texts"):
        connection.execute(
            f"INSERT INTO personal SELECT DISTINCT exchange_line, exchange_ordinal, {literal(column.name)}, "
            f"found_texts.kind, found_texts.found FROM found_texts JOIN rows ON rows.{name} = found_texts.text"
        )


def _search_integers(connection: duckdb.DuckDBPyConnection, column: Column, plain: PlainRows) -> None:
    """Whole numbers that are CPR numbers; a spreadsheet has taken the zero before the day."""
    low, high = NINE_OR_TEN_DIGITS
    rows = "rows" if any_between(plain, column.name, low, high) else "exact_rows"
    name = f"{rows}.{identifier(column.name)}"
    bounded = f"{name} BETWEEN {low} AND {high}"
    padded = f"lpad({name}::VARCHAR, 10, '0')"
    if find_in_numbers(connection, f"SELECT {padded} FROM {rows} WHERE {bounded}"):
        connection.execute(
            f"INSERT INTO personal SELECT exchange_line, exchange_ordinal, {literal(column.name)}, found_texts.kind, "
            f"{name}::VARCHAR FROM found_texts JOIN {rows} ON {padded} = found_texts.text WHERE {bounded}"
        )


def _refuse(connection: duckdb.DuckDBPyConnection, contract: Contract) -> int:
    """Marks the rows of ``personal`` as bad, with a fault for each column; all that was found is masked."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE personal_rows AS SELECT exchange_line, exchange_ordinal, "
        "list(DISTINCT exchange_found ORDER BY length(exchange_found) DESC, exchange_found) AS exchange_found "
        "FROM personal GROUP BY exchange_line, exchange_ordinal"
    )
    fault_of_row = (
        f"part = exchange_line // {PART_LINES} AND line = exchange_line % {PART_LINES} AND ordinal = exchange_ordinal"
    )
    connection.execute(
        f"UPDATE faults SET value = {_masked('value')}, row_text = {_masked('row_text')} FROM personal_rows "
        f"WHERE {fault_of_row}"
    )
    # What a warning said of a row that is now refused is not said of an accepted one.
    connection.execute(f"DELETE FROM faults USING personal_rows WHERE warning AND {fault_of_row}")
    row = ", ".join(f"{literal(c.name)}: rows.{identifier(c.name)}::VARCHAR" for c in contract.columns)
    values = " ".join(
        f"WHEN {literal(column.name)} THEN rows.{identifier(column.name)}::VARCHAR"
        for column in searched_columns(contract)
    )
    connection.execute(
        f"""
        INSERT INTO faults
        SELECT exchange_line // {PART_LINES}, exchange_member, exchange_line % {PART_LINES}, exchange_ordinal,
               exchange_column, {_masked(f"CASE exchange_column {values} END")}, {literal(RULE)},
               'no personal data, since the contract calls this column public; found ' || exchange_kinds, false,
               {_masked(f"to_json({{{row}}})::VARCHAR")}
        FROM (
            SELECT exchange_line, exchange_ordinal, exchange_column,
                   string_agg(DISTINCT exchange_kind, ' and ' ORDER BY exchange_kind) AS exchange_kinds
            FROM personal GROUP BY exchange_line, exchange_ordinal, exchange_column
        )
        JOIN personal_rows USING (exchange_line, exchange_ordinal)
        JOIN rows USING (exchange_line, exchange_ordinal)
        LEFT JOIN parts ON exchange_part = exchange_line // {PART_LINES}
        """
    )
    (good,) = connection.execute(
        "SELECT count(*) FROM rows SEMI JOIN personal_rows USING (exchange_line, exchange_ordinal) "
        "WHERE NOT exchange_bad"
    ).fetchone() or (0,)
    connection.execute(
        "UPDATE exact_rows SET exchange_bad = true FROM personal_rows AS p "
        "WHERE exact_rows.exchange_line = p.exchange_line AND exact_rows.exchange_ordinal = p.exchange_ordinal"
    )
    return int(good)


def _masked(text: str) -> str:
    """SQL of a text without any of the things that were found in its row."""
    replaced = f"replace(exchange_masked, exchange_one, {literal(MASK)})"
    return f"list_reduce(list_prepend({text}, exchange_found), lambda exchange_masked, exchange_one: {replaced})"


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
