"""Private columns may reach a mart only under a policy that covers them."""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.odcs import Contract


class UncoveredPrivateData(RuntimeError):
    """A mart's SQL is made of private data, and its policy does not allow that."""


def require_policy(*, mart: Mart, inputs: Iterable[Contract]) -> None:
    """Raises :class:`UncoveredPrivateData`, which stops the build, naming the private columns.

    ``inputs`` are what the mart's own SQL is made of. Lineage is that of models: a mart below a private dataset
    is private whatever columns it selects. A mart that the build fills must be free of them too, as an open one is:
    its counts come by the noise, or past what is withheld, and in no other way.
    """
    if mart.exchange.privacy.kind == "aggregate":
        return
    found = [
        f"{contract.key}: {', '.join(column.name for column in contract.columns if column.classification.private)}"
        for contract in inputs
        if contract.private
    ]
    if found:
        remedy = {
            "open": f"State an aggregate policy in {mart.path.name}, or take the dataset out of its lineage.",
            "dp": "Select from the public key set alone, and leave the measure to the noise.",
            "suppress": "Select from the public classes alone, and leave the measure to the build.",
        }
        kind = mart.exchange.privacy.kind
        raise UncoveredPrivateData(
            f"{mart.name} has privacy kind {kind!r} but its SQL is made of private columns ({'; '.join(found)}). "
            f"{remedy[kind]}"
        )
