"""dbt, in this process: parse once, then one invocation a build. Nothing else of the house knows dbt."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakehouse.contracts.derive import write_staging
from lakehouse.exchange import Exchange
from lakehouse.storage.spatial import extension_path

_log = logging.getLogger(__name__)


class BuildFailed(RuntimeError):
    """dbt could not parse or run the project; the message holds what dbt said."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Of one mart: the datasets it is made of, its code's digest, and the dbt nodes above it."""

    datasets: frozenset[str]
    code: str
    ancestors: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class NodeResult:
    unique_id: str
    name: str
    resource: str
    status: str
    message: str
    failures: int
    severity: str
    depends_on: tuple[str, ...]


class DbtProject:
    """The dbt project of this exchange, parsed. Staging models are generated from the contracts first."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.target = exchange.settings.home_path / "dbt"
        write_staging(exchange.contracts, exchange.settings.dbt_path / "models" / "staging")
        with self._environment(database=self.target / "parse.duckdb"):
            self.manifest: Any = self._invoke(["parse"]).result

    def lineage(self, mart: str) -> Lineage:
        """Raises :class:`BuildFailed` where dbt knows no such model."""
        nodes: Mapping[str, Any] = self.manifest.nodes
        start = next((node.unique_id for node in nodes.values() if node.name == mart), None)
        if start is None:
            raise BuildFailed(f"dbt knows no model {mart!r}; see dbt_project/models/marts")
        seen, stack, datasets = set(), [start], set()
        while stack:
            unique_id = stack.pop()
            if unique_id in seen:
                continue
            seen.add(unique_id)
            source = self.manifest.sources.get(unique_id)
            if source is not None:
                datasets.add(f"{source.source_name}/{source.name}")
            elif unique_id in nodes:
                stack.extend(_parents(nodes[unique_id]))
        return Lineage(datasets=frozenset(datasets), code=self._code_digest(seen), ancestors=frozenset(seen))

    def run(self, *, database: Path, marts: Sequence[str]) -> list[NodeResult]:
        """Builds the marts, all above them, and their tests, in one invocation.

        Returns what came of each node; raises :class:`BuildFailed` only where dbt itself could not run.
        """
        selection = [f"+{mart}" for mart in marts]
        with self._environment(database=database):
            outcome = self._invoke(
                ["build", "--select", *selection, "--exclude-resource-type", "unit_test"],
                allow_failed_nodes=True,
            )
        return [_node_result(result) for result in outcome.result.results]

    def document(self, *, database: Path) -> Path:
        """Makes dbt's documentation; returns one page that stands by itself."""
        with self._environment(database=database):
            self._invoke(["docs", "generate", "--static"])
        return self.target / "target" / "static_index.html"

    def _code_digest(self, unique_ids: set[str]) -> str:
        digest = hashlib.sha256()
        for unique_id in sorted(unique_ids):
            node = self.manifest.nodes.get(unique_id)
            if node is not None:
                digest.update(f"{unique_id}\n{node.checksum.checksum}\n".encode())
                meta = node.config.meta.get("exchange") if node.config.meta else None
                digest.update(json.dumps(meta, sort_keys=True, default=str).encode())
        project = self.manifest.metadata.project_name
        for macro in sorted(self.manifest.macros.values(), key=lambda macro: macro.unique_id):
            if macro.package_name == project:
                digest.update(macro.macro_sql.encode())
        return digest.hexdigest()[:16]

    def _invoke(self, arguments: list[str], *, allow_failed_nodes: bool = False) -> Any:
        # dbt takes seconds to import and is needed by few commands.
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        folder = str(self.exchange.settings.dbt_path)
        outcome = dbtRunner().invoke(
            [
                "--quiet", "--no-use-colors", "--log-path", str(self.target / "logs"), "--log-level-file", "info",
                *arguments, "--project-dir", folder, "--profiles-dir", folder,
                "--target-path", str(self.target / "target"),
            ]
        )  # fmt: skip
        # It keeps its database open in this process, which then could not open it with other settings.
        DuckDBConnectionManager.close_all_connections()
        if outcome.exception is not None:
            raise BuildFailed(f"dbt {arguments[0]}: {outcome.exception}")
        if not outcome.success and not allow_failed_nodes:
            raise BuildFailed(f"dbt {arguments[0]} failed; see {self.target / 'logs'}")
        return outcome

    @contextmanager
    def _environment(self, *, database: Path) -> Iterator[None]:
        self.target.mkdir(parents=True, exist_ok=True)
        settings = self.exchange.settings
        values = {
            "EXCHANGE_BUILD_DATABASE": str(database),
            "EXCHANGE_SPATIAL_EXTENSION": str(extension_path("spatial")),
            "EXCHANGE_THREADS": str(settings.threads),
            "EXCHANGE_MEMORY_LIMIT": settings.memory_limit,
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _node_result(result: Any) -> NodeResult:
    node = result.node
    return NodeResult(
        unique_id=node.unique_id,
        name=node.name,
        resource=str(node.resource_type),
        status=str(result.status),
        message=str(result.message or ""),
        failures=int(result.failures or 0),
        severity=str(getattr(node.config, "severity", "ERROR")).lower(),
        depends_on=tuple(_parents(node)),
    )


def _parents(node: Any) -> list[str]:
    """The nodes above a node; a seed has none, and no list of them."""
    return list(getattr(node.depends_on, "nodes", []))
