"""`exchange run`: land everything that waits, build what it touches, gate, release; through Airflow."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lakehouse.contracts.derive import dag_id, history_start
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.extract import uncovered
from lakehouse.landing.scorecard import overdue
from lakehouse.landing.seal import is_waited_for
from lakehouse.landing.strays import stray_files
from lakehouse.orchestrate.airflow_client import AirflowClient, DagRun
from lakehouse.orchestrate.airflow_process import running
from lakehouse.orchestrate.approvals import DAG as APPROVALS
from lakehouse.orchestrate.approvals import answer_settled
from lakehouse.orchestrate.inputs import (
    Matched,
    drop,
    loopback_datasets,
    loopback_keys,
    match_inputs,
    not_yet_delivered,
)
from lakehouse.release.approval import list_candidates
from lakehouse.release.listing import location, waiting_candidates
from lakehouse.simulate.city import City
from lakehouse.simulate.deliveries import simulate, simulate_heat_readings
from lakehouse.sources.loopback import LoopbackApi
from lakehouse.storage.index import candidates, deliveries, releases

Progress = Callable[[str], None]
STEP_SECONDS = 3600.0
# Seconds: the DAGs stay as they are while the job runs, and reading them twice a minute took a tenth of its time.
READ_EVERY = 300
HEAT_REGISTER = "aalborg_heat/heat_meter_register"
HEAT_SIMULATED = "aalborg_heat/heat_meter_readings_simulated"
# The top-up of the real heat register: days on which its one real meter has readings too.
TOP_UP_START = date(2020, 12, 2)
TOP_UP_DAYS = 10


@dataclass(kw_only=True)
class Outcome:
    """What `exchange run` did, as it is promised with ``--json``."""

    inputs: str = ""
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    marts: list[dict[str, Any]] = field(default_factory=list)
    gates: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether a gate or a step failed: the run ends with status 1."""
        return bool(self.failures)


def run(
    exchange: Exchange,
    *,
    inputs: Path | None = None,
    simulated: Path | None = None,
    progress: Progress = lambda _: None,
) -> Outcome:
    """The main job. ``inputs`` is a folder ``<provider>/<dataset>/<files>``; without one a simulated city is
    made under ``simulated``. Raises what keeps the job from running at all; a blocked candidate or a failed
    task is in the outcome's ``failures``.
    """
    began, since = time.monotonic(), datetime.now(UTC)
    outcome = Outcome()
    exchange.init()
    folder = inputs or _simulated_city(exchange, simulated, outcome, progress)
    outcome.inputs = str(folder)
    matched = match_inputs(exchange, folder)
    for path in matched.unmatched:
        outcome.notes.append(f"{path.relative_to(folder)}: no contract takes it; it was left where it is")
    if inputs is not None:
        top_up_heat(exchange, matched, outcome, progress)
    with contextlib.ExitStack() as stack:
        live = exchange.settings.extracts == "live"
        url = None if live else stack.enter_context(_loopback(exchange, matched))
        airflow = stack.enter_context(
            running(exchange.settings, schedules=False, extract_url=url, read_every=READ_EVERY, progress=progress)
        )
        progress(f"Airflow is up at {airflow.url}")
        client = stack.enter_context(AirflowClient(airflow.url))
        if airflow.ours and (stale := client.end_stale_runs(but=APPROVALS)):
            progress(f"{stale} runs of a command that was killed were ended; their work is taken up again")
        answer_settled(exchange, client)
        extracts = _live_extracts(exchange) if live else loopback_keys(exchange, matched)
        _run_dags(exchange, client, matched, outcome, progress, extracts=extracts)
        # What was built now has taken the place of candidates about which somebody may still be asked.
        answer_settled(exchange, client)
    summarise(exchange, outcome, since)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _live_extracts(exchange: Exchange) -> set[str]:
    return {key for key, contract in exchange.contracts.items() if contract.exchange.extract}


@contextlib.contextmanager
def _loopback(exchange: Exchange, matched: Matched) -> Iterator[str]:
    with LoopbackApi(datasets=loopback_datasets(exchange, matched)) as server:
        yield server.base_url


