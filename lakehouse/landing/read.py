"""From a plain file to a DuckDB relation of text columns with the line each row stands on."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl

from lakehouse.contracts.extension import CsvForm, GeojsonForm, JsonForm, NdjsonForm, ParquetForm, XlsxForm
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import identifier, literal

# One line of a csv may hold this much; a longer one is refused, not held in memory.
MAX_LINE_BYTES = 8 << 20


def read_file(*, connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract) -> list[str]:
    """Makes two relations: ``delivered(line BIGINT, <column> VARCHAR …)`` and
    ``malformed(line BIGINT, problem VARCHAR, text VARCHAR)``, the rows that have no columns at all.

    Columns are named as in the contract; one that the file lacks is NULL throughout if it is optional.
    Returns the names of columns that the contract does not know.
    Raises :class:`DeliveryRefused` where nothing can be read, or required columns are missing.
    """
    connection.execute("DROP VIEW IF EXISTS delivered")
    connection.execute("DROP TABLE IF EXISTS delivered_rows")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE malformed (line BIGINT, problem VARCHAR, text VARCHAR)"
    )
    form = file.form
    try:
        if isinstance(form, CsvForm):
            return _read_csv(connection, file, form, contract)
        if isinstance(form, ParquetForm):
            return _read_parquet(connection, file, contract)
        if isinstance(form, XlsxForm):
            return _read_xlsx(connection, file, form, contract)
        if isinstance(form, NdjsonForm):
            _read_ndjson(connection, file, contract)
        else:
            _read_document(connection, file, form, contract)
        return []
    except (duckdb.IOException, duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise DeliveryRefused(
            "unreadable",
            f"{file.name} cannot be read as {form.format}: {str(error).splitlines()[0]}",
            "Check that the file is whole and in the form that the contract states, and deliver it anew.",
        ) from None


def _select(contract: Contract, found: dict[str, str]) -> str:
    """The columns of the contract out of ``found`` (source name → SQL expression)."""
    missing = [column for column in contract.columns if column.required and column.source not in found]
    if missing:
        raise DeliveryRefused(
            "missing_columns",
            f"Required columns are missing: {', '.join(repr(column.source) for column in missing)}. "
            f"The file has: {', '.join(repr(name) for name in list(found)[:40]) or 'none'}.",
            "Is it the right file for this dataset? If the columns were renamed, tell the exchange first.",
        )
    return ", ".join(
        f"{found.get(column.source, 'NULL::VARCHAR')} AS {identifier(column.name)}" for column in contract.columns
    )


def _unknown(contract: Contract, names: list[str]) -> list[str]:
    known = {column.source for column in contract.columns} | set(contract.exchange.delivery.ignored_columns)
    return [name for name in names if name not in known]


def _read_csv(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: CsvForm, contract: Contract
) -> list[str]:
    names = _csv_header(connection, file.path, form) if form.header else [c.source for c in contract.columns]
    columns = ", ".join(f"{literal(f'c{number}')}: 'VARCHAR'" for number in range(len(names)))
    skip = form.skip_lines + int(form.header)
    source = (
        f"read_csv({literal(str(file.path))}, auto_detect=false, header=false, skip={skip}, "
        f"columns={{{columns}}}, delim={literal(form.delimiter)}, quote={literal(form.quote)}, "
        f"escape={literal(form.escape)}, strict_mode=true, null_padding=false, store_rejects=true, "
        f"rejects_limit=0, rejects_table='csv_rejects', rejects_scan='csv_scans', "
        f"max_line_size={MAX_LINE_BYTES})"
    )
    connection.execute("DROP TABLE IF EXISTS csv_rejects")
    connection.execute("DROP TABLE IF EXISTS csv_scans")
    found = {name: f"c{number}" for number, name in reversed(list(enumerate(names)))}
    selected = _select(contract, found)
    connection.execute(
        f"CREATE TEMP TABLE delivered_rows AS SELECT row_number() OVER () AS record, {selected}, "
        f"{_newlines(len(names))} AS breaks FROM {source}"
    )
    connection.execute(
        "INSERT INTO malformed SELECT min(line), lower(replace(error_type::VARCHAR, '_', ' ')) || ': ' || "
        "any_value(error_message), csv_line FROM csv_rejects GROUP BY error_type, line, csv_line"
    )
    _split_swallowed_lines(connection)
    _number_lines(connection, file.path, skip)
    return _unknown(contract, names)


def _csv_header(connection: duckdb.DuckDBPyConnection, path: Path, form: CsvForm) -> list[str]:
    row = connection.execute(
        f"SELECT * FROM read_csv({literal(str(path))}, auto_detect=false, header=false, all_varchar=true, "
        f"skip={form.skip_lines}, columns={{'l': 'VARCHAR'}}, delim='\x1f', quote='', escape='', "
        f"max_line_size={MAX_LINE_BYTES}, null_padding=true, ignore_errors=true) LIMIT 1"
    ).fetchone()
    if row is None or row[0] is None:
        line = form.skip_lines + 1
        raise DeliveryRefused("no_header", f"There is no header on line {line}.", "Deliver the file anew.", line=line)
    parsed = pl.read_csv(
        str(row[0]).removeprefix("\ufeff").encode() + b"\n",
        separator=form.delimiter,
        quote_char=form.quote or None,
        has_header=False,
        infer_schema=False,
    )
    return [(value or "").strip() for value in parsed.row(0)]


def _newlines(columns: int) -> str:
    """How many line breaks stand inside a record's quoted values."""
    joined = ", ".join(f"c{number}" for number in range(columns))
    return f"(length(concat({joined})) - length(replace(concat({joined}), chr(10), '')))::INTEGER"


