"""What the exchange tells of its own steps in OpenLineage: landing, build, gate, promotion.

A run's id follows from what it did, so that a step that is repeated says the same of the same run. Names, counts and
hashes stand in events, and no value of a row.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    column_lineage_dataset,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    schema_dataset,
)

from lakehouse.build.dbt import DbtProject
from lakehouse.contracts.mart import Mart, read_marts
from lakehouse.exchange import Exchange
from lakehouse.lineage.columns import column_lineages
from lakehouse.lineage.store import BUCKET
from lakehouse.release.manifest import Candidate, read_candidate, read_manifest
from lakehouse.storage.lake import ObjectNotFound

PRODUCER = "https://city-data-exchange.invalid/lakehouse"
NAMESPACE = uuid.UUID("6f1f6d0c-7a39-5c7e-9d3a-2b5a8c1e4f70")
JOBS = "city-data-exchange"
Origins = dict[str, list[list[str]]]


def landing_events(exchange: Exchange, receipts: Sequence[Mapping[str, Any]]) -> Iterator[RunEvent]:
    """A run a delivery: from its sealed bytes to the dataset's clean partitions."""
    for receipt in receipts:
        key = f"{receipt['provider']}/{receipt['dataset']}"
        output = OutputDataset(
            namespace=exchange.settings.lake_url,
            name=f"clean/{key}",
            outputFacets={
                "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                    rowCount=int(receipt["accepted"])
                )
            },
        )
        yield event_of(
            f"landing.{key.replace('/', '.')}",
            f"{receipt['delivery']}/{receipt.get('generation', 0)}",
            inputs=[_input(exchange, f"raw/{key}", version=receipt["delivery"])],
            outputs=[output] if receipt["accepted"] else [],
            failed=_refused(receipt) if receipt["status"] == "refused" else None,
        )


def _refused(receipt: Mapping[str, Any]) -> str:
    """By the rule alone: a message may quote what was delivered."""
    return f"refused: {receipt['errors'][0]['rule'] if receipt['errors'] else 'no reason given'}"


def build_events(
    exchange: Exchange, candidates: Sequence[Mapping[str, str]], *, project: DbtProject | None = None
) -> Iterator[RunEvent]:
    """A run a candidate: from clean partitions to its files, with the column lineage down to what providers
    deliver."""
    marts = read_marts(exchange.settings.marts_path)
    all_made = [read_candidate(exchange, mart=entry["mart"], candidate=entry["candidate"]) for entry in candidates]
    origins = _origins(exchange, all_made, marts, project)
    for made in all_made:
        mart = marts[made.mart]
        fields = [
            schema_dataset.SchemaDatasetFacetFields(
                name=column.name, type=column.data_type, description=column.description.strip()
            )
            for column in mart.columns
        ]
        output = OutputDataset(
            namespace=exchange.settings.lake_url,
            name=f"candidates/{made.prefix}",
            facets={
                "schema": schema_dataset.SchemaDatasetFacet(fields=fields),
                "columnLineage": _column_facet(exchange, origins[made.mart]),
            },
            outputFacets={
                "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                    rowCount=sum(file.rows for file in made.built.values() if file),
                    size=sum(file.bytes for file in made.built.values() if file),
                )
            },
        )
        inputs = [_input(exchange, f"clean/{name}") for name in sorted({entry.dataset for entry in made.inputs})]
        yield event_of(f"build.{made.mart}", made.prefix, inputs=inputs, outputs=[output])


def gate_event(exchange: Exchange, *, mart: str, candidate: str, blocked: bool) -> RunEvent:
    """Each check of the gate as an assertion about the candidate."""
    try:
        results = json.loads(exchange.lake.read_bytes("reports", f"{mart}/{candidate}/results.json"))["results"]
    except ObjectNotFound:
        results = []  # withheld: nothing was judged
    assertions = [
        data_quality_assertions_dataset.Assertion(
            assertion=result["name"], success=result["success"], column=result["column"],
            severity="error" if result["severity"] == "blocking" else "warn",
        )
        for result in results
    ]  # fmt: skip
    judged = InputDataset(
        namespace=exchange.settings.lake_url,
        name=f"candidates/{mart}/{candidate}",
        inputFacets={
            "dataQualityAssertions": data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
                assertions=assertions
            )
        },
    )
    failed = f"{sum(not one.success for one in assertions)} checks failed" if blocked else None
    return event_of(f"gate.{mart}", f"{mart}/{candidate}", inputs=[judged], outputs=[], failed=failed)


