"""Private columns may reach a mart only under a policy that covers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.odcs import Contract
from lakehouse.contracts.policy import OpenPolicy
from lakehouse.privacy.pseudonyms import hidden_columns, names_rows


class UncoveredPrivateData(RuntimeError):
    """A mart's SQL is made of private data, and its policy does not allow that."""


def require_policy(
    *, mart: Mart, selected: Iterable[str], datasets: Iterable[str], contracts: Mapping[str, Contract]
) -> None:
    """Raises :class:`UncoveredPrivateData`, which stops the build, naming the private columns.

    ``selected`` are the datasets that the mart's own SQL is made of, ``datasets`` those and what the build fills it
    from. Lineage is that of models: a mart below a private dataset is private whatever columns it selects. A mart that
    the build fills must be free of them too, as an open one is: its counts come by the noise, or past what is withheld,
    and in no other way. The units of a private mart are people by an id of a provider: an author's own could count one
    person as many, or hide from the audit that two marts are about the same people.
    """
    kind = mart.exchange.privacy.kind
    if not isinstance(mart.exchange.privacy, OpenPolicy):
        _require_people(mart, mart.exchange.privacy.unit_column, [contracts[key] for key in datasets], contracts)
    if kind == "aggregate":
        return
    found = [
        f"{contract.key}: {', '.join(column.name for column in contract.columns if column.classification.private)}"
        for contract in (contracts[key] for key in sorted(selected))
        if contract.private
    ]
    if found:
        remedy = {
            "open": f"State an aggregate policy in {mart.path.name}, or take the dataset out of its lineage.",
            "dp": "Select from the public key set alone, and leave the measure to the noise.",
            "suppress": "Select from the public classes alone, and leave the measure to the build.",
        }
        raise UncoveredPrivateData(
            f"{mart.name} has privacy kind {kind!r} but its SQL is made of private columns ({'; '.join(found)}). "
            f"{remedy[kind]}"
        )


def _require_people(mart: Mart, name: str, inputs: Iterable[Contract], contracts: Mapping[str, Contract]) -> None:
    people = {
        column.name
        for contract in inputs
        for column in hidden_columns(contract)
        if not names_rows(contracts, contract.provider, column.name)
    }
    if name not in people:
        raise UncoveredPrivateData(
            f"{mart.name}: unit_column is {name!r}, which is no id of a person in what the mart is made of; there are: "
            f"{', '.join(sorted(people)) or 'none'}"
        )
