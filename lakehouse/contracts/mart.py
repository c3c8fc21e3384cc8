"""A mart's contract: its dbt yml, whose ``config.meta.exchange`` is typed here, unknown keys forbidden."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lakehouse.contracts.load import ContractError, Fault, fault_list, line_of, read_yaml

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Grain = Literal["day", "month", "year"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MartLicence(Strict):
    id: Text
    url: Text


class Partition(Strict):
    """``column`` is a timestamp (UTC), a date or, for grain year, a whole number."""

    column: Text
    grain: Grain


class Cap(Strict):
    value: int = Field(gt=0)
    unit: Text


class ReleasePolicy(Strict):
    """A private partition is published ``final_after_days`` after its end, and then stands."""

    final_after_days: int = Field(default=7, ge=0)
    restatements: Literal[0] = 0


class OpenPolicy(Strict):
    """Nothing personal in it: checked, no private dataset may be in the mart's lineage."""

    kind: Literal["open"]


class AggregatePolicy(Strict):
    """Cells of at least ``k`` units, none holding more than its share. ``contributions``: the relation of the
    build's database from which the gate recounts every published cell."""

    kind: Literal["aggregate"]
    unit: Text
    unit_column: Text
    measure: Text = Field(description="column of the mart that sums the contributions")
    k: dict[Literal["hour", "day", "month"], int]
    cap: Cap
    max_share_percent: int = Field(gt=0, le=50)
    p_percent: int = Field(ge=0, le=100)
    contributions: Text
    release: ReleasePolicy = ReleasePolicy()


class MartExchange(Strict):
    title: Text
    theme: Literal["AGRI", "ECON", "EDUC", "ENER", "ENVI", "GOVE", "HEAL", "JUST", "REGI", "SOCI", "TECH", "TRAN"]
    keywords: list[Text] = Field(default_factory=list)
    licence: MartLicence
    access: Literal["open", "registered", "agreement"]
    price: None | dict[str, Any] = None
    major: int = Field(ge=1)
    key: list[Text] = Field(min_length=1)
    partition: Partition
    freshness_hours: int = Field(gt=0)
    approval: Literal["auto", "required"] = "auto"
    privacy: Annotated[OpenPolicy | AggregatePolicy, Field(discriminator="kind")]


class MartColumn(BaseModel):
    """dbt's own keys of a column are many and not ours to forbid; these are the ones that are needed."""

    model_config = ConfigDict(frozen=True)

    name: Text
    data_type: Text
    description: Text
    config: dict[str, Any] = Field(default_factory=dict)

    @property
    def unit(self) -> str | None:
        unit = self.config.get("meta", {}).get("unit")
        return None if unit is None else str(unit)


class _Meta(BaseModel):
    exchange: MartExchange


class _ContractFlag(BaseModel):
    enforced: Literal[True]


class _Config(BaseModel):
    contract: _ContractFlag
    meta: _Meta


class _Model(BaseModel):
    name: Text
    description: Text
    config: _Config
    columns: list[MartColumn] = Field(min_length=1)


@dataclass(frozen=True)
class Mart:
    """One mart as its yml states it."""

    name: str
    description: str
    exchange: MartExchange
    columns: tuple[MartColumn, ...]
    path: Path

    @cached_property
    def private(self) -> bool:
        return self.exchange.privacy.kind != "open"

    @property
    def major(self) -> int:
        return self.exchange.major

    @property
    def folder(self) -> str:
        """``<mart>/v<major>``, the mart's place in the bucket of marts."""
        return f"{self.name}/v{self.major}"


def read_mart(path: Path, *, root: Path | None = None) -> Mart:
    """Reads ``<mart>.yml``. Raises :class:`ContractError` with every fault of the file."""
    shown = str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)
    document = read_yaml(path, shown=shown)
    models = document.get("models")
    if not isinstance(models, list) or len(models) != 1:
        problem = "must describe exactly one model, the mart"
        raise ContractError([Fault(file=shown, line=line_of(document, ("models",)), field="models", problem=problem)])
    try:
        model = _Model.model_validate(models[0])
    except ValidationError as error:
        raise ContractError(fault_list(error, document, shown, prefix=("models", 0))) from None
    mart = Mart(
        name=model.name,
        description=model.description,
        exchange=model.config.meta.exchange,
        columns=tuple(model.columns),
        path=path,
    )
    faults = [
        Fault(file=shown, line=line_of(document, place), field=".".join(map(str, place)), problem=problem)
        for place, problem in _mart_faults(mart)
    ]
    if faults:
        raise ContractError(sorted(faults))
    return mart


def read_marts(folder: Path) -> dict[str, Mart]:
    """All marts of ``dbt_project/models/marts`` by name. Raises :class:`ContractError` with all faults."""
    marts: dict[str, Mart] = {}
    faults: list[Fault] = []
    for path in sorted(folder.glob("*.yml")):
        try:
            mart = read_mart(path, root=folder.parents[2])
        except ContractError as error:
            faults.extend(error.faults)
        else:
            marts[mart.name] = mart
    if faults:
        raise ContractError(faults)
    return marts


def _mart_faults(mart: Mart) -> list[tuple[tuple[str | int, ...], str]]:
    found: list[tuple[tuple[str | int, ...], str]] = []
    exchange, names = mart.exchange, [column.name for column in mart.columns]
    place = ("models", 0, "config", "meta", "exchange")
    if mart.name != mart.path.stem:
        found.append((("models", 0, "name"), f"is {mart.name!r}, but the file is {mart.path.name}"))
    if not mart.path.with_suffix(".sql").exists():
        found.append((("models", 0, "name"), f"has no {mart.path.stem}.sql beside its yml"))
    for name in exchange.key:
        if name not in names:
            found.append(((*place, "key"), f"{name!r} is not a column of the mart"))
    if exchange.partition.column not in names:
        found.append(((*place, "partition", "column"), f"{exchange.partition.column!r} is not a column of the mart"))
    numbers = ("INT", "DECIMAL", "DOUBLE", "FLOAT", "NUMERIC")
    for index, column in enumerate(mart.columns):
        if column.data_type.upper().startswith(numbers + ("BIGINT", "SMALLINT", "HUGEINT")) and column.unit is None:
            problem = f"{column.name!r} is a number without config.meta.unit ('1' for a pure number)"
            found.append((("models", 0, "columns", index), problem))
    return found
