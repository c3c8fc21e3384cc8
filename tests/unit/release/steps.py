"""What is done to releases, each as a function of an opened exchange alone, for tests that die at every call of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.release.answer import answer
from lakehouse.release.approval import NotWaiting
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.promote import promote
from lakehouse.release.retention import pin, retention
from lakehouse.release.withdraw import rollback, yank

SAID = {"by": "a reviewer", "reason": "counts of October 2nd are wrong"}


def promote_waiting(exchange: Exchange, mart: Mart) -> None:
    """As the release DAG does after the gate."""
    for waiting in waiting_candidates(exchange):
        promote(exchange, mart=mart, candidate=waiting["candidate"])


def roll_back(exchange: Exchange, named: dict[str, Any]) -> None:
    rollback(exchange, **named, **SAID)


def take_out(exchange: Exchange, named: dict[str, Any]) -> None:
    yank(exchange, **named, **SAID)


def keep(exchange: Exchange, named: dict[str, Any]) -> None:
    pin(exchange, **named, **SAID)


def remove_old(exchange: Exchange, now: datetime) -> None:
    retention(exchange, now=now, days=90, apply=True)


def say(exchange: Exchange, asked: tuple[Mart, str, Any]) -> None:
    """An answer; one who comes after it was given and carried out has nothing to say any more."""
    mart, candidate, verdict = asked
    try:
        answer(exchange, mart=mart, candidate=candidate, verdict=verdict, through="command", **SAID)
    except NotWaiting:
        return
