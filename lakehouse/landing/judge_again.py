"""What deliveries come to that are read again, each judged by what those before it come to now."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.batch import batch_of
from lakehouse.landing.clean import CleanFile, Standing
from lakehouse.landing.joined import is_joinable
from lakehouse.landing.load import Loaded, load, write_faults
from lakehouse.landing.repeats import is_extract, repeats, repetition
from lakehouse.landing.together import Together, load_together
from lakehouse.landing.type_rows import create_tables


@dataclass(frozen=True, kw_only=True)
class Part:
    """Deliveries that were loaded together, or one alone, which has ``faults``; ``name``: what their files are named
    after."""

    name: str
    members: list[dict[str, Any]]
    receipts: list[dict[str, Any]]
    files: list[CleanFile]
    standing: Standing | None
    faults: Path | None = None

    @classmethod
    def together(cls, members: list[dict[str, Any]], taken: Together) -> Part:
        return cls(
            name=taken.name, members=members, receipts=taken.receipts, files=taken.files, standing=taken.standing
        )


@dataclass(kw_only=True)
class Trial:
    """What later deliveries are judged by, where nothing is stored: the clean files by delivery, and of bytes that
    were loaded the last receipt."""

    files: dict[str, Sequence[CleanFile]] = field(default_factory=dict)
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    dry: bool = False


def judge_again(
    exchange: Exchange,
    contract: Contract,
    group: Sequence[dict[str, Any]],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    trial: Trial,
) -> list[Part]:
    """Loads deliveries in their order, together as far as they go. Each is judged by what those before it come to."""
    parts: list[Part] = []
    # What stands of all of them is about to go.
    trial.files |= {delivery["delivery"]: () for delivery in group}
    left, odd = deque(group), set[str]()
    joinable = len(group) > 1 and is_joinable(contract)
    number = 0
    while left:
        number += 1
        place = folder / str(number)
        place.mkdir()
        members = batch_of(left, odd, again=True) if joinable else []
        if len(members) > 1:
            taken = load_together(exchange, contract, members, connection, place, instead=trial.files, trial=trial.dry)
            odd |= taken.odd
            done = [left.popleft() for _ in taken.receipts]
            if done:
                parts.append(Part.together(done, taken))
        else:
            delivery = left.popleft()
            parts.append(_judge_one(exchange, contract, delivery, connection, place, trial))
        if parts:
            trial.files[parts[-1].members[0]["delivery"]] = parts[-1].files
    return parts


def _judge_one(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    trial: Trial,
) -> Part:
    earlier = trial.receipts.get(delivery["sha256"])
    if earlier is not None and not is_extract(delivery):
        repeated: dict[str, Any] | None = repetition(contract, delivery, earlier)
    else:
        repeated = repeats(exchange, contract, delivery)
    if repeated is None:
        loaded = load(exchange, contract, delivery, connection, folder, instead=trial.files, trial=trial.dry)
    else:
        create_tables(connection, contract)
        faults, rows = write_faults(connection, folder)
        loaded = Loaded(receipt=repeated, faults=faults, fault_rows=rows)
    return Part(
        name=delivery["delivery"],
        members=[delivery],
        receipts=[loaded.receipt],
        files=loaded.files,
        standing=loaded.standing,
        faults=loaded.faults,
    )
