"""Privacy policies of marts: nothing personal, sums over many units, tables with totals in which cells are withheld,
or noise under differential privacy."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StringConstraints, model_validator

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Relation = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")]
# It stands in SQL between quotes.
Plain = Annotated[str, StringConstraints(pattern=r"^[\w +.,/-]+$")]
Rho = Annotated[Decimal, Field(gt=0, le=100, max_digits=12, decimal_places=9)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cap(Strict):
    value: int = Field(gt=0)
    unit: Text


class Ceiling(Strict):
    """Who is counted as one of many: a unit whose month is at most ``times_median`` times the median of the units
    that it is ``among`` (columns of the segments). One far above the rest is told from any sum of them."""

    times_median: int = Field(gt=1)
    among: list[Name] = Field(default_factory=list)


class AreaPartition(Strict):
    """Areas merged with their neighbours until each group holds ``k`` units, and then kept so for a period.

    ``area``, ``name``: the mart's columns of the group's code and name. ``groups``: the relation of the build's
    database in which the macro ``merged_areas`` says who is merged with whom; the build keeps it with the release.
    """

    area: Name
    name: Name
    k: PositiveInt
    frozen_for: Literal["month", "quarter", "year"]
    groups: Relation


class ReleasePolicy(Strict):
    """A private partition is published ``final_after_days`` after its end, and then stands."""

    final_after_days: int = Field(default=7, ge=0)
    restatements: Literal[0] = 0


class OpenPolicy(Strict):
    """Nothing personal in it: checked, no private dataset may be in the mart's lineage."""

    kind: Literal["open"]


class Numbered(Strict):
    """Where a build gives units numbers of its own: a ``relation`` with the ``column`` of numbers and the mart's
    ``unit_column``, one row a unit."""

    relation: Relation
    column: Name


class Sums(Strict):
    """What is summed, and by what: from this and the policy the models between private use and published cells are
    written (:mod:`lakehouse.contracts.policy_models`), and the mart is one macro call.

    ``of``: the model of private use, one row a unit and fully measured hour, with the columns ``unit``, ``hour``, the
    policy's measure (a whole number), the area's if the policy has a ``partition``, ``kinds`` and ``apart``. ``kinds``:
    columns of the mart by which small groups are merged, step by step as ``merge`` says (of each column the value in
    the wider group). ``apart``: columns across which nothing is ever summed. ``neighbours``: of a ``partition``, the
    model of two columns, ``area_code`` and ``neighbour_code``.
    """

    of: Name
    unit: Name
    hour: Name
    kinds: tuple[Name, ...] = ()
    apart: tuple[Name, ...] = ()
    merge: tuple[dict[Name, Plain], ...] = ()
    neighbours: Name | None = None


class AggregatePolicy(Strict):
    """Cells of at least ``k`` units, none holding more than its share.

    ``contributions``: the relation of the build's database from which the gate recounts every published cell.
    The mart has the columns ``measure``, ``<unit>s`` (how many units a cell holds), ``period_grain`` (one of
    the keys of ``k``) and ``period_hours``. ``cap``: the most that a unit gives to an hour, whole units of
    the measure. ``ceiling``: up to which use a unit is counted at all. ``partition``: how areas are merged.
    ``numbered``: where the contributions name a unit by a number that is another in the next build. ``sums``: what the
    models of contributions and groups are written from; without it they are somebody's own.
    """

    kind: Literal["aggregate"]
    unit: Text
    unit_column: Text
    measure: Text = Field(description="column of the mart that sums the contributions")
    k: dict[Literal["hour", "day", "month"], PositiveInt] = Field(min_length=1)
    cap: Cap
    ceiling: Ceiling | None = None
    partition: AreaPartition | None = None
    max_share_percent: int = Field(gt=0, le=50)
    p_percent: int = Field(ge=0, le=100)
    contributions: Relation
    numbered: Numbered | None = None
    sums: Sums | None = None
    release: ReleasePolicy = ReleasePolicy()

    @model_validator(mode="after")
    def _can_be_merged(self) -> AggregatePolicy:
        if self.sums is None:
            return self
        if not self.contributions.startswith("anonymised.") or not self.contributions.endswith("_contributions"):
            raise ValueError(
                f"contributions is {self.contributions!r}: with sums it is anonymised.<name>_contributions, and the "
                "models that are written are named <name>_…"
            )
        if self.partition is not None:
            if self.sums.neighbours is None or self.sums.kinds or self.sums.merge:
                raise ValueError("with a partition, sums has neighbours, and neither kinds nor merge")
        elif not self.sums.kinds or self.sums.neighbours:
            raise ValueError("without a partition, sums has kinds (and merge), and no neighbours")
        elif not self.sums.merge or set(self.sums.merge[-1]) != set(self.sums.kinds):
            raise ValueError(f"the last step of merge gives a value to each of: {', '.join(self.sums.kinds)}")
        elif unknown := {column for step in self.sums.merge for column in step} - set(self.sums.kinds):
            raise ValueError(f"merge names {', '.join(sorted(unknown))}, which is none of the kinds")
        return self

    @property
    def units(self) -> str:
        """The mart's column that counts units: ``households``."""
        return f"{self.unit}s"


