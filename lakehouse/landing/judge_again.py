"""What deliveries come to that are read again, each judged by what those before it come to now."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.batch import batch_of
from lakehouse.landing.clean import CleanFile, Standing
from lakehouse.landing.erased import erased_from
from lakehouse.landing.joined import is_joinable
from lakehouse.landing.load import Loaded, load, write_faults
from lakehouse.landing.receipt import Sender
from lakehouse.landing.repeats import is_extract, repeats, repetition
from lakehouse.landing.reseal import erased_rows, take_erased_out, went_whole, with_erased
from lakehouse.landing.together import Together, load_together
from lakehouse.landing.type_rows import create_tables
from lakehouse.storage.index import clean_files
from lakehouse.storage.sql import literal


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
    """What later deliveries are judged by, where nothing is stored: the clean files and receipts by delivery, and of
    bytes that were loaded the last receipt."""

    files: dict[str, Sequence[CleanFile]] = field(default_factory=dict)
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
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
    gone = {delivery["delivery"]: erased_rows(delivery["receipt"]) for delivery in group}
    unreadable = {delivery["delivery"] for delivery in group if delivery["raw_key"] is None}
    if not trial.dry and erased_from(exchange, contract) is not None:
        # What nobody could read before may hold rows of people who were erased.
        for delivery in (one for one in group if one["raw_key"] is not None):
            gone[delivery["delivery"]] += take_erased_out(exchange, contract, delivery, connection)
    left, odd = deque(group), set[str]()
    joinable = len(group) > 1 and is_joinable(contract)
    number = 0
    while left:
        number += 1
        place = folder / str(number)
        place.mkdir()
        members = batch_of(left, odd, again=True) if joinable else []
        if len(members) > 1:
            taken = load_together(
                exchange,
                contract,
                members,
                connection,
                place,
                instead=trial.files,
                told=trial.told,
                trial=trial.dry,
            )
            odd |= taken.odd
            done = [left.popleft() for _ in taken.receipts]
            if done:
                taken.receipts = [_with_gone(receipt, gone) for receipt in taken.receipts]
                parts.append(Part.together(done, taken))
        else:
            delivery = left.popleft()
            if delivery["delivery"] in unreadable:
                parts.append(_as_it_stands(exchange, delivery, connection, place))
            else:
                part = _judge_one(exchange, contract, delivery, connection, place, trial)
                parts.append(replace(part, receipts=[_with_gone(receipt, gone) for receipt in part.receipts]))
        if parts:
            trial.told |= {receipt["delivery"]: receipt for receipt in parts[-1].receipts}
            trial.files[parts[-1].members[0]["delivery"]] = parts[-1].files
    return parts


def _with_gone(receipt: dict[str, Any], gone: Mapping[str, int]) -> dict[str, Any]:
    """A receipt that tells of the rows of erased people that are in the file no more; one of repeated bytes counts
    what the first receipt does."""
    rows = gone[receipt["delivery"]]
    return with_erased(receipt, rows) if rows and receipt["status"] != "repeated" else receipt


def _as_it_stands(
    exchange: Exchange, delivery: dict[str, Any], connection: duckdb.DuckDBPyConnection, folder: Path
) -> Part:
    """A delivery whose file went whole with a person who was erased: its rows, out of the files that it shares."""
    name, files = delivery["delivery"], list[CleanFile]()
    rows = exchange.index.rows(sa.select(clean_files).where(clean_files.c.delivery == name).order_by(clean_files.c.key))
    for number, row in enumerate(rows):
        path, url = folder / f"{number}.parquet", exchange.lake.duckdb_url("clean", row["key"])
        connection.execute(
            f"COPY (FROM read_parquet({literal(url)}, hive_partitioning=false) "
            f"WHERE exchange_delivery = {literal(name)}) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)"
        )
        place, _, file = row["key"].rpartition("/")
        ending = re.sub(r"^-replay\d+", "", file.removeprefix(delivery["receipt"]["batch"] or name))
        files.append(CleanFile(partition=row["partition"], key=f"{place}/{name}{ending}", path=path, rows=row["rows"]))
    return Part(name=name, members=[delivery], receipts=[delivery["receipt"]], files=files, standing=None)


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
    if repeated is None and delivery["raw_key"] is None:
        repeated = went_whole(Sender.of(contract), delivery)
    if repeated is None:
        loaded = load(
            exchange, contract, delivery, connection, folder, instead=trial.files, told=trial.told, trial=trial.dry
        )
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
