"""Trips on shared bicycles: to work and back, in between, and a few couriers; and the stations they join."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Floats, Ints, chance
from lakehouse.simulate.city import City, Written
from lakehouse.simulate.clock import LocalDay, by_hour, local_days, periods, span_name
from lakehouse.simulate.districts import DISTRICTS
from lakehouse.simulate.faults import impossible_date, missing_key, write_with_faults
from lakehouse.simulate.files import DeliveryFile

PROVIDER, STATIONS, TRIPS = "city_bikes", "stations", "trips"
FAULTS = (
    impossible_date("started_at", r"-\d\d-\d\dT", "-02-30T"),
    impossible_date("ended_at", r"-\d\d-\d\dT", "-02-31T"),
    missing_key("trip_id"),
)

# Where riders live and where they work, by district: most work in the middle of the city.
_HOME = {3: 0.20, 2: 0.18, 10: 0.15, 4: 0.13, 9: 0.11, 5: 0.09, 1: 0.06, 8: 0.05, 7: 0.02, 6: 0.01}
_WORK = {1: 0.38, 4: 0.20, 10: 0.12, 2: 0.10, 3: 0.08, 9: 0.04, 5: 0.04, 8: 0.02, 7: 0.01, 6: 0.01}
_TO_WORK = by_hour("0 0 0 0 0 2 10 34 38 11 4 1 0 0 0 0 0 0 0 0 0 0 0 0")
_FROM_WORK = by_hour("0 0 0 0 0 0 0 0 0 0 0 1 2 3 8 20 34 20 7 3 1 1 0 0")
_IN_BETWEEN = by_hour("2 1 1 0 0 1 1 2 3 4 5 7 8 8 8 8 7 7 8 7 5 4 2 1")
# One rider of so many carries parcels, with so many trips more a day.
_COURIER_EVERY, _COURIER_TRIPS = 500, 20


@dataclass(frozen=True, kw_only=True)
class _Riders:
    """Arrays of one value a rider: its name, the stations (numbers) by its home and its work."""

    name: pl.Series
    home: Ints
    work: Ints

    @property
    def couriers(self) -> Ints:
        return np.arange(0, self.home.size, _COURIER_EVERY, dtype=np.int64)


def write_stations(*, city: City, out: Path) -> Written:
    """One row a station; always clean, for every trip is placed by it."""
    codes = list(DISTRICTS)
    number = np.arange(city.stations)
    district = np.array(codes)[number % len(codes)]
    names = pl.Series([DISTRICTS[code][0] for code in codes]).gather(number % len(codes))
    rows = pl.DataFrame(
        {
            "station_id": _station_ids(number),
            "name": names + " " + pl.Series(number // len(codes) + 1).cast(pl.String),
            "district": district,
            "docks": chance(seed=city.seed, purpose="bike stations").integers(8, 41, city.stations),
        }
    )
    with DeliveryFile(out=out, provider=PROVIDER, dataset=STATIONS, name="stations.csv") as file:
        file.write(rows)
    return file.written()


def write_trips(*, city: City, out: Path) -> Iterator[Written]:
    """The trips that begin in each month (or day) of the span, by the time of their start. With quirks each
    file has copies, and copies with faults, of trips of its first day."""
    riders = _riders(city)
    for span in periods(days=local_days(start=city.start, days=city.days), period=city.period):
        name = f"trips_simulated_{span_name(span)}.{city.file_format}"
        with DeliveryFile(out=out, provider=PROVIDER, dataset=TRIPS, name=name) as file:
            for day in span:
                rows = _trips(city, riders, day)
                if city.quirks and day is span[0]:
                    write_with_faults(file=file, rows=rows, seed=city.seed, faults=FAULTS)
                else:
                    file.write(rows)
        yield file.written()


def _riders(city: City) -> _Riders:
    generator = chance(seed=city.seed, purpose="riders")
    names = pl.Series(generator.permutation(city.riders)).cast(pl.String).str.zfill(7)
    return _Riders(
        name="rider-" + names,
        home=_near(generator, _HOME, city),
        work=_near(generator, _WORK, city),
    )


def _near(generator: np.random.Generator, shares: dict[int, float], city: City) -> Ints:
    """For each rider a station in a district that is drawn by its share."""
    codes = list(DISTRICTS)
    share = np.array([shares[code] for code in codes])
    column = generator.choice(len(codes), city.riders, p=share / share.sum())
    # Stations stand in the districts by turns; a city with fewer than ten has none in some.
    row = generator.integers(0, -(-city.stations // len(codes)), city.riders)
    station: Ints = (row * len(codes) + column) % city.stations
    return station


def _trips(city: City, riders: _Riders, day: LocalDay) -> pl.DataFrame:
    generator = chance(seed=city.seed, purpose="trips", part=(day.ordinal,))
    everyone = np.arange(city.riders, dtype=np.int64)
    commuting = everyone[generator.random(city.riders) < (0.06 if day.weekend else 0.55)]
    returning = commuting[generator.random(commuting.size) < 0.9]
    roaming = everyone[generator.random(city.riders) < (0.40 if day.weekend else 0.25)]
    carrying = np.repeat(riders.couriers, _COURIER_TRIPS)
    anywhere = generator.integers(0, city.stations, (3, max(roaming.size, carrying.size)))
    rider = np.concatenate([commuting, returning, roaming, carrying])
    start = np.concatenate(
        [riders.home[commuting], riders.work[returning], riders.home[roaming], anywhere[0, : carrying.size]]
    )
    end = np.concatenate(
        [riders.work[commuting], riders.home[returning], anywhere[1, : roaming.size], anywhere[2, : carrying.size]]
    )
    hour = np.concatenate(
        [
            _hours(generator, _TO_WORK, day, commuting.size),
            _hours(generator, _FROM_WORK, day, returning.size),
            _hours(generator, _IN_BETWEEN, day, roaming.size),
            _hours(generator, _IN_BETWEEN, day, carrying.size),
        ]
    )
    began = int(day.utc[0].timestamp()) + hour * 3_600 + generator.integers(0, 3_600, rider.size)
    ended = began + 180 + generator.integers(0, 1_500, rider.size)
    rows = pl.DataFrame(
        {
            "rider_id": riders.name.gather(rider),
            "started_at": _texts(began),
            "ended_at": _texts(ended),
            "start_station_id": _station_ids(start),
            "end_station_id": _station_ids(end),
        }
    ).sort("started_at", "rider_id", "ended_at")
    place = pl.Series(np.arange(rows.height)).cast(pl.String)
    return rows.insert_column(0, (f"{day.day:%Y%m%d}-" + place).alias("trip_id"))


def _hours(generator: np.random.Generator, course: Floats, day: LocalDay, count: int) -> Ints:
    """Numbers of the day's hours, drawn by the course of local hours."""
    weight = course[day.wall]
    return generator.choice(day.hours, count, p=weight / weight.sum()).astype(np.int64)


def _texts(seconds: Ints) -> pl.Series:
    return pl.from_epoch(pl.Series(seconds), time_unit="s").dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def _station_ids(number: Ints) -> pl.Series:
    return "cb" + pl.Series(number + 1).cast(pl.String).str.zfill(3)