class Budget(Strict):
    """What may be spent on a population, in zCDP: ``rho`` a partition, ``year_rho`` on the partitions of one
    calendar year, ``lifetime_rho`` in all, by all marts together. ``partitions_a_year`` is what a year is
    planned to have. ``delta``: at which epsilon is stated for people."""

    rho: Rho
    partitions_a_year: PositiveInt
    year_rho: Rho
    lifetime_rho: Rho
    delta: Decimal = Field(default=Decimal("0.000001"), gt=0, lt=1)

    @model_validator(mode="after")
    def _fits(self) -> Budget:
        if self.rho * self.partitions_a_year > self.year_rho:
            raise ValueError(f"rho {self.rho} × {self.partitions_a_year} partitions a year is above year_rho")
        if self.year_rho > self.lifetime_rho:
            raise ValueError("year_rho is above lifetime_rho")
        return self


class DpPolicy(Strict):
    """Counts with noise, under differential privacy for all that one unit did in a partition.

    ``contributions``: the private relation, with the mart's key columns and ``unit``. ``key_set``: the public
    relation of every cell that can be, with the same columns; each is published, whatever its count. A unit
    counts in at most ``cap.value`` cells of a partition, once in each. ``population``: whose budget is spent;
    marts about the same units name the same one. The build fills ``measure``, ``error_90`` and
    ``standard_error``; the mart's SQL leaves them empty and reads public data alone.
    """

    kind: Literal["dp"]
    mechanism: Literal["discrete_gaussian", "discrete_laplace"]
    unit: Text
    unit_column: Text
    population: Name
    measure: Text
    contributions: Relation
    key_set: Relation
    cap: Cap
    budget: Budget
    release: ReleasePolicy = ReleasePolicy()


class Dimension(Strict):
    """One side of a table. ``column`` of the mart names a class of any level, or ``total``: all classes together.

    ``levels``: columns of the public classes and of the contributions, the finest first; each class of one lies in
    one class of the next. Without any there is one level, named as the column is.
    """

    column: Name
    levels: tuple[Name, ...] = ()
    total: Text

    @property
    def columns(self) -> tuple[str, ...]:
        return self.levels or (self.column,)


class Dominance(Strict):
    """When one unit has too much of a cell. It says something of sums, and nothing of counts."""

    max_share_percent: int = Field(gt=0, le=100)
    p_percent: int = Field(ge=0, le=100)


class Sibling(Strict):
    """Another ``mart`` about the same units, whose groups say nothing but of these ``dimensions``. What it says of how
    many units there are adds nothing to a table that publishes all cells of these alone."""

    mart: Name
    dimensions: tuple[Name, ...] = Field(min_length=1)


class SuppressPolicy(Strict):
    """A table published beside its totals, in which cells are withheld until none of few units can be reckoned.

    A cell is sensitive that holds fewer than ``k`` units (an empty one too) or that breaks ``dominance``. It is
    withheld, and with it as many others as it takes: from all that is published its value, where it is not empty,
    is known no nearer than ``protection_percent`` to either side, and no group below ``k`` is known at all.

    ``classes``: the public relation of every finest class, with all ``levels``; each combination of classes and
    totals is a row of the mart. ``contributions``: the private relation with the same columns, the partition's,
    ``unit`` and ``contribution`` (a whole number, at most ``cap.value``): one row a unit. The build fills ``measure``,
    and leaves it empty where it is withheld; the mart's SQL reads public data alone. Which cells are withheld stands
    for a ``period``. ``beside``: marts about the same units; cells of their dimensions alone are never withheld, for
    they are told there, and where one of them is sensitive there is no table. A mart that is not named here is taken
    to tell of every dimension.
    """

    kind: Literal["suppress"]
    unit: Text
    unit_column: Text
    measure: Text
    k: Annotated[int, Field(ge=2)] = 15
    dimensions: tuple[Dimension, ...] = Field(min_length=1)
    dominance: Dominance | None = None
    protection_percent: int = Field(default=10, ge=1, le=100)
    contributions: Relation
    classes: Relation
    cap: Cap
    period: Literal["day", "month", "year"] = "year"
    beside: tuple[Sibling, ...] = ()
    release: ReleasePolicy = ReleasePolicy()

    @model_validator(mode="after")
    def _columns_differ(self) -> SuppressPolicy:
        for names in ([one.column for one in self.dimensions], [n for one in self.dimensions for n in one.columns]):
            if len(set(names)) < len(names):
                raise ValueError(f"two dimensions share a column: {', '.join(names)}")
        if self.cap.value > 1 and self.dominance is None:
            raise ValueError("a unit may give more than 1, so the table is one of sums: state its dominance")
        known = {one.column for one in self.dimensions}
        for sibling in self.beside:
            if unknown := set(sibling.dimensions) - known:
                raise ValueError(f"{sibling.mart} is beside in {', '.join(sorted(unknown))}, which is no dimension")
        return self


Policy = Annotated[OpenPolicy | AggregatePolicy | SuppressPolicy | DpPolicy, Field(discriminator="kind")]
