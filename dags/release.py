"""The release: each waiting candidate passes its gate and is promoted, or is blocked and changes nothing."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, Asset, task, task_group

from exchange_operators import GateOperator, PromoteOperator

with DAG(
    dag_id="release",
    dag_display_name="Gate and release",
    description="Great Expectations, physical checks and privacy thresholds; then promotion, the pointer last.",
    doc_md=__doc__,
    schedule=[Asset(name="candidates", uri="exchange://candidates")],
    start_date=datetime(2016, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["marts"],
    default_args={"owner": "City Data Exchange"},
):

    @task
    def waiting() -> list[dict[str, str]]:
        """The candidates that were built and not yet judged."""
        from lakehouse.exchange import Exchange
        from lakehouse.release.listing import waiting_candidates

        return waiting_candidates(Exchange.from_environment())

    @task_group
    def release_one(mart: str, candidate: str) -> None:
        gate = GateOperator(task_id="gate", mart=mart, candidate=candidate)
        promote = PromoteOperator(task_id="promote", mart=mart, candidate=candidate)
        gate >> promote

    release_one.expand_kwargs(waiting())
