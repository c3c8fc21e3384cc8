"""One opened exchange: settings, lake, index and contracts, as every room needs them together."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb

from lakehouse.contracts.derive import landing_bucket
from lakehouse.contracts.load import ContractError, read_contracts, sound_contracts
from lakehouse.contracts.odcs import Contract
from lakehouse.settings import Settings
from lakehouse.storage.index import Index
from lakehouse.storage.lake import Lake, open_lake
from lakehouse.storage.workplace import workplace

SHARED_BUCKETS = (
    "raw",
    "clean",
    "quarantine",
    "candidates",
    "audit",
    "marts",
    "iceberg",
    "withdrawn",
    "reports",
    "lineage",
    "privacy",
    "access",
    "vault",
)


class UnknownDataset(KeyError):
    """There is no contract of that name; the message lists those that there are."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Exchange:
    """Opens nothing until it is asked for; cheap to make."""

    settings: Settings

    @classmethod
    def from_environment(cls) -> Exchange:
        return cls(Settings())

    @cached_property
    def lake(self) -> Lake:
        return open_lake(self.settings.lake_url, endpoint=self.settings.s3_endpoint, region=self.settings.s3_region)

    @cached_property
    def index(self) -> Index:
        return Index(self.settings.database_url)

    @cached_property
    def contracts(self) -> dict[str, Contract]:
        """Raises :class:`lakehouse.contracts.load.ContractError` with all faults of all files."""
        return read_contracts(self.settings.contracts_path)

    @property
    def sound_contracts(self) -> dict[str, Contract]:
        """Those that have no fault."""
        try:
            return self.contracts
        except ContractError:
            return sound_contracts(self.settings.contracts_path)[0]

    def contract(self, key: str) -> Contract:
        """One that has no fault, whatever others have. Raises :class:`UnknownDataset` where there is none of that
        name, or :class:`lakehouse.contracts.load.ContractError` where it may be one that has."""
        if key not in (contracts := self.sound_contracts):
            known = ", ".join(sorted(self.contracts))
            raise UnknownDataset(f"no contract for {key!r}; there are contracts for: {known}")
        return contracts[key]

    def init(self) -> list[str]:
        """Makes home, index and the buckets that the contracts call for. Returns the buckets. Idempotent."""
        self.settings.home_path.mkdir(parents=True, exist_ok=True)
        self.index.create()
        providers = sorted({contract.provider for contract in self.contracts.values()})
        buckets = [*SHARED_BUCKETS, *(landing_bucket(provider) for provider in providers)]
        for bucket in buckets:
            self.lake.ensure_bucket(bucket)
        if self.settings.inbox_events:
            for provider in providers:
                url = f"{self.settings.inbox_events.rstrip('/')}/{provider}"
                self.lake.announce(landing_bucket(provider), "inbox/", url)
        return buckets

    def workplace(self, kind: str) -> AbstractContextManager[Path]:
        """An empty folder in the home for private rows, that goes at the end, or after a death by the next process."""
        return workplace(self.settings.home_path, kind)

    def duckdb(self, database: Path | str = ":memory:") -> duckdb.DuckDBPyConnection:
        """A private DuckDB in UTC, within the task's memory and threads, that can read the lake."""
        connection = duckdb.connect(
            str(database),
            config={"memory_limit": self.settings.memory_limit, "threads": self.settings.threads},
        )
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = true")
        self.lake.configure_duckdb(connection)
        return connection
