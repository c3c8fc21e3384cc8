"""Electricity: hourly consumption of Denmark's consumer types, and day-ahead prices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Floats, Ints, chance
from lakehouse.simulate.city import City, Written
from lakehouse.simulate.clock import LocalDay, by_hour, local_days, periods, span_name
from lakehouse.simulate.faults import (
    bad_number,
    impossible_date,
    missing_key,
    write_spoilt,
    write_with_faults,
)
from lakehouse.simulate.files import DeliveryFile, Dialect
from lakehouse.simulate.weather import hourly_temperature, hourly_wind

PROVIDER, CONSUMPTION, PRICES = "energinet", "consumption_de35_hour", "elspot_prices"
PRICE_DIALECT = Dialect(separator=";", decimal_comma=True, decimals=6)

# Consumer type: mean MWh an hour in the west (DK1) and the east (DK2), after a January's real ones.
_TYPES = {
    **{"111": (84, 62), "112": (3, 3), "119": (30, 39), "121": (308, 171), "122": (68, 68), "123": (32, 9)},
    **{"130": (39, 33), "211": (122, 27), "212": (21, 6), "215": (2.3, 0.5), "220": (15, 1.2)},
    **{
        "310": (62, 23),
        "320": (6.5, 2.2),
        "330": (9.5, 2.1),
        "340": (9, 5),
        "350": (41, 24),
        "360": (43, 11),
    },
    **{
        "370": (10, 1.6),
        "381": (7, 0.9),
        "382": (33, 34),
        "390": (8.4, 2.2),
        "410": (18, 8),
        "421": (86, 50),
    },
    **{"422": (45, 23), "431": (23, 14), "432": (37, 42), "433": (33, 50), "441": (126, 55), "442": (25, 8)},
    **{"443": (28, 28), "444": (14, 25), "445": (23, 18), "446": (27, 24), "447": (20, 22), "450": (9, 4.5)},
    **{"461": (3.7, 30), "462": (2.8, 15), "999": (1058, 606)},
}
_AREAS = ("DK1", "DK2")
_CELLS = len(_AREAS) * len(_TYPES)
_HOMES = by_hour("68 62 60 60 64 78 100 108 98 90 88 90 92 92 95 105 128 152 155 145 130 115 98 80")
_WORK = by_hour("72 70 70 71 75 86 104 124 132 134 133 130 127 126 122 114 104 98 94 90 86 82 78 74")
# Rows of each day that the first delivery lacks, so that a late one can bring them.
_WITHHELD = 3
_CORRECTED = 10

# Area: € above or below Denmark's mean, and how much the wind takes off, of its effect in the west.
_PRICE_AREAS = {
    "SYSTEM": (-12.0, 0.5),
    "NO2": (-8.0, 0.4),
    "SE3": (-20.0, 0.7),
    "SE4": (-8.0, 0.8),
    "DK1": (0.0, 1.0),
    "DK2": (3.0, 0.9),
    "DE": (6.0, 1.0),
}
_KRONER = 7.46


def consumption_rows(*, city: City, day: LocalDay) -> pl.DataFrame:
    """kWh of a day for each hour (newest first), price area and consumer type, in the real columns."""
    shape = np.array(list(_TYPES.values())).T.ravel() * 1_000
    homes = np.array([kind[0] == "1" for kind in _TYPES] * 2)
    curve = np.where(homes[None, :], _HOMES[day.wall][:, None], _WORK[day.wall][:, None])
    idle = np.where(day.weekend & ~homes, 0.82, 1.0)[None, :]
    cold = np.maximum(12.0 - hourly_temperature(seed=city.seed, day=day), 0.0)[:, None]
    warm = 1 + np.where(homes, 0.022, 0.006)[None, :] * (cold - 10)
    uneven = _generator(city, "consumption", day).integers(950, 1_051, (day.hours, _CELLS)) / 1_000
    total = np.round(shape[None, :] * curve * idle * warm * uneven).astype(np.int64)
    return pl.DataFrame(
        {
            "HourUTC": np.repeat(day.texts("%Y-%m-%dT%H:%M:%S")[::-1], _CELLS),
            "HourDK": np.repeat(day.wall_texts("%Y-%m-%dT%H:%M:%S")[::-1], _CELLS),
            "PriceArea": np.tile(np.repeat(_AREAS, len(_TYPES)), day.hours),
            "ConsumerType_DE35": np.tile(list(_TYPES), 2 * day.hours),
            "TotalCon": total[::-1].ravel(),
        }
    )


def write_consumption(*, city: City, out: Path) -> Written:
    """One Parquet file over the city's span, newest hour first, two price areas and 38 types."""
    days = local_days(start=city.start, days=city.days)
    name = f"ConsumptionDE35Hour_{span_name(days)}.parquet"
    with DeliveryFile(out=out, provider=PROVIDER, dataset=CONSUMPTION, name=name) as file:
        rows = pl.DataFrame()
        for month in reversed(periods(days=days, period="month")):
            rows = pl.concat(_first_delivery(city, month))
            file.write(rows)
        if city.quirks:
            file.note("withheld_rows", _WITHHELD * len(days))
            taken = rows[_generator(city, "consumption faults", days[0]).choice(rows.height, 5, replace=False)]
            file.write(taken[:2], quirk="duplicate_rows")
            write_spoilt(file=file, rows=taken[2:3], fault=bad_number("TotalCon"))
            write_spoilt(file=file, rows=taken[3:4], fault=impossible_date("HourUTC", r"-\d\d-\d\dT", "-02-30T"))
            write_spoilt(file=file, rows=taken[4:5], fault=missing_key("PriceArea"))
    return file.written()


