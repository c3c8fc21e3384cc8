"""The build: candidates of the marts, once intake has updated what they are made of."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from airflow.sdk import DAG, Asset, AssetAny

from exchange_operators import BuildOperator, BuildVerdictOperator
from lakehouse.contracts.derive import clean_asset_uri
from lakehouse.contracts.load import contract_keys
from lakehouse.settings import Settings

settings = Settings()
keys = ["/".join(place) for place in contract_keys(Path(settings.contracts_path))]
assets = [Asset(name=f"clean {key}", uri=clean_asset_uri(key)) for key in keys]

with DAG(
    dag_id="build",
    dag_display_name="Build candidates",
    description="One dbt invocation over the touched partitions; candidates are not visible to consumers.",
    doc_md=__doc__,
    schedule=AssetAny(*assets) if settings.schedules and assets else None,
    start_date=datetime(2016, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["marts"],
    default_args={"owner": "City Data Exchange"},
):
    build = BuildOperator(
        task_id="build",
        outlets=[Asset(name="candidates", uri="exchange://candidates")],
        doc_md="Plan what changed, run dbt, export the candidates' Parquet.",
    )
    build >> BuildVerdictOperator(
        task_id="verdict",
        build_task="build",
        trigger_rule="all_done",
        doc_md="Red where a mart could not be built, with the reason.",
    )
