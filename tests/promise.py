"""Cases of the promise that a new source is one contract and one sample: the same four rows in every format.

A case states what its contract says beside the columns, and writes rows as a file. One that comes another way than
by the inbox (a protocol) brings its own ``deliver``, and its keys of the contract under ``exchange``.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.storage.spatial import load_spatial

NAMES = ("meter", "read_at", "use_kwh")
Row = tuple[str, str, str]
SAMPLE: list[Row] = [
    ("m1", "2024-01-01T00:00:00", "1.0"), ("m2", "2024-01-01T00:00:00", "2.0"),
    ("m1", "2024-01-01T01:00:00", "1.5"), ("m2", "2024-01-01T01:00:00", "2.5"),
]  # fmt: skip
# Of these the last is refused.
DELIVERY: list[Row] = [
    ("æ7", "2024-10-27T00:00:00", "1.5"), ("b8", "2024-10-27T00:00:00", "-2"),
    ("æ7", "2024-10-27T01:00:00", "0.125"), ("b8", "2024-10-27T01:00:00", "broken"),
]  # fmt: skip


def drop(exchange: Exchange, contract: Contract, content: bytes) -> None:
    key = f"{inbox_prefix(contract.dataset)}delivery"
    exchange.lake.write_bytes(landing_bucket(contract.provider), key, content)


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    write: Callable[[Sequence[Row]], bytes]
    form: dict[str, Any]
    # Where the columns stand, for formats that have paths.
    paths: dict[str, str] = field(default_factory=dict)
    geometry: bool = False
    delivery: dict[str, Any] = field(default_factory=dict)
    exchange: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    deliver: Callable[[Exchange, Contract, bytes], None] = drop

    def contract(self) -> str:
        """The text of ``contracts/promise/<name>.odcs.yaml``."""
        columns = [
            self._column("meter", "string", 1),
            self._column("read_at", "timestamp", 2, zone="UTC"),
            self._column("use_kwh", "number", 0),
        ]
        if self.geometry:
            columns.append(self._column("geometry", "string", 0, geometry="any"))
        licence = {"id": "CC0-1.0", "url": "https://creativecommons.org", "attribution": "Nobody"}
        extension = {
            "delivery": {"kind": "events", "forms": [self.form], **self.delivery},
            "time": {"column": "read_at", "partition": "day"},
            "licence": licence,
            "thresholds": {"max_refused_share": 0.5},
            **self.exchange,
        }
        document = {
            "apiVersion": "v3.1.0", "kind": "DataContract", "id": f"promise.{self.name}", "name": self.name,
            "version": "1.0.0", "status": "active", "tenant": "promise", "description": {"purpose": "A promise kept."},
            "schema": [{"name": self.name, "properties": columns}],
            "customProperties": [{"property": "exchange", "value": extension}],
            **self.document,
        }  # fmt: skip
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)

    def _column(self, name: str, logical: str, key: int, **parse: Any) -> dict[str, Any]:
        if name in self.paths:
            parse["path"] = self.paths[name]
        custom = [{"property": "parse", "value": parse}] if parse else []
        made: dict[str, Any] = {
            "name": name, "logicalType": logical, "classification": "public", "description": name,
            "customProperties": custom,
        }  # fmt: skip
        if key:
            made |= {"required": True, "primaryKey": True, "primaryKeyPosition": key}
        if logical == "number":
            made |= {"physicalType": "DECIMAL(9,3)"}
            custom.append({"property": "unit", "value": "kWh"})
        return made


def as_csv(rows: Sequence[Row]) -> bytes:
    return _csv([NAMES, *rows])


def as_wide_csv(rows: Sequence[Row]) -> bytes:
    """A column for each meter."""
    meters = list(dict.fromkeys(meter for meter, *_ in rows))
    cells = {(meter, read_at): use for meter, read_at, use in rows}
    times = dict.fromkeys(read_at for _, read_at, _ in rows)
    return _csv([["read_at", *meters], *([time, *(cells[meter, time] for meter in meters)] for time in times)])


def _csv(table: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(table)
    return text.getvalue().encode()


def as_archive(rows: Sequence[Row]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("agency.txt", "agency_id\n1\n")
        archive.writestr("readings.txt", as_csv(rows))
    return content.getvalue()


def as_fixed_width(rows: Sequence[Row]) -> bytes:
    return "".join(f"{meter:<4}{read_at:<19}{use:>8}\n" for meter, read_at, use in rows).encode()


def _records(rows: Sequence[Row]) -> list[dict[str, str]]:
    return [dict(zip(NAMES, row, strict=True)) for row in rows]


def _devices(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A record for each meter, with a list of its readings."""
    readings: dict[str, list[dict[str, str]]] = {}
    for meter, read_at, use in rows:
        readings.setdefault(meter, []).append({"t": read_at, "v": use})
    return [{"id": meter, "readings": values} for meter, values in readings.items()]


