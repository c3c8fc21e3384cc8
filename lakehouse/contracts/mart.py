"""A mart's contract: its dbt yml, whose ``config.meta.exchange`` is typed here, unknown keys forbidden."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lakehouse.contracts.load import ContractError, Fault, fault_list, line_of, read_yaml
from lakehouse.contracts.policy import AggregatePolicy, DpPolicy, Policy, Strict, SuppressPolicy, Text

Grain = Literal["day", "month", "year"]
HighValue = Literal["geospatial", "environment", "meteorological", "statistics", "companies", "mobility"]
Position = tuple[str | int, ...]

META: Position = ("models", 0, "config", "meta", "exchange")
INTEGERS = (
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
)
NUMBERS = (*INTEGERS, "DECIMAL", "NUMERIC", "DOUBLE", "FLOAT", "REAL")
MOMENTS = ("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", "DATE")


class MartLicence(Strict):
    id: Text
    url: Text


class Partition(Strict):
    """``column`` is a timestamp (UTC), a date or, for grain year, a whole number.

    A row must be made of inputs of its own period (of readings also within their margin, see
    :mod:`lakehouse.build.plan`): a build reads no others, so a period by another clock would come out in parts.
    """

    column: Text
    grain: Grain


class Place(Strict):
    """Where the data is about: its name, and its address in the EU's vocabularies of places or in GeoNames."""

    name: Text
    uri: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]


class MartExchange(Strict):
    title: Text
    theme: Literal["AGRI", "ECON", "EDUC", "ENER", "ENVI", "GOVE", "HEAL", "JUST", "REGI", "SOCI", "TECH", "TRAN"]
    keywords: list[Text] = Field(default_factory=list)
    licence: MartLicence
    access: Literal["open", "registered", "agreement"]
    price: dict[str, Any] | None = None
    major: int = Field(ge=1)
    overlap_days: int | None = Field(default=None, ge=0)
    key: list[Text] = Field(min_length=1)
    partition: Partition
    spatial: tuple[Place, ...] = ()
    high_value: HighValue | None = Field(
        default=None, description="category of Implementing Regulation (EU) 2023/138, where the mart is in its annex"
    )
    freshness_hours: int = Field(gt=0)
    approval: Literal["auto", "required"] = "auto"
    privacy: Policy


class MartColumn(BaseModel):
    """dbt's own keys of a column are many and not ours to forbid; these are the ones that are needed."""

    model_config = ConfigDict(frozen=True)

    name: Text
    data_type: Text
    description: Text
    constraints: list[dict[str, Any]] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)
    data_tests: list[Any] = Field(default_factory=list)

    @property
    def kind(self) -> str:
        """The type without its arguments, in capitals: ``DECIMAL`` of ``decimal(9, 2)``."""
        return self.data_type.split("(")[0].strip().upper()

    @property
    def required(self) -> bool:
        return any(constraint.get("type") == "not_null" for constraint in self.constraints)

    @property
    def published_contact(self) -> bool:
        """Whether it names where to turn to, an office's address or telephone, and is meant to be published."""
        return bool(self.config.get("meta", {}).get("published_contact", False))

    @property
    def unit(self) -> str | None:
        unit = self.config.get("meta", {}).get("unit")
        return None if unit is None else str(unit)

    @property
    def values(self) -> tuple[str, ...] | None:
        """The only values it may have, in order, as its dbt test ``accepted_values`` states them for every row."""
        for test in self.data_tests:
            stated = test.get("accepted_values") if isinstance(test, dict) else None
            if isinstance(stated, dict) and "where" not in stated.get("config", {}):
                values = stated.get("arguments", stated).get("values", [])
                return tuple(sorted(map(str, values)))
        return None


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
    root = folder.parents[2]
    marts: dict[str, Mart] = {}
    faults: list[Fault] = []
    for path in sorted(folder.glob("*.yml")):
        try:
            mart = read_mart(path, root=root)
        except ContractError as error:
            faults.extend(error.faults)
        else:
            marts[mart.name] = mart
    for path in sorted(folder.glob("*.sql")):
        if not path.with_suffix(".yml").exists():
            shown = str(path.relative_to(root))
            problem = f"has no {path.stem}.yml beside it: a mart states its contract"
            faults.append(Fault(file=shown, line=1, field="(file)", problem=problem))
    if faults:
        raise ContractError(faults)
    return marts


def sound_marts(folder: Path) -> Iterator[Mart]:
    """Those marts of a folder that can be read: what is wrong with the others is told by :func:`read_marts`."""
    for path in sorted(folder.glob("*.yml")):
        with suppress(ContractError):
            yield read_mart(path)


