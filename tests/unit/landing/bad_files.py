"""Bad deliveries whose file, archive, encoding or header is wrong."""

from __future__ import annotations

import bz2
import gzip
import json

from tests.unit.landing.bad_deliveries import (
    CSV,
    DAY,
    GOOD,
    HEADER,
    RECORDS,
    ROWS,
    Case,
    documents,
    encrypted,
    geojson,
    gzipped,
    large,
    large_document,
    linked,
    of_rows,
    parquet,
    parquet_twice,
    partly,
    private,
    refused,
    replaced,
    shapes,
    taken,
    tarball,
    tight,
    with_rows,
    workbook,
    zipped,
)

WIDE = [*HEADER.split(","), *(f"extra_{number}" for number in range(9_996))]


def tiny(number: int) -> str:
    """A file of one row, of a meter of its own."""
    return f"{HEADER}\nM{number:03},{DAY},{number},ok\n"


FILES: list[Case] = [
    refused("an empty file", lambda: b"", "empty_file"),
    refused("a header and nothing else", of_rows(), "no_rows"),
    refused("blank lines only", lambda: "\n\n\n", "no_header"),
    partly("the header once more in the middle: two files joined", with_rows(HEADER), "not_a_number"),
    refused("a PNG called csv", lambda: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "unknown_format"),
    refused("a PDF called csv", lambda: b"%PDF-1.7\n" + bytes(range(256)) * 20, "unknown_format"),
    refused("a Windows program called csv", lambda: b"MZ\x90\x00\x03\x00" + bytes(500), "unknown_format"),
    refused("an old Excel workbook (xls)", lambda: b"\xd0\xcf\x11\xe0" + bytes(3000), "unknown_format", file="r.xls"),
    refused("a page of an error, in HTML, called csv", lambda: "<!DOCTYPE html><h1>502</h1>", "unknown_format"),
    refused("random bytes", lambda: bytes((i * 7919) % 251 for i in range(5000)), "unknown_format"),
    refused("NUL bytes in one of the first lines", with_rows(f"M005,{DAY},\0\0,bad"), "unknown_format"),
    partly(
        "NUL bytes in a line far down",
        lambda: CSV + "".join(f"M001,{DAY},1.5,{'x' * 100}\n" for _ in range(50)) + f"{ROWS[0]}\nM005,{DAY},1,b\0d\n",
        "wrong_encoding",
    ),
    taken(
        "a byte order mark in the middle: two files joined",
        with_rows(f"\ufeff{ROWS[1]}", f"\ufeffM005,{DAY},5,ok"),
        stands={**GOOD, "M005": 5.0},
    ),
    refused("UTF-16, the contract says UTF-8", lambda: CSV.encode("utf-16"), "wrong_encoding"),
    partly(
        "one row in Latin-1 among UTF-8", lambda: CSV.encode() + f"M005,{DAY},1,Å\n".encode("latin-1"), "wrong_encoding"
    ),
    taken("a byte order mark", lambda: b"\xef\xbb\xbf" + CSV.encode()),
    taken("mixed ends of lines", lambda: CSV.replace("\n", "\r\n", 2)),
    taken(
        "lines that end with a return alone, as an old Mac writes, and one that does not",
        lambda: CSV.replace("\n", "\r").replace("\r", "\n", 1),
    ),
    taken("the end of a file of DOS", lambda: CSV.replace("\n", "\r\n") + "\x1a"),
    taken("no end of the last line, blank lines between", lambda: CSV.replace("\n", "\n\n").rstrip("\n")),
    taken("lines of blanks between", lambda: CSV.replace("\n", "\n  \n")),
    taken("lines of delimiters alone, as Excel leaves them below a table", with_rows(*[",,,"] * 20)),
    taken("a first line that tells Excel the delimiter", lambda: f"sep=,\n{CSV}"),
    partly("the last line is cut", with_rows(f"M005,{DAY}"), "malformed_row"),
    partly("a quote that is never closed", with_rows(f'M005,{DAY},1,"open'), "malformed_row"),
    partly(
        "text behind two closing quotes, then what looks like a row",
        with_rows(f'"M005"x,"{DAY}"y,M006,{DAY},1,ok'),
        "malformed_row",
    ),
    refused("no header: data from the first line", lambda: "\n".join(ROWS) + "\n", "missing_columns"),
    refused(
        "no header, of private data", lambda: "\n".join(ROWS) + "\n", "missing_columns", contract=private, hidden="M001"
    ),
    refused("a required column is gone", lambda: "meter,read_at,note\n" + f"M001,{DAY},ok\n", "missing_columns"),
    refused(
        "a required column has another name",
        replaced(("use_kwh", "use_in_kwh")),
        "missing_columns",
        told="'use_kwh' is likely 'use_in_kwh' now",
    ),
    refused(
        "a column has a name in another language, its values as ever",
        replaced(("read_at", "tidspunkt")),
        "missing_columns",
        told="'read_at' is likely 'tidspunkt' now",
    ),
    refused("a column twice", replaced(("note", "use_kwh")), "duplicate_columns"),
    taken(
        "columns in another order",
        lambda: "note,use_kwh,read_at,meter\n" + "".join(f"ok,{v},{DAY},{m}\n" for m, v in GOOD.items()),
    ),
    taken(
        "columns in another order than in the delivery before",
        lambda: "note,use_kwh,read_at,meter\n" + "".join(f"ok,{v + 1},{DAY},{m}\n" for m, v in GOOD.items()),
        "reordered_columns",
        before=(CSV,),
        stands={meter: value + 1 for meter, value in GOOD.items()},
        told="meter, read_at, use_kwh, note",
    ),
    taken("a column more", lambda: CSV.replace("\n", ",x\n").replace("note,x", "note,operator"), "unknown_column"),
    taken(
        "an optional column is gone",
        lambda: "meter,read_at,use_kwh\n" + "".join(f"{m},{DAY},{v}\n" for m, v in GOOD.items()),
        "dropped_column",
    ),
    taken(
        "10,000 columns",
        lambda: ",".join(WIDE) + "\n" + "".join(row + "," * 9_996 + "\n" for row in ROWS),
        "unknown_column",
    ),
    refused(
        "another dataset's file",
        lambda: f"station,seen_at,no2\nS1,{DAY},3\n",
        "wrong_dataset",
        told="inbox/air_quality/",
    ),
    refused("semicolons for commas, as Excel saves", lambda: CSV.replace(",", ";"), "wrong_delimiter"),
    refused("a line of 100 MB", with_rows(f"M005,{DAY},1," + "x" * 100_000_000), "unreadable"),
    refused("JSON cut in half", lambda: documents(RECORDS)[:200], "not_json", file="r.json"),
    refused(
        "JSON without the list of records",
        lambda: json.dumps({"error": "quota"}, indent=2),
        "no_records",
        file="r.json",
    ),
    refused(
        "JSON of one line without the list, as a record of ndjson",
        lambda: documents({"error": "quota"}),
        "missing_columns",
        file="r.json",
    ),
    refused(
        "JSON whose fields were renamed",
        lambda: documents([{("energy_kwh" if k == "use_kwh" else k): v for k, v in r.items()} for r in RECORDS]),
        "missing_columns",
        file="r.json",
    ),
    taken(
        "JSON with a field more",
        lambda: documents([{**r, "operator": "x"} for r in RECORDS]),
        "unknown_column",
        file="r.json",
    ),
    partly(
        "ndjson with a broken line",
        lambda: "\n".join(json.dumps(r) for r in RECORDS) + '\n{"meter": "M00',
        "malformed_row",
        file="r.ndjson",
    ),
    refused(
        "a JSON document of 60 MB in 100 MB of memory, a stand-in for 10 GB",
        large_document,
        "document_too_large",
        file="r.json",
        contract=tight("100MB"),
    ),
    taken(
        "a csv of 60 MB in 300 MB of memory, a stand-in for 10 GB",
        large,
        contract=tight("300MB"),
        stands={f"M{n:03d}": 1.0 for n in range(1000)},
    ),
    partly(
        "a csv of 60 MB of Windows, cut off within its last line",
        lambda: large().replace("\n", "\r\n")[:-604],
        "malformed_row",
        stands={f"M{n:03d}": 1.0 for n in range(1000)},
    ),
    refused(
        "a workbook that is none inside",
        lambda: zipped([("[Content_Types].xml", "x"), ("xl/workbook.xml", "<bad")]),
        "unreadable",
        file="r.xlsx",
    ),
    refused(
        "an Excel workbook without the columns",
        lambda: workbook([["a", "b"], [1, 2]]),
        "missing_columns",
        file="r.xlsx",
    ),
    refused(
        "an Excel workbook cut in half", lambda: workbook([HEADER.split(",")])[:2000], "damaged_archive", file="r.xlsx"
    ),
    refused("Parquet cut in half", lambda: parquet()[:400], "unreadable", file="r.parquet"),
    refused("Parquet with a column twice", lambda: parquet_twice("note"), "duplicate_columns", file="r.parquet"),
    refused("Parquet of other columns", lambda: parquet(a=[1], b=["x"]), "missing_columns", file="r.parquet"),
    refused(
        "GeoJSON without geometries",
        lambda: geojson(geometry=None),
        "missing_columns",
        file="r.geojson",
        contract=shapes,
    ),
    refused(
        "GeoJSON with an open ring",
        lambda: geojson(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1]]]}),
        "too_many_refused",
        file="r.geojson",
        contract=shapes,
    ),
    refused(
        "GeoJSON in metres of a national grid",
        lambda: geojson(geometry={"type": "Point", "coordinates": [725000, 6170000]}),
        "too_many_refused",
        file="r.geojson",
        contract=shapes,
        told="degrees of EPSG:4326",
    ),
    refused(
        "GeoJSON with an empty point",
        lambda: geojson(geometry={"type": "Point", "coordinates": []}),
        "too_many_refused",
        file="r.geojson",
        contract=shapes,
        told="not empty",
    ),
    refused("a gzip cut in half", lambda: gzipped(CSV * 50)[:60], "damaged_archive", file="r.csv.gz"),
    refused(
        "a gzip that unpacks to 300 times its size",
        lambda: gzipped("0" * 3_000_000),
        "unpacks_too_large",
        file="r.csv.gz",
    ),
    refused("a zip bomb", lambda: zipped([("bomb.csv", b"\0" * 50_000_000)]), "unpacks_too_large", file="r.zip"),
    refused(
        "a zip within a zip", lambda: zipped([("inner.zip", zipped([("r.csv", CSV)]))]), "nested_archive", file="r.zip"
    ),
    refused("a zip in a gzip", lambda: gzip.compress(zipped([("r.csv", CSV)])), "nested_archive", file="r.csv.gz"),
    refused("a tarball (tar.gz)", tarball, "unknown_format", file="r.tar.gz", told="r.tar is packed with tar"),
    refused("a file packed with bzip2", lambda: bz2.compress(CSV.encode()), "unknown_format", told="with bzip2"),
    refused(
        "a zip of two files, one without a required column",
        lambda: zipped([("2024/jan.csv", CSV), ("2024/feb.csv", CSV.replace("use_kwh", "co2"))]),
        "missing_columns",
        file="r.zip",
        told="2024/feb.csv: Required columns",
    ),
    refused("an empty zip", lambda: zipped([]), "empty_archive", file="r.zip"),
    refused("a zip with a password", encrypted, "damaged_archive", file="r.zip"),
    refused(
        "a zip of 100,000 members",
        lambda: zipped((f"{n}.csv", b"") for n in range(100_000)),
        "too_many_files",
        file="r.zip",
    ),
    taken(
        "a zip whose member's path climbs out (`../../`)", lambda: zipped([("../../../climbed.csv", CSV)]), file="r.zip"
    ),
    refused("a zip with a symbolic link", linked, "link_in_archive", file="r.zip"),
    taken("a zip with two members of one name", lambda: zipped([("r.csv", CSV), ("r.csv", CSV)]), file="r.zip"),
    taken(
        "a zip of 300 tiny files, a stand-in for a million",
        lambda: zipped((f"{n}.csv", CSV) for n in range(300)),
        file="r.zip",
    ),
    taken(
        "a tiny file among 60 that were dropped at once, a stand-in for a million",
        lambda: tiny(60),
        beside=tuple(tiny(number) for number in range(60)),
        stands={f"M{number:03}": float(number) for number in range(61)},
    ),
    partly(
        "a tiny file with a wrong row among 60 that were dropped at once",
        lambda: tiny(60) + f"M061,{DAY},many,wrong\n",
        "not_a_number",
        beside=tuple(tiny(number) for number in range(60)),
        stands={f"M{number:03}": float(number) for number in range(61)},
    ),
    refused(
        "a tiny empty file among 60 that were dropped at once",
        lambda: "",
        "empty_file",
        beside=tuple(tiny(number) for number in range(60)),
        stands={f"M{number:03}": float(number) for number in range(60)},
    ),
    taken(
        "a zip with what a Mac knows of the file beside it",
        lambda: zipped([("r.csv", CSV), ("._r.csv", b"\0\5\x16\7" + bytes(50))]),
        file="r.zip",
    ),
    refused(
        "a zip with a picture beside the data",
        lambda: zipped([("r.csv", CSV), ("z.png", b"\x89PNG\r\n\x1a\n" + bytes(50))]),
        "unknown_format",
        file="r.zip",
    ),
]
