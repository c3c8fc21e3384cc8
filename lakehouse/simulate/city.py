"""What a simulated city is, and the truth about each delivery that was written of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class City:
    """Arguments of a city; the same arguments give the same bytes.

    ``days`` are local days from ``start``, of 23, 24 or 25 hours; the default span holds the 25-hour day
    2024-10-27. ``stations`` are bicycle stations, ``riders`` people who use shared bicycles, ``garages`` car
    parks, ``counting_sites`` places where traffic is counted. ``quirks`` puts in the faults that real deliveries
    have; without it every row is good. ``file_format`` is that of meter readings and trips, ``period`` what one
    file of them spans.

    Raises ValueError for numbers out of range.
    """

    households: int = 400
    days: int = 31
    start: date = date(2024, 10, 10)
    seed: int = 1
    stations: int = 40
    riders: int = 8000
    garages: int = 8
    counting_sites: int = 200
    quirks: bool = True
    file_format: Literal["csv", "parquet"] = "csv"
    period: Literal["month", "day"] = "month"

    def __post_init__(self) -> None:
        for name in ("households", "days", "stations", "riders", "garages", "counting_sites"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True, kw_only=True)
class Written:
    """One file as it was delivered.

    ``rows`` counts the records of the file, faulty ones and all. ``quirks`` says how many of each kind were
    put in, and is empty for a clean city; the kinds are explained in :mod:`lakehouse.simulate.faults`.
    """

    provider: str
    dataset: str
    path: Path
    rows: int
    quirks: dict[str, int] = field(default_factory=dict)
