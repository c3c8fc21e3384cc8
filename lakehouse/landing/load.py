"""Loading one sealed delivery: its bytes into clean files and quarantine, and what the receipt says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.landing.checks import delivery_checks
from lakehouse.landing.clean import (
    CleanFile,
    Standing,
    StandingChanged,
    clean_rows,
    standing_files,
    write_partitions,
)
from lakehouse.landing.columns import dropped_columns, unknown_columns
from lakehouse.landing.evolution import explained, refuse_changed_types, reordered_columns
from lakehouse.landing.excel import name_excel
from lakehouse.landing.moves import judging_partitions, rows_move, withdraw_moved, without_withdrawn
from lakehouse.landing.personal_data import refuse_personal_data
from lakehouse.landing.plain_look import PlainLook
from lakehouse.landing.plain_measures import sample_typed
from lakehouse.landing.plain_rows import PlainRows
from lakehouse.landing.plausibility import changed_units, levels
from lakehouse.landing.profile import measure_exact, profile_delivery
from lakehouse.landing.pseudonymise import Hidden, hide_ids
from lakehouse.landing.quick import read_quickly
from lakehouse.landing.quick_rows import number_rest
from lakehouse.landing.read import read_file
from lakehouse.landing.receipt import (
    Sender,
    build_receipt,
    column_entry,
    next_step,
    refusal_entry,
    summarise_faults,
)
from lakehouse.landing.reconcile import Reconciled, reconcile
from lakehouse.landing.refusal import DeliveryRefused
from lakehouse.landing.thresholds import beyond_threshold, refuse_beyond_threshold, refuse_changed_units
from lakehouse.landing.type_rows import FileRows, create_tables, type_rows
from lakehouse.landing.unpack import PlainFile, unpack
from lakehouse.privacy.vault import VaultChanged
from lakehouse.storage.sql import literal

# What DuckDB raises for other reasons than a damaged file: then a delivery waits for the next try.
NOT_DAMAGE = (
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
)

# Of plain rows: as long as fewer are left, one thread reads these, for another one looks at the plain rows meanwhile.
# A second would mostly wait for work, which DuckDB does by asking for it.
FEW_LEFT = 0.05


@dataclass(kw_only=True)
class Tally:
    """What has been read so far, in rows. ``unknown`` and ``dropped`` columns in the order in which they were met;
    ``order``: the contract's columns in that of the first table."""

    delivered: int = 0
    bad: int = 0
    warned: int = 0
    unknown: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    def add(self, rows: FileRows, unknown: Iterable[str], dropped: Iterable[str], order: list[str]) -> None:
        self.delivered += rows.delivered
        self.bad += rows.bad
        self.warned += rows.warned
        self.unknown += [name for name in unknown if name not in self.unknown]
        self.dropped += [name for name in dropped if name not in self.dropped]
        self.order = self.order or order


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What came of a delivery: its receipt, the clean files that it adds, the file of its ``faults``, of so many
    rows, for quarantine, and what it was judged by (``None`` where it was refused before that)."""

    receipt: dict[str, Any]
    files: list[CleanFile] = field(default_factory=list)
    faults: Path
    fault_rows: int
    standing: Standing | None = None


def load(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    *,
    instead: Mapping[str, Sequence[CleanFile]] | None = None,
    told: Mapping[str, dict[str, Any]] | None = None,
    trial: bool = False,
) -> Loaded:
    """Reads a sealed delivery, its row of the index, and writes below ``folder``; nothing in the lake is changed, but
    that salts of new people are drawn where it is no ``trial``.

    ``instead``: see :func:`lakehouse.landing.clean.standing_files`; ``told``: receipts by delivery, in the place of
    those of the index.
    Raises :class:`lakehouse.landing.clean.StandingChanged` where others took in people meanwhile.
    """
    create_tables(connection, contract)
    tally, plain = Tally(), PlainRows(contract, folder)
    try:
        with PlainLook(contract, delivery, plain, folder / "draft") as look:
            files = _plain_files(exchange, contract, delivery, folder)
            for part, file in enumerate(files):
                last = look if file is files[-1] else None
                with _names_member(file):
                    file, found = _read(exchange, contract, connection, file, part, plain, last)
                    tally.add(*found)
                    if tally.bad:
                        name_excel(connection, contract, file.form)
                    if beyond_threshold(contract, tally.delivered, tally.bad):
                        refuse_changed_types(exchange, contract, connection, file)
            if tally.delivered == 0:
                raise DeliveryRefused("no_rows", "The file holds no rows.", "Deliver the file with its data in it.")
            if struck := refuse_personal_data(connection, contract, plain):
                tally.bad += struck
                look.begin_again()
            return _reconciled(
                exchange, contract, delivery, connection, folder, tally, plain, look, instead or {}, told, trial
            )
    except DeliveryRefused as refusal:
        return _refused(contract, delivery, connection, folder, tally, refusal)
    finally:
        if plain.rows:
            connection.execute(f"SET threads = {exchange.settings.threads}")


@contextmanager
def _names_member(file: PlainFile) -> Iterator[None]:
    """A refusal says which of an archive's files it is about."""
    try:
        yield
    except DeliveryRefused as refusal:
        refusal.member = file.member
        raise