def write_late_consumption(*, city: City, day: date, out: Path) -> Written:
    """A second delivery of one day: ten corrected rows, and the rows that were withheld (of a city with
    quirks)."""
    here = local_days(start=city.start, days=city.days)[(day - city.start).days]
    rows = consumption_rows(city=city, day=here)
    withheld, others = _withheld(city, here)
    corrected = pl.col("TotalCon") + 1 + pl.col("TotalCon") // 50
    name = f"ConsumptionDE35Hour_{day.isoformat()}_late.parquet"
    with DeliveryFile(out=out, provider=PROVIDER, dataset=CONSUMPTION, name=name) as file:
        file.write(rows[others[:_CORRECTED]].with_columns(corrected.alias("TotalCon")), quirk="corrections")
        if city.quirks:
            file.write(rows[withheld], quirk="late_rows")
    return file.written()


def write_prices(*, city: City, out: Path) -> Written:
    """Day-ahead prices of seven areas over the span: decimal commas, newest first, negative in high wind."""
    days = local_days(start=city.start, days=city.days)
    rows = pl.concat(_prices(city, day) for day in reversed(days))
    name = f"Elspotprices_{span_name(days)}.csv"
    with DeliveryFile(out=out, provider=PROVIDER, dataset=PRICES, name=name, dialect=PRICE_DIALECT) as file:
        if city.quirks:
            faults = (
                bad_number("SpotPriceEUR"),
                impossible_date("HourUTC", r"-\d\d-\d\d ", "-02-30 "),
                missing_key("PriceArea"),
            )
            write_with_faults(file=file, rows=rows, seed=city.seed, faults=faults)
        else:
            file.write(rows)
    return file.written()


def _first_delivery(city: City, days: list[LocalDay]) -> Iterator[pl.DataFrame]:
    for day in reversed(days):
        rows = consumption_rows(city=city, day=day)
        yield rows[np.sort(_withheld(city, day)[1])] if city.quirks else rows


def _withheld(city: City, day: LocalDay) -> tuple[Ints, Ints]:
    """Rows of the day that the first delivery lacks, and all others in no order."""
    order = _generator(city, "withheld", day).permutation(day.hours * _CELLS)
    return order[:_WITHHELD], order[_WITHHELD:]


def _prices(city: City, day: LocalDay) -> pl.DataFrame:
    wind = hourly_wind(seed=city.seed, day=day)
    above, share = (np.array(column) for column in zip(*_PRICE_AREAS.values(), strict=True))
    level = 42 + 70 * (_HOMES[day.wall] - 0.8)
    wind_effect = np.maximum(wind - 3, 0)[:, None] * 8.5 * share[None, :]
    uneven = _generator(city, "prices", day).normal(0, 3, (day.hours, len(_PRICE_AREAS)))
    euros = np.round(level[:, None] + above[None, :] - wind_effect + uneven, 2)[::-1].ravel()
    areas = len(_PRICE_AREAS)
    return pl.DataFrame(
        {
            "HourUTC": np.repeat(day.texts("%Y-%m-%d %H:%M:%S")[::-1], areas),
            "HourDK": np.repeat(day.wall_texts("%Y-%m-%d %H:%M:%S")[::-1], areas),
            "PriceArea": np.tile(list(_PRICE_AREAS), day.hours),
            "SpotPriceDKK": _single(np.round(euros * _KRONER, 2)),
            "SpotPriceEUR": _single(euros),
        }
    )


def _single(amounts: Floats) -> pl.Series:
    """Through 32 bits, as the publisher's own amounts have come: 118.24 reads 118,239998."""
    return pl.Series(amounts).cast(pl.Float32).cast(pl.Float64)


def _generator(city: City, purpose: str, day: LocalDay) -> np.random.Generator:
    return chance(seed=city.seed, purpose=purpose, part=(day.ordinal,))
