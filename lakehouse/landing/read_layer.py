"""One layer of a GeoPackage or a shapefile into ``delivered``, its geometry in EPSG:4326."""

from __future__ import annotations

import struct
from typing import Any

import duckdb

from lakehouse.contracts.forms import LayerForm
from lakehouse.contracts.odcs import Contract
from lakehouse.landing.code_pages import decoded, decoded_name, encoding_of_shapefile, gdal_encoding
from lakehouse.landing.columns import selected
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.unpack import PlainFile
from lakehouse.storage.spatial import load_spatial
from lakehouse.storage.sql import identifier, literal

DRIVERS = {"geopackage": "GPKG", "shapefile": "ESRI Shapefile"}
LAKE_CRS = "EPSG:4326"
GEOMETRY = "geometry"
# All of a shapefile but its .cpg.
PARTS = (".shx", ".dbf", ".prj", ".shp")
# What GDAL calls the systems of a GeoPackage by which it says that it knows none.
UNDEFINED = ("Undefined Cartesian SRS", "Undefined geographic SRS")
# What stands for a shape in the receipt that cannot be shown.
UNREAD = "a curve, or a damaged shape"
# GDAL's number of a row, where the file has none of its own.
MADE_UP = ("fid", "ogc_fid")


def read_layer(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: LayerForm, contract: Contract
) -> list[str]:
    """A row's line is its place in the layer, from 1. Returns the names of fields that the contract does not know.

    Raises :class:`DeliveryRefused` where the layer cannot be told among several, or its coordinates have a reference
    system that neither the file nor the contract states, or that is none; or its texts are not in the encoding that it
    says, or in one that is not read.
    """
    layer = _layer(connection, file, form)
    opened = (
        f"st_read({literal(_gdal_path(file, form))}, layer={literal(layer['name'])}, "
        f"allowed_drivers=[{literal(DRIVERS[form.format])}]"
    )
    source = f"{opened})"
    described = connection.execute(f"DESCRIBE FROM {source}").fetchall()
    shapes = [name for name, type_, *_ in described if type_.startswith("GEOMETRY")]
    encoding = _encoding(file, form)
    found = {
        decoded_name(name, encoding): decoded(identifier(name), encoding)
        if type_ == "VARCHAR"
        else f"CAST({identifier(name)} AS VARCHAR)"
        for name, type_, *_ in described
        if name not in shapes
    }
    shape = identifier(shapes[0]) if shapes else ""
    if shapes:
        found[GEOMETRY] = f"ST_AsText({_in_lake_crs(connection, file, form, layer, shape)})"
    delivered = (
        "CREATE OR REPLACE TEMP TABLE delivered_rows AS SELECT row_number() OVER () AS exchange_line, {} FROM {}"
    )
    try:
        connection.execute(delivered.format(selected(contract, found), source))
    except duckdb.InvalidInputException:
        if not shapes:
            raise
        # One by one, so that no row but its own is refused for a shape that cannot be read.
        read = _in_lake_crs(connection, file, form, layer, f"ST_GeomFromWKB({shape})")
        found[GEOMETRY] = f"CASE WHEN {shape} IS NOT NULL THEN coalesce(TRY(ST_AsText({read})), {literal(UNREAD)}) END"
        connection.execute(delivered.format(selected(contract, found), f"{opened}, keep_wkb=true)"))
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS FROM delivered_rows")
    return [name for name in found if name.lower() not in MADE_UP]


def layers_of(connection: duckdb.DuckDBPyConnection, file: PlainFile, form: LayerForm) -> list[dict[str, Any]]:
    """What GDAL says of each layer: ``name``, ``fields`` and ``geometry_fields``, each with a ``name``.

    Raises :class:`DeliveryRefused` for a shapefile without its parts.
    """
    load_spatial(connection)
    _refuse_bare_shapefile(file, form)
    path = literal(_gdal_path(file, form))
    # Where GDAL cannot open a file this raises; st_read_meta ends the process.
    connection.execute(f"DESCRIBE FROM st_read({path}, allowed_drivers=[{literal(DRIVERS[form.format])}])")
    meta = f"SELECT layers FROM st_read_meta({path})"
    (layers,) = connection.execute(meta).fetchone() or ([],)
    encoding = _encoding(file, form)
    return [
        {**layer, "fields": [{**one, "name": decoded_name(one["name"], encoding)} for one in layer["fields"]]}
        for layer in layers
    ]


