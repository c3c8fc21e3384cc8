"""Noisy counts of a mart: charged to the ledger, drawn once, kept privately, filled into the mart's table."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import DpPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.dp import Noise, cap_units, noise_of, true_counts
from lakehouse.privacy.filled import require_empty
from lakehouse.privacy.ledger import BUCKET, Charge, charge, record_drawn
from lakehouse.privacy.membership import require_people
from lakehouse.storage.lake import Conflict
from lakehouse.storage.sql import identifier


def fill_with_noise(
    exchange: Exchange,
    connection: duckdb.DuckDBPyConnection,
    mart: Mart,
    policy: DpPolicy,
    partitions: Mapping[str, str],
    *,
    candidate: str,
) -> None:
    """Fills the measure and its errors in ``marts.<mart>`` for some partitions (by name a condition in SQL).

    The same counts under the same policy get the same noise and cost nothing again. Raises
    :class:`lakehouse.privacy.filled.MeasureNotEmpty`,
    and :class:`lakehouse.privacy.ledger.OverBudget` before anything is charged.
    """
    require_empty(connection, mart, (policy.measure, "error_90", "standard_error"))
    require_people(exchange, connection, policy)
    noise, version = noise_of(policy), policy_version(policy)
    counted = {}
    for partition, condition in sorted(partitions.items()):
        cap_units(connection, mart, policy, condition)
        counts = true_counts(connection, mart, policy, condition)
        one = Charge(
            population=policy.population,
            unit=policy.unit,
            mart=mart.name,
            major=mart.major,
            partition=partition,
            policy=version,
            mechanism=policy.mechanism,
            rho=policy.budget.rho,
            digest=_digest(version, partition, counts),
            candidate=candidate,
        )
        counted[partition] = (one, counts)
    charges = [one for one, _ in counted.values()]
    charge(exchange, charges, policy.budget)
    for one, counts in counted.values():
        _fill(connection, mart, policy, _kept_draw(exchange, one, counts, noise), noise)
    record_drawn(exchange, charges)


def policy_version(policy: DpPolicy) -> str:
    """A digest of the policy: any change of it is another version, with draws of its own."""
    return hashlib.sha256(json.dumps(policy.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]


def _digest(version: str, partition: str, counts: pa.Table) -> str:
    text = io.BytesIO()
    pyarrow.csv.write_csv(counts, text)
    return hashlib.sha256(f"{version}\n{partition}\n".encode() + text.getvalue()).hexdigest()


def _kept_draw(exchange: Exchange, one: Charge, counts: pa.Table, noise: Noise) -> pa.Table:
    """The draw of an earlier build, or a new one once it is kept. Of two that draw at once the first is kept."""
    key = f"draws/{one.mart}/v{one.major}/{one.partition}/{one.digest}.parquet"
    if exchange.lake.stat(BUCKET, key) is None:
        place = counts.schema.get_field_index("units")
        noisy = counts.set_column(place, "noisy", pa.array(noise.draw(counts["units"].to_numpy())))
        written = io.BytesIO()
        pq.write_table(noisy, written, compression="zstd")
        with suppress(Conflict):
            exchange.lake.write_if(BUCKET, key, written.getvalue(), expected=None)
    return pq.read_table(io.BytesIO(exchange.lake.read_bytes(BUCKET, key)))


def _fill(connection: duckdb.DuckDBPyConnection, mart: Mart, policy: DpPolicy, noisy: pa.Table, noise: Noise) -> None:
    same = " AND ".join(
        f"filled.{identifier(name)} IS NOT DISTINCT FROM noisy.{identifier(name)}" for name in mart.exchange.key
    )
    connection.register("noisy", noisy)
    connection.execute(
        f"UPDATE marts.{identifier(mart.name)} AS filled SET {identifier(policy.measure)} = noisy.noisy, "
        f"error_90 = ?, standard_error = ? FROM noisy WHERE {same}",
        [noise.half_width(), round(Decimal(noise.standard_error), 2)],
    )
    connection.unregister("noisy")
