"""District-heating meters: a register, and cumulative hourly readings that follow the weather."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Floats, Ints, chance, exponential
from lakehouse.simulate.city import City, Written
from lakehouse.simulate.clock import LocalDay, by_hour, local_days, periods, span_name
from lakehouse.simulate.faults import Plan, bad_number, impossible_date, missing_key, plan, write_with_faults
from lakehouse.simulate.files import DeliveryFile, Dialect
from lakehouse.simulate.meters import blocks, write_day
from lakehouse.simulate.weather import hourly_temperature

PROVIDER, READINGS, REGISTER = "aalborg_heat", "heat_meter_readings_simulated", "heat_meter_register"
DIALECT = Dialect(line_end="\r\n")
_REGISTER_COLUMNS = ("meter_id", "customer_id", "unit_type", "construction_year", "energy_label")

_UNIT_TYPES = ("single_family_house", "terraced_house", "unclear", "apartment", "non_residential")
_UNIT_SHARE = (0.78, 0.15, 0.03, 0.035, 0.005)
# Heat that a unit of the type loses, kW for each degree below the heating limit; the real meter has 0.18.
_LOSS = {"single_family_house": 0.17, "terraced_house": 0.11, "apartment": 0.07, "non_residential": 0.9}
_LABELS, _LABEL_SHARE = (
    ("", "A", "B", "C", "D", "E", "F", "G"),
    (0.59, 0.09, 0.03, 0.10, 0.12, 0.05, 0.015, 0.005),
)

_HEATING_LIMIT = 17.0
# kWh that a cubic metre of water gives up for each degree by which it is cooled.
_KWH_PER_M3_DEGREE = 1.163
_MEASURES = ("energy_heat_kwh", "volume_flow_m3", "inlet_flow_energy_m3xC", "back_flow_energy_m3xC")
# Setback at night, and hot water, by local hour.
_HEATING = by_hour("85 82 80 80 85 100 112 115 110 105 102 100 98 98 98 100 104 108 110 108 104 100 95 90")
_HOT_WATER = by_hour("15 8 5 5 15 80 210 240 170 100 80 75 80 75 70 75 95 140 190 210 190 140 85 50")


@dataclass(frozen=True, kw_only=True)
class HeatMeters:
    """One value a meter: ids as the register has them, heat loss in kW/°C, hot water in kWh an hour, and
    the temperature in °C at which the water flows back."""

    meter_id: pl.Series
    customer_id: pl.Series
    loss: Floats
    hot_water: Floats
    back: Floats


@dataclass(frozen=True, kw_only=True)
class HeatDay:
    """A local day of a block; ``measures`` are the four cumulative columns, each (meters, hours)."""

    day: LocalDay
    block: slice
    meters: HeatMeters
    measures: tuple[Floats, ...]

    @property
    def day_index(self) -> int:
        return self.day.index

    @property
    def hours(self) -> int:
        return self.day.hours

    def rows(self, cells: Ints) -> pl.DataFrame:
        """Columns of the real delivery; numbers with ten decimals."""
        meter = cells // self.hours + self.block.start
        values = [np.round(measure.ravel()[cells], 10) for measure in self.measures]
        return pl.DataFrame(
            {
                "customer_id": self.meters.customer_id.gather(meter),
                "meter_id": self.meters.meter_id.gather(meter),
                "time_rounded": pl.Series(self.day.texts("%Y-%m-%dT%H:%M:%SZ")).gather(cells % self.hours),
                **dict(zip(_MEASURES, values, strict=True)),
            }
        )


def heat_register(*, seed: int, count: int) -> pl.DataFrame:
    """``count`` meters in the columns of the real register; labels are missing as often as there."""
    generator = chance(seed=seed, purpose="heat register", part=(count,))
    kind = generator.choice(len(_UNIT_TYPES), count, p=_UNIT_SHARE)
    year = np.clip(np.round(generator.normal(1968, 24, count)), 1856, 2022).astype(np.int64)
    label = generator.choice(len(_LABELS), count, p=_LABEL_SHARE)
    return pl.DataFrame(
        {
            "meter_id": np.arange(1, count + 1),
            "customer_id": generator.permutation(count) + 1,
            "unit_type": pl.Series(_UNIT_TYPES).gather(kind),
            "construction_year": year,
            "energy_label": pl.Series(_LABELS).gather(label),
        }
    )


def read_register(path: Path, *, exclude_meters: Collection[int | str] = ()) -> pl.DataFrame:
    """The meters of a register csv, without those excluded and those without an id.

    Raises ValueError where a column is missing, naming it and the file.
    """
    register = pl.read_csv(path, infer_schema=False)
    missing = [column for column in _REGISTER_COLUMNS if column not in register.columns]
    if missing:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; a register has {', '.join(_REGISTER_COLUMNS)}")
    excluded = [str(meter) for meter in exclude_meters]
    numbers = pl.col("meter_id", "customer_id", "construction_year").cast(pl.Int64, strict=False)
    return register.filter(~pl.col("meter_id").is_in(excluded)).with_columns(numbers).drop_nulls("meter_id")


def heat_meters(*, register: pl.DataFrame, seed: int) -> HeatMeters:
    """How each meter's unit uses heat: by its type, its year, and chance."""
    count = register.height
    typical = pl.col("unit_type").replace_strict(_LOSS, default=0.12, return_dtype=pl.Float64)
    year = pl.col("construction_year").fill_null(1970)
    age = pl.when(year >= 2006).then(0.5).when(year >= 1979).then(0.75).otherwise(1.0)
    loss = register.select(loss=typical * age)["loss"].to_numpy()
    spread = np.exp(0.35 * chance(seed=seed, purpose="heat loss").standard_normal(count))
    return HeatMeters(
        meter_id=register["meter_id"],
        customer_id=register["customer_id"],
        loss=np.round(loss * spread, 4),
        hot_water=np.round(chance(seed=seed, purpose="hot water").gamma(4.0, 0.09, count), 4),
        back=np.round(chance(seed=seed, purpose="back flow").normal(32, 3, count).clip(24, 45), 1),
    )