def _split_swallowed_lines(connection: duckdb.DuckDBPyConnection) -> None:
    """An unclosed quote swallows what follows: each line of it becomes a malformed row of its own."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE malformed AS
        SELECT line + position - 1 AS line, problem, text
        FROM (
            SELECT line, problem, unnest(lines) AS text, generate_subscripts(lines, 1) AS position
            FROM (
                SELECT line, problem, string_split(trim(text, chr(10) || chr(13)), chr(10)) AS lines FROM malformed
            )
        )
        """
    )


def _number_lines(connection: duckdb.DuckDBPyConnection, path: Path, skip: int) -> None:
    """Gives each record its physical line.

    Where every line is one record this is a sum. Else lines that are no record (blank or malformed) and line
    breaks inside quotes are counted in: both sides are put on a scale without those lines, then joined.
    """
    lines = (
        f"read_csv({literal(str(path))}, auto_detect=false, header=false, columns={{'l': 'VARCHAR'}}, "
        f"delim='\x1f', quote='', escape='', null_padding=true, ignore_errors=true, max_line_size={MAX_LINE_BYTES})"
    )
    records, breaks = connection.execute(
        "SELECT count(*), coalesce(sum(breaks), 0) FROM delivered_rows"
    ).fetchone() or (0, 0)
    total = (connection.execute(f"SELECT count(*) FROM {lines}").fetchone() or (0,))[0]
    if breaks == 0 and total == records + skip:
        connection.execute(
            f"CREATE TEMP VIEW delivered AS SELECT record + {skip} AS line, * EXCLUDE (record, breaks) "
            "FROM delivered_rows"
        )
        return
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE numbered AS
        WITH extra AS (
            SELECT line FROM (SELECT row_number() OVER () AS line, l FROM {lines})
            WHERE line > {skip} AND (l IS NULL OR trim(l, ' ' || chr(13)) = '')
            UNION SELECT line FROM malformed
        ),
        scaled AS (SELECT line, line - row_number() OVER (ORDER BY line) AS place FROM extra),
        gaps AS (SELECT place, count(*) AS lines FROM scaled GROUP BY place),
        running AS (SELECT place, sum(lines) OVER (ORDER BY place) AS before FROM gaps),
        records AS (
            SELECT record, {skip} + record + coalesce(sum(breaks) OVER (
                ORDER BY record ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS place
            FROM delivered_rows
        )
        SELECT r.record, (r.place + coalesce(x.before, 0))::BIGINT AS line
        FROM records AS r ASOF LEFT JOIN running AS x ON r.place > x.place
        """
    )
    connection.execute(
        "CREATE TEMP VIEW delivered AS SELECT n.line, d.* EXCLUDE (record, breaks) "
        "FROM delivered_rows AS d JOIN numbered AS n USING (record)"
    )


def _json_path(column: Column) -> str:
    path = column.parse.path or column.source
    steps = path.removeprefix("$.").split(".")
    return "$" + "".join(f'."{step}"' for step in steps)


def _from_record(contract: Contract, record: str, root: str | None) -> str:
    """One text column for each of the contract's, out of a JSON record (or the document's root)."""
    parts = []
    for column in contract.columns:
        at_root = column.parse.path is not None and column.parse.path.startswith("$.")
        where = root if at_root and root else record
        parts.append(f"json_extract_string({where}, {literal(_json_path(column))}) AS {identifier(column.name)}")
    return ", ".join(parts)


def _read_ndjson(connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract) -> None:
    lines = (
        f"(SELECT row_number() OVER () AS line, l FROM read_csv({literal(str(file.path))}, auto_detect=false, "
        "header=false, columns={'l': 'VARCHAR'}, delim='\x1f', quote='', escape='', "
        f"max_line_size={MAX_LINE_BYTES}))"
    )
    connection.execute(
        f"INSERT INTO malformed SELECT line, 'is not a JSON object', l FROM {lines} "
        "WHERE trim(coalesce(l, '')) <> '' AND (NOT json_valid(l) OR json_type(try_cast(l AS JSON)) <> 'OBJECT')"
    )
    connection.execute(
        f"CREATE TEMP TABLE delivered_rows AS SELECT line, {_from_record(contract, 'l', None)} FROM {lines} "
        "WHERE json_valid(l) AND json_type(try_cast(l AS JSON)) = 'OBJECT'"
    )
    connection.execute("CREATE TEMP VIEW delivered AS FROM delivered_rows")
    _refuse_foreign_records(connection, contract)


def _read_document(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: JsonForm | GeojsonForm, contract: Contract
) -> None:
    """A row's ``line`` is its place in the list, from 1: a document has no lines that mean anything."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE document AS SELECT content AS root FROM read_text({literal(str(file.path))})"
    )
    valid = connection.execute("SELECT json_valid(ltrim(root, chr(65279))) FROM document").fetchone()
    if valid is None or not valid[0]:
        raise DeliveryRefused(
            "not_json", f"{file.name} is not valid JSON; it may have been cut off.", "Deliver the whole file anew."
        )
    records = "features" if isinstance(form, GeojsonForm) else form.records
    path = "$" + "".join(f'."{step}"' for step in records.split(".") if step)
    kind = connection.execute(f"SELECT json_type(root, {literal(path)}) FROM document").fetchone()
    if kind is None or kind[0] != "ARRAY":
        raise DeliveryRefused(
            "no_records",
            f"There is no list of records at {records or 'the top'!r} of {file.name}.",
            "Deliver a document of the form that the contract states.",
        )
    if isinstance(form, GeojsonForm):
        parts = []
        for column in contract.columns:
            source = column.parse.path or column.source
            feature_own = column.parse.path in ("id", "geometry") or source in ("id", "geometry")
            where = "record" if feature_own else "record->'$.properties'"
            parts.append(f"json_extract_string({where}, {literal(_json_path(column))}) AS {identifier(column.name)}")
        selected = ", ".join(parts)
    else:
        selected = _from_record(contract, "record", "root")
    connection.execute(
        f"""
        CREATE TEMP TABLE delivered_rows AS
        SELECT line, {selected} FROM (
            SELECT root, unnest(items) AS record, generate_subscripts(items, 1) AS line
            FROM (SELECT root, json_extract(root, {literal(path)})::JSON[] AS items FROM document)
        )
        """
    )
    connection.execute("CREATE TEMP VIEW delivered AS FROM delivered_rows")
    _refuse_foreign_records(connection, contract)


