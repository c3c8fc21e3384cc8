"""Snapshots of bicycle stations in GBFS 2.3, one JSON document each."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Ints, chance
from lakehouse.simulate.city import City, Written
from lakehouse.simulate.clock import local_days

PROVIDER, DATASET = "oslo_bysykkel", "station_status"
MOST_DAYS = 2
_EVERY_SECONDS = 20 * 60


def write_station_status(*, city: City, out: Path) -> list[Written]:
    """A snapshot every twenty minutes of the first two days (of fewer if the city has fewer).

    With quirks the first snapshot lists a station twice, the second has a number that is none, and the
    third a station without an id.
    """
    days = local_days(start=city.start, days=min(city.days, MOST_DAYS))
    first = int(days[0].utc[0].timestamp())
    count = sum(day.hours for day in days) * 3
    generator = chance(seed=city.seed, purpose="snapshots")
    times = first + np.arange(count) * _EVERY_SECONDS + generator.integers(15, 600, count)
    capacity, bikes = _bikes(city, count)
    electric = bikes * generator.integers(0, 4, bikes.shape) // 10
    return [
        _write_snapshot(
            out=out,
            number=number,
            time=int(times[number]),
            stations=_stations(int(times[number]), capacity, bikes[number], electric[number]),
            quirks=city.quirks,
        )
        for number in range(count)
    ]


def _bikes(city: City, snapshots: int) -> tuple[Ints, Ints]:
    """Docks of each station, and bicycles (snapshots, stations): stations by homes empty in the morning
    when those by work fill."""
    generator = chance(seed=city.seed, purpose="bicycles")
    capacity = generator.integers(8, 41, city.stations)
    usual, swing = generator.uniform(0.2, 0.7, city.stations), generator.uniform(-0.4, 0.4, city.stations)
    phase = 2 * np.pi * (np.arange(snapshots) / 72 - 8 / 24)
    filled = usual[None, :] + np.round(np.cos(phase), 6)[:, None] * swing[None, :]
    filled += generator.integers(-60, 61, filled.shape) / 1_000
    return capacity, np.clip(np.round(filled * capacity), 0, capacity).astype(np.int64)


def _stations(time: int, capacity: Ints, bikes: Ints, electric: Ints) -> list[dict[str, Any]]:
    count = capacity.size
    kinds = [pl.struct(vehicle_type_id=pl.lit(kind), count=pl.col(kind)) for kind in ("bike", "ebike")]
    frame = pl.DataFrame(
        {
            "station_id": pl.Series(np.arange(count) * 7 + 377).cast(pl.String),
            "num_bikes_available": bikes,
            "num_docks_available": capacity - bikes,
            "bike": bikes - electric,
            "ebike": electric,
        }
    )
    return frame.select(
        "station_id",
        is_installed=pl.lit(True),
        is_renting=pl.lit(True),
        is_returning=pl.lit(True),
        last_reported=pl.lit(time + 10),
        num_vehicles_available="num_bikes_available",
        num_bikes_available="num_bikes_available",
        num_docks_available="num_docks_available",
        vehicle_types_available=pl.concat_list(kinds),
    ).to_dicts()


def _write_snapshot(*, out: Path, number: int, time: int, stations: list[dict[str, Any]], quirks: bool) -> Written:
    found = _spoil(number, stations) if quirks else {}
    document = {"last_updated": time, "ttl": 15, "version": "2.3", "data": {"stations": stations}}
    taken = datetime.fromtimestamp(time + 23, tz=UTC)
    path = out / PROVIDER / DATASET / f"station_status_{taken:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return Written(provider=PROVIDER, dataset=DATASET, path=path, rows=len(stations), quirks=found)


def _spoil(number: int, stations: list[dict[str, Any]]) -> dict[str, int]:
    """Adds the snapshot's faulty copy of its first station, if it is one of the first three."""
    faults: list[tuple[str, dict[str, Any]]] = [
        ("duplicate_rows", {}),
        ("bad_number", {"num_bikes_available": "many"}),
        ("missing_key", {"station_id": None}),
    ]
    if number >= len(faults):
        return {}
    kind, change = faults[number]
    stations.append(stations[0] | change)
    return {kind: 1}
