"""What Excel does to a csv that was opened and saved in it: found in values, and named as the likely cause."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from lakehouse.contracts.forms import CsvForm, FileForm, XlsxForm
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.landing.row_rules import Rule
from lakehouse.landing.values import text_of
from lakehouse.storage.sql import literal

RULE = "mangled_by_excel"
ERRORS = r"#{3,}|#(?:N/A|I/T|REF!|NAVN\?|NAME\?|VALUE!|VÆRDI!|DIV/0!|NUM!|NULL!)"
SCIENTIFIC = r"\d(?:[.,]\d+)?E\+\d{2,3}"
MONTH = r"[A-Za-zæøå]{3,4}\.?"
DATE = r"\d{1,2}[-./]\d{1,2}[-./](?:\d{2}|\d{4})(?: \d{1,2}[:.]\d{2}(?:[:.]\d{2})?)?"
SHORT_DATE = rf"{MONTH}[- ]\d{{2}}|\d{{1,2}}[-. ]+{MONTH}(?:[- ]\d{{2,4}})?"
SERIAL = r"[2-6]\d{4}(?:[.,]\d+)?"
ZEROS = 4
SHOWN_ERROR = "Excel shows an error, or a column too narrow, so"
CUT = "Excel has cut the number to a few digits"
# A number in a workbook that has lost its last digits, as its reader shows it.
LONG_NUMBER = r"[+-]?\d(?:[.,]\d+)?E\+(?:1[5-9]|[2-9]\d|\d{3})"
KEPT = "Excel keeps no more than 15 digits of a number: its cell is to be text"


def excel_rules(contract: Contract, form: FileForm) -> Iterator[Rule]:
    """Rules for what any column would otherwise take: an error of Excel's, a long number cut to a few digits."""
    if not isinstance(form, CsvForm | XlsxForm):
        return
    for column in contract.columns:
        text = text_of(column)
        if isinstance(form, XlsxForm) and column.logicalType in ("string", "integer") and not column.parse.geometry:
            long = f"contains({text}, 'E+') AND regexp_full_match({text}, {literal(LONG_NUMBER)})"
            yield _rule(column, long, f"all digits; {KEPT}")
        if column.logicalType != "string" or column.parse.geometry:
            continue
        yield _rule(
            column,
            f"starts_with({text}, '#') AND regexp_full_match({text}, {literal(ERRORS)})",
            f"a value; {SHOWN_ERROR}",
        )
        # A pattern judges such a text itself.
        if isinstance(form, CsvForm) and column.primaryKey and column.logicalTypeOptions.pattern is None:
            cut = f"contains({text}, 'E+') AND regexp_full_match({text}, {literal(SCIENTIFIC)})"
            yield _rule(column, cut, f"all digits; {CUT}")


def _rule(column: Column, condition: str, expected: str) -> Rule:
    return Rule(rule=RULE, column=column.name, condition=condition, expected=expected)


def name_excel(connection: duckdb.DuckDBPyConnection, contract: Contract, form: FileForm) -> None:
    """Gives the faults of ``faults`` that Excel is known for its name as their rule, with what it has done."""
    if not isinstance(form, CsvForm):
        return
    struck = connection.execute("SELECT DISTINCT column_name FROM faults WHERE column_name IS NOT NULL").fetchall()
    done = [
        f"WHEN column_name = {literal(column.name)} AND {condition} THEN {literal(f'; {words}')}"
        for column in (contract.column(name) for (name,) in sorted(struck))
        for condition, words in _marks(column, form)
    ]
    if done:
        connection.execute(
            f"UPDATE faults SET rule = {literal(RULE)}, expected = faults.expected || found.done FROM ("
            f"SELECT rowid AS place, CASE {' '.join(done)} END AS done FROM faults WHERE NOT warning AND value IS NOT "
            "NULL AND (rule IN ('wrong_form', 'too_short') OR starts_with(rule, 'not_a'))) AS found "
            "WHERE faults.rowid = found.place AND found.done IS NOT NULL"
        )


def _marks(column: Column, form: CsvForm) -> Iterator[tuple[str, str]]:
    def whole(pattern: str) -> str:
        return f"regexp_full_match(value, {literal(pattern)})"

    yield whole(ERRORS), SHOWN_ERROR
    if column.logicalType in ("date", "timestamp"):
        # Where the contract itself states such a form, a date that fails is a wrong one.
        turned = SHORT_DATE if column.parse.formats else f"{DATE}|{SHORT_DATE}"
        yield whole(turned), "Excel has turned the date into the form of its own language"
        yield whole(SERIAL), "Excel counts days from 1900 so"
    if column.logicalType in ("integer", "number"):
        yield whole(f"{DATE}|{SHORT_DATE}"), "Excel has taken the number for a date"
        yield whole(SCIENTIFIC), CUT
        if form.decimal == ".":
            yield whole(r"[+-]?[\d.]+,\d+"), "Excel in Danish writes a comma in place of the point"
        elif column.logicalType == "number":
            yield whole(r"[+-]?[\d,]+\.\d+"), "Excel in English writes a point in place of the comma"
    pattern = column.logicalTypeOptions.pattern
    if column.logicalType == "string":
        yield whole(SCIENTIFIC), CUT
        if pattern is not None:
            padded = ", ".join(f"'{'0' * zeros}' || value" for zeros in range(1, ZEROS + 1))
            fits = f"list_bool_or([regexp_full_match(text, {literal(pattern)}) FOR text IN [{padded}]])"
            yield f"{whole(r'[0-9]+')} AND {fits}", "Excel has taken the zeros before the number"