def _plain_files(exchange: Exchange, contract: Contract, delivery: dict[str, Any], folder: Path) -> list[PlainFile]:
    # Under a name of our own: DuckDB would take brackets and stars in the provider's for a pattern.
    path, sealed = folder / "delivered", exchange.lake.local_path("raw", delivery["raw_key"])
    if sealed is None:
        exchange.lake.download("raw", delivery["raw_key"], path)
    else:
        path.symlink_to(sealed)
    return unpack(
        path=path,
        name=delivery["file"],
        forms=contract.exchange.delivery.forms,
        folder=folder / "unpacked",
        max_bytes=exchange.settings.max_unpacked_bytes,
        members=contract.exchange.delivery.members,
        survey=False,
    )


def _read(
    exchange: Exchange,
    contract: Contract,
    connection: duckdb.DuckDBPyConnection,
    file: PlainFile,
    part: int,
    plain: PlainRows,
    look: PlainLook | None,
) -> tuple[PlainFile, tuple[FileRows, list[str], list[str], list[str]]]:
    """Reads a file, which is returned as it was read; ``look``: at the plain rows, which no other file adds to."""
    try:
        file, rest = read_quickly(connection, file, contract, part, plain)
        if look is not None:
            look.begin()
            if rest and len(rest.lines) < FEW_LEFT * rest.plain:
                connection.execute("SET threads = 1")
        found = read_file(connection=connection, file=rest.file if rest else file, contract=contract)
        if rest:
            number_rest(connection, rest)
            plain.show(connection)
    except DeliveryRefused as refusal:
        if refusal.rule != "missing_columns":
            raise
        raise explained(exchange, contract, connection, file, refusal) from None
    except (duckdb.Error, UnicodeDecodeError) as error:
        if isinstance(error, duckdb.OutOfMemoryException) and file.form.format in ("json", "geojson"):
            raise DeliveryRefused(
                "document_too_large",
                f"{file.name} is one document of {file.path.stat().st_size:,} bytes, more than fits into memory.",
                "Deliver a record a line (ndjson) where the contract takes it, or several smaller files.",
            ) from None
        # A damaged Parquet file may even break the message about it.
        if isinstance(error, NOT_DAMAGE) or "No space left" in str(error):
            raise
        # DuckDB's words may show a value, and name files of this machine.
        words = str(error).splitlines()[0].replace(str(file.path), file.name)
        detail = "" if contract.private or isinstance(error, UnicodeDecodeError) else f" ({words})"
        raise DeliveryRefused(
            "unreadable",
            f"{file.name} cannot be read as {file.form.format}{detail}.",
            "Check that the file is whole and in the form that the contract states, and deliver it anew.",
        ) from error
    rows = type_rows(connection=connection, contract=contract, file=rest.file if rest else file, part=part)
    if rest:
        rows = replace(rows, delivered=rows.delivered + rest.plain)
    # The text has been typed: its memory is for what follows.
    connection.execute("DROP TABLE IF EXISTS delivered_rows")
    # A record of JSON may well leave out a field without a value.
    table = file.form.format not in ("json", "ndjson", "geojson", "xml")
    if not table:
        return file, (rows, unknown_columns(contract, found), [], [])
    known = {column.source for column in contract.columns}
    order = [name for name in found if name in known]
    return file, (rows, unknown_columns(contract, found), dropped_columns(contract, found), order)


