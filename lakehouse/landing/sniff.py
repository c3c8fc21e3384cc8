"""Opening a sample of which nothing is known: its form, and its columns as text."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any, Literal

import duckdb
import fastexcel

from lakehouse.contracts.forms import (
    CsvForm,
    FileForm,
    GeojsonForm,
    JsonForm,
    LayerForm,
    NdjsonForm,
    ParquetForm,
    XlsxForm,
    XmlForm,
)
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.lines import lines_of
from lakehouse.landing.read import names_in_parquet, read_file
from lakehouse.landing.read_csv import lines_for_excel
from lakehouse.landing.read_layer import GEOMETRY, layers_of
from lakehouse.landing.read_xlsx import with_times_of_day
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile, unpack
from lakehouse.settings import Settings
from lakehouse.storage.sql import literal

SAMPLE_LINES = 20_480
SAMPLE_ROWS = 50_000
HEADER_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class FoundColumn:
    """A column as delivered. ``path``: where it stands in a JSON record, if not under its name at the top;
    one that begins with ``$.`` stands once, at the document's root."""

    source: str
    path: str | None = None
    geometry: Literal["wkt", "geojson"] | None = None

    @property
    def of_document(self) -> bool:
        return (self.path or "").startswith("$.")


@dataclass(kw_only=True)
class Sniffed:
    """``reasons``: why each field of the form was guessed. ``ignored``: names that no contract can load.

    ``files``: how many the delivery holds, of which one was looked at: the ``member`` that has the dataset's name,
    or the first.
    """

    form: FileForm
    reasons: dict[str, str]
    columns: list[FoundColumn] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    files: int = 1
    member: str | None = None


def sniff(*, connection: duckdb.DuckDBPyConnection, sample: Path, dataset: str, folder: Path) -> Sniffed:
    """Makes ``sample_text`` of its first :data:`SAMPLE_ROWS` rows: a column of text ``c0``, ``c1`` … for each found
    one, in that order.

    ``folder`` is for what opening the sample needs. Raises :class:`DeliveryRefused` where it cannot be opened,
    or holds no rows.
    """
    named, all_files = _named_members(sample, dataset)
    files = _open(sample, folder, named)
    file = files[0]
    try:
        found = _SNIFFERS[file.form.format](connection, file)
        read_as_text(connection, file, found)
    except (duckdb.Error, fastexcel.FastExcelError) as error:
        problem = f"{file.name} cannot be read as {file.form.format}: {str(error).splitlines()[0]}."
        raise DeliveryRefused("unreadable", problem, "Is the file whole? Try another sample.") from error
    found.files = all_files if named else len(files)
    if named:
        found.member = file.name
    if not connection.execute("SELECT count(*) > 0 FROM sample_text").fetchall()[0][0]:
        raise DeliveryRefused("no_rows", f"{file.name} holds no rows.", "Draft from a sample with data in it.")
    return found


def _names(file: str, dataset: str) -> bool:
    """Whether a dataset has its name of a file: ``gtfs_stop_times`` of ``stop_times.txt``."""
    stem = Path(file).stem.lower()
    return f"_{dataset}".endswith(f"_{stem}")


def _named_members(sample: Path, dataset: str) -> tuple[list[str], int]:
    """The files of a zip of tables that have the dataset's name, and how many there are of all: what the others are
    does not matter then. None of a workbook, or of a shapefile, whose parts have one name."""
    if not zipfile.is_zipfile(sample):
        return [], 1
    with zipfile.ZipFile(sample) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    whole = any(name == "[Content_Types].xml" or name.lower().endswith(".shp") for name in names)
    named = [name for name in names if _names(name, dataset)] if len(names) > 1 and not whole else []
    return named, len(names)