def heat_days(*, meters: HeatMeters, seed: int, events: Plan, days: list[LocalDay]) -> Iterator[HeatDay]:
    """Every block of every day in turn; readings go on from day to day."""
    count = meters.loss.size
    energy = np.round(chance(seed=seed, purpose="heat start").uniform(2_000, 60_000, count), 3)
    volume = energy * 0.0215
    standing = (energy, volume, volume * 71.5, volume * 32.0)
    for day in days:
        for block in blocks(count):
            energy = _energy(meters=meters, seed=seed, day=day, block=block)
            inlet = 72.0 - 0.4 * hourly_temperature(seed=seed, day=day)[None, :]
            back = meters.back[block, None]
            volume = energy / (_KWH_PER_M3_DEGREE * (inlet - back))
            uses = (energy, volume, volume * inlet, volume * back)
            measures = tuple(
                total[block, None] + np.cumsum(use, axis=1) for total, use in zip(standing, uses, strict=True)
            )
            resets = events.on("resets", day=day.index, block=block)
            after = np.arange(day.hours)[None, :] >= resets.hours[:, None]
            for total, measure in zip(standing, measures, strict=True):
                before = measure[resets.rows, resets.hours - 1]
                measure[resets.rows] -= np.where(after, before[:, None] - 0.001, 0)
                total[block] = measure[:, -1]
            yield HeatDay(day=day, block=block, meters=meters, measures=measures)


def write_heat_readings(
    *,
    register: pl.DataFrame,
    out: Path,
    start: date,
    days: int,
    seed: int,
    quirks: bool,
    file_format: Literal["csv", "parquet"],
    period: Literal["month", "day"],
) -> Iterator[Written]:
    """One file a month (or day) of hourly readings of every meter; rows by day, meter and time."""
    span, meters = local_days(start=start, days=days), heat_meters(register=register, seed=seed)
    events = _heat_plan(meters=register.height, days=days, seed=seed, quirks=quirks)
    stream = heat_days(meters=meters, seed=seed, events=events, days=span)
    faults = (
        bad_number("energy_heat_kwh"),
        impossible_date("time_rounded", r"-\d\d-\d\dT", "-02-30T"),
        missing_key("meter_id"),
    )
    late = [pl.DataFrame() for _ in blocks(register.height)]
    for part in periods(days=span, period=period):
        name = f"{READINGS}_{span_name(part)}.{file_format}"
        with DeliveryFile(out=out, provider=PROVIDER, dataset=READINGS, name=name, dialect=DIALECT) as file:
            for number in list(range(len(late))) * len(part):
                waited = late[number]
                late[number] = write_day(file=file, day=next(stream), plan=events, faults=faults, noted=("resets",))
                file.write(waited, quirk="late_rows")
        yield file.written()


def write_heat_register(*, city: City, register: pl.DataFrame, out: Path) -> Written:
    """The register; with quirks some construction years are 0, as in the real one."""
    with DeliveryFile(
        out=out, provider=PROVIDER, dataset=REGISTER, name="heat_meter_register.csv", dialect=DIALECT
    ) as file:
        if city.quirks:
            unknown = 1 + register.height // 1_000
            years = pl.when(pl.col("meter_id") > unknown).then("construction_year").otherwise(0)
            faults = (bad_number("construction_year", "19xx"), missing_key("meter_id"))
            rows = register.with_columns(years.alias("construction_year"))
            write_with_faults(file=file, rows=rows, seed=city.seed, faults=faults)
            file.note("years_unknown", min(unknown, register.height))
        else:
            file.write(register)
    return file.written()


def _heat_plan(*, meters: int, days: int, seed: int, quirks: bool) -> Plan:
    rows = meters * days * 24
    counts = {
        "duplicate_rows": 2 + rows // 25_000,
        "bad_number": 1 + rows // 100_000,
        "impossible_date": 1 + rows // 100_000,
        "missing_key": 1 + rows // 100_000,
        "missing_rows": 1 + rows // 100_000,
        "late_rows": 2 + rows // 50_000,
        "resets": 1 + meters // 2_000,
    }
    return plan(seed=seed, purpose="heat", meters=meters, days=days, counts=counts if quirks else {}, dated={})


def _energy(*, meters: HeatMeters, seed: int, day: LocalDay, block: slice) -> Floats:
    """kWh of each hour, (meters, hours)."""
    generator = chance(seed=seed, purpose="heat use", part=(day.ordinal, block.start))
    cold = np.maximum(_HEATING_LIMIT - hourly_temperature(seed=seed, day=day), 0.0)
    heating, hot_water = _HEATING[day.wall], _HOT_WATER[day.wall]
    loss = meters.loss[block, None]
    size = (loss.shape[0], day.hours)
    uneven = generator.integers(50, 151, size=size, dtype=np.uint8) / 100
    drawn = exponential(generator, size) * (meters.hot_water[block, None] * hot_water[None, :])
    energy: Floats = loss * (cold * heating)[None, :] * uneven + drawn
    return energy