def _simulated_city(exchange: Exchange, simulated: Path | None, outcome: Outcome, progress: Progress) -> Path:
    folder = simulated or exchange.settings.home_path / "simulated"
    outcome.notes.append(f"no inputs were named or found: these deliveries are a simulated city's, in {folder}")
    if not (folder / "truth.json").exists():
        progress("no inputs: simulating a city")
        simulate(city=City(), out=folder, progress=progress)
    return folder


def top_up_heat(exchange: Exchange, matched: Matched, outcome: Outcome, progress: Progress) -> None:
    """Readings for a real register without them: simulated, under a contract that says so."""
    register = matched.files.get(HEAT_REGISTER)
    if not register or HEAT_SIMULATED in matched.files or HEAT_SIMULATED not in exchange.contracts:
        return
    folder = exchange.settings.home_path / "heat_top_up"
    if not (folder / "complete").exists():
        progress("topping the heat register up with simulated readings")
        shutil.rmtree(folder, ignore_errors=True)
        simulate_heat_readings(
            register=register[0],
            out=folder,
            start=TOP_UP_START,
            days=TOP_UP_DAYS,
            seed=1,
            file_format="parquet",
        )
        (folder / "complete").touch()
    matched.files[HEAT_SIMULATED] = sorted(path for path in (folder / HEAT_SIMULATED).glob("*") if path.is_file())
    outcome.notes.append("heat readings are simulated for the meters of the real register, and marked as such")


def _run_dags(
    exchange: Exchange,
    client: AirflowClient,
    matched: Matched,
    outcome: Outcome,
    progress: Progress,
    *,
    extracts: set[str],
) -> None:
    contracts = exchange.contracts
    client.wait_for_dags(
        [*(dag_id(contract) for contract in contracts.values()), "strays", "build", "release", APPROVALS]
    )
    runs = _start_datasets(exchange, client, contracts, matched, extracts, outcome)
    progress(f"{len(runs)} datasets to land" if runs else "nothing waits to be landed")

    def ended(run: DagRun, state: str) -> None:
        progress(f"{run.dag_id.replace('__', '/')}: {'landed' if state == 'success' else 'FAILED'}")
        if state == "failed":
            _keep_failures(client, run, outcome)

    client.follow(runs, on_end=ended, seconds=STEP_SECONDS)
    progress("building")
    build = client.trigger("build")
    client.follow(
        [build],
        on_end=lambda run, state: _build_ended(client, run, state, outcome, progress),
        seconds=STEP_SECONDS,
    )
    _follow_releases(exchange, client, progress)


def _start_datasets(
    exchange: Exchange,
    client: AirflowClient,
    contracts: dict[str, Contract],
    matched: Matched,
    extracts: set[str],
    outcome: Outcome,
) -> list[DagRun]:
    """``extracts``: the datasets whose source is asked; the others take what is dropped."""
    runs = []
    for key, contract in contracts.items():
        files = matched.files.get(key, [])
        extracted = contract.exchange.extract if contract.key in extracts else None
        if extracted and not extracted.by_interval:
            runs.append(client.trigger(dag_id(contract)))
            continue
        if extracted:
            end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
            gaps = uncovered(exchange, contract, start=history_start(contract), end=end)
            runs += [client.trigger(dag_id(contract), start=first, end=last) for first, last in gaps]
            if not gaps and _unfinished(exchange, contract):
                # All is sealed, by a run that died before it was taken in: the source need not be asked.
                runs.append(client.trigger(dag_id(contract)))
            continue
        if files:
            fresh = not_yet_delivered(exchange, contract, files)
            drop(exchange, contract, fresh)
            if len(fresh) < len(files):
                outcome.notes.append(f"{key}: {len(files) - len(fresh)} of {len(files)} files were delivered before")
        if is_waited_for(exchange, contract) or _unfinished(exchange, contract):
            runs.append(client.trigger(dag_id(contract)))
    if any(stray_files(exchange, provider) for provider in sorted({c.provider for c in contracts.values()})):
        runs.append(client.trigger("strays"))
    return runs