def _mart_faults(mart: Mart) -> Iterator[tuple[Position, str]]:
    columns = {column.name: column for column in mart.columns}
    if mart.name != mart.path.stem:
        yield ("models", 0, "name"), f"is {mart.name!r}, but the file is {mart.path.name}"
    if not mart.path.with_suffix(".sql").exists():
        yield ("models", 0, "name"), f"has no {mart.path.stem}.sql beside its yml"
    if mart.major > 1 and mart.exchange.overlap_days is None:
        former = mart.major - 1
        problem = f"v{mart.major} follows v{former}: state for how many days v{former} stays published beside it"
        yield (*META, "overlap_days"), problem
    for name in mart.exchange.key:
        if name not in columns:
            yield (*META, "key"), f"{name!r} is not a column of the mart"
    yield from _partition_faults(mart, columns)
    for index, column in enumerate(mart.columns):
        place: Position = ("models", 0, "columns", index)
        if column.kind in NUMBERS and column.unit is None:
            yield place, f"{column.name!r} is a number without config.meta.unit ('1' for a pure number)"
        if column.name in (*mart.exchange.key, mart.exchange.partition.column) and not column.required:
            problem = "of the key or the partition needs the constraint not_null, or its rows could be lost"
            yield place, f"{column.name!r} {problem}"
    policy = mart.exchange.privacy
    if isinstance(policy, AggregatePolicy):
        yield from _policy_faults(mart, policy, columns)
    elif isinstance(policy, DpPolicy):
        yield from _dp_faults(mart, policy, columns)
    elif isinstance(policy, SuppressPolicy):
        yield from _suppress_faults(mart, policy, columns)


def _partition_faults(mart: Mart, columns: dict[str, MartColumn]) -> Iterator[tuple[Position, str]]:
    partition = mart.exchange.partition
    place = (*META, "partition")
    if partition.grain in columns:
        problem = f"the folders of the release are named {partition.grain}=…, so no column may have that name"
        yield (*place, "grain"), problem
    column = columns.get(partition.column)
    if column is None:
        yield (*place, "column"), f"{partition.column!r} is not a column of the mart"
    elif column.kind not in MOMENTS and not (partition.grain == "year" and column.kind in INTEGERS):
        wanted = "a timestamp, a date or a whole number" if partition.grain == "year" else "a timestamp or a date"
        yield (*place, "column"), f"{partition.column!r} is {column.data_type}; it must be {wanted}"


def _policy_faults(
    mart: Mart, policy: AggregatePolicy, columns: dict[str, MartColumn]
) -> Iterator[tuple[Position, str]]:
    for name in (policy.measure, policy.units, "period_hours"):
        if name not in columns:
            yield (*META, "privacy"), f"the policy needs the column {name!r}"
        elif columns[name].kind not in INTEGERS:
            yield (*META, "privacy"), f"the column {name!r} must be a whole number, so that thresholds are exact"
    for name in (policy.partition.area, policy.partition.name) if policy.partition else ():
        if name not in columns:
            yield (*META, "privacy", "partition"), f"{name!r} is not a column of the mart"
    if "period_grain" not in columns:
        yield (*META, "privacy"), "the policy needs the column 'period_grain'"
    # Whatever stands beside them the gate could not recount: the largest contribution, say, or whose it is.
    covered = {*mart.exchange.key, mart.exchange.partition.column, policy.measure, policy.units}
    covered |= {"period_grain", "period_hours"}
    covered |= {policy.partition.area, policy.partition.name} if policy.partition else set()
    for index, column in enumerate(mart.columns):
        if column.name not in covered:
            problem = f"{column.name!r} is covered by no policy; a mart of sums has {', '.join(sorted(covered))} alone"
            yield ("models", 0, "columns", index), problem


def _dp_faults(mart: Mart, policy: DpPolicy, columns: dict[str, MartColumn]) -> Iterator[tuple[Position, str]]:
    place = (*META, "privacy")
    for name in (policy.measure, "error_90"):
        if name not in columns:
            yield place, f"the policy needs the column {name!r}"
        elif columns[name].kind not in INTEGERS:
            yield place, f"the column {name!r} must be a whole number: noise is never a float"
    if "standard_error" not in columns or columns["standard_error"].kind not in ("DECIMAL", "NUMERIC"):
        yield place, "the policy needs the column 'standard_error', a decimal"
    if policy.measure in columns and columns[policy.measure].required:
        yield place, f"the column {policy.measure!r} is empty until the build draws noise: leave not_null to the suite"
    partition = columns.get(mart.exchange.partition.column)
    if partition is not None and partition.kind in INTEGERS:
        yield place, "the partition's column must be a time, for a unit is capped in a span of it"
    if mart.exchange.partition.column not in mart.exchange.key:
        yield place, "the partition's column must be of the key: each cell belongs to one partition"


def _suppress_faults(
    mart: Mart, policy: SuppressPolicy, columns: dict[str, MartColumn]
) -> Iterator[tuple[Position, str]]:
    place, partition = (*META, "privacy"), mart.exchange.partition
    wanted = [one.column for one in policy.dimensions]
    if sorted(mart.exchange.key) != sorted([*wanted, partition.column]):
        yield (*META, "key"), f"must be the dimensions and the partition's column: {', '.join(wanted)}"
    for name in wanted:
        if name in columns and columns[name].kind != "VARCHAR":
            yield place, f"the column {name!r} must be varchar: it names classes and their total"
    if policy.measure not in columns:
        yield place, f"the policy needs the column {policy.measure!r}"
    elif columns[policy.measure].kind not in INTEGERS:
        yield place, f"the column {policy.measure!r} must be a whole number, so that thresholds are exact"
    elif columns[policy.measure].required:
        yield place, f"the column {policy.measure!r} is empty where a cell is withheld: leave not_null out"
    order = ("day", "month", "year")
    if order.index(policy.period) < order.index(partition.grain):
        yield place, f"a pattern that stands for a {policy.period} is shorter than the partition, a {partition.grain}"
