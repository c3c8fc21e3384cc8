"""What came of deliveries that were read again takes the place of what stood, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.landing.before_after import Replayed
from lakehouse.landing.clean import StandingChanged
from lakehouse.landing.intake import (
    index_rows,
    index_status,
    upload_clean,
)
from lakehouse.landing.judge_again import Part
from lakehouse.storage.index import (
    clean_files,
    deliveries,
    delivery_profiles,
    hold_changes,
    next_change,
    profile_row,
    replaced_files,
    upsert,
)


def take_place(
    exchange: Exchange, group: Sequence[dict[str, Any]], parts: Sequence[Part], outcomes: Sequence[Replayed]
) -> list[dict[str, Any]]:
    """One transaction: the files, status and receipts of all are the new ones. Returns the receipts.

    The files of a delivery stand under keys of one generation, so that the lake alone tells which hold. Where no
    row has changed the old ones stand on. Raises :class:`StandingChanged`.
    """
    before = {delivery["delivery"]: delivery["receipt"] for delivery in group}
    changed = {partition for outcome in outcomes for partition in outcome.partitions}
    generation = max(receipt.get("generation", 0) for receipt in before.values()) + (1 if changed else 0)
    named = [
        (part, replace(file, key=_new_key(file.key, part.name, generation))) for part in parts for file in part.files
    ]
    if changed:
        upload_clean(exchange, [file for _, file in named])
    mine = deliveries.c.delivery.in_(list(before))
    with exchange.index.begin() as connection:
        hold_changes(connection)
        for part in parts:
            if part.standing is not None:
                part.standing.require_unchanged(connection)
        known = connection.execute(sa.select(deliveries.c.delivery, deliveries.c.receipt).where(mine))
        if {row.delivery: row.receipt for row in known} != before:
            raise StandingChanged
        if changed:
            change = next_change(connection)
            rows = [
                dict(row)
                for row in connection.execute(
                    sa.select(clean_files).where(clean_files.c.delivery.in_(list(before)))
                ).mappings()
            ]
            # Where a partition holds the same bytes as before, no build has to look at it.
            since = {row["partition"]: row["change"] for row in rows if row["partition"] not in changed}
            gone = [{**row, "replaced": change} for row in rows if row["partition"] not in since]
            connection.execute(sa.delete(clean_files).where(clean_files.c.delivery.in_(list(before))))
            if gone:
                connection.execute(sa.insert(replaced_files), gone)
            stands = [
                row
                for part, file in named
                for row in index_rows(part.members[0], file, since.get(file.partition, change))
            ]
            if stands:
                connection.execute(sa.insert(clean_files), stands)
        told = [receipt for part in parts for receipt in part.receipts]
        receipts = [
            _receipt(before[receipt["delivery"]], receipt, outcome, generation, changed=bool(changed))
            for receipt, outcome in zip(told, outcomes, strict=True)
        ]
        for receipt in receipts:
            upsert(connection, delivery_profiles, profile_row(receipt))
            connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.delivery == receipt["delivery"])
                .values(
                    status=index_status(receipt),
                    receipt=receipt,
                    receipt_written=False,
                    contract_version=receipt["contract_version"],
                )
            )
    return receipts


def _new_key(key: str, name: str, generation: int) -> str:
    folder, _, file = key.rpartition("/")
    return f"{folder}/{name}-replay{generation}{file.removeprefix(name)}"


def _receipt(
    before: dict[str, Any], after: dict[str, Any], outcome: Replayed, generation: int, *, changed: bool
) -> dict[str, Any]:
    if after is before:
        # It could not be read again: its rows are in files of its own now.
        return {**before, "generation": generation, "batch": None if changed else before.get("batch")}
    released = f"{outcome.released:,} row{'' if outcome.released == 1 else 's'}" if outcome.released else "no row"
    now = datetime.now(UTC)
    return {
        **after,
        "replayed_at": now.isoformat(),
        "before": outcome.before,
        "released_from_quarantine": outcome.released,
        "generation": generation,
        # The name of the files that stand.
        "batch": after["batch"] if changed else before.get("batch"),
        "message": (
            f"Read again on {now:%Y-%m-%d} by version {after['contract_version']} of the contract (before: "
            f"{before['contract_version']}): {released} left quarantine. {after['message']}"
        ),
    }
