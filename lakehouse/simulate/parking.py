"""Occupancy of car parks each half hour, in local time of mixed precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Ints, chance
from lakehouse.simulate.city import City, Written
from lakehouse.simulate.clock import LocalDay, by_hour, local_days, span_name, times_of_day
from lakehouse.simulate.faults import Fault, bad_number, impossible_date, missing_key, write_with_faults
from lakehouse.simulate.files import DeliveryFile

PROVIDER, DATASET = "aarhus", "parking"

_GARAGES = {
    "NORREPORT": 65,
    "SKOLEBAKKEN": 512,
    "SCANDCENTER": 1240,
    "BRUUNS": 953,
    "BUSGADEHUSET": 130,
    "MAGASIN": 400,
    "KALKVAERKSVEJ": 210,
    "SALLING": 700,
}
_FILLED = by_hour("12 11 11 11 11 12 14 20 32 46 60 72 78 76 70 60 48 38 30 25 20 16 14 12")
# Snapshots in the middle of the span that were never taken.
_GAP = 6


def write_parking(*, city: City, out: Path) -> Written:
    """One csv of the span. With quirks: a gap, more cars than spaces, and in spring a time that was not."""
    days = local_days(start=city.start, days=city.days)
    rows = _occupancy(city, days)
    name = f"citypulse_aarhus_parking_{span_name(days)}.csv"
    with DeliveryFile(out=out, provider=PROVIDER, dataset=DATASET, name=name) as file:
        if city.quirks:
            middle = rows.height // (2 * city.garages) * city.garages
            over = pl.col("vehiclecount") > pl.col("totalspaces")
            rows = _crowd(rows)
            rows = pl.concat([rows[:middle], rows[middle + _GAP * city.garages :]])
            faults = (
                bad_number("vehiclecount", "full"),
                impossible_date("updatetime", r"-\d\d-\d\d ", "-02-30 "),
                missing_key("garagecode"),
                *_spring(days),
            )
            file.note("gap_rows", _GAP * city.garages)
            file.note("over_capacity", rows.filter(over).height)
            write_with_faults(file=file, rows=rows, seed=city.seed, faults=faults)
        else:
            file.write(rows)
    return file.written()


def _occupancy(city: City, days: list[LocalDay]) -> pl.DataFrame:
    """A row a half hour and car park, (snapshots, garages) row by row."""
    generator = chance(seed=city.seed, purpose="parking")
    spaces = np.array([_GARAGES[name] for name in list(_GARAGES)[: city.garages]] + [300] * (city.garages - 8))
    names = [*list(_GARAGES)[: city.garages], *(f"GARAGE{number}" for number in range(9, city.garages + 1))]
    wall = np.concatenate([np.repeat(day.wall, 2) for day in days])
    snapshots = wall.size
    quiet = np.concatenate([np.full(2 * day.hours, 0.6 if day.weekend else 1.0) for day in days])
    usual = generator.uniform(0.5, 1.1, spaces.size)
    filled = (_FILLED[wall] * quiet)[:, None] * usual[None, :]
    filled = filled * generator.integers(85, 116, filled.shape) / 100
    counts = np.clip(np.round(filled * spaces), 0, spaces).astype(np.int64)
    return pl.DataFrame(
        {
            "vehiclecount": counts.ravel(),
            "updatetime": _times(days, wall, generator.integers(0, 1_000, snapshots)).gather(
                np.repeat(np.arange(snapshots), spaces.size)
            ),
            "_id": np.arange(1, counts.size + 1),
            "totalspaces": np.tile(spaces, snapshots),
            "garagecode": np.tile(names, snapshots),
            "streamtime": np.full(counts.size, f"{days[-1].day.isoformat()} 23:59:59"),
        }
    )


def _times(days: list[LocalDay], wall: Ints, thousandths: Ints) -> pl.Series:
    """``2024-10-10 09:39:04.145``; trailing zeros of the fraction are not written, and none if it is zero."""
    seconds = wall * 3_600 + np.arange(wall.size) % 2 * 1_800 + 544
    dates = np.repeat([day.day.isoformat() for day in days], [2 * day.hours for day in days])
    fractions = pl.Series([f".{one:03d}".rstrip("0").rstrip(".") for one in range(1_000)])
    return pl.Series(dates) + " " + times_of_day().gather(seconds) + fractions.gather(thousandths)


def _crowd(rows: pl.DataFrame) -> pl.DataFrame:
    """More cars than spaces in the small hours of one garage: its gate has lost count."""
    crowded = (pl.col("garagecode") == "NORREPORT") & (pl.col("_id") % 97 == 1)
    return rows.with_columns(
        pl.when(crowded)
        .then(pl.col("totalspaces") + 1 + pl.col("_id") % 9)
        .otherwise("vehiclecount")
        .alias("vehiclecount")
    )


def _spring(days: list[LocalDay]) -> list[Fault]:
    """On the day that has no hour from 2 to 3, a row of that hour."""
    short = [day.day.isoformat() for day in days if day.hours == 23]
    text = r" \d\d:"
    return [
        Fault(
            kind="gap_times",
            column="updatetime",
            value=pl.lit(day) + pl.col("updatetime").str.slice(10).str.replace(text, " 02:"),
        )
        for day in short[:1]
    ]
