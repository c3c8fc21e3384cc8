"""The attacks and checks of a mart with noise, on what it published or is about to, and the gate's test of itself."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from lakehouse.contracts.mart import Mart
from lakehouse.contracts.policy import DpPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.attacks.doubled_draw import doubled_draw
from lakehouse.privacy.attacks.noise import attack_noise, attack_policy
from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.dp import noise_of
from lakehouse.privacy.ledger import BUCKET, entries
from lakehouse.release.file_faults import CANARY, PHYSICAL, faulty_tables, green_on
from lakehouse.release.manifest import Candidate, File, Manifest, read_manifest
from lakehouse.storage.index import releases
from lakehouse.storage.sql import identifier, literal

if TYPE_CHECKING:
    from lakehouse.gates.physical import ColumnContract

Ints = npt.NDArray[np.int64]
# Published partitions that new ones are compared with: the latest of the population.
COMPARED = 60


def dp_policy(manifest: Manifest) -> DpPolicy | None:
    """The policy under which a release was noised; ``None`` for another."""
    if manifest.privacy.get("kind") != "dp":
        return None
    return DpPolicy.model_validate({key: value for key, value in manifest.privacy.items() if key != "spent"})


def attack_noisy(exchange: Exchange, policy: DpPolicy, files: Mapping[File, Path]) -> list[Outcome]:
    """Every attack of a mart with noise on some files, beside what is published of the same population."""
    known = {file.sha256 for file in files}
    with tempfile.TemporaryDirectory(prefix="noise-") as folder:
        others = {
            name: _counts(path, measure)
            for name, path, measure in _published(exchange, policy.population, known, Path(folder))
        }
    mine = {file.partition: _counts(path, policy.measure) for file, path in files.items()}
    drawn_twice = doubled_draw(mine, others, standard_error=noise_of(policy).standard_error)
    return [*attack_policy(exchange, policy), drawn_twice]


def attack_noisy_release(exchange: Exchange, manifest: Manifest, policy: DpPolicy, built: set[str]) -> list[Outcome]:
    """The attacks on the partitions that a release brought."""
    with tempfile.TemporaryDirectory(prefix="noise-") as folder:
        files = {
            file: _fetched(exchange, f"{manifest.prefix}/{file.path}", Path(folder))
            for file in manifest.files
            if file.partition in built
        }
        outcomes = attack_noisy(exchange, policy, files)
    return [outcome.of(manifest.mart, manifest.release, f"{len(files)} partitions") for outcome in outcomes]


def _published(exchange: Exchange, population: str, known: set[str], folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Name, file and measure of the latest published partitions of a population, each content once."""
    seen = set(known)
    rows = exchange.index.rows(sa.select(releases).order_by(releases.c.created_at.desc(), releases.c.mart))
    for row in rows:
        manifest = read_manifest(exchange, mart=row["mart"], major=row["major"], release=row["release"])
        policy = dp_policy(manifest)
        if policy is None or policy.population != population:
            continue
        for file in sorted(manifest.files, key=lambda file: file.partition, reverse=True):
            if len(seen) - len(known) == COMPARED:
                return
            if file.sha256 not in seen:
                seen.add(file.sha256)
                name = f"{manifest.mart} v{manifest.major} {manifest.release} {file.partition}"
                yield name, _fetched(exchange, f"{manifest.prefix}/{file.path}", folder), policy.measure


def _fetched(exchange: Exchange, key: str, folder: Path) -> Path:
    return exchange.lake.local_path("marts", key) or exchange.lake.download("marts", key, folder / key)


def _counts(path: Path, measure: str) -> Ints:
    """The noisy counts of a file, in its order: that of the key."""
    counts: Ints = pq.read_table(path, columns=[measure]).column(measure).to_numpy().astype(np.int64)
    return counts


def unpaid_draws(exchange: Exchange, *, mart: Mart, policy: DpPolicy, made: Candidate) -> list[str]:
    """Partitions of the candidate that would be visible in more draws than the ledger has charges for: two draws of
    one count halve the noise, and cost as much as two."""
    visible = {(file.partition, file.sha256) for file in made.built.values() if file is not None}
    rows = exchange.index.rows(sa.select(releases).where(releases.c.mart == mart.name, releases.c.major == mart.major))
    for row in rows:
        manifest = read_manifest(exchange, mart=row["mart"], major=row["major"], release=row["release"])
        visible |= {(file.partition, file.sha256) for file in manifest.files if file.partition in made.built}
    charged = [row for row in entries(exchange) if row["status"] == "charged"]
    paid = Counter(row["partition"] for row in charged if (row["mart"], row["major"]) == (mart.name, mart.major))
    return beyond_paid(visible, paid)


