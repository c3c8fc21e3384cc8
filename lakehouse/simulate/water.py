"""Water meters: cumulative litres at about each hour, in Madrid's local time without an offset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from lakehouse.simulate.chance import Floats, Ints, chance, exponential, happens
from lakehouse.simulate.city import City, Written
from lakehouse.simulate.clock import MADRID, LocalDay, by_hour, local_days, periods, span_name, times_of_day
from lakehouse.simulate.faults import (
    Fault,
    Plan,
    bad_number,
    impossible_date,
    missing_key,
    plan,
    write_with_faults,
)
from lakehouse.simulate.files import DeliveryFile, Dialect
from lakehouse.simulate.households import Households, households, water_register
from lakehouse.simulate.meters import SILENCE, blocks, write_day

PROVIDER, READINGS, REGISTER = "daiad", "water_meter_readings", "water_meter_register"
DIALECT = Dialect(separator=";")

# Use of each local hour against the day's mean.
_WEEKDAY = by_hour("20 10 7 7 12 50 150 220 170 110 90 85 95 90 80 80 95 130 190 200 170 140 100 55")
_WEEKEND = by_hour("35 20 12 8 8 15 45 100 160 200 200 175 150 130 115 105 110 130 165 170 150 120 95 60")
_AWAY = 0.03
_MOST_LITRES_AN_HOUR = 1_800
_JUMP = 248_000
_LATE_HOUR = 9
_NOTED = ("resets", "jumps", "negative_diffs", "repeated_hour_keys")
FAULTS = (
    bad_number("meter reading"),
    impossible_date("datetime", r"^\d\d/\d\d", "31/02"),
    missing_key("user key"),
    Fault(kind="gap_times", column="datetime", value=pl.col("datetime").str.replace(" 03:", " 02:")),
)


@dataclass(frozen=True, kw_only=True)
class WaterDay:
    """A local day of a block: ``seconds`` of the local day, ``readings`` and ``diffs`` in litres, each
    (meters, hours)."""

    day: LocalDay
    block: slice
    key: pl.Series
    seconds: Ints
    readings: Ints
    diffs: Ints

    @property
    def day_index(self) -> int:
        return self.day.index

    @property
    def hours(self) -> int:
        return self.day.hours

    def rows(self, cells: Ints) -> pl.DataFrame:
        """Columns of the real delivery: user key; datetime; meter reading; diff."""
        times = pl.select(time=pl.lit(self.day.day.strftime("%d/%m/%Y ")) + times_of_day())["time"]
        return pl.DataFrame(
            {
                "user key": self.key.gather(cells // self.hours),
                "datetime": times.gather(self.seconds.ravel()[cells]),
                "meter reading": self.readings.ravel()[cells],
                "diff": self.diffs.ravel()[cells],
            }
        )


def water_plan(city: City, days: list[LocalDay]) -> Plan:
    """How many of each quirk a city's span has: a few, and more in a larger city."""
    rows = city.households * city.days * 24
    counts = {
        "duplicate_rows": 2 + rows // 25_000,
        "bad_number": 1 + rows // 100_000,
        "impossible_date": 1 + rows // 100_000,
        "missing_key": 1 + rows // 100_000,
        "missing_rows": 1 + rows // 100_000,
        "late_rows": 2 + rows // 50_000,
        "resets": 1 + city.households // 2_000,
        "jumps": 1 + city.households // 2_000,
        "negative_diffs": 1 + city.households // 1_000,
        "repeated_hour_keys": 2 + city.households // 100,
        "gap_times": 2 + city.households // 1_000,
    }
    dated = {
        "repeated_hour_keys": [day.index for day in days if day.hours == 25],
        "gap_times": [day.index for day in days if day.hours == 23],
    }
    drawn = plan(
        seed=city.seed,
        purpose="water",
        meters=city.households,
        days=city.days,
        counts=counts if city.quirks else {},
        dated=dated,
    )
    if "gap_times" in drawn.hours:
        # The hour after the gap, which a clock that was not put forward calls 02.
        drawn.hours["gap_times"][:] = 2
    return drawn


