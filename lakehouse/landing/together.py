"""Many small deliveries of one dataset, loaded together: one reading, one clean file a partition, a receipt each.

What is judged, and by what, is what would be if each were loaded alone after those before it. A delivery about which
there is anything to say (a wrong row, a warning, another header, a unit that changed) ends the batch before it and is
loaded alone: so each fault is found by the same rules, whichever way a delivery went.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from lakehouse.contracts.forms import CsvForm
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.checks import checks_held
from lakehouse.landing.clean import (
    Arrivals,
    CleanFile,
    Standing,
    clean_rows,
    partition_of,
    standing_files,
    touched_partitions,
    write_rows,
)
from lakehouse.landing.columns import dropped_columns, unknown_columns
from lakehouse.landing.evolution import reordered_columns
from lakehouse.landing.joined import Joined, join
from lakehouse.landing.load import accepted_message, column_warnings, hidden_ids
from lakehouse.landing.measure_each import PART, Measures, measure_each, with_many_long_numbers
from lakehouse.landing.moves import rows_move, standing_partitions, without_withdrawn
from lakehouse.landing.personal_data import refuse_personal_data
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.plausibility import HISTORY, known_levels, unlike_levels
from lakehouse.landing.profile import HISTORY as PROFILES
from lakehouse.landing.profile import judge_profile, last_arrival, past_profiles
from lakehouse.landing.pseudonymise import Hidden
from lakehouse.landing.quick_rows import number_rest
from lakehouse.landing.read import read_file
from lakehouse.landing.receipt import Sender, build_receipt
from lakehouse.landing.reconcile import Reconciled, reconcile
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.repeats import Before, is_extract, loaded_before, repetition
from lakehouse.landing.type_rows import PART_LINES, create_tables, type_joined
from lakehouse.storage.index import deliveries
from lakehouse.storage.sql import identifier, literal

# A batch is not larger than what one reading and one transaction bear, nor its files than what memory does.
MOST, LARGEST_BYTES, BATCH_BYTES = 500, 256 << 10, 16 << 20
# Of fewer there is nothing to be saved.
LEAST = 8
DOWNLOADS = 8
# In the name of a batch.
BETWEEN = "-to-"
Delivery = dict[str, Any]


@dataclass(kw_only=True)
class Together:
    """What came of the first of some deliveries: the ``receipts`` of those that were loaded together, in order, with
    what they add to ``clean``, in files after ``name``, and what they were judged by. ``odd``: deliveries that are to
    be loaded alone."""

    name: str = ""
    receipts: list[dict[str, Any]] = field(default_factory=list)
    files: list[CleanFile] = field(default_factory=list)
    standing: Standing | None = None
    odd: set[str] = field(default_factory=set)


@dataclass(kw_only=True)
class _Past:
    """What the next delivery is held to, of those before it; the newest first."""

    levels: deque[dict[str, dict[str, float]]]
    profiles: deque[dict[str, Any]]
    last: datetime | None
    loaded: dict[str, Before]

    @classmethod
    def of(cls, exchange: Exchange, contract: Contract, members: Sequence[Delivery]) -> _Past:
        first = members[0]["delivery"]
        return cls(
            levels=deque(known_levels(exchange, contract), maxlen=HISTORY),
            profiles=deque(past_profiles(exchange, contract, before=first), maxlen=PROFILES),
            last=last_arrival(exchange, contract, first),
            loaded=loaded_before(exchange, contract, [member["sha256"] for member in members], before=first),
        )


@dataclass(kw_only=True)
class _Batch:
    """One attempt. A ``part`` is a member's place; ``end``: the first that is not of the batch."""

    exchange: Exchange
    contract: Contract
    connection: duckdb.DuckDBPyConnection
    folder: Path
    members: Sequence[Delivery]
    past: _Past
    end: int
    # By the part of a repetition what it repeats; of bytes that a member has too, once that is loaded.
    repeated: dict[int, str] = field(default_factory=dict)
    odd: set[str] = field(default_factory=set)

    def cut(self, parts: Iterable[int]) -> None:
        """These are loaded alone, and the batch ends before the first of them."""
        found = {part for part in parts if part < self.end}
        self.odd |= {self.members[part]["delivery"] for part in found}
        self.end = min(found, default=self.end)

    def keep_rows(self) -> None:
        """Forgets the rows that are behind the end."""
        self.connection.execute(f"DELETE FROM exact_rows WHERE exchange_line >= {self.end * PART_LINES}")


