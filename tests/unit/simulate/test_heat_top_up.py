"""Readings for the meters of a register that has none."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from lakehouse.simulate.city import Written
from lakehouse.simulate.deliveries import simulate_heat_readings

REGISTER = (
    "meter_id,customer_id,unit_type,construction_year,energy_label\r\n"
    '1,11,single_family_house,1925,""\r\n'
    "2,12,single_family_house,2019,A\r\n"
    "3,13,apartment,,D\r\n"
    "4,14,unclear,0,\r\n"
    "5,15,non_residential,1970,E\r\n"
)


@pytest.fixture
def register(tmp_path: Path) -> Path:
    path = tmp_path / "register.csv"
    path.write_text(REGISTER, newline="")
    return path


def used(written: list[Written]) -> dict[int, float]:
    """kWh of each meter over the span."""
    frame = pl.concat(pl.read_csv(one.path) for one in written)
    energy = pl.col("energy_heat_kwh")
    return dict(frame.group_by("meter_id").agg(energy.max() - energy.min()).rows())


def test_every_meter_reads_every_hour(register: Path, tmp_path: Path) -> None:
    written = simulate_heat_readings(register=register, out=tmp_path, start=date(2024, 10, 26), days=8, seed=1)
    assert [one.path.name for one in written] == [
        "heat_meter_readings_simulated_2024-10-26_2024-10-31.csv",
        "heat_meter_readings_simulated_2024-11-01_2024-11-02.csv",
    ]
    assert [one.rows for one in written] == [5 * (6 * 24 + 1), 5 * 48]
    assert all(one.quirks == {} for one in written)
    frame = pl.read_csv(written[0].path)
    assert frame.group_by("meter_id", "customer_id").len().sort("meter_id").rows() == [
        (meter, 10 + meter, 145) for meter in range(1, 6)
    ]


def test_old_and_large_units_use_more(register: Path, tmp_path: Path) -> None:
    written = simulate_heat_readings(register=register, out=tmp_path, start=date(2025, 1, 6), days=4, seed=1)
    kwh = used(written)
    assert kwh[5] > kwh[1] > kwh[2] > 0
    assert kwh[1] > kwh[3]


def test_meters_with_readings_are_left_out(register: Path, tmp_path: Path) -> None:
    written = simulate_heat_readings(
        register=register, out=tmp_path, start=date(2025, 1, 6), days=1, seed=1, exclude_meters=[2, "5"]
    )
    assert sorted(used(written)) == [1, 3, 4]


def test_quirks_and_parquet_can_be_had(tmp_path: Path) -> None:
    path = tmp_path / "register.csv"
    lines = "".join(f"{meter},{meter},apartment,1950,\n" for meter in range(1, 101))
    path.write_text(REGISTER.splitlines()[0] + "\n" + lines)
    (written,) = simulate_heat_readings(
        register=path,
        out=tmp_path,
        start=date(2025, 1, 6),
        days=3,
        seed=1,
        quirks=True,
        file_format="parquet",
    )
    frame = pl.read_parquet(written.path)
    assert frame.height == written.rows
    assert frame["energy_heat_kwh"].null_count() == written.quirks["missing_number"] == 1
    assert frame["meter_id"].null_count() == written.quirks["missing_key"] == 1


def test_a_register_without_its_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "register.csv"
    path.write_text("meter_id,customer_id\n1,1\n")
    with pytest.raises(ValueError, match=r"register.csv: column 'unit_type' is missing"):
        simulate_heat_readings(register=path, out=tmp_path, start=date(2025, 1, 6), days=1, seed=1)


def test_nothing_to_simulate_is_refused(register: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 meters over 1 days"):
        simulate_heat_readings(
            register=register,
            out=tmp_path,
            start=date(2025, 1, 6),
            days=1,
            seed=1,
            exclude_meters=range(1, 6),
        )


def test_the_real_register_is_topped_up(real: Path, tmp_path: Path) -> None:
    path = real / "aalborg_heat/heat_meter_register/heat_meter_register.csv"
    (written,) = simulate_heat_readings(
        register=path, out=tmp_path, start=date(2024, 10, 27), days=1, seed=1, exclude_meters=[660]
    )
    assert written.rows == 3_126 * 25
    daily = sorted(used([written]).values())
    assert 10 < daily[len(daily) // 2] < 60  # the real meter used 48 kWh a day in October
