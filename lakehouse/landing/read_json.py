"""JSON documents, GeoJSON and newline-delimited JSON into ``delivered`` and ``malformed``."""

from __future__ import annotations

import duckdb

from lakehouse.contracts.forms import GeojsonForm, JsonForm, NdjsonForm
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.landing.columns import refuse_foreign_records
from lakehouse.landing.lines import NO_TEXT, load_lines
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.type_rows import PART_LINES
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import identifier, literal

# The fields of a file are those of so many of its first records.
RECORDS_LOOKED_AT = 100
# What a feature has beside its properties.
OWN = ("id", "geometry")


def read_ndjson(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: NdjsonForm, contract: Contract
) -> list[str]:
    """One record a line; a line that is no JSON object is malformed, a blank one is nothing.

    Returns the fields of the first records.

    Raises :class:`DeliveryRefused` where no record has a column that is required.
    """
    good = "json_valid(l) AND json_type(try_cast(l AS JSON)) = 'OBJECT' AS good"
    load_lines(connection, file, columns=f"l, {good}")
    connection.execute(
        "INSERT INTO malformed SELECT rowid + 1, 'no JSON object', l FROM lines "
        f"WHERE trim(coalesce(l, ''), {NO_TEXT}) <> '' AND NOT coalesce(good, false)"
    )
    paths = [_line_path(column, form.unnest) for column in contract.columns]
    fields = _fields(connection, f"SELECT json_keys(l) FROM lines WHERE good LIMIT {RECORDS_LOOKED_AT}")
    source = "SELECT rowid + 1 AS exchange_line, l AS record FROM lines WHERE good"
    _deliver(connection, contract, source, paths, form.unnest)
    if file.whole:
        refuse_foreign_records(connection, contract, fields)
    return fields