def batch_of(left: Iterable[Delivery], odd: set[str], *, again: bool = False) -> list[Delivery]:
    """The first of these that are small, not known to be odd, and still to be loaded, unless it is ``again``."""
    members: list[Delivery] = []
    size = 0
    for delivery in left:
        fits = (
            (again or delivery["receipt"] is None)
            and delivery["raw_key"] is not None
            and delivery["bytes"] <= LARGEST_BYTES
        )
        if not fits or delivery["delivery"] in odd or len(members) == MOST or size > BATCH_BYTES:
            break
        members.append(delivery)
        size += delivery["bytes"]
    return members


def members_of(exchange: Exchange, contract: Contract, batch: str) -> list[Delivery]:
    """The deliveries whose receipts say that they were loaded together under that name, in order."""
    first, last = batch[: batch.rindex("-")].split(BETWEEN)
    rows = exchange.index.rows(
        sa.select(deliveries)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.receipt.is_not(None),
            deliveries.c.delivery.between(first, last),
        )
        .order_by(deliveries.c.delivery)
    )
    return [dict(row) for row in rows if row["receipt"] and row["receipt"].get("batch") == batch]


def between_them(contract: Contract, members: Sequence[Delivery]) -> sa.Select[Any]:
    """Asks for deliveries between the first and the last that were loaded already: they are judged by what came before
    those, and those behind by them."""
    return (
        sa.select(deliveries.c.delivery)
        .where(
            deliveries.c.provider == contract.provider,
            deliveries.c.dataset == contract.dataset,
            deliveries.c.status == "loaded",
            deliveries.c.delivery > members[0]["delivery"],
            deliveries.c.delivery < members[-1]["delivery"],
        )
        .order_by(deliveries.c.delivery)
        .limit(1)
    )


def load_together(
    exchange: Exchange,
    contract: Contract,
    members: Sequence[Delivery],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    *,
    instead: Mapping[str, Sequence[CleanFile]] | None = None,
    trial: bool = False,
) -> Together:
    """Loads sealed deliveries, in their order, as far as they go together; nothing in the lake is changed, but that
    salts of new people are drawn where it is no ``trial``. Nothing may have been loaded between them.

    Raises what :func:`lakehouse.landing.load.load` raises.
    """
    batch = _Batch(
        exchange=exchange,
        contract=contract,
        connection=connection,
        folder=folder,
        members=members,
        past=_Past.of(exchange, contract, members),
        end=len(members),
    )
    joined = _join(batch)
    if batch.end < 2:
        return Together(odd={members[0]["delivery"]})
    if joined is None:
        return Together(receipts=_receipts(batch, _Columns(), {}, {}))
    create_tables(connection, contract)
    columns = _read(batch, joined)
    if columns is None:
        return Together(odd={member["delivery"] for member in members[: batch.end]})
    measures = _measure(batch, columns) if batch.end else {}
    if not batch.end:
        return Together(odd=batch.odd)
    return _reconciled(batch, columns, measures, instead or {}, trial)


def _join(batch: _Batch) -> Joined | None:
    """Reads the members that repeat nothing, as far as their bytes go together."""
    hashes: dict[str, int] = {}
    for part, member in enumerate(batch.members):
        if is_extract(member):
            continue
        before = batch.past.loaded.get(member["sha256"])
        if before is not None and before.by(batch.contract):
            batch.repeated[part] = before.delivery
        elif member["sha256"] in hashes:
            batch.repeated[part] = batch.members[hashes[member["sha256"]]]["delivery"]
        else:
            hashes[member["sha256"]] = part
    read = [part for part in range(batch.end) if part not in batch.repeated]
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        paths = list(pool.map(lambda part: _fetched(batch, part), read))
    joined = join(
        batch.contract, [(part, batch.members[part]["file"], path) for part, path in zip(read, paths, strict=True)]
    )
    going = len(joined.bodies) if joined else 0
    if going < len(read):
        batch.end = read[going]
    return joined


