"""A whole city's deliveries, and the truth about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Literal

from lakehouse.simulate import (
    bicycles,
    districts,
    electricity,
    heat,
    parking,
    population,
    traffic,
    trips,
    water,
    weather,
)
from lakehouse.simulate.city import City, Written

TRUTH = "truth.json"


def _heat_register(city: City, out: Path) -> Iterable[Written]:
    register = heat.heat_register(seed=city.seed, count=city.households)
    yield heat.write_heat_register(city=city, register=register, out=out)


def _heat_readings(city: City, out: Path) -> Iterable[Written]:
    return heat.write_heat_readings(
        register=heat.heat_register(seed=city.seed, count=city.households),
        out=out,
        start=city.start,
        days=city.days,
        seed=city.seed,
        quirks=city.quirks,
        file_format=city.file_format,
        period=city.period,
    )


_WRITERS: dict[str, Callable[[City, Path], Iterable[Written]]] = {
    "copenhagen/districts": lambda city, out: [districts.write_districts(out=out)],
    "copenhagen/traffic_counts": lambda city, out: [traffic.write_traffic_counts(city=city, out=out)],
    "dmi/station_daily": lambda city, out: [weather.write_station_daily(city=city, out=out)],
    "dst/population": lambda city, out: [population.write_population(city=city, out=out)],
    "energinet/consumption_de35_hour": lambda city, out: [electricity.write_consumption(city=city, out=out)],
    "energinet/elspot_prices": lambda city, out: [electricity.write_prices(city=city, out=out)],
    "oslo_bysykkel/station_status": lambda city, out: bicycles.write_station_status(city=city, out=out),
    "city_bikes/stations": lambda city, out: [trips.write_stations(city=city, out=out)],
    "city_bikes/trips": lambda city, out: trips.write_trips(city=city, out=out),
    "aarhus/parking": lambda city, out: [parking.write_parking(city=city, out=out)],
    "daiad/water_meter_register": lambda city, out: [water.write_water_register(city=city, out=out)],
    "daiad/water_meter_readings": lambda city, out: water.write_water_readings(city=city, out=out),
    "aalborg_heat/heat_meter_register": _heat_register,
    "aalborg_heat/heat_meter_readings_simulated": _heat_readings,
}
DATASETS = tuple(_WRITERS)


def simulate(
    *,
    city: City,
    out: Path,
    datasets: Collection[str] = DATASETS,
    progress: Callable[[str], None] | None = None,
) -> list[Written]:
    """Writes the city's deliveries to ``<out>/<provider>/<dataset>/<file>``, and ``truth.json`` beside them.

    The same city gives the same bytes. ``datasets`` are ``provider/dataset``, all by default; ``progress``
    is told of each dataset. Memory holds one day of a block of meters. Files of the same names are
    replaced, others left. Raises ValueError for a dataset that no city has.
    """
    unknown = sorted(set(datasets) - set(DATASETS))
    if unknown:
        raise ValueError(f"no city has {', '.join(unknown)}; it has {', '.join(DATASETS)}")
    out.mkdir(parents=True, exist_ok=True)
    written: list[Written] = []
    for name in DATASETS:
        if name in datasets:
            delivered = list(_WRITERS[name](city, out))
            written += delivered
            _report(progress, name, delivered)
    truth = {
        "city": asdict(city) | {"start": city.start.isoformat()},
        "deliveries": [asdict(one) | {"path": one.path.relative_to(out).as_posix()} for one in written],
    }
    (out / TRUTH).write_text(json.dumps(truth, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def simulate_late_day(*, city: City, day: date, out: Path) -> list[Written]:
    """A second delivery of one day of the city, for water and electricity consumption: corrections of rows
    that :func:`simulate` delivered, and rows that it did not.

    Consumption has such late rows only in a city with quirks, where the first delivery withheld them.
    Raises ValueError if the day is not one of the city's.
    """
    if not 0 <= (day - city.start).days < city.days:
        raise ValueError(f"{day} is not one of the city's {city.days} days from {city.start}")
    return [
        water.write_late_water(city=city, day=day, out=out),
        electricity.write_late_consumption(city=city, day=day, out=out),
    ]


def simulate_heat_readings(
    *,
    register: Path,
    out: Path,
    start: date,
    days: int,
    seed: int,
    exclude_meters: Collection[int | str] = (),
    quirks: bool = False,
    file_format: Literal["csv", "parquet"] = "csv",
    progress: Callable[[str], None] | None = None,
) -> list[Written]:
    """Hourly readings for the meters of a real register, in the columns of the real readings.

    ``register``: csv of meter_id, customer_id, unit_type, construction_year, energy_label; a meter uses
    heat by its type and year. ``exclude_meters``: those that have real readings. Written to
    ``<out>/aalborg_heat/heat_meter_readings_simulated/``, a file a month. Raises ValueError for a
    register without these columns or without meters, and for no days.
    """
    meters = heat.read_register(register, exclude_meters=exclude_meters)
    if days < 1 or meters.is_empty():
        raise ValueError(f"{register}: {meters.height} meters over {days} days have no readings")
    written = list(
        heat.write_heat_readings(
            register=meters,
            out=out,
            start=start,
            days=days,
            seed=seed,
            quirks=quirks,
            file_format=file_format,
            period="month",
        )
    )
    _report(progress, f"{heat.PROVIDER}/{heat.READINGS}", written)
    return written


def _report(progress: Callable[[str], None] | None, name: str, written: list[Written]) -> None:
    if progress:
        files = "1 file" if len(written) == 1 else f"{len(written)} files"
        progress(f"{name}: {files}, {sum(one.rows for one in written):,} rows")
