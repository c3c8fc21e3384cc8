"""Files in an inbox that belong to no dataset are kept, moved to refused/ and answered with a receipt."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from airflow.sdk import DAG, Asset, AssetAny, AssetOrTimeSchedule, AssetWatcher, CronDataIntervalTimetable

from exchange_operators import StraysOperator
from exchange_triggers import InboxTrigger
from lakehouse.contracts.derive import inbox_prefix
from lakehouse.contracts.load import contract_keys
from lakehouse.settings import Settings

settings = Settings()
folders: dict[str, list[str]] = {}
for provider, dataset in contract_keys(Path(settings.contracts_path)):
    folders.setdefault(provider, []).append(inbox_prefix(dataset))
assets = [
    Asset(
        name=f"strays {provider}",
        uri=f"exchange://strays/{provider}",
        watchers=[
            AssetWatcher(
                name=f"strays {provider}",
                trigger=InboxTrigger(provider=provider, folders=sorted(known), outside=True),
            )
        ],
    )
    for provider, known in sorted(folders.items())
]
clock = CronDataIntervalTimetable("23 * * * *", timezone="UTC")

with DAG(
    dag_id="strays",
    dag_display_name="Refuse stray files",
    description="Files in an inbox outside the folders of its datasets.",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=clock, assets=AssetAny(*assets)) if settings.schedules and assets else None,
    start_date=datetime(2016, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["landing"],
    default_args={"owner": "City Data Exchange"},
) as dag:
    StraysOperator(task_id="refuse_strays", doc_md="Seal in raw, move to refused/, write the receipt.")
