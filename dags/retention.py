"""Retention: once a day the files of releases past it are removed; their manifests and signatures stay as the record.

``exchange retention`` says what the next run would remove, and ``exchange pin`` keeps a release from it.
"""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, CronDataIntervalTimetable

from exchange_operators import RetentionOperator
from lakehouse.settings import Settings

settings = Settings()

with DAG(
    dag_id="retention",
    dag_display_name="Let old releases go",
    description=f"All of {settings.retention_days} days stay, then the last of each month, and what is pinned.",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("41 3 * * *", timezone="UTC") if settings.schedules else None,
    start_date=datetime(2016, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["marts"],
    default_args={"owner": "City Data Exchange"},
) as dag:
    RetentionOperator(task_id="remove_files", doc_md="Remove files past their retention; finish what was begun.")
