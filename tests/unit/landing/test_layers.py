"""Geometries: shapefiles and GeoPackages, and how `clean` keeps them."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from lakehouse.storage.spatial import load_spatial
from tests.unit.landing.conftest import House, column, faults

COLUMNS = [
    column("place", "string", key=1),
    column("shape", "string", parse={"path": "geometry", "geometry": "any"}, physicalName="geometry"),
]
UTM = "SELECT 'Nørrebro' AS place, ST_Point(724000, 6175000) AS geom UNION ALL SELECT 'b', ST_Point(724000, 6175100)"
LON_LAT = ("12.562", "55.669")


def layer(folder: Path, rows: str, *, driver: str, srs: str = "EPSG:25832", name: str = "layer") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.{'gpkg' if driver == 'GPKG' else 'shp'}"
    with duckdb.connect() as connection:
        load_spatial(connection)
        stated = f", SRS '{srs}'" if srs else ""
        connection.execute(f"COPY ({rows}) TO '{path}' (FORMAT gdal, DRIVER '{driver}'{stated})")
    return path


def zipped(folder: Path, *, without: tuple[str, ...] = (), beside: Mapping[str, str | bytes] | None = None) -> bytes:
    """What lies in a folder, and what is to lie ``beside`` it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.iterdir()):
            if path.suffix not in without:
                archive.write(path, f"til levering/{path.name}")
        for name, text in (beside if beside is not None else {"læsmig.txt": "Leveret af kommunen."}).items():
            archive.writestr(f"til levering/{name}", text)
    return content.getvalue()


def shapefile(folder: Path, *, without: tuple[str, ...] = (), srs: str = "EPSG:25832") -> bytes:
    layer(folder, UTM, driver="ESRI Shapefile", srs=srs)
    return zipped(folder, without=without)


def places(house: House, contract: object) -> list[tuple[str, str, str]]:
    rows = house.clean(contract, "place, shape::VARCHAR, exchange_line", order="exchange_line")  # type: ignore[arg-type]
    return [(place, *point.removeprefix("POINT (").split(" ")) for place, point, _ in rows]


@pytest.mark.parametrize("format_", ["geopackage", "shapefile"])
def test_a_layer_is_read_with_longitude_and_latitude(house: House, tmp_path: Path, format_: str) -> None:
    contract = house.contract(COLUMNS, forms=[{"format": format_}], kind="snapshot", delivery={"members": ["*.shp"]})
    if format_ == "geopackage":
        content = layer(tmp_path / "l", UTM, driver="GPKG").read_bytes()
    else:
        content = shapefile(tmp_path / "l")
    receipt = house.deliver(contract, content, "layer.zip")
    assert (receipt["status"], receipt["accepted"], receipt["warnings"]) == ("accepted", 2, [])
    [(first, east, north), (second, *_)] = places(house, contract)
    assert (first, second) == ("Nørrebro", "b")
    assert (east[:6], north[:6]) == LON_LAT


def test_a_shapefile_without_prj_is_refused_unless_the_contract_states_the_system(house: House, tmp_path: Path) -> None:
    content = shapefile(tmp_path / "l", without=(".prj",))
    delivery = {"members": ["*.shp"]}
    contract = house.contract(COLUMNS, forms=[{"format": "shapefile"}], kind="snapshot", delivery=delivery)
    receipt = house.deliver(contract, content, "a.zip")
    assert list(faults(receipt)) == [("no_reference_system", None)]
    assert receipt["message"].count(receipt["errors"][0]["member"]) == 1
    stated = {"format": "shapefile", "crs": "EPSG:25832"}
    contract = house.contract(COLUMNS, forms=[stated], kind="snapshot", delivery=delivery)
    assert house.deliver(contract, content, "b.zip")["accepted"] == 2


@pytest.mark.parametrize("without", [(".dbf",), (".shx",)])
def test_a_shapefile_without_a_part_is_refused(house: House, tmp_path: Path, without: tuple[str, ...]) -> None:
    contract = house.contract(
        COLUMNS, forms=[{"format": "shapefile"}], kind="snapshot", delivery={"members": ["*.shp"]}
    )
    receipt = house.deliver(contract, shapefile(tmp_path / "l", without=without), "a.zip")
    assert list(faults(receipt)) == [("incomplete_shapefile", None)]
    assert without[0] in receipt["message"]


