"""The licences of a candidate's actual inputs, held against what its mart states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse.contracts.licences import LicensedInput, clashes
from lakehouse.contracts.mart import Mart
from lakehouse.release.compose import release_inputs
from lakehouse.release.manifest import Candidate, Manifest

if TYPE_CHECKING:
    from lakehouse.gates.report import GateResult

GATE = "Licences"
EXPECTED = "the mart's licence, access and price keep what the licence of every input demands"


def judge_licences(mart: Mart, made: Candidate, base: Manifest | None) -> GateResult:
    """One blocking result. Inputs are those whose rows the release can hold, carried over ones among them, under
    the licence that each had when it was built."""
    from lakehouse.gates.report import GateResult

    inputs = release_inputs(made, base)
    found = clashes(
        licence=mart.exchange.licence.id,
        access=mart.exchange.access,
        priced=bool(mart.exchange.price),
        inputs=[
            LicensedInput(dataset=entry.dataset, licence=entry.licence, attribution=entry.attribution)
            for entry in inputs
        ],
    )
    said = "; ".join(map(str, found)) or f"{len({entry.dataset for entry in inputs})} datasets, no clash"
    return GateResult.of_check("licences_fit", expected=EXPECTED, success=not found, found=f"{said}.", gate=GATE)
