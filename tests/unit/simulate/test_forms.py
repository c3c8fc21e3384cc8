"""Simulated files have the form of the real ones: the same contracts load them."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from .conftest import Delivered

HEADERS = {
    "aalborg_heat/heat_meter_readings_simulated": "aalborg_heat/heat_meter_readings/heat_meter_readings.csv",
    "aalborg_heat/heat_meter_register": "aalborg_heat/heat_meter_register/heat_meter_register.csv",
    "aarhus/parking": "aarhus/parking/citypulse_aarhus_parking_orig.csv",
    "copenhagen/traffic_counts": "copenhagen/traffic_counts/trafiktaelling.csv",
    "daiad/water_meter_readings": "daiad/water_meter_readings/swm_trialA.zip",
    "dmi/station_daily": "dmi/station_daily/DMI_DATA_CLEAN.csv",
    "energinet/elspot_prices": "energinet/elspot_prices/Elspotprices_2024.csv",
}


def first(delivered: Delivered, dataset: str) -> Path:
    return next(one.path for one in delivered[2] if f"{one.provider}/{one.dataset}" == dataset)


def lines(path: Path, count: int) -> list[bytes]:
    """The first lines, of a zip's only member if it is one."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
            return [member.readline() for _ in range(count)]
    with path.open("rb") as file:
        return [file.readline() for _ in range(count)]


@pytest.mark.parametrize("dataset", HEADERS)
def test_headers_are_equal_to_the_byte(real: Path, quirky: Delivered, dataset: str) -> None:
    assert lines(first(quirky, dataset), 1) == lines(real / HEADERS[dataset], 1)


@pytest.mark.parametrize("dataset", HEADERS)
def test_rows_have_the_real_separators_and_line_ends(real: Path, quirky: Delivered, dataset: str) -> None:
    separator = ";" if dataset.split("/")[0] in ("daiad", "energinet") else ","
    (_, ours), (_, theirs) = lines(first(quirky, dataset), 2), lines(real / HEADERS[dataset], 2)
    assert ours.endswith(b"\r\n") == theirs.endswith(b"\r\n")
    (our_row,), (their_row,) = (csv.reader([line.decode()], delimiter=separator) for line in (ours, theirs))
    assert len(our_row) == len(their_row) > 3


def test_parquet_has_the_real_columns_and_types(real: Path, quirky: Delivered) -> None:
    ours = pq.read_schema(first(quirky, "energinet/consumption_de35_hour"))
    (path,) = (real / "energinet/consumption_de35_hour").glob("*.parquet")
    theirs = pq.read_schema(path)
    assert [(field.name, field.type) for field in ours] == [(field.name, field.type) for field in theirs]


def test_districts_have_the_real_attributes(real: Path, quirky: Delivered) -> None:
    ours, theirs = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (first(quirky, "copenhagen/districts"), real / "copenhagen/districts/cph_bydele.geojson")
    )
    assert list(ours) == list(theirs)
    assert list(ours["features"][0]) == list(theirs["features"][0])
    for names in ("id", "bydel_nr", "navn", "ogc_fid"):
        assert [one["properties"][names] for one in ours["features"]] == [
            one["properties"][names] for one in theirs["features"]
        ]


def test_snapshots_have_the_real_shape(real: Path, clean: Delivered) -> None:
    theirs = json.loads(min((real / "oslo_bysykkel/station_status").glob("*.json")).read_text())
    ours = json.loads(first(clean, "oslo_bysykkel/station_status").read_text())
    assert (list(ours), ours["ttl"], ours["version"]) == (list(theirs), theirs["ttl"], theirs["version"])
    our_station, their_station = ours["data"]["stations"][0], theirs["data"]["stations"][0]
    assert {name: type(value) for name, value in our_station.items()} == {
        name: type(value) for name, value in their_station.items()
    }
    assert [kind["vehicle_type_id"] for kind in our_station["vehicle_types_available"]] == ["bike", "ebike"]


def test_population_has_the_real_form(real: Path, clean: Delivered) -> None:
    ours, theirs = lines(first(clean, "dst/population"), 3), lines(real / "dst/population/Population.csv", 3)
    assert ours[2].startswith(b'"2024Q4";"Total";"Drag\xf8r";1')
    assert theirs[2].startswith(b'"2020Q3";"Total";"Drag\xf8r";1')
    assert [line.count(b";") for line in ours] == [line.count(b";") for line in theirs]


def test_quirky_files_write_as_their_sources_do(quirky: Delivered) -> None:
    prices = lines(first(quirky, "energinet/elspot_prices"), 2)[1].decode().strip().split(";")
    assert [len(amount.split(",")[1]) for amount in prices[3:]] == [6, 6]
    weather = lines(first(quirky, "dmi/station_daily"), 2)[1].decode()
    assert weather.startswith('"1","2024-10-22",5005,NA,')
    assert weather.endswith(',NA,NA,NA,"Hjørring"\n')
    traffic = first(quirky, "copenhagen/traffic_counts").read_text(encoding="utf-8")
    assert '"4,' in traffic
    assert "Øvrige tællinger" in traffic
    assert b',""\r\n' in first(quirky, "aalborg_heat/heat_meter_register").read_bytes()


def test_zips_tell_no_time(quirky: Delivered) -> None:
    with zipfile.ZipFile(first(quirky, "daiad/water_meter_readings")) as archive:
        (member,) = archive.infolist()
    assert member.date_time == (1980, 1, 1, 0, 0, 0)
    assert member.filename == "swm_simulated_2024-10-22_2024-10-31.csv"
