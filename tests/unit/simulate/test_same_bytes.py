"""The same arguments give the same bytes; other arguments give others."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from lakehouse.simulate.city import City
from lakehouse.simulate.deliveries import simulate, simulate_late_day

SMALL = City(households=60, days=3, start=date(2024, 10, 26), stations=5, counting_sites=90)


def hashes(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_two_runs_are_equal_to_the_byte(tmp_path: Path, file_format: str) -> None:
    city = replace(SMALL, file_format=file_format)  # type: ignore[arg-type]
    for name in ("one", "two"):
        simulate(city=city, out=tmp_path / name)
        simulate_late_day(city=city, day=date(2024, 10, 27), out=tmp_path / name)
    first = hashes(tmp_path / "one")
    assert len(first) > 140
    assert first == hashes(tmp_path / "two")


def test_another_seed_changes_every_dataset_but_the_districts(tmp_path: Path) -> None:
    simulate(city=SMALL, out=tmp_path / "one")
    simulate(city=replace(SMALL, seed=2), out=tmp_path / "two")
    one, two = hashes(tmp_path / "one"), hashes(tmp_path / "two")
    equal = {name for name in one if one[name] == two.get(name)}
    assert equal == {"copenhagen/districts/cph_bydele.geojson"}


def test_households_keep_their_keys_in_a_larger_city(tmp_path: Path) -> None:
    dataset = "daiad/water_meter_register"
    keys = []
    for count in (60, 90):
        city = replace(SMALL, households=count, quirks=False)
        (written,) = simulate(city=city, out=tmp_path / str(count), datasets=[dataset])
        keys.append(written.path.read_text().splitlines())
    assert len(keys[1]) == 91
    assert keys[1][:61] == keys[0]


def test_a_dataset_that_no_city_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no city has daiad/gas"):
        simulate(city=SMALL, out=tmp_path, datasets=["daiad/gas"])


@pytest.mark.parametrize(("name", "value"), [("households", 0), ("days", 0), ("seed", -1)])
def test_numbers_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        City(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("quirks", [True, False])
def test_the_smallest_city_is_written(tmp_path: Path, quirks: bool) -> None:
    city = City(households=1, days=1, stations=1, garages=1, counting_sites=1, quirks=quirks)
    written = simulate(city=city, out=tmp_path)
    readings = next(one for one in written if one.dataset == "water_meter_readings")
    assert (readings.rows, readings.quirks) == (24, {})
