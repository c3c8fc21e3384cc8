"""Privacy policies of marts: nothing personal, sums over many units, or noise under differential privacy."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StringConstraints, model_validator

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Relation = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")]
Rho = Annotated[Decimal, Field(gt=0, le=100, max_digits=12, decimal_places=9)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Numbered(Strict):
    """Where a build gives units numbers of its own: a ``relation`` with the ``column`` of numbers and the mart's
    ``unit_column``, one row a unit."""

    relation: Relation
    column: Name


class AggregatePolicy(Strict):
    """Cells of at least ``k`` units, none holding more than its share.

    ``contributions``: the relation of the build's database from which the gate recounts every published cell.
    The mart has the columns ``measure``, ``<unit>s`` (how many units a cell holds), ``period_grain`` (one of
    the keys of ``k``) and ``period_hours``. ``cap``: the most that a unit gives to an hour, whole units of
    the measure. ``numbered``: where the contributions name a unit by a number that is another in the next build.
    """

    kind: Literal["aggregate"]
    unit: Text
    unit_column: Text
    measure: Text = Field(description="column of the mart that sums the contributions")
    k: dict[Literal["hour", "day", "month"], PositiveInt] = Field(min_length=1)
    cap: Cap
    max_share_percent: int = Field(gt=0, le=50)
    p_percent: int = Field(ge=0, le=100)
    contributions: Relation
    numbered: Numbered | None = None
    release: ReleasePolicy = ReleasePolicy()

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


Policy = Annotated[OpenPolicy | AggregatePolicy | DpPolicy, Field(discriminator="kind")]
