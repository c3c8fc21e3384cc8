"""The release: each waiting candidate passes its gate and is promoted, or is blocked and changes nothing.

One that needs a person's approval is handed on to the second half, a run of its own that waits for the answer for as
long as it takes, so that the other marts go on meanwhile.
"""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, Asset, task, task_group

from exchange_operators import AnswerOperator, AskOperator, AskReviewerOperator, GateOperator, PromoteOperator

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
        ask = AskOperator(task_id="ask", mart=mart, candidate=candidate, trigger_dag_id="approval")
        gate >> promote >> ask

    release_one.expand_kwargs(waiting())

with DAG(
    dag_id="approval",
    dag_display_name="Approve and release",
    description="A candidate that passed its gate waits for a reviewer: answered here, over REST, or by a command.",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2016, 1, 1),
    catchup=False,
    # A run that waits takes up no worker, and none holds up another.
    max_active_runs=200,
    tags=["marts", "approval"],
    default_args={"owner": "City Data Exchange"},
):
    question = AskReviewerOperator(
        task_id="approve",
        mart="{{ dag_run.conf.mart }}",
        candidate="{{ dag_run.conf.candidate }}",
        subject="Release {{ dag_run.conf.mart }}, candidate {{ dag_run.conf.candidate }}?",
        body="{{ dag_run.conf.body }}",
    )
    answer = AnswerOperator(
        task_id="answer",
        question="approve",
        mart="{{ dag_run.conf.mart }}",
        candidate="{{ dag_run.conf.candidate }}",
    )
    question >> answer