def _reconciled(
    exchange: Exchange,
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    tally: Tally,
    plain: PlainRows,
    look: PlainLook,
    instead: Mapping[str, Sequence[CleanFile]],
    told: Mapping[str, dict[str, Any]] | None,
    trial: bool,
) -> Loaded:
    moves = rows_move(contract)
    hidden = hidden_ids(exchange, contract, connection, plain, trial)
    partitions = judging_partitions(exchange, contract, connection, plain, instead)
    standing = standing_files(exchange, contract, partitions, before=delivery["delivery"], instead=instead)
    standing = replace(standing, vault=hidden.state)
    earlier = clean_rows(contract, standing.urls, before=delivery["delivery"]) if standing.urls else None
    rows = hidden.known(earlier) if earlier else None
    if moves and rows is not None:
        rows = without_withdrawn(rows)
    result = reconcile(connection=connection, contract=contract, standing=rows, plain=plain, own=look.contested())
    refused = tally.delivered - result.accepted - result.duplicates
    checks = delivery_checks(connection, contract, tally.delivered)
    refuse_beyond_threshold(contract, tally.delivered, refused, checks)
    sample = sample_typed(connection, contract, plain, tally.delivered)
    level = levels(connection, contract, sample)
    unit_changes = changed_units(exchange, contract, level, before=delivery["delivery"], told=told)
    refuse_changed_units(contract, unit_changes)
    stored = withdraw_moved(connection, contract, rows) if moves else result.accepted
    faults, fault_rows = write_faults(connection, folder)
    if moves:
        hidden.pass_on(connection, "FROM stored WHERE exchange_line = 0")
    noticed = [
        *_warnings(connection, contract, tally),
        *reordered_columns(exchange, contract, delivery, tally.order, tally.delivered),
        *unit_changes,
    ]
    errors = summarise_faults(connection, contract, warnings=False) if refused else []
    exact = measure_exact(connection, contract, plain, sample)
    # Last, for the plain rows are being written and measured meanwhile.
    files = write_partitions(
        connection=connection,
        contract=contract,
        delivery=delivery,
        rows=stored,
        folder=folder,
        hidden=hidden,
        plain=plain,
        drafted=look.drafted,
        moved=moves,
    )
    profile, alarms = profile_delivery(
        exchange, contract, delivery, connection, tally.delivered, plain, look.measured(), exact
    )
    warnings = [*noticed, *alarms]
    receipt = build_receipt(
        sender=Sender.of(contract),
        delivery=delivery,
        status="partly_accepted" if refused else "accepted",
        delivered=tally.delivered,
        accepted=result.accepted,
        refused=refused,
        duplicates=result.duplicates,
        corrections=result.corrections,
        withdrawn=stored - result.accepted,
        errors=errors,
        warnings=warnings,
        columns=tally.order,
        levels=level,
        profile=profile,
        checks=checks,
        partitions=sorted({file.partition for file in files}),
        message=accepted_message(result, refused),
        next_step=next_step(refused, warnings),
    )
    return Loaded(receipt=receipt, files=files, faults=faults, fault_rows=fault_rows, standing=standing)


def hidden_ids(
    exchange: Exchange, contract: Contract, connection: duckdb.DuckDBPyConnection, plain: PlainRows, trial: bool
) -> Hidden:
    """Raises :class:`lakehouse.landing.clean.StandingChanged` where others took in people meanwhile."""
    try:
        return hide_ids(exchange, contract, connection, plain, stored=not trial)
    except VaultChanged:
        raise StandingChanged from None


def _warnings(connection: duckdb.DuckDBPyConnection, contract: Contract, tally: Tally) -> list[dict[str, Any]]:
    found = summarise_faults(connection, contract, warnings=True) if tally.warned else []
    return [*found, *column_warnings(tally.unknown, tally.dropped, tally.delivered)]


def column_warnings(unknown: Iterable[str], dropped: Iterable[str], rows: int) -> list[dict[str, Any]]:
    """Entries for columns that the contract does not know, and for optional ones that are not there."""
    more = (
        "only columns of the contract; this one was not loaded",
        "If it matters, ask for it to be added to the contract.",
    )
    less = "this optional column too; it is empty throughout", "If it is gone for good, ask for it to be taken out."
    return [
        *(column_entry("unknown_column", name, rows, *more) for name in unknown),
        *(column_entry("dropped_column", name, rows, *less) for name in dropped),
    ]


def accepted_message(result: Reconciled, refused: int) -> str:
    parts = [f"{result.accepted:,} row{'' if result.accepted == 1 else 's'} accepted"]
    if result.corrections:
        parts.append(f"{result.corrections:,} of them corrections")
    if refused:
        parts.append(f"{refused:,} refused")
    if result.duplicates:
        parts.append(f"{result.duplicates:,} known already")
    return ", ".join(parts) + "."


def _refused(
    contract: Contract,
    delivery: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    tally: Tally,
    refusal: DeliveryRefused,
) -> Loaded:
    faults, fault_rows = write_faults(connection, folder)
    receipt = build_receipt(
        sender=Sender.of(contract),
        delivery=delivery,
        status="refused",
        delivered=tally.delivered,
        refused=tally.delivered,
        errors=[
            refusal_entry(refusal, tally.delivered),
            *summarise_faults(connection, contract, warnings=False),
        ],
        contract_change=refusal.change,
        message=f"The delivery was refused whole. {refusal.words}",
        next_step=refusal.advice,
    )
    return Loaded(receipt=receipt, faults=faults, fault_rows=fault_rows)


def write_faults(connection: duckdb.DuckDBPyConnection, folder: Path) -> tuple[Path, int]:
    """The refused rows, with the row as it was delivered, for reviewers; and how many faults they have."""
    path = folder / "faults.parquet"
    written = connection.execute(
        'COPY (SELECT member, line, column_name AS "column", value, rule, expected, row_text AS row FROM faults '
        f'WHERE NOT warning ORDER BY part, line, ordinal, rule, "column") TO {literal(str(path))} '
        "(FORMAT parquet, COMPRESSION zstd)"
    ).fetchone()
    return path, int(written[0]) if written else 0
