"""Subtracting cells of all releases and marts from one another, until the sum of fewer than K units is left."""

from __future__ import annotations

import duckdb

from lakehouse.privacy.attacks.outcome import NAMED, Outcome
from lakehouse.privacy.audit import examine


def differencing(connection: duckdb.DuckDBPyConnection) -> Outcome:
    """``success``: groups below K whose sum was reckoned, and dimensions that could not be proven safe."""
    found = examine(connection)
    groups = len(found.isolated)
    unproven = f", {found.unproven} dimensions without proof" if found.unproven else ""
    return Outcome(
        attack="differencing",
        success=groups + found.unproven,
        chance=0,
        limit=0,
        passed=found.passed,
        found=f"{groups:,} groups below K isolated{unproven}, in {found.blocks:,} periods of a group, in "
        f"{found.overlapping:,} of which cells share units",
        cells=tuple(
            f"{group.units} of at least {group.least} units isolated by {' '.join(group.cells)}"
            for group in found.isolated[:NAMED]
        ),
    )