def _refuse_foreign_records(connection: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Records without a single value for a required column are another dataset's."""
    required = [column for column in contract.columns if column.required]
    counts = connection.execute(
        "SELECT count(*), " + ", ".join(f"count({identifier(c.name)})" for c in required) + " FROM delivered"
    ).fetchone()
    if not counts or counts[0] == 0:
        return
    absent = [column for column, count in zip(required, counts[1:], strict=True) if count == 0]
    if absent:
        raise DeliveryRefused(
            "missing_columns",
            f"No record has: {', '.join(repr(column.parse.path or column.source) for column in absent)}.",
            "Is it the right file for this dataset? If the fields were renamed, tell the exchange first.",
        )


def _read_parquet(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract
) -> list[str]:
    source = f"read_parquet({literal(str(file.path))}, file_row_number=true)"
    described = connection.execute(f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {source}").fetchall()
    found = {row[0]: f"CAST({identifier(row[0])} AS VARCHAR)" for row in described}
    connection.execute(
        f"CREATE TEMP VIEW delivered AS SELECT file_row_number + 1 AS line, {_select(contract, found)} FROM {source}"
    )
    return _unknown(contract, list(found))


def _read_xlsx(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: XlsxForm, contract: Contract
) -> list[str]:
    try:
        sheet = pl.read_excel(
            file.path,
            sheet_name=form.sheet,
            engine="calamine",
            drop_empty_rows=False,
            read_options={"header_row": form.header_row - 1, "dtypes": "string"},
        )
    except Exception as error:
        # The reader raises its own errors, Polars' and ValueError for a missing sheet: all mean unreadable.
        raise DeliveryRefused(
            "unreadable",
            f"{file.name} cannot be read as an Excel workbook: {str(error).splitlines()[0]}",
            "Check the sheet and the header row that the contract names, and deliver it anew.",
        ) from None
    found = {name: identifier(name) for name in sheet.columns}
    connection.register("sheet_rows", sheet.to_arrow())
    any_value = " OR ".join(f"{identifier(name)} IS NOT NULL" for name in sheet.columns) or "false"
    connection.execute(
        f"CREATE TEMP TABLE delivered_rows AS SELECT * FROM (SELECT row_number() OVER () + {form.header_row} AS line, "
        f"{_select(contract, found)}, ({any_value}) AS filled FROM sheet_rows) WHERE filled"
    )
    connection.unregister("sheet_rows")
    connection.execute("CREATE TEMP VIEW delivered AS SELECT * EXCLUDE (filled) FROM delivered_rows")
    return _unknown(contract, sheet.columns)
