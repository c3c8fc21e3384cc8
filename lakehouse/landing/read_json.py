"""JSON documents, GeoJSON and newline-delimited JSON into ``delivered`` and ``malformed``."""

from __future__ import annotations

import duckdb

from lakehouse.contracts.extension import GeojsonForm, JsonForm
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.sql import identifier, literal

MAX_LINE_BYTES = 8 << 20


def read_ndjson(connection: duckdb.DuckDBPyConnection, file: PlainFile, contract: Contract) -> None:
    """One record a line; a line that is no JSON object is malformed, a blank one is nothing.

    Raises :class:`DeliveryRefused` where no record has a column that is required.
    """
    # Four bytes that stand together in no text: every line is one value.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE lines AS SELECT l, json_valid(l) AND json_type(try_cast(l AS JSON)) = "
        f"'OBJECT' AS good FROM read_csv({literal(str(file.path))}, auto_detect=false, header=false, "
        f"columns={{'l': 'VARCHAR'}}, delim='\x1f\x1e\x1f\x1e', quote='', escape='', max_line_size={MAX_LINE_BYTES}, "
        f"buffer_size={2 * MAX_LINE_BYTES})"
    )
    connection.execute(
        "INSERT INTO malformed SELECT rowid + 1, 'no JSON object', l FROM lines "
        "WHERE trim(coalesce(l, ''), ' ' || chr(9) || chr(13)) <> '' AND NOT coalesce(good, false)"
    )
    paths = [_path(column) for column in contract.columns]
    _deliver(connection, contract, "SELECT rowid + 1 AS exchange_line, l AS record FROM lines WHERE good", paths)


def read_document(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: JsonForm | GeojsonForm, contract: Contract
) -> None:
    """A row's line is its place in the list, from 1: a document has no lines that mean anything.

    Raises :class:`DeliveryRefused` where the document is broken, has no list of records where the contract
    says, or no record has a column that is required.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE document AS "
        f"SELECT ltrim(content, chr(65279)) AS root FROM read_text({literal(str(file.path))})"
    )
    geojson = isinstance(form, GeojsonForm)
    records = "features" if isinstance(form, GeojsonForm) else form.records
    list_path = "$" + "".join(f'."{step}"' for step in records.split(".") if step)
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
    paths = [_feature_path(column) if geojson else _record_path(column) for column in contract.columns]
    source = (
        "SELECT generate_subscripts(items, 1) AS exchange_line, unnest(items) AS record, root_values FROM ("
        f"SELECT json_extract(root, {literal(list_path)})::JSON[] AS items, {_values('root', paths)} FROM document)"
    )
    _deliver(connection, contract, source, paths)


def _deliver(
    connection: duckdb.DuckDBPyConnection, contract: Contract, source: str, paths: list[tuple[str, str]]
) -> None:
    """``delivered`` out of a source with ``exchange_line``, ``record`` and, of a document, ``root_values``."""
    columns = []
    for number, (column, (where, _)) in enumerate(zip(contract.columns, paths, strict=True)):
        place = sum(at == where for at, _ in paths[: number + 1])
        columns.append(f"{where}_values[{place}] AS {identifier(column.name)}")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE delivered_rows AS SELECT exchange_line, {', '.join(columns)} "
        f"FROM (SELECT *, {_values('record', paths)} FROM ({source}))"
    )
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS FROM delivered_rows")
    _refuse_foreign_records(connection, contract)


def _values(where: str, paths: list[tuple[str, str]]) -> str:
    """All texts that are wanted of a record (or of the root), in one pass over it and not one for each column."""
    wanted = ", ".join(literal(path) for at, path in paths if at == where)
    return f"json_extract_string({where}, [{wanted}]::VARCHAR[]) AS {where}_values"


def _path(column: Column) -> tuple[str, str]:
    # Only a path that the contract states is taken apart: a name may have a dot in it, as PM2.5.
    steps = column.parse.path.removeprefix("$.").split(".") if column.parse.path else [column.source]
    return "record", "$" + "".join(f'."{step}"' for step in steps)


def _record_path(column: Column) -> tuple[str, str]:
    where, path = _path(column)
    return "root" if (column.parse.path or "").startswith("$.") else where, path


def _feature_path(column: Column) -> tuple[str, str]:
    """A column is a property of the feature, but for the feature's own ``id`` and ``geometry``."""
    where, path = _path(column)
    own = (column.parse.path or column.source) in ("id", "geometry")
    return where, path if own else f"$.properties{path.removeprefix('$')}"


def _refuse_foreign_records(connection: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    """Records without a single value for a required column are another dataset's."""
    required = [column for column in contract.columns if column.required]
    counts = connection.execute(
        f"SELECT count(*), {', '.join(f'count({identifier(column.name)})' for column in required)} FROM delivered"
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
