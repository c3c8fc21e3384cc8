"""What dbt did in one invocation, as the official integration reads it from dbt's own artifacts.

A build's database lives for as long as the build and lies where nobody else looks, so its name stands for its path.
Its sources say which clean dataset of the lake they are, and every run says of which invocation it is a part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openlineage.client.event_v2 import RunEvent
from openlineage.client.facet_v2 import symlinks_dataset
from openlineage.common.provider.dbt.facets import ParentRunMetadata
from openlineage.common.provider.dbt.local import DbtLocalArtifactProcessor
from openlineage.common.provider.dbt.processor import ModelNode

from lakehouse.build.dbt import DATABASE
from lakehouse.exchange import Exchange
from lakehouse.lineage.events import JOBS, PRODUCER, event_of

JOB = "dbt.build"
DATABASE_NAMESPACE = f"duckdb://{DATABASE}"


def dbt_events(exchange: Exchange, target: Path) -> Iterator[RunEvent]:
    """First the invocation that left its artifacts in ``target``, then its models' runs and its tests' assertions.

    Nodes that dbt skipped did not run and are not told. Raises what the integration does, for a target without
    artifacts ``FileNotFoundError``.
    """
    results = json.loads((target / "run_results.json").read_text())
    broken = sum(result["status"] in ("error", "fail") for result in results["results"])
    invocation = event_of(
        JOB, results["metadata"]["invocation_id"], inputs=[], outputs=[],
        failed=f"{broken} of {len(results['results'])} nodes failed" if broken else None,
    )  # fmt: skip
    yield invocation
    processor = _Processor(exchange, target)
    processor.dbt_run_metadata = ParentRunMetadata(run_id=invocation.run.runId, job_name=JOB, job_namespace=JOBS)
    for event in processor.parse().events():
        # It is in the repository, and what macros wrote into it may name a file of this machine.
        event.job.facets.pop("sql", None)
        yield event


class _Processor(DbtLocalArtifactProcessor):  # type: ignore[misc]
    def __init__(self, exchange: Exchange, target: Path) -> None:
        super().__init__(
            project_dir=str(exchange.settings.dbt_path),
            target_path=str(target),
            producer=PRODUCER,
            job_namespace=JOBS,
        )
        self._exchange = exchange

    def get_dbt_metadata(self) -> tuple[Any, ...]:
        manifest, results, profile, catalog = super().get_dbt_metadata()
        # A test that was skipped would be told as one that failed.
        results["results"] = [result for result in results["results"] if result["status"] != "skipped"]
        for result in results["results"]:
            # How many private rows fail is for the gate's report.
            result["failures"] = None
        return manifest, results, profile, catalog

    def extract_namespace(self, profile: Any) -> str:
        return DATABASE_NAMESPACE

    def _create_dataset_symlink(self, node: ModelNode) -> symlinks_dataset.SymlinksDatasetFacet | None:
        dataset = f"{node.metadata_node['schema']}/{node.metadata_node['name']}"
        if node.type != "source" or dataset not in self._exchange.contracts:
            return None
        clean = symlinks_dataset.Identifier(
            namespace=self._exchange.settings.lake_url, name=f"clean/{dataset}", type="TABLE"
        )
        return symlinks_dataset.SymlinksDatasetFacet(identifiers=[clean])
