"""What only the exchange knows of a dataset: typed, unknown keys forbidden (``customProperties: exchange``)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from croniter import CroniterBadDateError, croniter
from pydantic import AfterValidator, Field

from lakehouse.contracts.extract import ExtractArguments
from lakehouse.contracts.forms import FileForm, Strict

# A sixth are seconds; a seventh were years, which end.
MOST_CRON_FIELDS = 6
# croniter's R, as in R * * * *: another minute each time that it is read.
DRAWN_BY_LOT = re.compile(r"(?<![a-z])r(?![a-z])", re.IGNORECASE)


def _known_zone(zone: str) -> str:
    if zone not in available_timezones():
        raise ValueError(f"no such time zone {zone!r}; use a name of the IANA database, as Europe/Copenhagen")
    ZoneInfo(zone)
    return zone


def _known_cron(schedule: str) -> str:
    if not croniter.is_valid(schedule):
        raise ValueError(f"{schedule!r} is no cron expression; use five fields, as '17 * * * *'")
    # Airflow knows no run of such a one, and then reads no other DAG either.
    never = f"{schedule!r} comes at no fixed times again and again; use five fields, as '17 * * * *'"
    if len(schedule.split()) > MOST_CRON_FIELDS or DRAWN_BY_LOT.search(schedule):
        raise ValueError(never)
    try:
        croniter(schedule, datetime(2020, 1, 1)).get_next()
    except CroniterBadDateError:
        raise ValueError(never) from None
    return schedule


Zone = Annotated[str, AfterValidator(_known_zone)]
Cron = Annotated[str, AfterValidator(_known_cron)]


class ParseRule(Strict):
    """How a column's text becomes a value.

    ``formats``: strptime forms tried in turn (ISO 8601 is always understood). ``epoch``: the value counts
    from 1970 in this unit. ``zone``: local time of a delivery without offsets. ``ambiguous`` (the repeated
    hour in autumn): ``sequence`` takes the second pass, in the order of the file and for each series, as
    the later one. ``nonexistent`` (the missing hour in spring). ``path``: where a column stands in a JSON
    record, if that differs from its name in a csv (``$.`` starts at the document's root, ``^.`` at the record
    that holds an unnested list), or an XPath from an XML record. ``geometry``: WKT or GeoJSON in EPSG:4326, kept
    as a geometry. ``seconds_of_day``: a clock time that may pass 24:00:00, as seconds since noon less 12 hours.
    """

    formats: tuple[str, ...] = ()
    epoch: Literal["seconds", "milliseconds"] | None = None
    zone: Zone | None = None
    ambiguous: Literal["refuse", "earlier", "later", "sequence"] = "refuse"
    nonexistent: Literal["refuse", "shift_forward"] = "refuse"
    path: str | None = None
    geometry: Literal["wkt", "geojson", "any"] | None = None
    seconds_of_day: bool = False
    null_values: tuple[str, ...] = ()


class Delivery(Strict):
    """What a delivery of this dataset is.

    ``events``: rows that happened at a time. ``snapshot``: the whole of a register, the newest row of a
    key being the valid one. ``forms``: the formats that are understood, at most one of each; which one a
    file has is seen from its content, and any may come gzipped or zipped. ``name_pattern``: the files of a
    folder shared with other datasets that are this one's (``folder``, where it is not the dataset's name).
    ``members``: patterns of the files of a zip that are this dataset's, where the zip holds those of others too.
    ``ignored_columns``: delivered, known, and not loaded.
    """

    kind: Literal["events", "snapshot"] = "events"
    forms: tuple[FileForm, ...] = Field(min_length=1)
    name_pattern: str = "*"
    members: tuple[str, ...] = ()
    folder: str | None = None
    ignored_columns: tuple[str, ...] = ()


class EventTime(Strict):
    """Which column dates a row, and the grain of the lake's partitions (UTC)."""

    column: str
    partition: Literal["day", "month", "year"] = "day"


class Readings(Strict):
    """Meter readings. A cumulative reading's use is attributed only across gaps of at most ``max_gap_hours``;
    a fall is a reset, a use above ``max_use_per_hour`` (in the column's unit) a jump: both have no use."""

    kind: Literal["cumulative", "interval"]
    column: str
    max_gap_hours: int = Field(default=24, ge=1, le=24 * 31)
    max_use_per_hour: float | None = Field(default=None, gt=0)


class Thresholds(Strict):
    """Above ``max_refused_share`` of a delivery's rows the whole delivery is refused. ``unit_change``: what becomes
    of a delivery whose values lie a factor between usual units away from those before."""

    max_refused_share: float = Field(default=0.2, ge=0, le=1)
    unit_change: Literal["refuse", "warn", "ignore"] = "refuse"


class Licence(Strict):
    id: str
    url: str
    attribution: str


class DatasetExtension(Strict):
    delivery: Delivery
    time: EventTime | None = None
    readings: Readings | None = None
    subject: str | None = Field(default=None, description="the column that names the data subject")
    corrections: Literal["newest_wins", "refuse"] = "newest_wins"
    thresholds: Thresholds = Thresholds()
    licence: Licence
    simulated: bool = False
    schedule: Cron | None = Field(default=None, description="cron, UTC; see `cron` for what is without one")
    extract: ExtractArguments | None = None
    history_start: str | None = Field(default=None, description="ISO date from which an extract is asked for")

    @property
    def cron(self) -> str:
        """When the DAG runs by the clock. A drop starts it by itself, so there the clock is only a second net."""
        return self.schedule or ("*/5 * * * *" if self.extract else "17 * * * *")