def _encoding(file: PlainFile, form: LayerForm) -> str:
    """A GeoPackage is in UTF-8."""
    return "utf-8" if form.format == "geopackage" else encoding_of_shapefile(file.path, file.name)


def _gdal_path(file: PlainFile, form: LayerForm) -> str:
    """GDAL tells a file's kind by its ending, and the encoding of a shapefile by a file beside it."""
    if form.format == "geopackage":
        path = file.scratch / "layer.gpkg"
        if not path.is_symlink():
            path.symlink_to(file.path)
        return str(path)
    path = file.scratch / "layer.shp"
    if not path.is_symlink():
        for ending in PARTS:
            if file.path.with_suffix(ending).exists():
                path.with_suffix(ending).symlink_to(file.path.with_suffix(ending))
        path.with_suffix(".cpg").write_text(gdal_encoding(_encoding(file, form)))
    return str(path)


def _refuse_bare_shapefile(file: PlainFile, form: LayerForm) -> None:
    if form.format == "geopackage":
        return
    missing = [part for part in (".shx", ".dbf") if not file.path.with_suffix(part).exists()]
    if missing or file.member is None:
        raise DeliveryRefused(
            "incomplete_shapefile",
            f"{file.name} comes without its {' and '.join(missing or ['other parts'])}.",
            "Deliver the .shp, .shx, .dbf and .prj of one layer together in a zip.",
        )
    _refuse_torn_shapefile(file)


def _refuse_torn_shapefile(file: PlainFile) -> None:
    """Of a .dbf that was cut off, or is another layer's, the rows that are there would pass for all."""
    table = file.path.with_suffix(".dbf")
    with table.open("rb") as source:
        rows, before, width = struct.unpack("<4xIHH", source.read(12).ljust(12, b"\0"))
    shapes = max(0, file.path.with_suffix(".shx").stat().st_size - 100) // 8
    there = (table.stat().st_size - before) // max(width, 1)
    if not rows == shapes <= there:
        raise DeliveryRefused(
            "unreadable",
            f"{file.name} has {shapes:,} shapes, and its .dbf says {rows:,} rows and holds {max(there, 0):,}.",
            "Check that all parts are whole and of one layer, and deliver them anew.",
        )


def _layer(connection: duckdb.DuckDBPyConnection, file: PlainFile, form: LayerForm) -> dict[str, Any]:
    layers = layers_of(connection, file, form)
    if form.format == "shapefile":
        # Its own name was left behind when the zip was opened.
        return layers[0]
    names = [layer["name"] for layer in layers]
    if form.layer in names or (form.layer is None and len(names) == 1):
        return layers[names.index(form.layer or names[0])]
    problem = f"has no layer {form.layer!r}" if form.layer else f"has {len(names)} layers, and the contract names none"
    raise DeliveryRefused(
        "no_such_layer",
        f"{file.name} {problem}. It has: {', '.join(repr(name) for name in names) or 'none'}.",
        "Deliver the layer that the contract names, or ask for the contract to be changed.",
    )


def _in_lake_crs(
    connection: duckdb.DuckDBPyConnection, file: PlainFile, form: LayerForm, layer: dict[str, Any], shape: str
) -> str:
    """SQL of the geometry with longitude and latitude, in that order."""
    stated = (layer["geometry_fields"] or [{}])[0].get("crs") or {}
    if stated.get("name") in UNDEFINED:
        stated = {}
    named = f"{stated['auth_name']}:{stated['auth_code']}" if stated.get("auth_name") else stated.get("wkt")
    crs = named or form.crs
    if not crs:
        raise DeliveryRefused(
            "no_reference_system",
            f"{file.name} does not say which reference system its coordinates are in.",
            "Deliver a shapefile with its .prj, a GeoPackage with its srs; or have the contract state `crs`.",
        )
    if crs == LAKE_CRS:
        return shape
    try:
        connection.execute(f"SELECT ST_Transform(ST_Point(0, 0), {literal(crs)}, '{LAKE_CRS}', always_xy := true)")
    except duckdb.Error:
        raise DeliveryRefused(
            "no_reference_system",
            f"{file.name} is in a reference system that is not known: {crs[:80]}.",
            "Deliver the layer in EPSG:4326, or in another system of the EPSG register.",
        ) from None
    return f"ST_Transform({shape}, {literal(crs)}, '{LAKE_CRS}', always_xy := true)"
