"""A small exchange for tests: two datasets of a city, two of a water utility, one open and one private mart.

`tests/mini` is its project. Traffic: two roads with three sensors, by the day. Water: households of three areas, of
which one has too few to be published.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from lakehouse.build.dbt import DATABASE, DbtProject, NodeResult
from lakehouse.build.lineage import Lineage
from lakehouse.build.run import BuildSummary, build
from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.contracts.mart import Mart, read_mart
from lakehouse.exchange import Exchange
from lakehouse.landing.intake import intake
from lakehouse.release.gate import gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.manifest import Manifest, latest_manifest
from lakehouse.release.promote import promote
from lakehouse.settings import Settings

PROJECT = Path(__file__).parent / "mini"
TRAFFIC, WATER = "traffic_by_road_hour", "water_by_area_day"
COUNTS, SENSORS, READINGS, METERS = (
    "city/traffic_counts", "city/sensors", "utility/meter_readings", "utility/meters",
)  # fmt: skip
ROADS = {"s1": "Amagerbrogade", "s2": "Amagerbrogade", "s3": "Vesterbrogade"}
HOUSEHOLDS = {"north": 60, "south": 40, "harbour": 2}
FIRST_DAY, DAYS = date(2024, 10, 1), 30
# Long after every period is final.
LATER = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Mini:
    """One such exchange below `root`: `project`, `home` and `lake`, unless the lake is elsewhere."""

    root: Path
    lake: str = ""
    endpoint: str | None = None
    threads: int = 2

    @classmethod
    def make(cls, root: Path, **where: Any) -> Mini:
        shutil.copytree(PROJECT, root / "project")
        mini = cls(root, **where)
        mini.exchange.init()
        return mini

    @cached_property
    def exchange(self) -> Exchange:
        return self.open()

    def open(self) -> Exchange:
        """The same exchange as another process opens it."""
        return Exchange(
            Settings(
                project=self.root / "project",
                home=self.root / "home",
                lake=self.lake or (self.root / "lake").as_uri(),
                s3_endpoint=self.endpoint,
                database=f"sqlite:///{self.root / 'home' / 'exchange.db'}",
                threads=self.threads,
                memory_limit="1GB",
                settle_seconds=0,
            )
        )

    def close(self) -> None:
        """Before its index may be written over: what is open would write its journal into the next one."""
        if "exchange" in self.__dict__:
            self.__dict__.pop("exchange").index.close()

    def copy(self, to: Path, **changes: Any) -> Mini:
        """The whole of it at another place, to be changed there; not what dbt keeps for itself."""
        self.exchange.index.close()
        shutil.copytree(self.root / "project", to / "project")
        # No object of a lake is ever changed in place, so a link is as good as a copy.
        shutil.copytree(self.root / "lake", to / "lake", copy_function=os.link)
        (to / "home").mkdir(exist_ok=True)
        # SQLite would take the journal of a database that stood here before for the new one's.
        for left in (to / "home").glob("exchange.db*"):
            left.unlink()
        if (self.root / "home" / "exchange.db").exists():
            shutil.copy(self.root / "home" / "exchange.db", to / "home")
        if (self.root / "home" / "keys").exists():
            shutil.copytree(self.root / "home" / "keys", to / "home" / "keys", dirs_exist_ok=True)
        return replace(self, root=to, **changes)

    def path(self, name: str) -> Path:
        """A file of the project, by the end of its path."""
        [found] = [path for path in (self.root / "project").rglob(Path(name).name) if str(path).endswith(name)]
        return found

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.path(name)
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new))
        self.close()

    def mart(self, name: str) -> Mart:
        return read_mart(self.path(f"{name}.yml"))

    def deliver(self, dataset: str, name: str, lines: Iterable[str]) -> list[dict[str, Any]]:
        """Drops a csv and takes it in; returns the receipts."""
        contract = self.exchange.contract(dataset)
        key = f"{inbox_prefix(contract.dataset)}{name}"
        content = "\n".join(lines) + "\n"
        self.exchange.lake.write_bytes(landing_bucket(contract.provider), key, content.encode())
        return intake(self.exchange, contract)

    def build(
        self, marts: Sequence[str] = (), *, now: datetime = LATER, project: DbtProject | None = None
    ) -> BuildSummary:
        return build(self.exchange, marts=marts, now=now, project=project)

    def release(self) -> list[dict[str, Any]]:
        """As the release DAG does: what waits is judged, then promoted. Raises for a blocked one."""
        outcomes = []
        for waiting in waiting_candidates(self.exchange):
            mart = self.mart(waiting["mart"])
            gate(self.exchange, mart=mart, candidate=waiting["candidate"])
            outcomes.append(promote(self.exchange, mart=mart, candidate=waiting["candidate"]))
        return outcomes

    def latest(self, mart: str) -> Manifest:
        manifest = latest_manifest(self.exchange, mart=mart, major=1)
        assert manifest is not None, f"{mart} has no release"
        return manifest

    def fill(self, *, days: int = DAYS) -> None:
        """Registers, `days` of traffic in one file a day, and the water readings of September to November 1st."""
        self.deliver(SENSORS, "sensors.csv", ["sensor_id,road", *(f"{s},{road}" for s, road in ROADS.items())])
        self.deliver(METERS, "meters.csv", ["meter_id,area", *(f"{meter},{area}" for meter, area in households())])
        for number in range(days):
            day = FIRST_DAY + timedelta(days=number)
            self.deliver(COUNTS, f"{day}.csv", traffic(day))
        self.deliver(READINGS, "readings.csv", readings(date(2024, 9, 1), date(2024, 11, 1)))


def households() -> list[tuple[str, str]]:
    return [(f"meter-{area}-{number}", area) for area, count in HOUSEHOLDS.items() for number in range(count)]


def traffic(day: date, *, more: int = 0) -> list[str]:
    """A day of all sensors; `more` vehicles in each hour make it a correction of the day as it was."""
    rows = [
        f"{sensor},{day}T{hour:02d}:00:00Z,{10 * number + hour + day.day + more}"
        for number, sensor in enumerate(ROADS)
        for hour in range(24)
    ]
    return ["sensor_id,hour_utc,vehicles", *rows]


def readings(first: date, last: date, *, more: int = 0) -> list[str]:
    """Readings at midnight of all households, both days included; each uses from 100 to 201 litres a day."""
    rows = [
        f"{meter},{first + timedelta(days=number)}T00:00:00Z,{5000 + number * (100 + place) + more}"
        for place, (meter, _) in enumerate(households())
        for number in range((last - first).days + 1)
    ]
    return ["meter_id,read_at,reading_l", *rows]


class Replayed(DbtProject):
    """dbt as it was at its last run: the same database and results again, without the seconds."""

    def __init__(self, project: DbtProject, kept: Path) -> None:
        self._project, self._kept, self._results = project, kept, list[NodeResult]()

    def lineage(self, mart: str) -> Lineage:
        return self._project.lineage(mart)

    def run(self, *, folder: Path, models: Sequence[str]) -> list[NodeResult]:
        if not self._results:
            self._results = self._project.run(folder=folder, models=models)
            shutil.copy(folder / DATABASE, self._kept)
        else:
            shutil.copy(self._kept, folder / DATABASE)
        return self._results

    def document(self, *, folder: Path) -> Path:
        page = folder / "page.html"
        page.write_text("<!doctype html>")
        return page


def read_release(mini: Mini, mart: str) -> Manifest | None:
    """What a consumer gets who begins at the pointer, every hash checked; None before the first release."""
    lake = mini.exchange.lake
    manifest = latest_manifest(mini.exchange, mart=mart, major=1)
    if manifest is not None:
        for file in manifest.files:
            data = lake.read_bytes("marts", f"{manifest.prefix}/{file.path}")
            assert hashlib.sha256(data).hexdigest() == file.sha256, f"{manifest.release}: {file.path}"
    return manifest
