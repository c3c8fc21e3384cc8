"""The city's weather: one temperature and wind for heating, electricity, prices and the stations' records."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Floats, chance
from lakehouse.simulate.city import City, Written
from lakehouse.simulate.clock import LocalDay, local_days, span_name
from lakehouse.simulate.faults import bad_number, impossible_date, missing_key, write_with_faults
from lakehouse.simulate.files import DeliveryFile, Dialect

PROVIDER, DATASET = "dmi", "station_daily"
DIALECT = Dialect(quotes="non_numeric", null="NA")

# Station, municipality, and whether it measures air (temperature, humidity, wind), sunshine, rain.
_STATIONS = (
    (5005, "Hjørring", False, False, True),
    (5031, "Læsø", False, False, True),
    (5042, "Aalborg", False, False, True),
    (5225, "Aarhus", False, False, True),
    (5575, "Gribskov", False, False, True),
    (5735, "København", False, False, True),
    (6031, "Aalborg", True, True, True),
    (6041, "Frederikshavn", True, True, True),
    (6052, "6052", True, False, True),
    (6058, "Ringkøbing-Skjern", True, True, True),
    (6072, "Favrskov", True, True, True),
    (6074, "Aarhus", True, False, True),
    (6116, "Aabenraa", True, True, True),
    (6156, "Holbæk", True, True, True),
    (6174, "Køge", True, True, True),
    (6181, "Gentofte", True, False, False),
    (6183, "Tårnby", True, False, False),
    (6187, "Kalundborg", False, True, False),
    (6188, "København", True, True, True),
    (6197, "Bornholm", True, True, True),
)


def hourly_temperature(*, seed: int, day: LocalDay) -> Floats:
    """°C in each hour of the day, in tenths: season, time of day, and spells that last some days."""
    yearly = 9.2 + 8.6 * math.cos(2 * math.pi * (day.day.timetuple().tm_yday - 203) / 365.25)
    daily: Floats = 2.6 * np.cos(2 * np.pi * (day.wall - 15) / 24)
    return np.round(yearly + daily + _spell(seed, "temperature", 3.0, day), 1)


def hourly_wind(*, seed: int, day: LocalDay) -> Floats:
    """Wind speed in m/s, in tenths."""
    wind = 5.2 + _spell(seed, "wind", 3.2, day)
    return np.round(wind.clip(0.2), 1)


def _spell(seed: int, purpose: str, spread: float, day: LocalDay) -> Floats:
    """What one day is different by, changing evenly into what the next one is."""
    here, after = (
        chance(seed=seed, purpose=purpose, part=(ordinal,)).normal(0, spread)
        for ordinal in (day.ordinal, day.ordinal + 1)
    )
    share = np.arange(day.hours) / day.hours
    spell: Floats = here * (1 - share) + after * share
    return spell


def write_station_daily(*, city: City, out: Path) -> Written:
    """Daily means of twenty stations over the city's span, as the real csv has them: an index column,
    ``NA`` for what a station does not measure."""
    days = local_days(start=city.start, days=city.days)
    name = f"DMI_DATA_SIMULATED_{span_name(days)}.csv"
    with DeliveryFile(out=out, provider=PROVIDER, dataset=DATASET, name=name, dialect=DIALECT) as file:
        rows = _station_rows(city, days)
        if city.quirks:
            faults = (
                bad_number("temp_mean_past1h"),
                impossible_date("Date", r"-\d\d-\d\d$", "-02-30"),
                missing_key("stationID"),
            )
            write_with_faults(file=file, rows=rows, seed=city.seed, faults=faults, duplicates=1)
        else:
            file.write(rows)
    return file.written()


def _station_rows(city: City, days: list[LocalDay]) -> pl.DataFrame:
    generator = chance(seed=city.seed, purpose="stations")
    shape = (len(days), len(_STATIONS))
    number, municipality, air, sun, rain = (np.array(column) for column in zip(*_STATIONS, strict=True))
    temperature = np.array([hourly_temperature(seed=city.seed, day=day).sum() / day.hours for day in days])
    wind = np.array([hourly_wind(seed=city.seed, day=day).sum() / day.hours for day in days])
    warmer = np.round(generator.normal(0, 0.8, len(_STATIONS)), 1)
    windier = generator.integers(7, 14, len(_STATIONS)) / 10
    values = {
        "humidity_past1h": (air, generator.integers(1_500, 2_400, shape) / 24),
        "precip_dur_past1h": (rain, np.maximum(generator.integers(-160, 200, shape), 0) / 24),
        "sun_last1h_glob": (sun, generator.integers(0, 700, shape) / 24),
        "temp_mean_past1h": (air, temperature[:, None] + warmer[None, :]),
        "wind_speed_past1h": (air, wind[:, None] * windier[None, :]),
    }
    columns = {
        name: pl.Series(np.where(measured[None, :], np.round(value, 13), np.nan).ravel()).fill_nan(None)
        for name, (measured, value) in values.items()
    }
    count = shape[0] * shape[1]
    return pl.DataFrame(
        {
            "": pl.Series(np.arange(1, count + 1)).cast(pl.String),
            "Date": np.repeat([day.day.isoformat() for day in days], shape[1]),
            "stationID": np.tile(number, shape[0]),
            **columns,
            "Kommune": np.tile(municipality, shape[0]),
        }
    )
