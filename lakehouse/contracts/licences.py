"""Licences: what each of them demands, and whether what a mart states keeps the demands of all its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_EU = "http://publications.europa.eu/resource/authority/licence/"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """One licence. ``id`` is SPDX's where SPDX has one; ``uri`` that of the EU's table of licences, else the text's.

    ``share_alike``: the licences under which what is made of it may be published; empty where it asks for none.
    ``closed``: it grants nothing to the public.
    """

    id: str
    title: str
    uri: str
    attribution: bool = True
    commercial: bool = True
    derivatives: bool = True
    share_alike: frozenset[str] = frozenset()
    closed: bool = False


@dataclass(frozen=True, kw_only=True)
class LicensedInput:
    """A dataset that a mart is made of, with what its provider asks for."""

    dataset: str
    licence: str
    attribution: str


@dataclass(frozen=True, kw_only=True)
class Clash:
    """An input whose licence the mart does not keep (or the mart's own, ``dataset`` being ``None``)."""

    dataset: str | None
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}. Next: {self.remedy}"


def _table(*terms: Terms) -> dict[str, Terms]:
    return {entry.id: entry for entry in terms}


LICENCES = _table(
    Terms(id="CC0-1.0", title="Creative Commons Zero 1.0", uri=f"{_EU}CC0", attribution=False),
    Terms(id="PDDL-1.0", title="ODC Public Domain 1.0", uri=f"{_EU}ODC_PDDL", attribution=False),
    Terms(id="CC-BY-4.0", title="Creative Commons Attribution 4.0", uri=f"{_EU}CC_BY_4_0"),
    Terms(id="ODC-By-1.0", title="Open Data Commons Attribution 1.0", uri=f"{_EU}ODC_BY"),
    Terms(id="NLOD-2.0", title="Norwegian Licence for Open Government Data 2.0", uri=f"{_EU}NLOD_2_0"),
    Terms(
        id="DMI-open-data",
        title="Free data of the Danish Meteorological Institute",
        uri="https://opendatadocs.dmi.govcloud.dk/en/Terms_of_Use",
    ),
    Terms(
        id="LicenseRef-VBB-open-data",
        title="Open data of Verkehrsverbund Berlin-Brandenburg",
        uri="https://www.vbb.de/vbb-services/api-open-data/datensaetze/",
    ),
    Terms(
        id="CC-BY-SA-4.0",
        title="Creative Commons Attribution-ShareAlike 4.0",
        uri=f"{_EU}CC_BYSA_4_0",
        share_alike=frozenset({"CC-BY-SA-4.0"}),
    ),
    Terms(
        id="ODbL-1.0",
        title="Open Database License 1.0",
        uri=f"{_EU}ODC_BL",
        share_alike=frozenset({"ODbL-1.0"}),
    ),
    Terms(
        id="CC-BY-NC-4.0",
        title="Creative Commons Attribution-NonCommercial 4.0",
        uri=f"{_EU}CC_BYNC_4_0",
        commercial=False,
    ),
    Terms(
        id="CC-BY-NC-SA-4.0",
        title="Creative Commons Attribution-NonCommercial-ShareAlike 4.0",
        uri=f"{_EU}CC_BYNCSA_4_0",
        commercial=False,
        share_alike=frozenset({"CC-BY-NC-SA-4.0"}),
    ),
    Terms(
        id="CC-BY-ND-4.0",
        title="Creative Commons Attribution-NoDerivatives 4.0",
        uri=f"{_EU}CC_BYND_4_0",
        derivatives=False,
    ),
    Terms(
        id="CC-BY-NC-ND-4.0",
        title="Creative Commons Attribution-NonCommercial-NoDerivatives 4.0",
        uri=f"{_EU}CC_BYNCND_4_0",
        commercial=False,
        derivatives=False,
    ),
    Terms(
        id="LicenseRef-agreement",
        title="By agreement with the exchange alone",
        uri="https://w3id.org/city-data-exchange/licence/agreement",
        closed=True,
    ),
)


def clashes(*, licence: str, access: str, priced: bool, inputs: Iterable[LicensedInput]) -> list[Clash]:
    """Every clash between what a mart states and what its inputs demand; empty where it may be published so.

    ``access`` and ``priced`` are the mart's: whoever reads it must get what the inputs' licences give everybody.
    """
    stated = LICENCES.get(licence)
    if stated is None:
        known = ", ".join(sorted(LICENCES))
        return [
            Clash(
                dataset=None,
                problem=f"nobody knows what the mart's licence {licence!r} demands",
                remedy=f"state one of {known}, or add it to lakehouse/contracts/licences.py",
            )
        ]
    ordered = sorted(set(inputs), key=lambda entry: (entry.dataset, entry.licence, entry.attribution))
    return [clash for entry in ordered for clash in _clashes_of(entry, stated, access=access, priced=priced)]


def _clashes_of(entry: LicensedInput, stated: Terms, *, access: str, priced: bool) -> Iterator[Clash]:
    def clash(problem: str, remedy: str) -> Clash:
        return Clash(
            dataset=entry.dataset, problem=f"{entry.dataset} is under {entry.licence}: {problem}", remedy=remedy
        )

    terms = LICENCES.get(entry.licence)
    if terms is None:
        yield clash(
            "nobody knows what that demands",
            "ask the provider, and state its licence in the contract (known ones stand in lakehouse/contracts/"
            "licences.py)",
        )
        return
    if not terms.derivatives:
        yield clash("nothing may be made of it", "take the dataset out of the mart, or ask for another licence")
        return
    if not terms.commercial and priced:
        yield clash("it may not be sold, and the mart has a price", "take the price off, or the dataset out")
    if not terms.commercial and stated.commercial and not terms.share_alike:
        yield clash(
            f"it may not be used commercially, and the mart's {stated.id} allows that",
            "state CC-BY-NC-4.0 for the mart, or take the dataset out",
        )
    if terms.share_alike and stated.id not in terms.share_alike:
        yield clash(
            f"what is made of it must stay under it, and the mart states {stated.id}",
            f"state {' or '.join(sorted(terms.share_alike))} for the mart, or take the dataset out",
        )
    if terms.share_alike and access == "agreement":
        yield clash(
            "what is made of it must be free to pass on, and the mart is given out by agreement alone",
            "set access to open or registered, or take the dataset out",
        )
    if terms.attribution and not stated.attribution:
        yield clash(
            f"its provider must be named, and the mart's {stated.id} lets readers leave that out",
            "state CC-BY-4.0 for the mart, or take the dataset out",
        )
    if terms.attribution and not entry.attribution.strip():
        yield clash("its provider must be named, and no name is stated", "state attribution in the dataset's contract")