def changed(path: Path, statement: str, *values: object) -> bytes:
    """A GeoPackage after a change that GDAL would not make."""
    with contextlib.closing(sqlite3.connect(path)) as base:
        for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            base.execute(f'DROP TRIGGER "{name}"')
        base.execute(statement, values)
        base.commit()
    return path.read_bytes()


@pytest.mark.parametrize("number", [-1, 0])
def test_a_geopackage_of_an_undefined_system_is_in_the_one_that_the_contract_states(
    house: House, tmp_path: Path, number: int
) -> None:
    path = layer(tmp_path / "l", UTM, driver="GPKG")
    content = changed(path, "UPDATE gpkg_geometry_columns SET srs_id = ?", number)
    contract = house.contract(COLUMNS, forms=[{"format": "geopackage"}], kind="snapshot")
    assert list(faults(house.deliver(contract, content, "a.gpkg"))) == [("no_reference_system", None)]
    contract = house.contract(COLUMNS, forms=[{"format": "geopackage", "crs": "EPSG:25832"}], kind="snapshot")
    assert house.deliver(contract, content, "b.gpkg")["accepted"] == 2
    assert places(house, contract)[0][1][:6] == LON_LAT[0]


# A circular string of three points; a line string that breaks off.
@pytest.mark.parametrize(
    "shape", [struct.pack("<BII6d", 1, 8, 3, 0, 0, 1, 1, 2, 0), struct.pack("<BII", 1, 2, 2**31 - 1)]
)
def test_a_shape_that_cannot_be_read_refuses_its_row_alone(house: House, tmp_path: Path, shape: bytes) -> None:
    path = layer(tmp_path / "l", UTM, driver="GPKG")
    blob = b"GP\0\1" + struct.pack("<i", 25832) + shape
    content = changed(path, "UPDATE layer SET geom = ? WHERE place = 'b'", blob)
    contract = house.contract(COLUMNS, forms=[{"format": "geopackage"}], kind="snapshot")
    receipt = house.deliver(contract, content, "a.gpkg")
    assert faults(receipt) == {("not_a_geometry", "shape"): (1, 2, "a curve, or a damaged shape")}
    [(place, east, _)] = places(house, contract)
    assert (place, east[:6]) == ("Nørrebro", LON_LAT[0])


BOTH = [{"format": "shapefile"}, {"format": "csv", "delimiter": ";"}]


def test_a_file_of_a_shapefile_s_name_is_a_file_of_its_own(house: House, tmp_path: Path) -> None:
    contract = house.contract(COLUMNS, forms=BOTH, kind="snapshot")
    layer(tmp_path / "l", UTM, driver="ESRI Shapefile")
    csv = {"layer.csv": "place;geometry\nc;POINT (12 55)\n", "._layer.csv": b"\0\5\x16\7 of a Mac"}
    receipt = house.deliver(contract, zipped(tmp_path / "l", beside=csv), "both.zip")
    assert (receipt["status"], receipt["accepted"]) == ("accepted", 3)
    assert [place for place, *_ in places(house, contract)] == ["c", "Nørrebro", "b"]


def test_a_shapefile_that_is_not_the_dataset_s_takes_no_file_along(house: House, tmp_path: Path) -> None:
    contract = house.contract(COLUMNS, forms=BOTH, kind="snapshot", delivery={"members": ["layer.csv"]})
    layer(tmp_path / "l", UTM, driver="ESRI Shapefile")
    csv = {"layer.csv": "place;geometry\nc;POINT (12 55)\n"}
    receipt = house.deliver(contract, zipped(tmp_path / "l", beside=csv), "one.zip")
    assert (receipt["status"], receipt["accepted"]) == ("accepted", 1)