def _open(sample: Path, folder: Path, members: list[str]) -> list[PlainFile]:
    """Through intake's own door, in the first encoding that fits every byte; of a zip only ``members``, if any."""
    wanted = [escape(name) for name in members]
    encodings = ["utf-8"]
    refused: DeliveryRefused | None = None
    for encoding in encodings:
        forms = (
            CsvForm(encoding=encoding), JsonForm(encoding=encoding), NdjsonForm(encoding=encoding),
            GeojsonForm(), ParquetForm(), XlsxForm(), LayerForm(format="geopackage"), LayerForm(format="shapefile"),
            XmlForm(records="unknown"),
        )  # fmt: skip
        limit = Settings().max_unpacked_bytes
        try:
            files = unpack(
                path=sample, name=sample.name, forms=forms, folder=folder / encoding, max_bytes=limit, members=wanted
            )
        except DeliveryRefused as refusal:
            if refused is not None or refusal.rule not in ("wrong_encoding", "unknown_format"):
                raise refused or refusal from None
            refused = refusal
            # Every second byte of plain text is zero in it, which looks like no text at all.
            encodings.append("utf-16")
        else:
            if not files[0].damaged or encoding == "iso-8859-1":
                return files
            encodings.append("iso-8859-1" if encoding == "cp1252" else "cp1252")
    raise AssertionError("every byte is a letter of iso-8859-1")


def read_as_text(connection: duckdb.DuckDBPyConnection, file: PlainFile, found: Sniffed) -> None:
    """``sample_text`` of a file as intake reads it, under a contract of nothing but text."""
    if not found.columns:
        raise DeliveryRefused("no_columns", f"{file.name} has no named column.", "Draft from a sample with a header.")
    properties = [
        {
            "name": f"c{number}",
            "physicalName": column.source,
            "logicalType": "string",
            "description": "text",
            "classification": "sensitive",
            "customProperties": [{"property": "parse", "value": {"path": column.path}}],
        }
        for number, column in enumerate(found.columns)
    ]
    licence = {"id": "none", "url": "none", "attribution": "none"}
    extension = {"delivery": {"forms": [found.form.model_dump()]}, "licence": licence}
    contract = Contract.model_validate(
        {
            "apiVersion": "v3.1.0",
            "kind": "DataContract",
            "id": "sample",
            "name": "sample",
            "version": "0.0.0",
            "status": "draft",
            "tenant": "sample",
            "description": {"purpose": "a sample read as text"},
            "schema": [{"name": "sample", "properties": properties}],
            "customProperties": [{"property": "exchange", "value": extension}],
        }
    )
    plain = PlainFile(**{**file.__dict__, "form": found.form})
    read_file(connection=connection, file=plain, contract=contract)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE sample_text AS SELECT * EXCLUDE (exchange_line) FROM delivered "
        f"ORDER BY exchange_line LIMIT {SAMPLE_ROWS}"
    )
    connection.execute("DROP TABLE IF EXISTS delivered_rows")


def _named(names: list[str]) -> tuple[list[FoundColumn], list[str]]:
    """Columns that a contract can name, and the names of the others: empty, or there twice."""
    stripped = [name.strip("\ufeff\u00a0 \t\r\n") for name in names]
    good = [FoundColumn(source=name) for name in stripped if name and stripped.count(name) == 1]
    return good, sorted({name for name in stripped if not name or stripped.count(name) > 1})


def _sniff_csv(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> Sniffed:
    path = literal(str(file.path))
    delimiter, quote, escape, skip, header, width = connection.execute(
        "SELECT Delimiter, Quote, Escape, SkipRows, HasHeader, len(Columns) "
        f"FROM sniff_csv({path}, sample_size={SAMPLE_LINES})"
    ).fetchall()[0]
    if width == 1:
        _refuse_fixed_width(connection, file)
    # A sample without quotes says nothing of the next delivery.
    quote = quote if len(quote) == 1 else '"'
    escape = escape if len(escape) == 1 else quote
    encoding = getattr(file.form, "encoding", "utf-8")
    # A line for Excel is passed over where it stands, and need not.
    stated = 0 if skip == lines_for_excel(file.path) else skip
    form = CsvForm(delimiter=delimiter, quote=quote, escape=escape, encoding=encoding, header=header, skip_lines=stated)
    reasons = {
        "delimiter": f"it parts every line into {width} values",
        "quote": "as it stands round values, or would",
        "escape": "as it stands before a quote within a value, or would",
        "encoding": f"every byte is text in it{'' if encoding == 'utf-8' else ', and the file is no UTF-8'}",
        "header": "the first line holds names" if header else "the first line looks like the data below it",
        "skip_lines": "the lines before are of another form",
    }
    if not header:
        columns = [FoundColumn(source=f"column_{number + 1}") for number in range(width)]
        return Sniffed(form=form, reasons=reasons, columns=columns)
    typed = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(width))
    first = connection.execute(
        f"FROM read_csv({path}, auto_detect=false, header=false, skip={skip}, columns={{{typed}}}, "
        f"delim={literal(delimiter)}, quote={literal(quote)}, escape={literal(escape)}) LIMIT 1"
    ).fetchall()[0]
    columns, ignored = _named([name or "" for name in first])
    return Sniffed(form=form, reasons=reasons, columns=columns, ignored=ignored)