def _unfinished(exchange: Exchange, contract: Contract) -> bool:
    """Deliveries that were sealed by a run that died before their receipt."""
    query = sa.select(deliveries.c.delivery).where(
        deliveries.c.provider == contract.provider,
        deliveries.c.dataset == contract.dataset,
        deliveries.c.receipt_written.is_(False),
    )
    return exchange.index.row(query) is not None


def _build_ended(client: AirflowClient, run: DagRun, state: str, outcome: Outcome, progress: Progress) -> None:
    progress(f"build: {'done' if state == 'success' else 'FAILED'}")
    if state == "failed":
        _keep_failures(client, run, outcome)


def _follow_releases(exchange: Exchange, client: AirflowClient, progress: Progress) -> None:
    """Waits for the release that new candidates start by themselves; one that a dead run left is started here.

    What came of each candidate is read from the index afterwards, so nothing hangs on catching a run alive.
    """
    patience = time.monotonic() + 20
    while True:
        active = client.active_runs("release")
        if active:
            progress("gating and releasing")
            client.follow(active, on_end=lambda run, state: None, seconds=STEP_SECONDS)
            continue
        if not waiting_candidates(exchange):
            return
        if time.monotonic() > patience:
            client.trigger("release")
            patience = time.monotonic() + STEP_SECONDS
        time.sleep(0.5)


def _keep_failures(client: AirflowClient, run: DagRun, outcome: Outcome) -> None:
    for task in client.failures(run):
        outcome.failures.append(f"{task.dag_id}.{task.task_id}: {task.message}")


def summarise(exchange: Exchange, outcome: Outcome, since: datetime) -> None:
    """Adds what has come of deliveries and candidates since then."""
    found = exchange.index.rows(
        sa.select(deliveries.c.delivery, deliveries.c.receipt).where(
            deliveries.c.received_at >= since, deliveries.c.receipt.is_not(None)
        )
    )
    rows = sorted(found, key=itemgetter("delivery"))
    names = (
        "provider",
        "dataset",
        "delivery",
        "file",
        "delivered",
        "accepted",
        "refused",
        "duplicates",
        "corrections",
        "status",
    )
    outcome.deliveries = [{name: row["receipt"][name] for name in names} for row in rows]
    for receipt in (row["receipt"] for row in rows):
        for alarm in (receipt.get("profile") or {}).get("alarms", []):
            outcome.notes.append(f"{receipt['provider']}/{receipt['dataset']}: {receipt['file']}: {alarm}")
    if exchange.settings.extracts == "live":
        for key, contract in exchange.contracts.items():
            if (late := overdue(exchange, contract)) is not None:
                outcome.notes.append(f"{key}: {late}")
    made = exchange.index.rows(
        sa.select(candidates).where(candidates.c.created_at >= since).order_by(candidates.c.mart)
    )
    for row in made:
        verdict = row["gates"] or {}
        entry: dict[str, Any] = {"mart": row["mart"], "status": row["status"], "release": row["release"]}
        release = exchange.index.row(
            sa.select(releases).where(releases.c.mart == row["mart"], releases.c.release == (row["release"] or ""))
        )
        if release is not None:
            entry |= {
                "rows": release["rows"],
                "bytes": release["bytes"],
                "path": location(exchange, release["path"]),
            }
        entry |= {"seconds": row["seconds"], "reason": row["reason"]}
        outcome.marts.append(entry)
        outcome.gates[row["mart"]] = {
            "status": verdict.get("status"),
            "checks": verdict.get("checks", 0),
            "warnings": verdict.get("warnings", []),
            "failed": verdict.get("failed", []),
            "report": verdict.get("report"),
        }
        if row["status"] == "blocked":
            outcome.failures.append(f"{row['mart']}: blocked by its gate: {row['reason']}")
        elif row["status"] in ("built", "passed"):
            outcome.failures.append(
                f"{row['mart']}: candidate {row['candidate']} was not promoted; see the release DAG"
            )
    for entry in list_candidates(exchange):
        outcome.notes.append(
            f"{entry['mart']}: candidate {entry['candidate']} {entry['reason']}; the former release stands. `exchange "
            f"candidates` shows it, `exchange approve {entry['mart']} {entry['candidate']} --reason …` releases it"
        )
