"""A city's private marts from delivery to gate: how long policies and attacks take, how much memory, what was won.

``python bench/privacy.py --households 60000 --days 35`` makes some 100 million readings of water and heat, and trips,
takes them in, builds every private mart and judges each candidate. Each step is a process of its own, whose peak of
memory must stay below ``--limit``. Nothing is left behind unless ``--folder`` names where; what stands there already is
gone on from.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange
from lakehouse.landing.intake import intake
from lakehouse.settings import Settings

PROJECT = Path(__file__).parents[1]
DATASETS = (
    "copenhagen/districts", "daiad/water_meter_register", "daiad/water_meter_readings",
    "aalborg_heat/heat_meter_register", "aalborg_heat/heat_meter_readings_simulated",
    "city_bikes/stations", "city_bikes/trips",
)  # fmt: skip
MARTS = (
    "water_use_by_area_hour", "heat_use_by_segment_hour", "heat_households_by_building", "bike_trips_by_district_hour",
)  # fmt: skip
# Long after every period is final.
LATER = datetime(2030, 1, 1, tzinfo=UTC)
STEPS = ("simulate", "intake", "build", "gate")

# What a build does for the policies, beside the models in `anonymised`.
PRIVACY = ("privacy_checks", "keep_membership", "keep_table", "fill_with_noise", "fill_but_withheld")


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of processor on all cores: on a busy machine only the latter say what work it was."""

    clock: float = 0.0
    processor: float = 0.0

    @classmethod
    def now(cls) -> Spent:
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.clock + other.clock, self.processor + other.processor)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.clock - other.clock, self.processor - other.processor)

    def __str__(self) -> str:
        return f"{self.clock:.1f} s, of processor {self.processor:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--households", type=int, default=60_000)
    parser.add_argument("--days", type=int, default=35)
    parser.add_argument("--limit", type=float, default=4.0, help="GB of memory that no step may pass")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        began = Spent.now()
        said = globals()[f"_{options.step}"](options.folder, options)
        said |= {"took": str(Spent.now() - began), "peak_gb": round(_peak(), 2)}
        print("SAID" + json.dumps(said))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        peaks = [_run(step, folder, options) for step in STEPS]
    if max(peaks) > options.limit:
        sys.exit(f"{max(peaks)} GB is above the limit of {options.limit} GB")


def _run(step: str, folder: Path, options: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    command += ["--households", str(options.households), "--days", str(options.days)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    said = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("SAID"))[4:])
    print(f"\n{step}: {said.pop('took')}; at most {said['peak_gb']} GB")
    peak = float(said.pop("peak_gb"))
    for name, value in said.items():
        print(f"  {name}: {value}", flush=True)
    return peak


def _simulate(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from lakehouse.simulate.city import City
    from lakehouse.simulate.deliveries import simulate

    out = folder / "inputs"
    if out.exists():
        return {"rows": "stand there already"}
    city = City(
        households=options.households, days=options.days, start=date(2024, 10, 1), file_format="parquet", period="day"
    )
    return {"rows": sum(written.rows for written in simulate(city=city, out=out, datasets=DATASETS))}


def _intake(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    if (folder / "lake").exists():
        return {"rows": "stand there already"}
    exchange = _exchange(folder)
    exchange.init()
    rows = 0
    for name in DATASETS:
        contract = exchange.contract(name)
        for file in sorted((folder / "inputs" / name).iterdir()):
            exchange.lake.upload(
                landing_bucket(contract.provider), f"{inbox_prefix(contract.dataset)}{file.name}", file
            )
            rows += sum(receipt["accepted"] for receipt in intake(exchange, contract))
    return {"rows": rows}


def _build(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import lakehouse.build.run as run

    spent: dict[str, Spent] = defaultdict(Spent)
    _time_models(spent)
    for name in PRIVACY:
        setattr(run, name, _timed(getattr(run, name), name, spent))
    run.export = _timed(run.export, "export", spent)
    exchange = _exchange(folder)
    summary = run.build(
        exchange, marts=MARTS, now=LATER, progress=lambda line: print(line, file=sys.stderr, flush=True)
    )
    policies = [spent[name] for name in spent if name.startswith(("anonymised.", *PRIVACY))]
    return {
        "failed": summary.failed,
        "policies computed": str(sum(policies, Spent())),
        **{name: str(one) for name, one in sorted(spent.items(), key=lambda entry: -entry[1].processor)},
    }


def _time_models(spent: dict[str, Spent]) -> None:
    """Has dbt say when it begins and ends a node; one runs at a time, so all that the process works is the node's."""
    import dbt.cli.main as main

    began: dict[str, Spent] = {}

    def heard(event: Any) -> None:
        name = event.info.name
        if name in ("NodeStart", "NodeFinished"):
            node = event.data.node_info
            if name == "NodeStart":
                began[node.unique_id] = Spent.now()
            elif node.resource_type == "model" and node.unique_id in began:
                relation = node.node_relation
                spent[f"{relation.schema}.{relation.alias}"] += Spent.now() - began[node.unique_id]

    runner = main.dbtRunner
    main.dbtRunner = lambda manifest=None: runner(manifest=manifest, callbacks=[heard])


def _gate(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import lakehouse.release.attacks as attacks
    from lakehouse.release.gate import CandidateBlocked, gate
    from lakehouse.release.listing import waiting_candidates

    spent: dict[str, Spent] = defaultdict(Spent)
    for kind in ("ATTACKS", "TABLE_ATTACKS"):
        timed = tuple(_timed(attack, attack.__name__, spent) for attack in getattr(attacks, kind))
        setattr(attacks, kind, timed)
    exchange = _exchange(folder)
    marts = read_marts(exchange.settings.marts_path)
    found: dict[str, Any] = {}
    for waiting in waiting_candidates(exchange):
        name, candidate = waiting["mart"], waiting["candidate"]
        spent.clear()
        began = Spent.now()
        try:
            gate(exchange, mart=marts[name], candidate=candidate)
            found[name] = "passed"
        except CandidateBlocked as blocked:
            found[name] = str(blocked)
        found[f"{name}, gate"] = str(Spent.now() - began)
        found |= {f"{name}, {attack} took": str(one) for attack, one in spent.items()}
        for outcome in json.loads(exchange.lake.read_bytes("reports", f"{name}/{candidate}/attacks.json")):
            found[f"{name}, {outcome['attack']}"] = outcome["found"]
    return found


def _timed(function: Callable[..., Any], name: str, spent: dict[str, Spent]) -> Callable[..., Any]:
    """The function, or the iterator that it returns, with its seconds added under its name."""

    def run(*arguments: Any, **named: Any) -> Any:
        began = Spent.now()
        result = function(*arguments, **named)
        if hasattr(result, "__next__"):
            result = iter(list(result))
        spent[name] += Spent.now() - began
        return result

    run.__name__ = name
    return run


def _exchange(folder: Path) -> Exchange:
    return Exchange(
        Settings(
            project=PROJECT,
            home=folder / "home",
            lake=(folder / "lake").as_uri(),
            database=f"sqlite:///{folder / 'exchange.db'}",
            settle_seconds=0,
        )
    )


def _peak() -> float:
    """GB of this process, or of the largest that it waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 2**20


if __name__ == "__main__":
    main()
