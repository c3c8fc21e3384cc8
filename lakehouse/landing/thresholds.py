"""What a delivery is refused for whole, once its rows have been judged: the limits that its contract states."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from lakehouse.contracts.odcs import Contract
from lakehouse.landing.refusal import DeliveryRefused


def beyond_threshold(contract: Contract, delivered: int, refused: int) -> bool:
    """Whether more rows were refused than the contract allows."""
    # As decimals: 0.29 of 100 rows is 29, where floats make it a little less.
    return refused > Decimal(str(contract.exchange.thresholds.max_refused_share)) * delivered


def refuse_beyond_threshold(contract: Contract, delivered: int, refused: int, checks: list[dict[str, Any]]) -> None:
    """Raises :class:`DeliveryRefused` for too many wrong rows, or a check that does not hold and is an error."""
    if beyond_threshold(contract, delivered, refused):
        limit = contract.exchange.thresholds.max_refused_share
        raise DeliveryRefused(
            "too_many_refused",
            f"{refused:,} of {delivered:,} rows are wrong, more than the {limit:.0%} that the contract allows.",
            "See the errors below: most often a column, a unit or a format has changed. Mend the file, deliver anew.",
        )
    for check in checks:
        if not check["success"] and check["severity"] == "error":
            raise DeliveryRefused(
                "contract_expectation",
                f"{check['expectation']} does not hold: {check['found']}.",
                "Check that the file is the whole delivery, and deliver it anew.",
            )


def refuse_changed_units(contract: Contract, found: list[dict[str, Any]]) -> None:
    """Raises :class:`DeliveryRefused` where a unit has changed, as ``found`` tells, and the contract refuses that."""
    if found and contract.exchange.thresholds.unit_change == "refuse":
        raise DeliveryRefused(
            "unit_changed",
            " ".join(f"{entry['source_column']!r} is expected to hold {entry['expected']}." for entry in found),
            found[0]["advice"],
        )
