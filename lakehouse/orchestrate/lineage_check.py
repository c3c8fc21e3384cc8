"""What contracts and marts show by their lineage already, before anything is delivered or built: clashes of licences,
and private data that no policy covers."""

from __future__ import annotations

from collections.abc import Iterator

from lakehouse.build.dbt import BuildFailed, DbtProject
from lakehouse.build.lineage import HiddenLineage, NoSuchModel
from lakehouse.contracts.licences import LicensedInput, clashes
from lakehouse.contracts.load import ContractError, Fault, line_of, read_yaml
from lakehouse.contracts.mart import META, Mart, Position, read_marts
from lakehouse.contracts.odcs import Contract
from lakehouse.exchange import Exchange
from lakehouse.privacy.lineage import UncoveredPrivateData, require_policy
from lakehouse.settings import Settings

LICENCE, PRIVACY = (*META, "licence"), (*META, "privacy")


def lineage_faults(settings: Settings) -> list[Fault]:
    """What each mart states against what the contracts of its lineage do, and marts whose lineage cannot be read.
    None where a contract or a mart is faulty, for which there are faults of their own."""
    exchange = Exchange(settings)
    try:
        marts = read_marts(settings.marts_path)
        project = DbtProject(exchange)
    except ContractError:
        return []
    except BuildFailed as error:
        return [Fault(file="dbt_project", line=1, field="(file)", problem=str(error))]
    return [fault for mart in marts.values() for fault in _mart_faults(exchange, project, mart)]


def _mart_faults(exchange: Exchange, project: DbtProject, mart: Mart) -> Iterator[Fault]:
    shown = str(mart.path.relative_to(exchange.settings.project))
    try:
        lineage = project.lineage(mart.name)
    except (NoSuchModel, HiddenLineage) as error:
        yield Fault(file=shown, line=1, field="(file)", problem=str(error))
        return
    document = read_yaml(mart.path, shown=shown)

    def fault(place: Position, problem: str) -> Fault:
        return Fault(file=shown, line=line_of(document, place), field=".".join(map(str, place)), problem=problem)

    try:
        require_policy(mart=mart, selected=lineage.selected, datasets=lineage.datasets, contracts=exchange.contracts)
    except UncoveredPrivateData as error:
        yield fault(PRIVACY, str(error))
    for clash in clashes(
        licence=mart.exchange.licence.id,
        access=mart.exchange.access,
        priced=bool(mart.exchange.price),
        inputs=[_licensed(exchange.contract(key)) for key in lineage.datasets],
    ):
        yield fault(LICENCE, str(clash))


def _licensed(contract: Contract) -> LicensedInput:
    licence = contract.exchange.licence
    return LicensedInput(dataset=contract.key, licence=licence.id, attribution=licence.attribution)