def read_document(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: JsonForm | GeojsonForm, contract: Contract
) -> list[str]:
    """A row's line is its place in the list, from 1: a document has no lines that mean anything.

    Returns the fields of the first records.
    Raises :class:`DeliveryRefused` where the document is broken, has no list of records where the contract
    says, or no record has a column that is required.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE document AS "
        f"SELECT ltrim(content, chr(65279)) AS root FROM read_text({literal(str(file.path))})"
    )
    geojson = isinstance(form, GeojsonForm)
    records = "features" if isinstance(form, GeojsonForm) else form.records
    list_path = _steps(records)
    valid, kind = connection.execute(
        f"SELECT json_valid(root), CASE WHEN json_valid(root) THEN json_type(root, {literal(list_path)}) END "
        "FROM document"
    ).fetchone() or (False, None)
    if not valid:
        raise DeliveryRefused(
            "not_json", f"{file.name} is not valid JSON; it may have been cut off.", "Deliver the whole file anew."
        )
    if kind != "ARRAY":
        raise DeliveryRefused(
            "no_records",
            f"There is no list of records at {records or 'the top'!r} of {file.name}.",
            "Deliver a document of the form that the contract states.",
        )
    unnest = None if isinstance(form, GeojsonForm) else form.unnest
    paths = [_feature_path(column) if geojson else _path(column) for column in contract.columns]
    source = (
        "SELECT generate_subscripts(items, 1) AS exchange_line, unnest(items) AS record, root_values FROM ("
        f"SELECT json_extract(root, {literal(list_path)})::JSON[] AS items, {_values('root', paths)} FROM document)"
    )
    within = ".properties" if geojson else ""
    places = ", ".join(literal(f"{list_path}[{number}]{within}") for number in range(RECORDS_LOOKED_AT))
    fields = _fields(connection, f"SELECT unnest(json_keys(root, [{places}])) FROM document")
    _deliver(connection, contract, source, paths, unnest)
    refuse_foreign_records(connection, contract, fields)
    return [name for name in fields if not geojson or name not in OWN]


def read_documents(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: JsonForm, contract: Contract
) -> list[str]:
    """Of documents that were joined, one a line; a row's line is :func:`document_line`. A document that is broken, or
    has no list of records where the contract says, is malformed.

    Makes ``documents(place, fields)``: of each the fields of its first records, and returns those of all.
    """
    load_lines(connection, file)
    list_path = literal(_steps(form.records))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE documents AS SELECT place, root, items, list_distinct(flatten(list_transform("
        f"items[:{RECORDS_LOOKED_AT}], lambda record: json_keys(record)))) AS fields FROM ("
        f"SELECT rowid + 1 AS place, l AS root, CASE WHEN json_valid(l) AND json_type(l, {list_path}) = 'ARRAY' "
        f"THEN json_extract(l, {list_path})::JSON[] END AS items FROM lines)"
    )
    connection.execute(
        f"INSERT INTO malformed SELECT {document_line('place', '0')}, 'no document of the form', root FROM documents "
        "WHERE items IS NULL"
    )
    paths = [_path(column) for column in contract.columns]
    source = (
        f"SELECT {document_line('place', 'generate_subscripts(items, 1)')} AS exchange_line, unnest(items) AS record, "
        f"{_values('root', paths)} FROM documents WHERE items IS NOT NULL"
    )
    _deliver(connection, contract, source, paths, form.unnest)
    return _fields(connection, "SELECT fields FROM documents WHERE items IS NOT NULL ORDER BY place")


def document_line(document: str, record: str) -> str:
    """SQL of the line of a record of one of several documents, both counted from 1."""
    return f"{document} * {PART_LINES} + {record}"


def _fields(connection: duckdb.DuckDBPyConnection, keys: str) -> list[str]:
    """The names in lists of names, in the order in which they were met."""
    lists = connection.execute(keys).fetchall()
    return list(dict.fromkeys(name for (names,) in lists for name in names or ()))


def _deliver(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    source: str,
    paths: list[tuple[str, str]],
    unnest: str | None,
) -> None:
    """``delivered`` out of a source with ``exchange_line``, ``record`` and, of a document, ``root_values``.

    With ``unnest`` the rows are the entries of that list in each record; a record without the list is malformed.
    """
    if unnest is not None:
        inner = literal(_steps(unnest))
        connection.execute(
            f"INSERT INTO malformed SELECT exchange_line, {literal(f'no list at {unnest}')}, record FROM ({source}) "
            f"WHERE coalesce(json_type(record, {inner}), '') <> 'ARRAY'"
        )
        source = (
            f"SELECT * REPLACE (unnest(json_extract(record, {inner})::JSON[]) AS record), "
            f"generate_subscripts(json_extract(record, {inner})::JSON[], 1) AS exchange_ordinal, "
            f"{_values('record', paths, of='parent')} FROM ({source}) WHERE json_type(record, {inner}) = 'ARRAY'"
        )
    columns = ["exchange_line"] if unnest is None else ["exchange_line", "exchange_ordinal"]
    for number, (column, (where, _)) in enumerate(zip(contract.columns, paths, strict=True)):
        place = sum(at == where for at, _ in paths[: number + 1])
        columns.append(f"{where}_values[{place}] AS {identifier(column.name)}")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE delivered_rows AS SELECT {', '.join(columns)} "
        f"FROM (SELECT *, {_values('record', paths)} FROM ({source}))"
    )
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS FROM delivered_rows")


def _values(node: str, paths: list[tuple[str, str]], *, of: str | None = None) -> str:
    """All texts that are wanted of a record (its parent, or the root), in one pass over it and not one for each
    column."""
    where = of or node
    wanted = ", ".join(literal(path) for at, path in paths if at == where)
    return f"json_extract_string({node}, [{wanted}]::VARCHAR[]) AS {where}_values"


def _steps(dotted: str) -> str:
    return "$" + "".join(f'."{step}"' for step in dotted.split(".") if step)


def _path(column: Column) -> tuple[str, str]:
    """Where a column stands: in the ``record``, its ``parent`` or the ``root``; and the path from there."""
    path = column.parse.path
    if path is None:
        # Only a path that the contract states is taken apart: a name may have a dot in it, as PM2.5.
        return "record", f'$."{column.source}"'
    where = {"$.": "root", "^.": "parent"}.get(path[:2], "record")
    return where, _steps(path if where == "record" else path[2:])


def _line_path(column: Column, unnest: str | None) -> tuple[str, str]:
    """In a file of a record a line, that record is the root."""
    where, path = _path(column)
    if where == "root":
        where = "parent" if unnest else "record"
    return where, path


def _feature_path(column: Column) -> tuple[str, str]:
    """A column is a property of the feature, but for the feature's own ``id`` and ``geometry``."""
    where, path = _path(column)
    own = (column.parse.path or column.source) in OWN
    return where, path if own or where == "root" else f"$.properties{path.removeprefix('$')}"
