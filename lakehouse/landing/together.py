"""Many small deliveries of one dataset, loaded together: one reading, one clean file a partition, a receipt each.

What is judged, and by what, is what would be if each were loaded alone after those before it. A delivery about which
there is anything to say (a wrong row, a warning, another header, a unit that changed) ends the batch before it and is
loaded alone: so each fault is found by the same rules, whichever way a delivery went.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from lakehouse.contracts.forms import CsvForm, FileForm, JsonForm
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.batch import Batch, Delivery, Past, batch_name
from lakehouse.landing.batch_outcome import Columns, batch_receipts, count_rows, write_clean
from lakehouse.landing.checks import checks_held
from lakehouse.landing.clean import (
    CleanFile,
    Standing,
    clean_rows,
    standing_files,
)
from lakehouse.landing.columns import dropped_columns, unknown_columns
from lakehouse.landing.evolution import reordered_columns
from lakehouse.landing.joined import Joined, join
from lakehouse.landing.load import hidden_ids
from lakehouse.landing.measure_each import PART, Measures, measure_each, with_many_long_numbers
from lakehouse.landing.moves import judging_partitions, rows_move, without_withdrawn
from lakehouse.landing.personal_data import refuse_personal_data
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.plausibility import unlike_levels
from lakehouse.landing.quick_rows import Rest, number_rest
from lakehouse.landing.read import read_file
from lakehouse.landing.reconcile import reconcile
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.repeats import is_extract
from lakehouse.landing.type_rows import PART_LINES, create_tables, type_joined
from lakehouse.storage.sql import literal

DOWNLOADS = 8


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


def load_together(
    exchange: Exchange,
    contract: Contract,
    members: Sequence[Delivery],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    *,
    instead: Mapping[str, Sequence[CleanFile]] | None = None,
    told: Mapping[str, dict[str, Any]] | None = None,
    trial: bool = False,
) -> Together:
    """Loads sealed deliveries, in their order, as far as they go together; nothing in the lake is changed, but that
    salts of new people are drawn where it is no ``trial``. Nothing may have been loaded between them.

    Raises what :func:`lakehouse.landing.load.load` raises.
    """
    batch = Batch(
        exchange=exchange,
        contract=contract,
        connection=connection,
        folder=folder,
        members=members,
        past=Past.of(exchange, contract, members, told),
        end=len(members),
    )
    joined = _join(batch)
    if batch.end < 2:
        return Together(odd={members[0]["delivery"]})
    if joined is None:
        return Together(receipts=batch_receipts(batch, Columns(), {}, {}))
    create_tables(connection, contract)
    columns = _read(batch, joined)
    if columns is None:
        return Together(odd={member["delivery"] for member in members[: batch.end]})
    measures = _measure(batch, columns) if batch.end else {}
    if not batch.end:
        return Together(odd=batch.odd)
    return _reconciled(batch, columns, measures, instead or {}, trial)


def _join(batch: Batch) -> Joined | None:
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


def _fetched(batch: Batch, part: int) -> Path:
    raw_key = batch.members[part]["raw_key"]
    local = batch.exchange.lake.local_path("raw", raw_key)
    return local or batch.exchange.lake.download("raw", raw_key, batch.folder / "sealed" / str(part))


def _read(batch: Batch, joined: Joined) -> Columns | None:
    """Types the rows; what is odd among them cuts the batch. ``None`` where the head is not the contract's."""
    connection, contract = batch.connection, batch.contract
    rest = joined.write(batch.folder)
    try:
        found = read_file(connection=connection, file=rest.file, contract=contract)
    except (DeliveryRefused, duckdb.InvalidInputException, duckdb.ConversionException):
        return None
    if isinstance(joined.form, JsonForm):
        _number_documents(connection, rest)
    else:
        number_rest(connection, rest)
    batch.cut(type_joined(connection, contract, rest.file.form))
    connection.execute("DROP TABLE IF EXISTS delivered_rows")
    table = isinstance(joined.form, CsvForm)
    if not table:
        batch.cut(_with_unknown_fields(connection, contract, rest.file.form))
    batch.keep_rows()
    refuse_personal_data(connection, contract, PlainRows(contract, batch.folder))
    bad = connection.execute(f"SELECT DISTINCT {PART} FROM exact_rows WHERE exchange_bad").fetchall()
    batch.cut(part for (part,) in bad)
    batch.cut(with_many_long_numbers(connection, contract))
    batch.keep_rows()
    if not table:
        return Columns()
    known = {column.source for column in contract.columns}
    return Columns(
        order=[name for name in found if name in known],
        unknown=unknown_columns(contract, found),
        dropped=dropped_columns(contract, found),
    )


def _number_documents(connection: duckdb.DuckDBPyConnection, rest: Rest) -> None:
    """The same of joined documents, each of which is a line of ``rest``: of a row of one its place in the document."""
    places = pl.DataFrame({"place": np.arange(len(rest.lines)) + 1, "line": rest.lines})
    connection.register("left_lines", places.to_arrow())
    line = f"p.line - 1 + {{0}}.exchange_line % {PART_LINES}"
    joined = f"p.place = {{0}}.exchange_line // {PART_LINES}"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE left_places AS FROM left_lines;
        UPDATE delivered_rows SET exchange_line = {line.format("delivered_rows")} FROM left_places AS p
        WHERE {joined.format("delivered_rows")};
        UPDATE malformed SET exchange_line = {line.format("malformed")} FROM left_places AS p
        WHERE {joined.format("malformed")}
        """
    )
    connection.unregister("left_lines")


def _with_unknown_fields(connection: duckdb.DuckDBPyConnection, contract: Contract, form: FileForm) -> set[int]:
    """Files of records with a field that the contract does not know."""
    # Of documents those of the first records, as of one alone.
    keys, place, table, good = "json_keys(l)", "lines.rowid + 1", "lines", "good"
    if isinstance(form, JsonForm):
        keys, place, table, good = "fields", "documents.place", "documents", "items IS NOT NULL"
    fields = connection.execute(f"SELECT DISTINCT unnest({keys}) FROM {table} WHERE {good}").fetchall()
    unknown = unknown_columns(contract, sorted(name for (name,) in fields))
    if not unknown:
        return set()
    listed = ", ".join(literal(name) for name in unknown)
    found = connection.execute(
        f"SELECT DISTINCT p.line // {PART_LINES} FROM {table} JOIN left_places AS p ON p.place = {place} "
        f"WHERE {good} AND list_has_any({keys}, [{listed}])"
    ).fetchall()
    return {part for (part,) in found}


def _measure(batch: Batch, columns: Columns) -> dict[int, Measures]:
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
    batch: Batch,
    columns: Columns,
    measures: dict[int, Measures],
    instead: Mapping[str, Sequence[CleanFile]],
    trial: bool,
) -> Together:
    exchange, contract, connection = batch.exchange, batch.contract, batch.connection
    plain, first = PlainRows(contract, batch.folder), batch.members[0]["delivery"]
    moves = rows_move(contract)
    hidden = hidden_ids(exchange, contract, connection, plain, trial)
    partitions = judging_partitions(exchange, contract, connection, plain, instead)
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
    name = batch_name([member["delivery"] for member in batch.members[: batch.end]])
    counts = count_rows(batch)
    files = write_clean(batch, name, hidden, counts)
    receipts = batch_receipts(batch, columns, measures, counts, name=name)
    return Together(name=name, receipts=receipts, files=files, standing=standing, odd=batch.odd)
