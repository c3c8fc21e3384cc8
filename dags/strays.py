"""Files in an inbox that belong to no dataset are kept, moved to refused/ and answered with a receipt."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from exchange_operators import StraysOperator
from lakehouse.settings import Settings

with DAG(
    dag_id="strays",
    dag_display_name="Refuse stray files",
    description="Files in an inbox outside the folders of its datasets.",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("*/15 * * * *", timezone="UTC") if Settings().schedules else None,
    start_date=datetime(2016, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["landing"],
    default_args={"owner": "City Data Exchange"},
):
    StraysOperator(task_id="refuse_strays", doc_md="Seal in raw, move to refused/, write the receipt.")