def as_json(rows: Sequence[Row]) -> bytes:
    return json.dumps({"data": {"rows": _records(rows)}}).encode()


def as_nested_json(rows: Sequence[Row]) -> bytes:
    return json.dumps(_devices(rows)).encode()


def as_ndjson(rows: Sequence[Row]) -> bytes:
    return "\n".join(map(json.dumps, _records(rows))).encode()


def as_nested_ndjson(rows: Sequence[Row]) -> bytes:
    return "\n".join(map(json.dumps, _devices(rows))).encode()


def as_xml(rows: Sequence[Row]) -> bytes:
    meters = "".join(
        f'<m:meter id="{device["id"]}">'
        + "".join(
            f'<m:reading at="{reading["t"]}"><m:use>{reading["v"]}</m:use></m:reading>'
            for reading in device["readings"]
        )
        + "</m:meter>"
        for device in _devices(rows)
    )
    return f'<?xml version="1.0"?><m:meters xmlns:m="urn:meters">{meters}</m:meters>'.encode()


def as_geojson(rows: Sequence[Row]) -> bytes:
    point = {"type": "Point", "coordinates": [12.5, 55.7]}
    features = [{"type": "Feature", "properties": record, "geometry": point} for record in _records(rows)]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def as_parquet(rows: Sequence[Row]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_records(rows)), sink)
    return sink.getvalue()


def as_xlsx(rows: Sequence[Row]) -> bytes:
    book, sink = openpyxl.Workbook(), io.BytesIO()
    sheet = book.create_sheet("Readings")
    for row in (["Readings of the month"], NAMES, *rows):
        sheet.append(list(row))
    book.save(sink)
    return sink.getvalue()


def as_geopackage(rows: Sequence[Row]) -> bytes:
    with TemporaryDirectory() as folder:
        return _layer(rows, Path(folder) / "layer.gpkg", "GPKG").read_bytes()


def as_shapefile(rows: Sequence[Row]) -> bytes:
    content = io.BytesIO()
    with TemporaryDirectory() as folder, zipfile.ZipFile(content, "w") as archive:
        for path in sorted(_layer(rows, Path(folder) / "layer.shp", "ESRI Shapefile").parent.iterdir()):
            archive.write(path, path.name)
    return content.getvalue()


def _layer(rows: Sequence[Row], path: Path, driver: str) -> Path:
    values = ", ".join(f"('{meter}', '{read_at}', '{use}')" for meter, read_at, use in rows)
    with duckdb.connect() as connection:
        load_spatial(connection)
        connection.execute(
            f"COPY (SELECT *, ST_Point(724000, 6175000) AS geom FROM (VALUES {values}) AS r ({', '.join(NAMES)})) "
            f"TO '{path}' (FORMAT gdal, DRIVER '{driver}', SRS 'EPSG:25832')"
        )
    return path


NESTED = {"meter": "^.id", "read_at": "t", "use_kwh": "v"}
FIELDS = [
    {"name": "meter", "start": 1, "width": 4}, {"name": "read_at", "start": 5, "width": 19},
    {"name": "use_kwh", "start": 24, "width": 8},
]  # fmt: skip
XML = {"format": "xml", "records": "m:meters/m:meter/m:reading", "namespaces": {"m": "urn:meters"}}
FORMATS = [
    Case(name="csv", write=as_csv, form={"format": "csv"}),
    Case(
        name="csv_with_a_column_for_each_meter",
        write=as_wide_csv,
        form={"format": "csv", "unpivot": {"columns": "[^r].*", "name": "meter", "value": "use_kwh"}},
    ),
    Case(name="table_of_a_zip", write=as_archive, form={"format": "csv"}, delivery={"members": ["readings.txt"]}),
    Case(name="fixed_width", write=as_fixed_width, form={"format": "fixed_width", "fields": FIELDS}),
    Case(name="json", write=as_json, form={"format": "json", "records": "data.rows"}),
    Case(name="nested_json", write=as_nested_json, form={"format": "json", "unnest": "readings"}, paths=NESTED),
    Case(name="ndjson", write=as_ndjson, form={"format": "ndjson"}),
    Case(name="nested_ndjson", write=as_nested_ndjson, form={"format": "ndjson", "unnest": "readings"}, paths=NESTED),
    Case(name="xml", write=as_xml, form=XML, paths={"meter": "../@id", "read_at": "@at", "use_kwh": "m:use"}),
    Case(name="geojson", write=as_geojson, form={"format": "geojson"}, geometry=True),
    Case(name="geopackage", write=as_geopackage, form={"format": "geopackage"}, geometry=True),
    Case(name="shapefile", write=as_shapefile, form={"format": "shapefile"}, geometry=True),
    Case(name="parquet", write=as_parquet, form={"format": "parquet"}),
    Case(name="xlsx", write=as_xlsx, form={"format": "xlsx", "sheet": "Readings", "header_row": 2}),
]