def promotion_event(exchange: Exchange, outcome: Mapping[str, Any]) -> RunEvent:
    """From a candidate to the release that it became; no output where it became none."""
    made = read_candidate(exchange, mart=outcome["mart"], candidate=outcome["candidate"])
    outputs = []
    if outcome["status"] == "released":
        manifest = read_manifest(exchange, mart=made.mart, major=made.major, release=outcome["release"])
        outputs = [
            OutputDataset(
                namespace=exchange.settings.lake_url,
                name=f"marts/{made.mart}/v{made.major}",
                facets={"version": dataset_version_dataset.DatasetVersionDatasetFacet(manifest.release)},
                outputFacets={
                    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                        rowCount=manifest.rows, size=manifest.bytes
                    )
                },
            )
        ]
    source = _input(exchange, f"candidates/{made.prefix}")
    return event_of(f"promotion.{made.mart}", made.prefix, inputs=[source], outputs=outputs)


def event_of(
    job: str,
    of: str,
    *,
    inputs: list[InputDataset],
    outputs: list[OutputDataset],
    failed: str | None = None,
) -> RunEvent:
    """The end of a run of ``job``; ``of`` is what it did, from which its id follows, ``failed`` why it failed."""
    facets: dict[str, RunFacet] = {}
    if failed is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(message=failed, programmingLanguage="")
    kind = job_type_job.JobTypeJobFacet(
        processingType="BATCH", integration="EXCHANGE", jobType=job.split(".")[0].upper()
    )
    return RunEvent(
        eventType=RunState.COMPLETE if failed is None else RunState.FAIL,
        eventTime=datetime.now(UTC).isoformat(),
        producer=PRODUCER,
        run=Run(runId=str(uuid.uuid5(NAMESPACE, f"{job}/{of}")), facets=facets),
        job=Job(namespace=JOBS, name=job, facets={"jobType": kind}),
        inputs=inputs,
        outputs=outputs,
    )


def _input(exchange: Exchange, name: str, *, version: str | None = None) -> InputDataset:
    facets: dict[str, DatasetFacet] = {}
    if version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(version)
    return InputDataset(namespace=exchange.settings.lake_url, name=name, facets=facets)


def _origins(
    exchange: Exchange, all_made: Sequence[Candidate], marts: Mapping[str, Mart], project: DbtProject | None
) -> dict[str, Origins]:
    """Of each mart's columns the providers' columns, worked out once for each version of its code."""
    keys = {made.mart: f"columns/{made.mart}/{made.code}.json" for made in all_made}
    found: dict[str, Origins] = {}
    for mart, key in keys.items():
        with suppress(ObjectNotFound):
            found[mart] = json.loads(exchange.lake.read_bytes(BUCKET, key))
    missing = [marts[mart] for mart in keys if mart not in found]
    for mart, traced in (column_lineages(exchange, missing, project=project) if missing else {}).items():
        found[mart] = {
            column: [[str(field.dataset), field.source or field.column] for field in traced.origins(column)]
            for column in traced.columns
        }
        content = json.dumps(found[mart], indent=1).encode()
        exchange.lake.write_bytes(BUCKET, keys[mart], content, content_type="application/json")
    return found


def _column_facet(exchange: Exchange, origins: Origins) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    return column_lineage_dataset.ColumnLineageDatasetFacet(
        fields={
            column: column_lineage_dataset.Fields(
                inputFields=[
                    column_lineage_dataset.InputField(
                        namespace=exchange.settings.lake_url, name=f"raw/{dataset}", field=source
                    )
                    for dataset, source in fields
                ]
            )
            for column, fields in origins.items()
        }
    )