def test_what_programs_of_maps_write_beside_a_shapefile_is_passed_over(house: House, tmp_path: Path) -> None:
    contract = house.contract(COLUMNS, forms=[{"format": "shapefile"}], kind="snapshot")
    layer(tmp_path / "l", UTM, driver="ESRI Shapefile")
    beside = {
        "layer.shp.xml": "<metadata/>",
        "layer.xml": "<metadata/>",
        "layer.sbn": b"\0\0\x27\x0a",
        "layer.qmd": "<qgis/>",
        "layer.CST": "UTF-8",
        "layer.shp.iso.xml": "<metadata/>",
        "layer.shp.ea.iso.xml": "<metadata/>",
        "layer.pdf": "%PDF-1.4",
        "layer.txt": "Of whom to ask.",
    }
    receipt = house.deliver(contract, zipped(tmp_path / "l", beside=beside), "a.zip")
    assert (receipt["status"], receipt["accepted"]) == ("accepted", 2)


def test_a_shapefile_s_parts_have_its_name_in_letters_of_any_size(house: House, tmp_path: Path) -> None:
    contract = house.contract(COLUMNS, forms=[{"format": "shapefile"}], kind="snapshot")
    path = layer(tmp_path / "l", UTM, driver="ESRI Shapefile")
    path.rename(path.with_name("LAYER.SHP"))
    receipt = house.deliver(contract, zipped(tmp_path / "l", beside={}), "a.zip")
    assert (receipt["status"], receipt["accepted"]) == ("accepted", 2)
    receipt = house.deliver(contract, zipped(tmp_path / "l", beside={"layer.shp": "another"}), "b.zip")
    assert list(faults(receipt)) == [("damaged_archive", None)]


def in_encoding(folder: Path, encoding: str, *, cpg: str | None, driver: int) -> bytes:
    """A shapefile with Danish letters in an encoding, which it says or does not."""
    path = layer(folder, UTM.replace("ø", "o"), driver="ESRI Shapefile").with_suffix(".dbf")
    table = path.read_bytes()
    table = table[:29] + bytes([driver]) + table[30:]
    # A name takes up 11 bytes, and a text 80.
    table = table.replace(b"place".ljust(11, b"\0"), "plåce".encode(encoding).ljust(11, b"\0"))
    path.write_bytes(table.replace(b"Norrebro".ljust(80), "Nørre bro".encode(encoding).ljust(80)))
    path.with_suffix(".cpg").unlink(missing_ok=True)
    if cpg is not None:
        path.with_suffix(".cpg").write_text(cpg)
    return zipped(folder, beside={})


ENCODINGS: list[tuple[str, str | None, int]] = [
    *(
        ("cp1252", cpg, 0)
        for cpg in ("1252", "CP1252\n", "windows-1252", "ANSI 1252", "ISO88591", "ISO 88591", "8859-1")
    ),
    *(("utf-8", cpg, 0x57) for cpg in ("UTF-8", "utf8", "65001", None)),
    *(("cp850", cpg, 0x57) for cpg in ("850", "OEM 850", "ibm850")),
    *(("cp1252", None, driver) for driver in (0, 0x03, 0x57, 0x58)),
    *(("cp850", None, driver) for driver in (0x02,)),
    ("cp865", None, 0x66),
    ("utf-8", None, 0),
]


@pytest.mark.parametrize(("encoding", "cpg", "driver"), ENCODINGS)
def test_the_text_of_a_shapefile_is_in_the_encoding_that_it_says(
    house: House, tmp_path: Path, encoding: str, cpg: str | None, driver: int
) -> None:
    columns = [{**COLUMNS[0], "physicalName": "plåce"}, COLUMNS[1]]
    contract = house.contract(columns, forms=[{"format": "shapefile"}], kind="snapshot")
    receipt = house.deliver(contract, in_encoding(tmp_path / "l", encoding, cpg=cpg, driver=driver), "a.zip")
    assert (receipt["status"], receipt["warnings"]) == ("accepted", []), receipt["message"]
    assert [place for place, *_ in places(house, contract)] == ["Nørre bro", "b"]


@pytest.mark.parametrize(
    ("cpg", "driver", "told"), [("Big5", 0, "'Big5'"), (None, 0x4D, "0x4d"), ("UTF-8", 0, "not in UTF-8")]
)
def test_text_in_an_encoding_that_is_not_read_is_refused_with_what_to_do(
    house: House, tmp_path: Path, cpg: str | None, driver: int, told: str
) -> None:
    contract = house.contract(COLUMNS, forms=[{"format": "shapefile"}], kind="snapshot")
    receipt = house.deliver(contract, in_encoding(tmp_path / "l", "cp1252", cpg=cpg, driver=driver), "a.zip")
    assert list(faults(receipt)) == [("wrong_encoding", None)]
    assert told in receipt["message"]
    assert ".cpg" in receipt["next_step"]


