"""A contract drafted from a sample is valid as it stands, and the sample lands under it."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import zipfile
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

from lakehouse.contracts.load import read_contract
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.draft import draft_contract
from lakehouse.landing.guess_meaning import snake_name, unit_of
from lakehouse.landing.intake import intake
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.settings import Settings
from tests.promise import SAMPLE, as_fixed_width, as_geopackage, as_shapefile, as_xml

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
# Two private columns, quotes, a comma as decimal sign, and a token for no value.
LINES = ["user key;datetime;reading (m³);Bemærkning", *(
    f"k{meter};{hour % 28 + 1:02d}/03/2024 {hour % 24:02d}:00:00;{'-' if hour == 5 else f'{hour},25'};"
    for meter in (1, 2) for hour in range(24)
)]  # fmt: skip
RECORDS = [
    {"sensor": {"id": sensor, "place": {"lat": 55.5, "lon": 12.25}}, "at": 1_700_000_000 + 600 * step,
     "no2": 20.5 + step, "tags": ["a", "b"]}
    for sensor in ("s1", "s2") for step in range(20)
]  # fmt: skip
TABLE = {
    "HourUTC": [f"2024-05-01T{hour:02d}:00:00" for hour in range(24)],
    "PriceArea": ["DK1", "DK2"] * 12,
    "SpotPriceDKK": [100.5 + hour for hour in range(24)],
}


def drafted(tmp_path: Path, sample: Path, *, dataset: str = "readings") -> Contract:
    text = draft_contract(provider="town", dataset=dataset, sample=sample, folder=tmp_path)
    path = tmp_path / "contracts" / "town" / f"{dataset}.odcs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return read_contract(path)


def landed(tmp_path: Path, contract: Contract, sample: Path) -> dict[str, Any]:
    """The receipt of the sample, delivered under its draft."""
    lake = (tmp_path / "lake").as_uri()
    exchange = Exchange(Settings(project=tmp_path, home=tmp_path / "home", lake=lake, database="", settle_seconds=0))
    exchange.init()
    exchange.lake.upload("landing-town", f"inbox/{contract.dataset}/{sample.name}", sample)
    (receipt,) = intake(exchange, contract)
    exchange.index.close()
    return receipt


def workbook(rows: Sequence[Sequence[object]]) -> bytes:
    """The least that Excel calls a workbook: one sheet, text within its cells."""

    def cell(value: object) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    main, office = "http://schemas.openxmlformats.org", "application/vnd.openxmlformats-officedocument"
    sheets, links = f"{main}/spreadsheetml/2006/main", f"{main}/officeDocument/2006/relationships"
    package = f"{main}/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
        f'ContentType="{office}.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" '
        f'ContentType="{office}.spreadsheetml.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{links}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{sheets}" xmlns:r="{links}"><sheets><sheet name="Sheet1" sheetId="1" '
        'r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{links}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{sheets}"><sheetData>{lines}</sheetData></worksheet>',
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return content.getvalue()


def types(contract: Contract) -> dict[str, str]:
    return {column.name: column.logicalType for column in contract.columns}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def test_csv_dialect_types_key_and_privacy(tmp_path: Path, sample: Path) -> None:
    contract = drafted(tmp_path, sample)
    (form,) = contract.exchange.delivery.forms
    assert (form.delimiter, form.decimal, form.null_values) == (";", ",", ("-",))
    assert contract.status == "draft"
    assert types(contract) == {
        "user_key": "string", "datetime": "timestamp", "reading": "number", "bemaerkning": "string",
    }  # fmt: skip
    assert [column.name for column in contract.primary_key] == ["user_key", "datetime"]
    assert contract.exchange.time is not None
    assert contract.exchange.time.column == "datetime"
    assert contract.column("datetime").parse.formats == ("%d/%m/%Y %H:%M:%S",)
    assert contract.column("datetime").parse.zone == "Europe/Copenhagen"
    assert contract.column("reading").unit == "m³"
    assert not contract.column("reading").required
    assert [column.classification.value for column in contract.columns] == [
        "identifier", "quasi_identifier", "sensitive", "free_text",
    ]  # fmt: skip
    assert contract.exchange.subject == "user_key"
    assert landed(tmp_path, contract, sample)["accepted"] == 48


def test_each_guess_says_why_and_no_private_value_is_told(tmp_path: Path, sample: Path) -> None:
    text = draft_contract(provider="town", dataset="readings", sample=sample, folder=tmp_path)
    guessed = ("logicalType:", "classification:", "delimiter:", "decimal:", "kind: events", "partition:", "id: Lic")
    for line in text.splitlines():
        if any(word in line for word in guessed):
            assert "# guess: " in line, line
    assert "k1" not in text
    assert "23,25" not in text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path: Path, sample: Path, encoding: str) -> None:
    sample.write_text("\n".join(LINES).replace("m³", "m3") + "\n", encoding=encoding)
    contract = drafted(tmp_path, sample)
    (form,) = contract.exchange.delivery.forms
    assert form.encoding == encoding.removesuffix("-sig")
    assert "bemaerkning" in types(contract)
    assert landed(tmp_path, contract, sample)["accepted"] == 48


@pytest.mark.parametrize("packed", ["gz", "zip"])
def test_packed(tmp_path: Path, sample: Path, packed: str) -> None:
    path = tmp_path / f"sample.csv.{packed}"
    if packed == "gz":
        path.write_bytes(gzip.compress(sample.read_bytes()))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(sample, "inner.csv")
    assert landed(tmp_path, drafted(tmp_path, path), path)["accepted"] == 48


def test_csv_with_a_line_for_excel_is_drafted_for_deliveries_without_it_too(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    rows = "".join(f"M{number};2024-01-{number:02}T00:00:00Z;{number},5\n" for number in range(1, 29))
    path.write_text(f"sep=;\nmeter;read_at;use_kwh\n{rows}")
    contract = drafted(tmp_path, path)
    form = contract.exchange.delivery.forms[0]
    assert (form.skip_lines, form.delimiter, form.decimal) == (0, ";", ",")
    assert landed(tmp_path, contract, path)["accepted"] == 28


def test_csv_with_preamble(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    hours = [(datetime(2024, 3, 31) + timedelta(hours=hour)).isoformat(timespec="minutes") for hour in range(24)]
    rows = "".join(f"{hour},{number}.5,NaN\n" for number, hour in enumerate(hours))
    path.write_text(f"latitude,longitude\n56.1,10.1\n\ntime,temperature_2m (°C),albedo (undefined)\n{rows}")
    contract = drafted(tmp_path, path)
    assert contract.exchange.delivery.forms[0].skip_lines == 3
    assert contract.column("temperature_2m").unit == "°C"
    # 02:30 of that night is no time in Copenhagen.
    assert contract.column("time").parse.zone == "UTC"
    assert not contract.column("albedo").required
    assert landed(tmp_path, contract, path)["accepted"] == 24


def test_csv_without_header_is_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text("".join(f'"2020Q3";"Town {number}";{number * 7}\n' for number in range(1, 30)))
    contract = drafted(tmp_path, path)
    assert contract.exchange.delivery.kind == "snapshot"
    assert not contract.exchange.delivery.forms[0].header
    assert types(contract) == {"column_1": "string", "column_2": "string", "column_3": "integer"}
    assert landed(tmp_path, contract, path)["accepted"] == 29


def test_codes_compact_days_grouped_numbers_and_wkt(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    rows = "".join(f"0{n};202405{n:02d};{n}.234,5;POINT ({n} 55)\n" for n in range(1, 10))
    path.write_text(f"kommunekode;taelle_dato;beløb;sted\n{rows}", encoding="utf-8")
    contract = drafted(tmp_path, path)
    assert types(contract) == {"kommunekode": "string", "taelle_dato": "date", "beloeb": "number", "sted": "string"}
    assert contract.exchange.delivery.forms[0].thousands == "."
    assert contract.column("sted").parse.geometry == "wkt"
    assert landed(tmp_path, contract, path)["accepted"] == 9


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_json_with_nested_records(tmp_path: Path, form: str) -> None:
    path = tmp_path / "sample"
    document = json.dumps({"last_updated": 1_700_000_000, "data": {"sensors": RECORDS}})
    path.write_text(document if form == "json" else "\n".join(json.dumps(record) for record in RECORDS))
    contract = drafted(tmp_path, path)
    assert contract.exchange.delivery.forms[0].format == form
    assert contract.column("sensor_place_lat").parse.path == "sensor.place.lat"
    assert contract.column("at").parse.epoch == "seconds"
    assert contract.exchange.delivery.ignored_columns == ("tags",)
    if form == "json":
        assert contract.column("last_updated").parse.path == "$.last_updated"
    receipt = landed(tmp_path, contract, path)
    # Under the time of the document the rows of one sensor are versions of one another.
    assert (receipt["accepted"], receipt["refused"]) == (40, 0)


def test_entities_of_ngsi_ld_are_known_by_their_id_and_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    entities = [
        {"id": f"urn:ngsi-ld:Sensor:{n}", "type": "Sensor", "no2": {"type": "Property", "value": n * 0.5},
         "dateObserved": f"2024-05-01T10:{n:02d}:00Z",
         "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [12.5, 55 + n / 100]}}}
        for n in range(20)
    ]  # fmt: skip
    path.write_text(json.dumps(entities))
    contract = drafted(tmp_path, path)
    assert [column.source for column in contract.primary_key] == ["id", "dateObserved"]
    assert contract.column("location_value").parse.geometry == "geojson"
    assert contract.exchange.delivery.ignored_columns == ()
    assert landed(tmp_path, contract, path)["accepted"] == 20


def test_geojson(tmp_path: Path) -> None:
    path = tmp_path / "sample.geojson"
    features = [
        {"type": "Feature", "id": f"area.{n}", "geometry": {"type": "Point", "coordinates": [12.5, 55.5]},
         "properties": {"areaNr": n, "navn": f"Område {n}", "areal_m2": n * 10.5}}
        for n in range(1, 12)
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    contract = drafted(tmp_path, path)
    assert [column.name for column in contract.primary_key] == ["area_nr"]
    assert contract.column("geometry").parse.geometry == "geojson"
    assert contract.column("areal_m2").unit == "m2"
    assert landed(tmp_path, contract, path)["accepted"] == 11


@pytest.mark.parametrize("form", ["parquet", "xlsx"])
def test_tables(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"sample.{form}"
    table = pl.DataFrame(TABLE)
    if form == "parquet":
        table.write_parquet(path)
    else:
        path.write_bytes(workbook([("Prices of the day",), table.columns, *table.rows()]))
    contract = drafted(tmp_path, path)
    assert contract.exchange.delivery.forms[0].format == form
    if form == "xlsx":
        assert contract.exchange.delivery.forms[0].header_row == 2
    assert types(contract) == {"hour_utc": "timestamp", "price_area": "string", "spot_price_dkk": "number"}
    assert contract.column("hour_utc").parse.zone == "UTC"
    assert contract.column("spot_price_dkk").unit == "DKK"
    assert landed(tmp_path, contract, path)["accepted"] == 24


def test_workbook_of_a_pandas_table_behind_a_short_one_and_a_hidden_one(tmp_path: Path) -> None:
    path = tmp_path / "sample.xlsx"
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Codes"
    for number in range(20):
        book.active.append([number] * 6)
    hidden = book.create_sheet("Old")
    hidden.sheet_state = "hidden"
    data = book.create_sheet("Målinger")
    data.append([None, "måler", "dag", "kl", "forbrug"])
    for number in range(60):
        row = [number, f"M{number}", datetime(2024, 1, 1) + timedelta(days=number), time(number % 24, 30), number / 3]
        data.append(row)
        hidden.append(row * 2)
    book.save(path)
    contract = drafted(tmp_path, path)
    assert (contract.exchange.delivery.forms[0].sheet, contract.exchange.delivery.forms[0].header_row) == (
        "Målinger", 1,
    )  # fmt: skip
    assert types(contract) == {"maaler": "string", "dag": "date", "kl": "integer", "forbrug": "number"}
    assert contract.column("kl").parse.seconds_of_day
    receipt = landed(tmp_path, contract, path)
    assert (receipt["accepted"], receipt["warnings"]) == (60, [])


def test_years_of_two_digits(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    rows = "".join(f"{n};{n:02d}.01.24;{n:02d}-01-24 08:30\n" for n in range(1, 29))
    path.write_text(f"nr;dag;tid\n{rows}")
    contract = drafted(tmp_path, path)
    assert contract.column("dag").parse.formats == ("%d.%m.%y",)
    assert contract.column("tid").parse.formats == ("%d-%m-%y %H:%M",)
    assert landed(tmp_path, contract, path)["accepted"] == 28


def test_names_and_units() -> None:
    assert [snake_name(name) for name in ("SpotPriceDKK", "OPFØRELSESÅR", "_id", "7 dage", "event_date")] == [
        "spot_price_dkk", "opfoerelsesaar", "id", "column_7_dage", "source_event_date",
    ]  # fmt: skip
    assert [unit_of(name)[0] for name in ("use_kwh", "rain (mm)", "DISTANCE_IN_METERS", "m", "count")] == [
        "kWh", "mm", "m", "1", "1",
    ]  # fmt: skip


def test_what_cannot_be_drafted_says_why(tmp_path: Path, sample: Path) -> None:
    with pytest.raises(ValueError, match="lower case"):
        draft_contract(provider="Town", dataset="readings", sample=sample, folder=tmp_path)
    for content, rule in (
        (b"", "empty_file"),
        (b"\x89PNG\r\n\x1a\n\0\0", "unknown_format"),
        (b'{"a": 1', "unreadable"),
    ):
        sample.write_bytes(content)
        with pytest.raises(DeliveryRefused) as refused:
            draft_contract(provider="town", dataset="readings", sample=sample, folder=tmp_path)
        assert refused.value.rule == rule


def real_files() -> list[Path]:
    files = [path for path in sorted(REAL.rglob("*.*")) if path.is_file() and path.parent.parent.parent == REAL]
    # One snapshot of the many stands for all; a timetable is several datasets in one archive.
    return [p for p in files if "vbb" not in p.parts and (p.parent.name != "station_status" or "T0009" in p.name)]


@pytest.mark.skipif(not REAL.exists(), reason="the real deliveries (../shared/data) are not here")
@pytest.mark.parametrize("delivery", real_files(), ids=lambda path: path.name)
def test_a_real_delivery_lands_under_its_draft(tmp_path: Path, delivery: Path) -> None:
    sample = tmp_path / delivery.name
    if delivery.suffix == ".csv":
        with delivery.open("rb") as whole:
            sample.write_bytes(b"".join(itertools.islice(whole, 6_000)))
    elif delivery.suffix == ".zip":
        with zipfile.ZipFile(delivery) as archive, archive.open(archive.namelist()[0]) as whole:
            sample.write_bytes(b"".join(itertools.islice(whole, 6_000)))
    else:
        sample.write_bytes(delivery.read_bytes())
    receipt = landed(tmp_path, drafted(tmp_path, sample), sample)
    assert receipt["delivered"] > 5
    assert receipt["accepted"] >= 0.99 * receipt["delivered"]


def test_one_table_of_a_timetable_s_zip_is_drafted_by_its_name(tmp_path: Path) -> None:
    sample = tmp_path / "gtfs.zip"
    with zipfile.ZipFile(sample, "w") as archive:
        archive.writestr("stops.txt", "stop_id,stop_name\ns1,A\ns2,B\n")
        archive.writestr("stop_times.txt", "trip_id,departure_time\nt1,8:05:00\nt2,25:35:10\n")
        # What else lies there does not matter.
        archive.writestr("transfers.txt", "")
        archive.writestr("licence.pdf", b"%PDF-1.7\0")
    contract = drafted(tmp_path, sample, dataset="gtfs_stop_times")
    assert contract.exchange.delivery.members == ("stop_times.txt",)
    assert contract.column("departure_time").parse.seconds_of_day
    assert landed(tmp_path, contract, sample)["accepted"] == 2


def test_the_fullest_of_several_sheets_is_drafted(tmp_path: Path) -> None:
    sample = tmp_path / "book.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["Forbrug 2024"])
    sheet = book.create_sheet("Tal")
    for row in (["måler", "forbrug"], ["a", 1.5], ["b", 2.5]):
        sheet.append(row)
    book.save(sample)
    contract = drafted(tmp_path, sample)
    assert contract.exchange.delivery.forms[0].model_dump(exclude_defaults=True) == {"sheet": "Tal"}
    assert landed(tmp_path, contract, sample)["accepted"] == 2


@pytest.mark.parametrize("kind", ["geopackage", "shapefile"])
def test_a_layer_is_drafted_with_its_geometry(tmp_path: Path, kind: str) -> None:
    write = {"geopackage": as_geopackage, "shapefile": as_shapefile}[kind]
    sample = tmp_path / "layer"
    sample.write_bytes(write(SAMPLE))
    contract = drafted(tmp_path, sample)
    assert contract.column("geometry").parse.geometry == "wkt"
    assert landed(tmp_path, contract, sample)["accepted"] == len(SAMPLE)


@pytest.mark.parametrize(("content", "said"), [(as_xml(SAMPLE), "XML"), (as_fixed_width(SAMPLE), "fixed places")])
def test_what_cannot_be_drafted_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    sample = tmp_path / "sample"
    sample.write_bytes(content)
    with pytest.raises(DeliveryRefused, match=said):
        draft_contract(provider="town", dataset="readings", sample=sample, folder=tmp_path)