def beyond_paid(visible: set[tuple[str, str]], paid: Mapping[str, int]) -> list[str]:
    """``visible``: partition and content of each file that can be read. ``paid``: charges of each partition."""
    drawn = Counter(partition for partition, _ in visible)
    return sorted(partition for partition, draws in drawn.items() if draws > paid.get(partition, 0))


def differing_from_draw(
    exchange: Exchange, connection: duckdb.DuckDBPyConnection, mart: Mart, policy: DpPolicy, partition: str, file: Path,
    folder: Path,
) -> int:  # fmt: skip
    """Rows of a file that are no row of the draw that was kept for its partition, and the other way about. Of several
    draws that were paid for, the one that is nearest. Raises :class:`lakehouse.storage.lake.ObjectNotFound` where a
    charged draw is lost."""
    keys = ", ".join(identifier(name) for name in mart.exchange.key)
    noise = noise_of(policy)
    published = (
        f"SELECT {keys}, {identifier(policy.measure)}::BIGINT AS noisy, error_90::BIGINT AS error_90 "
        f"FROM read_parquet({literal(str(file))}, hive_partitioning=false)"
    )
    digests = {
        row["digest"]
        for row in entries(exchange)
        if row["status"] == "charged" and (row["mart"], row["major"]) == (mart.name, mart.major)
        and row["partition"] == partition
    }  # fmt: skip
    found = []
    for digest in sorted(digests):
        key = f"draws/{mart.name}/v{mart.major}/{partition}/{digest}.parquet"
        draw = exchange.lake.local_path(BUCKET, key) or exchange.lake.download(BUCKET, key, folder / key)
        drawn = (
            f"SELECT {keys}, noisy::BIGINT AS noisy, {noise.half_width()}::BIGINT AS error_90 "
            f"FROM read_parquet({literal(str(draw))}, hive_partitioning=false)"
        )
        [[rows]] = connection.execute(
            f"SELECT count(*) FROM (({published} EXCEPT ALL {drawn}) UNION ALL ({drawn} EXCEPT ALL {published}))"
        ).fetchall()
        found.append(int(rows))
    return min(found, default=pq.ParquetFile(file).metadata.num_rows)


def unseen_noisy_faults(
    exchange: Exchange,
    *,
    mart: Mart,
    policy: DpPolicy,
    files: Mapping[File, Path],
    columns: Sequence[ColumnContract],
) -> list[str]:
    """Each known fault with the check that stayed green on it. Nothing but copies is touched."""
    sample = min(files, key=lambda file: (file.rows, file.partition))
    table, found = pq.read_table(files[sample]), []
    with exchange.workplace("self-test") as folder, exchange.duckdb() as connection:
        for fault, faulty in (*faulty_tables(mart, policy, table), _redrawn(policy, table)):
            path = folder / f"{fault}.parquet"
            pq.write_table(faulty, path, compression="zstd")
            if fault == CANARY or fault in PHYSICAL:
                if green := green_on(connection, mart, path, sample, columns, fault):
                    found.append(f"{fault}: {green}")
            elif differing_from_draw(exchange, connection, mart, policy, sample.partition, path, folder) == 0:
                found.append(f"{fault}: cells_are_as_drawn")
    found += _unseen_doubled(policy, table, sample)
    found += [f"no noise at all: {o.attack}" for o in attack_noise(_Bare(), policy) if o.passed]
    return found


class _Bare:
    """A mechanism that draws nothing."""

    def draw(self, counts: Ints) -> Ints:
        return counts


def _redrawn(policy: DpPolicy, table: pa.Table) -> tuple[str, pa.Table]:
    """The same cells with noise of their own: a second draw that nobody paid for."""
    place = table.schema.get_field_index(policy.measure)
    counts = table.column(policy.measure).to_numpy().astype(np.int64)
    noisy = pa.array(noise_of(policy).draw(counts), pa.int64()).cast(table.schema.field(place).type)
    return "a second draw", table.set_column(place, table.schema.field(place), noisy)


def _unseen_doubled(policy: DpPolicy, table: pa.Table, sample: File) -> Iterator[str]:
    """One draw in two partitions, and one partition in two draws that were paid for once."""
    counts = table.column(policy.measure).to_numpy().astype(np.int64)
    error = noise_of(policy).standard_error
    if doubled_draw({sample.partition: counts}, {"another": counts.copy()}, standard_error=error).passed:
        yield "a doubled draw: doubled_draw"
    visible = {(sample.partition, sample.sha256), (sample.partition, "another")}
    if not beyond_paid(visible, {sample.partition: 1}):
        yield "a second draw beside the first: every_draw_is_paid"