def _fetched(batch: _Batch, part: int) -> Path:
    raw_key = batch.members[part]["raw_key"]
    local = batch.exchange.lake.local_path("raw", raw_key)
    return local or batch.exchange.lake.download("raw", raw_key, batch.folder / "sealed" / str(part))


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """What receipts say of the columns of a table, which are the same in all: see
    :class:`lakehouse.landing.load.Tally`."""

    order: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def _read(batch: _Batch, joined: Joined) -> _Columns | None:
    """Types the rows; what is odd among them cuts the batch. ``None`` where the head is not the contract's."""
    connection, contract = batch.connection, batch.contract
    rest = joined.write(batch.folder)
    try:
        found = read_file(connection=connection, file=rest.file, contract=contract)
    except (DeliveryRefused, duckdb.InvalidInputException, duckdb.ConversionException):
        return None
    number_rest(connection, rest)
    batch.cut(type_joined(connection, contract, rest.file.form))
    connection.execute("DROP TABLE IF EXISTS delivered_rows")
    table = isinstance(joined.form, CsvForm)
    if not table:
        batch.cut(_with_unknown_fields(connection, contract))
    batch.keep_rows()
    refuse_personal_data(connection, contract, PlainRows(contract, batch.folder))
    bad = connection.execute(f"SELECT DISTINCT {PART} FROM exact_rows WHERE exchange_bad").fetchall()
    batch.cut(part for (part,) in bad)
    batch.cut(with_many_long_numbers(connection, contract))
    batch.keep_rows()
    if not table:
        return _Columns()
    known = {column.source for column in contract.columns}
    return _Columns(
        order=[name for name in found if name in known],
        unknown=unknown_columns(contract, found),
        dropped=dropped_columns(contract, found),
    )


def _with_unknown_fields(connection: duckdb.DuckDBPyConnection, contract: Contract) -> set[int]:
    """Files of ndjson with a field that the contract does not know."""
    fields = connection.execute("SELECT DISTINCT unnest(json_keys(l)) FROM lines WHERE good").fetchall()
    unknown = unknown_columns(contract, sorted(name for (name,) in fields))
    if not unknown:
        return set()
    listed = ", ".join(literal(name) for name in unknown)
    found = connection.execute(
        f"SELECT DISTINCT p.line // {PART_LINES} FROM lines JOIN left_places AS p ON p.place = lines.rowid + 1 "
        f"WHERE good AND list_has_any(json_keys(l), [{listed}])"
    ).fetchall()
    return {part for (part,) in found}


def _measure(batch: _Batch, columns: _Columns) -> dict[int, Measures]:
    """What each is like; one that is refused for it, or warned of it, cuts the batch."""
    received = {part: member["received_at"] for part, member in enumerate(batch.members)}
    measures = measure_each(batch.connection, batch.contract, received)
    levels = batch.past.levels.copy()
    ignored = batch.contract.exchange.thresholds.unit_change == "ignore"
    for part in range(batch.end):
        if part in batch.repeated:
            continue
        one = measures.get(part)
        if one is None:
            batch.cut([part])
            break
        refused = any(
            not check["success"] and check["severity"] == "error"
            for check in checks_held(batch.contract, one.rows, one.nulls)
        )
        if refused or (not ignored and one.levels and unlike_levels(batch.contract, one.levels, levels)):
            batch.cut([part])
            break
        levels.appendleft(one.levels)
    first = next((part for part in range(batch.end) if part not in batch.repeated), None)
    if first is not None:
        rows = measures[first].rows
        if reordered_columns(batch.exchange, batch.contract, batch.members[first], columns.order, rows):
            batch.cut([first])
    batch.keep_rows()
    return measures


def _reconciled(
    batch: _Batch,
    columns: _Columns,
    measures: dict[int, Measures],
    instead: Mapping[str, Sequence[CleanFile]],
    trial: bool,
) -> Together:
    exchange, contract, connection = batch.exchange, batch.contract, batch.connection
    plain, first = PlainRows(contract, batch.folder), batch.members[0]["delivery"]
    moves = rows_move(contract)
    hidden = hidden_ids(exchange, contract, connection, plain, trial)
    partitions = standing_partitions(exchange, contract) if moves else touched_partitions(connection, contract, plain)
    standing = standing_files(exchange, contract, partitions, before=first, instead=instead)
    standing = replace(standing, vault=hidden.state)
    rows = hidden.known(clean_rows(contract, standing.urls, before=first)) if standing.urls else None
    if moves and rows is not None:
        rows = without_withdrawn(rows)
    reconcile(connection=connection, contract=contract, standing=rows, plain=plain)
    if moves or contract.exchange.corrections == "refuse":
        # What a correction moves or breaks is told of by its own delivery.
        query = f"SELECT DISTINCT {PART} FROM fresh WHERE exchange_correction UNION SELECT part FROM faults"
        batch.cut(part for (part,) in connection.execute(query).fetchall())
        if not batch.end:
            return Together(odd=batch.odd)
    name = _name([member["delivery"] for member in batch.members[: batch.end]])
    counts = _counts(batch)
    files = _write(batch, name, hidden, counts)
    receipts = _receipts(batch, columns, measures, counts, name=name)
    return Together(name=name, receipts=receipts, files=files, standing=standing, odd=batch.odd)


