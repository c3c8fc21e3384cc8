"""dbt, in this process: parsed once, then one invocation a batch. Nothing else of the house calls dbt."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakehouse.build.lineage import Lineage, lineage_of, parents, require_stated_reads
from lakehouse.contracts.derive import write_staging
from lakehouse.contracts.mart import sound_marts
from lakehouse.contracts.policy_models import write_policy_models
from lakehouse.exchange import Exchange
from lakehouse.storage.spatial import extension_path

# dbt writes the database's name into every relation when it parses, so all its files have this one.
DATABASE = "build.duckdb"


class BuildFailed(RuntimeError):
    """dbt could not parse or run the project; the message holds what dbt said."""


@dataclass(frozen=True, kw_only=True)
class NodeResult:
    """What came of one model, seed or test. ``message`` is the engine's own and may quote a value."""

    unique_id: str
    name: str
    resource: str
    status: str
    message: str
    failures: int
    severity: str
    depends_on: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CompiledNode:
    """One model or test with its SQL, macros and references resolved."""

    unique_id: str
    resource: str
    schema: str
    name: str
    sql: str
    depends_on: tuple[str, ...]


class DbtProject:
    """The dbt project of an exchange, parsed. Staging models are generated from the contracts first, and those between
    private use and published cells from the marts' policies.

    ``built`` is called after each invocation that builds, with the folder in which dbt left its artifacts, which goes
    with the build. Raises :class:`BuildFailed` where dbt cannot parse it.
    """

    def __init__(self, exchange: Exchange, *, built: Callable[[Path], None] = lambda _: None) -> None:
        self._settings = exchange.settings
        self._built = built
        self._folder = exchange.settings.home_path / "dbt"
        models = exchange.settings.dbt_path / "models"
        write_staging(exchange.contracts, models / "staging")
        write_policy_models(sound_marts(exchange.settings.marts_path), models / "anonymised" / "generated")
        self.manifest: Any = None
        self.manifest = self._parse()

    def lineage(self, mart: str) -> Lineage:
        """Raises :class:`lakehouse.build.lineage.NoSuchModel`."""
        return lineage_of(self.manifest, mart)

    def run(self, *, folder: Path, models: Sequence[str]) -> list[NodeResult]:
        """Builds the models, all above them, and their tests, in one invocation on ``folder/build.duckdb``.

        Returns what came of each node; raises :class:`BuildFailed` only where dbt itself could not run, and
        :class:`lakehouse.build.lineage.HiddenLineage` where a model read what it does not state.
        """
        target = folder / "target"
        outcome = self._invoke(
            [
                "build", "--select", *(f"+{model}" for model in models), "--exclude-resource-type", "unit_test",
                # A test over several marts waits for a build that makes them all.
                "--indirect-selection", "cautious",
            ],
            database=folder / DATABASE,
            target=target,
        )  # fmt: skip
        self._built(target)
        nodes = [result.node for result in outcome.result.results]
        models = [node for node in nodes if node.resource_type == "model" and node.compiled_code]
        require_stated_reads(self.manifest, models)
        return [_node_result(result) for result in outcome.result.results]

    def compiled(self, *, folder: Path, models: Sequence[str]) -> list[CompiledNode]:
        """The models and all above them as the SQL that the engine is given; no row is read."""
        outcome = self._invoke(
            ["compile", "--select", *(f"+{model}" for model in models)],
            database=folder / DATABASE,
            target=folder / "target",
        )
        return [
            CompiledNode(
                unique_id=result.node.unique_id,
                resource=str(result.node.resource_type),
                schema=result.node.schema,
                name=result.node.name,
                sql=result.node.compiled_code or "",
                depends_on=tuple(parents(result.node)),
            )
            for result in outcome.result.results
        ]

    def document(self, *, folder: Path) -> Path:
        """Makes dbt's documentation of what stands in ``folder/build.duckdb``: one page that needs no other."""
        target = folder / "target"
        self._invoke(["docs", "generate", "--static"], database=folder / DATABASE, target=target)
        return target / "static_index.html"

    def _parse(self) -> Any:
        """What dbt kept of its last parsing is used only where no file differs from then: it goes by times of
        modification, and takes a file that was put back, time and all, for the one that it knows."""
        files, known = _digest(self._settings.dbt_path), self._folder / "parsed-from"
        if not known.exists() or known.read_text() != files:
            (self._folder / "partial_parse.msgpack").unlink(missing_ok=True)
        manifest = self._invoke(["parse"], database=self._folder / DATABASE, target=self._folder).result
        known.write_text(files)
        return manifest

    def _invoke(self, arguments: Sequence[str], *, database: Path, target: Path) -> Any:
        # dbt takes seconds to import and is needed by few commands.
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        project = str(self._settings.dbt_path)
        with self._environment(database=database):
            # It writes no log: an engine's message may quote a private value, so only we decide what is kept.
            outcome = dbtRunner(manifest=self.manifest).invoke(
                [
                    "--log-level", "none", "--log-level-file", "none", "--log-path", str(target),
                    *arguments, "--project-dir", project, "--profiles-dir", project, "--target-path", str(target),
                ]
            )  # fmt: skip
        # It keeps its database open in this process, which then could not open it with other settings.
        DuckDBConnectionManager.close_all_connections()
        if outcome.exception is not None:
            raise BuildFailed(f"dbt {arguments[0]}: {outcome.exception}")
        if not outcome.success and arguments[0] != "build":
            raise BuildFailed(f"dbt {arguments[0]} failed; `dbt {arguments[0]}` in {project} says why")
        return outcome

    @contextmanager
    def _environment(self, *, database: Path) -> Iterator[None]:
        database.parent.mkdir(parents=True, exist_ok=True)
        values = {
            "EXCHANGE_BUILD_DATABASE": str(database),
            "EXCHANGE_SPATIAL_EXTENSION": str(extension_path("spatial")),
            "EXCHANGE_THREADS": str(self._settings.threads),
            "EXCHANGE_MEMORY_LIMIT": self._settings.memory_limit,
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


def _digest(project: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in project.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(project)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


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
        depends_on=tuple(parents(node)),
    )