def water_days(*, city: City, people: Households, events: Plan, days: list[LocalDay]) -> Iterator[WaterDay]:
    """Every block of every day in turn; readings go on from day to day."""
    standing = chance(seed=city.seed, purpose="water start").integers(4_000, 400_000, city.households)
    for day in days:
        for block in blocks(city.households):
            use = _use(city=city, people=people, day=day, block=block)
            readings = standing[block, None] + np.cumsum(use, axis=1)
            _disturb(readings=readings, use=use, events=events, day=day, block=block)
            diffs = np.diff(readings, axis=1, prepend=standing[block, None])
            silent = events.on("missing_rows", day=day.index, block=block)
            for step in range(SILENCE):
                diffs[silent.rows, silent.hours + SILENCE] += diffs[silent.rows, silent.hours + step]
            standing[block] = readings[:, -1]
            yield WaterDay(
                day=day,
                block=block,
                key=people.key[block],
                seconds=_seconds(city=city, people=people, day=day, block=block, events=events),
                readings=readings,
                diffs=diffs,
            )


def write_water_readings(*, city: City, out: Path) -> Iterator[Written]:
    """One file a month (or day): a zip with one csv, or Parquet; rows by day, household and time."""
    days = local_days(start=city.start, days=city.days, zone=MADRID)
    people, events = households(seed=city.seed, count=city.households), water_plan(city, days)
    stream = water_days(city=city, people=people, events=events, days=days)
    late = [pl.DataFrame() for _ in blocks(city.households)]
    for span in periods(days=days, period=city.period):
        with _readings_file(city, out, span_name(span)) as file:
            for number in list(range(len(late))) * len(span):
                waited = late[number]
                late[number] = write_day(file=file, day=next(stream), plan=events, faults=FAULTS, noted=_NOTED)
                file.write(waited, quirk="late_rows")
        yield file.written()


def write_late_water(*, city: City, day: date, out: Path) -> Written:
    """A second delivery of one day, by meters whose day has no quirk, after eight o'clock.

    A correction puts a reading where the next one stands, so that its litres were used an hour earlier; a
    late row is a further reading, twenty minutes after one that was delivered.
    """
    days = local_days(start=city.start, days=city.days, zone=MADRID)
    people, events = households(seed=city.seed, count=city.households), water_plan(city, days)
    stream = water_days(city=city, people=people, events=events, days=days)
    generator = chance(seed=city.seed, purpose="late water", part=(day.toordinal(),))
    with _readings_file(city, out, f"{day.isoformat()}_late") as file:
        for here in stream:
            if here.day.day > day:
                break
            if here.day.day == day:
                _write_late_block(file, here, events, generator)
    return file.written()