def _name(members: list[str]) -> str:
    """Of the files of a batch: its first and last delivery, and a hash of all, for another batch may begin so too."""
    digest = hashlib.sha256("\n".join(members).encode()).hexdigest()[:8]
    return f"{members[0]}{BETWEEN}{members[-1]}-{digest}"


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Of one member: rows to store, those of them that are corrections, and how many go into which partition."""

    accepted: int
    corrections: int
    partitions: dict[str, int]


def _counts(batch: _Batch) -> dict[int, _Counts]:
    query = (
        f"SELECT {PART}, {partition_of(batch.contract)} AS event_date, count(*), "
        f"count(*) FILTER (exchange_correction) FROM fresh WHERE exchange_line < {batch.end * PART_LINES} "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    )
    found: dict[int, list[tuple[str, int, int]]] = {}
    for part, partition, rows, corrections in batch.connection.execute(query).fetchall():
        found.setdefault(part, []).append((str(partition), rows, corrections))
    return {
        part: _Counts(
            accepted=sum(rows for _, rows, _ in touched),
            corrections=sum(corrections for *_, corrections in touched),
            partitions={partition: rows for partition, rows, _ in touched},
        )
        for part, touched in found.items()
    }


def _write(batch: _Batch, name: str, hidden: Hidden, counts: dict[int, _Counts]) -> list[CleanFile]:
    rows = sum(one.accepted for one in counts.values())
    if not rows:
        return []
    batch.connection.register(
        "batch_members",
        pa.table(
            {
                "part": pa.array(range(batch.end), pa.int64()),
                "delivery": pa.array([member["delivery"] for member in batch.members[: batch.end]]),
                "known_at": pa.array(
                    [member["received_at"] for member in batch.members[: batch.end]], pa.timestamp("us", "UTC")
                ),
            }
        ),
    )
    arrivals = Arrivals(
        name=name,
        line=f"exchange_line % {PART_LINES}",
        delivery="m.delivery",
        known_at="m.known_at",
        joined=f"JOIN batch_members AS m ON m.part = r.exchange_line // {PART_LINES}",
    )
    columns = ", ".join(identifier(column.name) for column in batch.contract.columns)
    source = (
        f"SELECT exchange_line, {columns}, false AS exchange_withdrawn FROM fresh "
        f"WHERE exchange_line < {batch.end * PART_LINES}"
    )
    files = write_rows(
        batch.connection, batch.contract, arrivals, source, rows=rows, folder=batch.folder, hidden=hidden
    )
    batch.connection.unregister("batch_members")
    shared: dict[str, dict[str, int]] = {}
    for part, one in counts.items():
        for partition, some in one.partitions.items():
            shared.setdefault(partition, {})[batch.members[part]["delivery"]] = some
    return [replace(file, shared=shared[file.partition]) for file in files]


def _receipts(
    batch: _Batch,
    columns: _Columns,
    measures: dict[int, Measures],
    counts: dict[int, _Counts],
    *,
    name: str | None = None,
) -> list[dict[str, Any]]:
    contract, past = batch.contract, batch.past
    nothing = _Counts(accepted=0, corrections=0, partitions={})
    by_delivery: dict[str, dict[str, Any]] = {}
    for part, member in enumerate(batch.members[: batch.end]):
        if part in batch.repeated:
            earlier = by_delivery.get(batch.repeated[part]) or past.loaded[member["sha256"]].receipt
            receipt = repetition(contract, member, earlier)
        else:
            one, count = measures[part], counts.get(part, nothing)
            result = Reconciled(
                accepted=count.accepted, duplicates=one.rows - count.accepted, corrections=count.corrections
            )
            profile, alarms = judge_profile(
                contract, member, one.profile, delivered=one.rows, before=past.profiles, last=past.last
            )
            receipt = build_receipt(
                sender=Sender.of(contract),
                delivery=member,
                status="accepted",
                delivered=one.rows,
                accepted=result.accepted,
                duplicates=result.duplicates,
                corrections=result.corrections,
                warnings=[*column_warnings(columns.unknown, columns.dropped, one.rows), *alarms],
                columns=columns.order,
                levels=one.levels,
                profile=profile,
                checks=checks_held(contract, one.rows, one.nulls),
                partitions=list(count.partitions),
                batch=name,
                message=accepted_message(result, 0),
                next_step="Nothing is to be done.",
            )
            past.profiles.appendleft({**profile, "delivered": one.rows})
        past.last = member["received_at"]
        by_delivery[member["delivery"]] = receipt
    return list(by_delivery.values())
