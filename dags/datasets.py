"""One DAG a contract: a scheduled extract and its intake, or the intake of what a provider drops.

A contract with a fault has none until it is mended; ``contract_faults.py`` has Airflow show what is wrong with it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, AssetWatcher, CronDataIntervalTimetable

from exchange_operators import ExtractOperator, IntakeOperator
from exchange_triggers import InboxTrigger
from lakehouse.contracts.derive import clean_asset_uri, dag_id, history_start, inbox_prefix, is_asked, landing_asset_uri
from lakehouse.contracts.load import sound_contracts
from lakehouse.contracts.odcs import Contract
from lakehouse.settings import Settings

settings = Settings()


def inbox_asset(contract: Contract) -> Asset:
    """Updated within seconds of a file's coming to rest in the dataset's inbox."""
    trigger = InboxTrigger(provider=contract.provider, folders=[inbox_prefix(contract.dataset)])
    watcher = AssetWatcher(name=f"inbox {contract.key}", trigger=trigger)
    return Asset(name=f"landing {contract.key}", uri=landing_asset_uri(contract), watchers=[watcher])


def schedule(contract: Contract) -> CronDataIntervalTimetable | AssetOrTimeSchedule | None:
    """An extract by the clock; a drop by its arrival, and by the clock what an arrival did not bring in."""
    if not settings.schedules:
        return None
    clock = CronDataIntervalTimetable(contract.exchange.cron, timezone="UTC")
    if is_asked(contract, live=settings.extracts == "live"):
        return clock
    return AssetOrTimeSchedule(timetable=clock, assets=[inbox_asset(contract)])


def dataset_dag(contract: Contract) -> DAG:
    extension = contract.exchange
    kind = "extract" if extension.extract else "drop"
    privacy = "private" if contract.private else "public"
    columns = "\n".join(
        f"| `{c.name}` | {c.unit or ''} | {c.classification} | {c.description} |" for c in contract.columns
    )
    dag = DAG(
        dag_id=dag_id(contract),
        dag_display_name=f"{contract.name} ({contract.key})",
        description=contract.description.purpose,
        doc_md=f"{contract.description.purpose}\n\n{contract.description.usage or ''}\n\n"
        f"Contract version {contract.version}, licence {extension.licence.id}, {extension.licence.attribution}.\n\n"
        f"| column | unit | privacy | meaning |\n|---|---|---|---|\n{columns}",
        schedule=schedule(contract),
        start_date=history_start(contract),
        catchup=False,
        max_active_runs=1,
        tags=["dataset", kind, privacy, contract.provider, *([contract.domain] if contract.domain else [])],
        default_args={"owner": contract.team.name if contract.team else contract.provider},
    )
    with dag:
        intake = IntakeOperator(
            task_id="intake",
            dataset=contract.key,
            # Of a source that failed half way, what is sealed already is whole.
            trigger_rule="all_done",
            # On a busy machine Airflow's own requests can time out; what was taken in before stands.
            retries=1,
            retry_delay=timedelta(seconds=10),
            outlets=[Asset(name=f"clean {contract.key}", uri=clean_asset_uri(contract.key))],
            doc_md="Seal, parse, type, quarantine, write clean partitions and the provider's receipt.",
        )
        if extension.extract:
            extract = ExtractOperator(
                task_id="extract",
                dataset=contract.key,
                retries=1,
                retry_delay=timedelta(seconds=30),
                # A source that answers for ever does not keep its slot; the next try goes on behind what is sealed.
                execution_timeout=timedelta(days=1),
                doc_md="Pull the data interval and seal its pages in raw.",
            )
            # Keeps the run red where the source failed, whatever intake made of what was sealed.
            answered = EmptyOperator(task_id="answered", trigger_rule="none_failed")
            extract >> [intake, answered]
    return dag


for contract in sound_contracts(Path(settings.contracts_path))[0].values():
    globals()[dag_id(contract)] = dataset_dag(contract)
