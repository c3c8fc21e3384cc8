"""The main job's steps one after the other in this process, as its tasks take them, without the scheduler that starts
these: a process for each costs more than most of them do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from lakehouse.build.run import build
from lakehouse.contracts.derive import history_start
from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange
from lakehouse.landing.extract import extract
from lakehouse.landing.intake import intake
from lakehouse.orchestrate.inputs import drop, loopback_datasets, loopback_keys, match_inputs
from lakehouse.orchestrate.main_job import Outcome, summarise, top_up_heat
from lakehouse.release.gate import CandidateBlocked, gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.promote import promote
from lakehouse.settings import Settings
from lakehouse.sharing.follow import bring_doors
from lakehouse.sources.loopback import LoopbackApi


def main_job(settings: Settings, inputs: Path) -> Outcome:
    """What came of it, in the words of ``exchange run``."""
    since, outcome = datetime.now(UTC), Outcome(inputs=str(inputs))
    exchange = Exchange(settings)
    exchange.init()
    matched = match_inputs(exchange, inputs)
    outcome.notes += [f"{path}: no contract takes it" for path in matched.unmatched]
    top_up_heat(exchange, matched, outcome, print)
    asked = loopback_keys(exchange, matched)
    with LoopbackApi(datasets=loopback_datasets(exchange, matched)) as api:
        asking = Exchange(settings.model_copy(update={"extract_url": api.base_url}))
        for key, contract in exchange.contracts.items():
            if key in asked:
                start = history_start(contract)
                extract(asking, contract, start=start, end=since.replace(minute=0, second=0, microsecond=0))
            else:
                drop(exchange, contract, matched.files.get(key, []))
            intake(exchange, contract)
    summary = build(exchange)
    outcome.failures += [f"{mart}: {reason}" for mart, reason in summary.failed.items()]
    marts = read_marts(settings.marts_path)
    for waiting in waiting_candidates(exchange):
        name, candidate = waiting["mart"], waiting["candidate"]
        try:
            gate(exchange, mart=marts[name], candidate=candidate)
        except CandidateBlocked:
            continue
        promote(exchange, mart=marts[name], candidate=candidate)
        if (failed := bring_doors(exchange, mart=name)) is not None:
            outcome.failures.append(failed)
    summarise(exchange, outcome, since)
    return outcome