def _refuse_fixed_width(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> None:
    lengths, apart = connection.execute(
        f"SELECT count(DISTINCT length(l)), bool_and(contains(trim(l), '  ')) FROM {lines_of(file)} "
        "WHERE trim(coalesce(l, '')) <> ''"
    ).fetchall()[0]
    if lengths == 1 and apart:
        raise DeliveryRefused(
            "cannot_draft",
            f"{file.name} looks like columns at fixed places, and where each begins cannot be guessed.",
            "Write the contract by hand, with `format: fixed_width` and its `fields`.",
        )


def _refuse_xml(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> Sniffed:
    raise DeliveryRefused(
        "cannot_draft",
        f"{file.name} is XML, and which of its elements are rows cannot be guessed.",
        "Write the contract by hand, with `format: xml`, its `records` and a `path` for each column.",
    )


def _sniff_layer(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> Sniffed:
    form = file.form
    assert isinstance(form, LayerForm)
    layers = layers_of(connection, file, form)
    layer, names = layers[0], [str(layer["name"]) for layer in layers]
    reasons = {"layer": f"the first of {', '.join(names)}"}
    if len(layers) > 1:
        form = form.model_copy(update={"layer": names[0]})
    columns, ignored = _named([field["name"] for field in layer["fields"] if field["name"] != GEOMETRY])
    shape = [FoundColumn(source=GEOMETRY, geometry="wkt")] if layer["geometry_fields"] else []
    return Sniffed(form=form, reasons=reasons, columns=[*columns, *shape], ignored=ignored)


def _sniff_parquet(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> Sniffed:
    columns, ignored = _named(names_in_parquet(connection, file))
    return Sniffed(form=ParquetForm(), reasons={}, columns=columns, ignored=ignored)


def _sniff_xlsx(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> Sniffed:
    workbook = fastexcel.read_excel(file.path)
    sheets: dict[str, list[list[str | None]]] = {}
    cells: dict[str, float] = {}
    for name in workbook.sheet_names:
        sheet = workbook.load_sheet(name, header_row=None, skip_rows=0, n_rows=HEADER_ROWS, dtypes="string")
        rows = [list(row.values()) for row in with_times_of_day(sheet.to_arrow()).to_pylist()]
        sheets[name] = rows
        # As if the rows below were filled as these are.
        cells[name] = sum(map(_filled, rows)) / max(len(rows), 1) * sheet.total_height
    # Of sheets that nobody sees none is delivered, unless there is no other.
    seen = [name for name in sheets if workbook.load_sheet(name, n_rows=0).visible == "visible"]
    chosen = max(seen or sheets, key=cells.__getitem__)
    rows = sheets[chosen]
    header = _header_of(rows)
    columns, ignored = _named([value or "" for value in rows[header]] if rows else [])
    reasons = {
        "header_row": "the first row that is filled to the end",
        "sheet": f"the fullest of {', '.join(sheets)}",
    }
    form = XlsxForm(header_row=header + 1, sheet=chosen if len(sheets) > 1 else None)
    return Sniffed(form=form, reasons=reasons, columns=columns, ignored=ignored)


def _header_of(rows: list[list[str | None]]) -> int:
    """The first row that is filled to the end; or the one above it, where the rows are numbered in a column that has
    no name, as pandas writes them."""
    filled = [_filled(row) for row in rows] or [0]
    fullest = filled.index(max(filled))
    above, below = (rows[fullest - 1], rows[fullest]) if fullest else ([], [])
    unnamed = above and above[0] is None and filled[fullest - 1] == filled[fullest] - 1
    return fullest - 1 if unnamed and re.fullmatch(r"\d+", below[0] or "") else fullest


def _filled(row: list[str | None]) -> int:
    return sum(value is not None for value in row)


def _sniff_ndjson(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> Sniffed:
    lines = f"read_ndjson_objects({literal(str(file.path))}, ignore_errors=true)"
    structure = connection.execute(f"SELECT json_group_structure(json)::VARCHAR FROM {lines}").fetchall()[0][0]
    form = NdjsonForm(encoding=getattr(file.form, "encoding", "utf-8"))
    columns, ignored = _flat(json.loads(structure or "{}"))
    return Sniffed(form=form, reasons={"format": "a record a line"}, columns=columns, ignored=ignored)


def _sniff_lines(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> Sniffed:
    """One line may be a document as well as a record: only its lists tell, and no contract says where these are."""
    return _sniff_json(connection, file) if file.lines == 1 else _sniff_ndjson(connection, file)


def _sniff_json(connection: duckdb.DuckDBPyConnection, file: PlainFile) -> Sniffed:
    text = f"(SELECT ltrim(content, chr(65279)) AS root FROM read_text({literal(str(file.path))}))"
    root = json.loads(connection.execute(f"SELECT json_structure(root)::VARCHAR FROM {text}").fetchall()[0][0])
    lists = list(_lists(root, ()))
    if not lists and isinstance(root, dict) and file.lines == 1:
        return _sniff_ndjson(connection, file)
    if not lists:
        raise DeliveryRefused(
            "no_records", f"There is no list of records in {file.name}.", "Draft from a sample that has one."
        )
    paths = ", ".join(literal("$" + "".join(f'."{step}"' for step in steps)) for steps, _ in lists)
    lengths = connection.execute(f"SELECT json_array_length(root, [{paths}]) FROM {text}").fetchall()[0][0]
    steps, record = lists[lengths.index(max(lengths))]
    if file.form.format == "geojson":
        return _geojson(record)
    columns, ignored = _flat(record)
    if isinstance(root, dict):
        columns += [FoundColumn(source=name, path=f"$.{name}") for name in _document_times(root)]
    return Sniffed(
        form=JsonForm(records=".".join(steps), encoding=getattr(file.form, "encoding", "utf-8")),
        reasons={"records": "the longest list of records in the document"},
        columns=columns,
        ignored=ignored,
    )


def _geojson(feature: dict[str, Any]) -> Sniffed:
    properties = feature.get("properties")
    columns, ignored = _flat(properties if isinstance(properties, dict) else {})
    # The feature's own id and geometry go before properties of the same name.
    columns = [column for column in columns if column.source not in ("id", "geometry")]
    own = [FoundColumn(source="id")] if "id" in feature else []
    shape = [FoundColumn(source="geometry", geometry="geojson")] if "geometry" in feature else []
    return Sniffed(form=GeojsonForm(), reasons={}, columns=[*own, *columns, *shape], ignored=ignored)


def _document_times(root: dict[str, Any]) -> Iterator[str]:
    for name, kind in root.items():
        if isinstance(kind, str) and "." not in name and any(w in name.lower() for w in ("time", "date", "stamp")):
            yield name


def _lists(node: Any, steps: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Lists of records in what DuckDB says of a document's structure."""
    if isinstance(node, list) and node and isinstance(node[0], dict):
        yield steps, node[0]
    elif isinstance(node, dict):
        for name, child in node.items():
            if "." not in name and '"' not in name:
                yield from _lists(child, (*steps, name))


def _flat(record: dict[str, Any]) -> tuple[list[FoundColumn], list[str]]:
    """The values of a record, those of records within it by their dotted path; and the lists, which are left out."""
    columns: list[FoundColumn] = []
    left_out: list[str] = []
    pending: list[tuple[tuple[str, ...], Any]] = [((name,), child) for name, child in record.items()]
    for steps, node in pending:
        dotted = ".".join(steps)
        if isinstance(node, dict) and node.keys() == {"type", "coordinates"} and '"' not in dotted:
            columns.append(FoundColumn(source=dotted, path=dotted if len(steps) > 1 else None, geometry="geojson"))
        elif isinstance(node, dict) and node and "." not in steps[-1]:
            pending += [((*steps, name), child) for name, child in node.items()]
        elif isinstance(node, list | dict) or '"' in dotted or (len(steps) > 1 and "." in steps[-1]):
            left_out.append(dotted)
        else:
            columns.append(FoundColumn(source=dotted, path=dotted if len(steps) > 1 else None))
    return columns, left_out


_SNIFFERS = {
    "csv": _sniff_csv,
    "json": _sniff_json,
    "geojson": _sniff_json,
    "ndjson": _sniff_lines,
    "parquet": _sniff_parquet,
    "xlsx": _sniff_xlsx,
    "geopackage": _sniff_layer,
    "shapefile": _sniff_layer,
    "xml": _refuse_xml,
}