def _write_late_block(file: DeliveryFile, day: WaterDay, events: Plan, generator: np.random.Generator) -> None:
    meters, hours = day.diffs.shape
    quiet = np.delete(np.arange(meters), events.meters_on(day=day.day.index, block=day.block))
    hour = generator.integers(8, hours - 2, quiet.size)
    used = day.diffs[quiet, hour + 1]
    corrected = generator.permutation(np.flatnonzero(used > 0))[: 3 + meters // 50]
    rows = day.rows(quiet[corrected] * hours + hour[corrected])
    file.write(rows.with_columns(pl.col("meter reading", "diff") + pl.Series(used[corrected])), quirk="corrections")
    # Twenty minutes later must still be within the hour, so that no meter speaks twice at a time.
    early = quiet[day.seconds[quiet, _LATE_HOUR] % 3_600 < 2_300]
    chosen = np.setdiff1d(early, quiet[corrected])[: 2 + meters // 100]
    since = pl.Series("diff", day.diffs[chosen, _LATE_HOUR + 1] // 3)
    rows = replace(day, seconds=day.seconds + 1_200).rows(chosen * hours + _LATE_HOUR)
    file.write(rows.with_columns(pl.col("meter reading") + since, since), quirk="late_rows")


def _readings_file(city: City, out: Path, span: str) -> DeliveryFile:
    suffix = "parquet" if city.file_format == "parquet" else "zip"
    name = f"swm_simulated_{span}.{suffix}"
    return DeliveryFile(out=out, provider=PROVIDER, dataset=READINGS, name=name, dialect=DIALECT)


def write_water_register(*, city: City, out: Path) -> Written:
    """The area and size of each household: the register that the trial's own deliveries lack."""
    rows = water_register(households(seed=city.seed, count=city.households))
    with DeliveryFile(
        out=out, provider=PROVIDER, dataset=REGISTER, name="water_meter_register.csv", dialect=DIALECT
    ) as file:
        if city.quirks:
            faults = (bad_number("household_size", "two"), missing_key("user key"))
            write_with_faults(file=file, rows=rows, seed=city.seed, faults=faults)
        else:
            file.write(rows)
    return file.written()


def _use(*, city: City, people: Households, day: LocalDay, block: slice) -> Ints:
    """Litres of each hour, (meters, hours): nothing in many hours, much in a few."""
    generator = chance(seed=city.seed, purpose="water use", part=(day.ordinal, block.start))
    course = _WEEKEND if day.weekend else _WEEKDAY
    shape = (course / course.mean())[day.wall]
    active = np.clip(0.15 + 0.45 * shape, 0.05, 0.95)
    litres = people.litres[block, None]
    size = (litres.shape[0], day.hours)
    drawn: Floats = exponential(generator, size) * (litres / 24 * (shape / active)[None, :])
    drawn *= happens(generator, active, size)
    drawn[generator.random(size[0]) < _AWAY] = 0
    return np.minimum(drawn + 0.5, _MOST_LITRES_AN_HOUR).astype(np.int64)


def _disturb(*, readings: Ints, use: Ints, events: Plan, day: LocalDay, block: slice) -> None:
    """Jumps, resets and small falls, in place; the few meters with one are taken with all their hours."""
    hour = np.arange(day.hours)[None, :]
    jumps = events.on("jumps", day=day.index, block=block)
    readings[jumps.rows, jumps.hours] += _JUMP + jumps.rows % 1_000
    resets = events.on("resets", day=day.index, block=block)
    before = readings[resets.rows, resets.hours - 1]
    readings[resets.rows] -= np.where(hour >= resets.hours[:, None], before[:, None] - 1, 0)
    if day.second_pass is not None:
        # A litre at least, lest a row of the repeated hour be a copy of the one before it.
        repeated = events.on("repeated_hour_keys", day=day.index, block=block).rows
        readings[repeated] += np.where(hour >= day.second_pass, 1, 0)
    falls = events.on("negative_diffs", day=day.index, block=block)
    fall = use[falls.rows, falls.hours] + 1 + falls.rows % 20
    readings[falls.rows] -= np.where(hour >= falls.hours[:, None], fall[:, None], 0)


def _seconds(*, city: City, people: Households, day: LocalDay, block: slice, events: Plan) -> Ints:
    """When each reading was taken: a meter speaks at its own minute of the hour, give or take four."""
    generator = chance(seed=city.seed, purpose="water clock", part=(day.ordinal, block.start))
    own = people.clock[block, None]
    offsets: Ints = own + generator.integers(0, 240, size=(own.shape[0], day.hours), dtype=np.uint8)
    if (second := day.second_pass) is not None:
        # A second earlier than in the first pass: no two times are equal, and the clock is seen to go back.
        offsets[:, second] = offsets[:, second - 1] - 1
        repeated = events.on("repeated_hour_keys", day=day.index, block=block)
        offsets[repeated.rows, second] += 1
    return offsets + day.wall[None, :] * 3_600
