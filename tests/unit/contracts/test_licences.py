"""What a mart states of its licence is held against what each of its inputs demands."""

import pytest

from lakehouse.contracts.licences import LICENCES, LicensedInput, clashes
from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange
from lakehouse.settings import PROJECT, Settings


def found(
    licence: str, *inputs: str, access: str = "open", priced: bool = False, attribution: str = "Town"
) -> list[str]:
    of = [LicensedInput(dataset=f"town/{one}", licence=one, attribution=attribution) for one in inputs]
    return [str(clash) for clash in clashes(licence=licence, access=access, priced=priced, inputs=of)]


@pytest.mark.parametrize(
    ("licence", "inputs"),
    [
        ("CC0-1.0", ["CC0-1.0", "PDDL-1.0"]),
        ("CC-BY-4.0", ["CC0-1.0", "CC-BY-4.0", "NLOD-2.0", "ODC-By-1.0", "DMI-open-data", "LicenseRef-VBB-open-data"]),
        ("CC-BY-SA-4.0", ["CC-BY-SA-4.0", "CC-BY-4.0", "CC0-1.0"]),
        ("ODbL-1.0", ["ODbL-1.0", "CC-BY-4.0"]),
        ("CC-BY-NC-4.0", ["CC-BY-NC-4.0", "CC-BY-4.0"]),
        ("CC-BY-NC-SA-4.0", ["CC-BY-NC-SA-4.0", "CC-BY-NC-4.0"]),
        ("LicenseRef-agreement", ["CC-BY-4.0"]),
    ],
)
def test_what_keeps_every_demand_passes(licence: str, inputs: list[str]) -> None:
    assert found(licence, *inputs) == []


def test_a_price_is_no_clash_where_selling_is_allowed() -> None:
    assert found("CC-BY-SA-4.0", "CC-BY-SA-4.0", priced=True) == []


@pytest.mark.parametrize(
    ("licence", "given", "why"),
    [
        ("CC-BY-4.0", ["CC-BY-SA-4.0"], "must stay under it, and the mart states CC-BY-4.0. Next: state CC-BY-SA-4.0"),
        ("CC-BY-SA-4.0", ["ODbL-1.0"], "must stay under it, and the mart states CC-BY-SA-4.0"),
        ("LicenseRef-agreement", ["CC-BY-SA-4.0"], "the mart states LicenseRef-agreement"),
        ("CC-BY-4.0", ["CC-BY-NC-4.0"], "not be used commercially, and the mart's CC-BY-4.0 allows that"),
        ("CC-BY-4.0", ["CC-BY-ND-4.0"], "nothing may be made of it"),
        ("CC-BY-NC-4.0", ["CC-BY-NC-ND-4.0"], "nothing may be made of it"),
        ("CC-BY-4.0", ["LicenseRef-unconfirmed"], "nobody knows what that demands. Next: ask the provider"),
        ("CC0-1.0", ["CC-BY-4.0"], "its provider must be named, and the mart's CC0-1.0 lets readers leave that out"),
        ("my own", ["CC0-1.0"], "nobody knows what the mart's licence 'my own' demands"),
    ],
)
def test_each_clash_is_named_with_its_remedy(licence: str, given: list[str], why: str) -> None:
    [clash] = found(licence, *given, "CC0-1.0")
    assert why in clash
    assert ". Next: " in clash


def test_share_alike_cannot_be_given_out_by_agreement_alone() -> None:
    [clash] = found("CC-BY-SA-4.0", "CC-BY-SA-4.0", access="agreement")
    assert "must be free to pass on" in clash


def test_non_commercial_cannot_be_sold() -> None:
    [clash] = found("CC-BY-NC-4.0", "CC-BY-NC-4.0", priced=True)
    assert "may not be sold, and the mart has a price" in clash


def test_two_kinds_of_share_alike_fit_no_licence() -> None:
    for licence in LICENCES:
        assert found(licence, "CC-BY-SA-4.0", "ODbL-1.0"), licence


def test_a_provider_that_must_be_named_has_a_name() -> None:
    [clash] = found("CC-BY-4.0", "CC-BY-4.0", attribution=" ")
    assert "no name is stated" in clash


def test_every_licence_of_ours_is_known() -> None:
    contracts = Exchange(Settings()).contracts.values()
    used = {contract.exchange.licence.id for contract in contracts}
    used |= {mart.exchange.licence.id for mart in read_marts(PROJECT / "dbt_project" / "models" / "marts").values()}
    assert len(used) > 4
    assert used <= LICENCES.keys()
