"""Private columns may reach a mart only under a policy that covers them."""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.odcs import Contract


class UncoveredPrivateData(RuntimeError):
    """A mart states that nothing personal is in it, but its lineage says otherwise."""


def require_policy(*, mart: Mart, inputs: Iterable[Contract]) -> None:
    """Raises :class:`UncoveredPrivateData`, which stops the build, naming the private columns.

    Lineage is that of models: a mart below a private dataset is private whatever columns it selects.
    """
    if mart.private:
        return
    found = [
        f"{contract.key}: {', '.join(column.name for column in contract.columns if column.classification.private)}"
        for contract in inputs
        if contract.private
    ]
    if found:
        raise UncoveredPrivateData(
            f"{mart.name} has privacy kind 'open' but is made of private columns ({'; '.join(found)}). "
            f"State an aggregate policy in {mart.path.name}, or take the dataset out of its lineage."
        )
