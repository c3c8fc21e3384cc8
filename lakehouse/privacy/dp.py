"""Differential privacy: what one unit can change (capping), and noise by OpenDP's exact integer samplers.

The bound. Two inputs are neighbours where one has all the rows of a unit that the other lacks. Which cells a unit
counts in is decided from its own rows alone, so those of all others stay. The unit counts in at most C cells, once
in each: the counts differ by at most 1 in at most C cells, that is by C in L1 and by √C in L2. Discrete Gaussian
noise of scale s is (C / 2s²)-zCDP; discrete Laplace noise of scale s is (C/s)-DP, hence ((C/s)² / 2)-zCDP.
Cells are a public set, each with its count, 0 among them; whether a cell is there says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import opendp.prelude as dp
import pyarrow as pa

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import DpPolicy
from lakehouse.storage.sql import identifier, literal

Counts = npt.NDArray[np.int64]
SCALE_STEP = Decimal("0.001")

dp.enable_features("contrib")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """One policy's noise: ``scale`` of the sampler, and the ``rho`` that OpenDP states for it."""

    mechanism: str
    scale: float
    rho: float
    _measurement: Any

    def draw(self, counts: Counts) -> Counts:
        """The counts with noise, whole numbers; below zero where the noise is. Nothing is clamped, for sums over
        cells would be too high then."""
        return np.asarray(self._measurement(counts.tolist()), dtype=np.int64)

    @property
    def standard_error(self) -> float:
        if self.mechanism == "discrete_gaussian":
            return self.scale
        q = math.exp(-1 / self.scale)
        return math.sqrt(2 * q) / (1 - q)

    def half_width(self, share: float = 0.9) -> int:
        """The least whole number that the noise does not exceed, up or down, in ``share`` of draws."""
        steps = np.arange(math.ceil(40 * self.scale) + 1)
        power = steps**2 / (2 * self.scale**2) if self.mechanism == "discrete_gaussian" else steps / self.scale
        mass = np.exp(-power) * np.where(steps == 0, 1, 2)
        return int(np.searchsorted(np.cumsum(mass) / mass.sum(), share))


def noise_of(policy: DpPolicy) -> Noise:
    """The least noise, to a thousandth, that OpenDP finds within the policy's rho for its cap."""
    cap, rho = policy.cap.value, policy.budget.rho
    counts = dp.vector_domain(dp.atom_domain(T="i64"))
    measurement: Any
    if policy.mechanism == "discrete_gaussian":
        scale = _rounded_up((Decimal(cap) / (2 * rho)).sqrt())
        measurement = dp.m.make_gaussian(counts, dp.l2_distance(T="f64"), scale=scale)
        found = float(measurement.map(math.nextafter(math.sqrt(cap), math.inf)))
    else:
        scale = _rounded_up(Decimal(cap) / (2 * rho).sqrt())
        measurement = dp.m.make_laplace(counts, dp.l1_distance(T="i64"), scale=scale)
        found = float(measurement.map(cap)) ** 2 / 2
    if found > float(rho):
        raise ArithmeticError(f"noise of scale {scale} is {found}-zCDP, above the policy's {rho}")
    return Noise(mechanism=policy.mechanism, scale=scale, rho=found, _measurement=measurement)


def _rounded_up(scale: Decimal) -> float:
    """A step above the exact value, so that no rounding of a float takes the noise below it."""
    return float(scale.quantize(SCALE_STEP, rounding=ROUND_CEILING) + SCALE_STEP)


def capped_relation(mart: Mart) -> str:
    """Where the units that count stand in the build's database: ``unit`` and the mart's key."""
    return f"privacy.{identifier(mart.name)}"


def cap_units(connection: duckdb.DuckDBPyConnection, mart: Mart, policy: DpPolicy, partition: str) -> None:
    """Adds to :func:`capped_relation` who counts in which cell of a partition (a condition in SQL).

    A unit counts once in a cell, and in at most ``cap.value`` cells: the first in the order of a digest of mart, all
    its cells and the cell. So the choice depends on nothing that others did, is another for whoever did something
    else, and does not depend on what the unit is called: pseudonyms are others after a rotation.
    """
    keys = _keys(mart)
    cell = f"concat_ws('|', {', '.join(f'CAST({name} AS VARCHAR)' for name in keys)})"
    connection.execute("CREATE SCHEMA IF NOT EXISTS privacy")
    chosen = f"""
        WITH present AS (
            SELECT DISTINCT unit, {", ".join(keys)} FROM {_relation(policy.contributions)}
            SEMI JOIN {_relation(policy.key_set)} USING ({", ".join(keys)})
            WHERE unit IS NOT NULL AND ({partition})
        ),
        habits AS (SELECT unit, md5(string_agg({cell}, ';' ORDER BY {cell})) AS habit FROM present GROUP BY unit)
        SELECT unit, {", ".join(keys)} FROM present JOIN habits USING (unit)
        QUALIFY row_number() OVER (
            PARTITION BY unit ORDER BY md5(concat_ws('|', {literal(mart.name)}, habit, {cell})), {", ".join(keys)}
        ) <= {policy.cap.value}"""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {capped_relation(mart)} AS {chosen} LIMIT 0")
    connection.execute(f"DELETE FROM {capped_relation(mart)} WHERE {partition}")
    connection.execute(f"INSERT INTO {capped_relation(mart)} {chosen}")


def true_counts(connection: duckdb.DuckDBPyConnection, mart: Mart, policy: DpPolicy, partition: str) -> pa.Table:
    """Every public cell of a partition with its units that count, in the order of the key. Private: it leaves the
    build's memory only through :meth:`Noise.draw`."""
    keys = ", ".join(_keys(mart))
    return connection.execute(
        f"""
        SELECT {keys}, count(unit)::BIGINT AS units
        FROM (SELECT DISTINCT {keys} FROM {_relation(policy.key_set)} WHERE {partition})
        LEFT JOIN {capped_relation(mart)} USING ({keys})
        GROUP BY {keys} ORDER BY {keys}
        """
    ).to_arrow_table()


def _keys(mart: Mart) -> list[str]:
    return [identifier(name) for name in mart.exchange.key]


def _relation(name: str) -> str:
    schema, _, relation = name.partition(".")
    return f"{identifier(schema)}.{identifier(relation)}"