@pytest.mark.parametrize("left", [20, 60_000, 98_000])
def test_a_geopackage_that_was_cut_off_is_refused_and_ends_no_process(house: House, tmp_path: Path, left: int) -> None:
    contract = house.contract(COLUMNS, forms=[{"format": "geopackage"}], kind="snapshot")
    content = layer(tmp_path / "l", UTM, driver="GPKG").read_bytes()
    receipt = house.deliver(contract, content[:left], "cut.gpkg")
    assert list(faults(receipt)) == [("unreadable", None)]
    assert house.deliver(contract, content, "whole.gpkg")["accepted"] == 2


@pytest.mark.parametrize("part", [".dbf", ".shx"])
def test_a_shapefile_of_which_a_part_was_cut_off_is_refused(house: House, tmp_path: Path, part: str) -> None:
    delivery = {"members": ["*.shp"]}
    contract = house.contract(COLUMNS, forms=[{"format": "shapefile"}], kind="snapshot", delivery=delivery)
    path = layer(tmp_path / "l", UTM, driver="ESRI Shapefile").with_suffix(part)
    path.write_bytes(path.read_bytes()[:-9])
    receipt = house.deliver(contract, zipped(tmp_path / "l"), "cut.zip")
    assert list(faults(receipt)) == [("unreadable", None)]


def test_a_layer_among_several_must_be_named(house: House, tmp_path: Path) -> None:
    path = layer(tmp_path / "l", "SELECT 'a' AS place, ST_Point(1, 2) AS geom", driver="GPKG", name="byer")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE veje AS SELECT fid, geom, place FROM byer")
        db.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES ('veje', 'features', 'v', 4326)"
        )
        db.execute("INSERT INTO gpkg_geometry_columns VALUES ('veje', 'geom', 'POINT', 4326, 0, 0)")
    contract = house.contract(COLUMNS, forms=[{"format": "geopackage"}], kind="snapshot")
    receipt = house.deliver(contract, path.read_bytes(), "two.gpkg")
    assert list(faults(receipt)) == [("no_such_layer", None)]
    assert "'byer', 'veje'" in receipt["message"]
    contract = house.contract(COLUMNS, forms=[{"format": "geopackage", "layer": "veje"}], kind="snapshot")
    assert house.deliver(contract, path.read_bytes(), "two.gpkg")["accepted"] == 1


def test_clean_is_geoparquet_and_a_geometry_delivered_again_is_a_duplicate(house: House) -> None:
    contract = house.contract(COLUMNS, forms=[{"format": "geojson"}], kind="snapshot")

    def collection(x: float) -> str:
        ring = [[x, 55.0, 1.5], [x + 1, 55.0, 1.5], [x, 56.0, 2], [x, 55.0, 1.5]]
        shapes = {"a": {"type": "Polygon", "coordinates": [ring]}, "b": None}
        features = [{"properties": {"place": place}, "geometry": shape} for place, shape in shapes.items()]
        return json.dumps({"type": "FeatureCollection", "features": features})

    assert house.deliver(contract, collection(12), "1.json")["accepted"] == 2
    moved = house.deliver(contract, collection(13), "2.json")
    assert (moved["accepted"], moved["corrections"], moved["duplicates"]) == (1, 1, 1)
    [first, _] = sorted((house.folder / "lake" / "clean").rglob("*.parquet"))
    file = pq.ParquetFile(first)
    geo = json.loads(file.metadata.metadata[b"geo"])
    # Without a stated system GeoParquet means OGC:CRS84: EPSG:4326 with longitude first.
    assert (geo["primary_column"], geo["columns"]["shape"]["encoding"]) == ("shape", "WKB")
    assert (geo["columns"]["shape"]["geometry_types"], geo["columns"]["shape"].get("crs")) == (["Polygon Z"], None)
    assert str(file.schema_arrow.field("shape").type) == "binary"
    assert house.clean(contract, "place, shape::VARCHAR")[0][1].startswith("POLYGON Z ((12 55 1.5")
