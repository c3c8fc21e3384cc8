"""Operators: one class for each step of the exchange, thin over ``lakehouse``.

Each opens the exchange from the environment inside its task, so that a DAG file costs nothing at import and
no credential passes through Airflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import BaseOperator, Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from pathlib import Path

    from lakehouse.exchange import Exchange


class ExtractOperator(BaseOperator):
    """Pulls one data interval of a source and seals its pages, as they came, in ``raw``; by schedule also those before
    it that were missed, as while the source was away.

    Skipped where the source is asked live only and extracts are not live: what was dropped is taken in instead. A
    source that is asked for a data interval is not asked in a run that has none: what is sealed already is taken in.
    """

    template_fields: Sequence[str] = ("dataset",)

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset

    def execute(self, context: Any) -> dict[str, Any]:
        from lakehouse.contracts.derive import is_asked
        from lakehouse.exchange import Exchange
        from lakehouse.landing.extract import Extracted, extract, missed
        from lakehouse.sources.page import NotThere, SourceError

        # A run that was started by hand has no interval; a source that is asked for what is new needs none.
        began: datetime = context["dag_run"].start_date
        start: datetime = context.get("data_interval_start") or began
        end: datetime = context.get("data_interval_end") or began
        exchange = Exchange.from_environment()
        contract = exchange.contract(self.dataset)
        if not is_asked(contract, live=exchange.settings.extracts == "live"):
            raise AirflowSkipException(f"{self.dataset}: its source is asked with EXCHANGE_EXTRACTS=live only")
        arguments = contract.exchange.extract
        if arguments is not None and arguments.by_interval and context.get("data_interval_start") is None:
            raise AirflowSkipException(
                f"{self.dataset}: this run has no data interval, so its source is not asked, and what is sealed is "
                "taken in; to ask it, start the DAG with an interval, or a backfill"
            )
        ask = partial(extract, exchange, contract, again_before=began, progress=self.log.info)
        missing: NotThere | None = None
        try:
            found = ask(start=start, end=end)
        except NotThere as error:
            # The source answers, and may have what came late of those before.
            found, missing = Extracted(), error
        if arguments is not None and arguments.by_interval and context["dag_run"].run_type == "scheduled":
            for first, last in missed(exchange, contract, before=start):
                try:
                    found += ask(start=first, end=last)
                except SourceError as error:
                    self.log.warning("%s: %s to %s is still missing: %s", self.dataset, first, last, error)
        if missing is not None:
            raise missing
        return asdict(found)


class IntakeOperator(BaseOperator):
    """Loads all that waits or is sealed of a dataset. Skipped where no partition has changed, so that its
    asset is updated, and a build begins, only when there is something to build.

    A second try is never skipped: the one before it may have taken rows in and told nobody. A build that finds nothing
    new ends at once.
    """

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset

    def execute(self, context: Any) -> dict[str, int]:
        """Returns what the receipts come to; each one stands in the provider's landing bucket."""
        from lakehouse.exchange import Exchange
        from lakehouse.landing.intake import intake_pages
        from lakehouse.lineage.events import landing_events
        from lakehouse.lineage.store import tell

        exchange = Exchange.from_environment()
        totals = dict.fromkeys(("deliveries", "delivered", "accepted", "refused", "duplicates", "corrections"), 0)
        for page in intake_pages(exchange, exchange.contract(self.dataset), progress=self.log.info):
            # Of many small deliveries an object each would cost more than loading them did.
            told = partial(landing_events, exchange, page)
            tell(exchange, told, warn=self.log.warning, together=len(page) > 1)
            totals["deliveries"] += len(page)
            for name in totals.keys() - {"deliveries"}:
                totals[name] += sum(receipt[name] for receipt in page)
        if not totals["accepted"] and context["ti"].try_number == 1:
            count = totals["deliveries"]
            found = f"{count} deliveries brought no new row" if count else "nothing was delivered"
            raise AirflowSkipException(f"{self.dataset}: {found}")
        return totals


class StraysOperator(BaseOperator):
    """Refuses what lies in an inbox outside the folders of its provider's datasets; nothing of it is lost."""

    def execute(self, context: Any) -> list[str]:
        from lakehouse.contracts.load import contract_keys
        from lakehouse.exchange import Exchange
        from lakehouse.landing.strays import refuse_strays
        from lakehouse.storage.lake import StorageError

        exchange = Exchange.from_environment()
        files: list[str] = []
        failed: list[StorageError] = []
        for provider in sorted({provider for provider, _ in contract_keys(exchange.settings.contracts_path)}):
            try:
                files += [receipt["file"] for receipt in refuse_strays(exchange, provider)]
            except StorageError as error:
                # The others' files are answered all the same.
                self.log.error("%s: %s", provider, error)
                failed.append(error)
        if failed:
            raise failed[0]
        return files


class BuildOperator(BaseOperator):
    """Builds candidates of every mart whose inputs or code changed, in one dbt invocation a batch."""

    def execute(self, context: Any) -> dict[str, Any]:
        from lakehouse.build.dbt import DbtProject
        from lakehouse.build.run import build
        from lakehouse.exchange import Exchange
        from lakehouse.lineage.dbt import dbt_events
        from lakehouse.lineage.events import build_events
        from lakehouse.lineage.store import tell

        def built(target: Path) -> None:
            tell(exchange, lambda: dbt_events(exchange, target), warn=self.log.warning, together=True)

        exchange = Exchange.from_environment()
        project = DbtProject(exchange, built=built)
        summary = build(exchange, marts=exchange.settings.mart_list, project=project, progress=self.log.info)
        tell(exchange, lambda: build_events(exchange, summary.candidates, project=project), warn=self.log.warning)
        context["ti"].xcom_push(key="failed", value=summary.failed)
        for mart, reason in summary.unchanged.items():
            self.log.info("%s: nothing to build: %s", mart, reason)
        if not summary.candidates:
            raise AirflowSkipException("no candidate was built")
        return {"candidates": summary.candidates, "unchanged": summary.unchanged, "held": summary.held}


class BuildVerdictOperator(BaseOperator):
    """Ends the run red, with the reason, where a mart could not be built; the others go on to their gate."""

    def __init__(self, *, build_task: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.build_task = build_task

    def execute(self, context: Any) -> None:
        failed = context["ti"].xcom_pull(task_ids=self.build_task, key="failed")
        if failed is None:
            raise AirflowFailException("the build itself failed; see its log")
        if failed:
            raise AirflowFailException("; ".join(f"{mart}: {reason}" for mart, reason in failed.items()))


class GateOperator(BaseOperator):
    """Judges one candidate. A blocked one fails the task with the reasons; the release before it stands."""

    template_fields: Sequence[str] = ("mart", "candidate")

    def __init__(self, *, mart: str, candidate: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mart = mart
        self.candidate = candidate

    def execute(self, context: Any) -> dict[str, Any]:
        from lakehouse.contracts.mart import read_marts
        from lakehouse.exchange import Exchange
        from lakehouse.lineage.events import gate_event
        from lakehouse.lineage.store import tell
        from lakehouse.release.gate import CandidateBlocked, gate

        def told(blocked: bool) -> None:
            tell(
                exchange,
                lambda: [gate_event(exchange, mart=self.mart, candidate=self.candidate, blocked=blocked)],
                warn=self.log.warning,
            )

        exchange = Exchange.from_environment()
        mart = read_marts(exchange.settings.marts_path)[self.mart]
        try:
            verdict = gate(exchange, mart=mart, candidate=self.candidate)
        except CandidateBlocked as blocked:
            told(True)
            raise AirflowFailException(str(blocked)) from None
        told(False)
        self.log.info("%s: %s", self.mart, verdict)
        return verdict


class PromoteOperator(BaseOperator):
    """Makes the release of a candidate that passed, and moves the pointer last."""

    template_fields: Sequence[str] = ("mart", "candidate")

    def __init__(self, *, mart: str, candidate: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mart = mart
        self.candidate = candidate

    def execute(self, context: Any) -> dict[str, Any]:
        from lakehouse.contracts.mart import read_marts
        from lakehouse.exchange import Exchange
        from lakehouse.lineage.events import promotion_event
        from lakehouse.lineage.store import tell
        from lakehouse.release.promote import promote

        exchange = Exchange.from_environment()
        mart = read_marts(exchange.settings.marts_path)[self.mart]
        outcome = promote(exchange, mart=mart, candidate=self.candidate)
        tell(exchange, lambda: [promotion_event(exchange, outcome)], warn=self.log.warning)
        self.log.info("%s: %s", self.mart, outcome)
        _bring_doors(self, exchange, self.mart)
        return outcome


def _bring_doors(task: BaseOperator, exchange: Exchange, mart: str) -> None:
    from lakehouse.sharing.follow import bring_doors

    if (failed := bring_doors(exchange, mart=mart)) is not None:
        task.log.error(failed)


class AskOperator(TriggerDagRunOperator):
    """Starts the run that waits for a reviewer's answer. Skipped where no answer is needed."""

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "mart", "candidate")

    def __init__(self, *, mart: str, candidate: str, **kwargs: Any) -> None:
        super().__init__(skip_when_already_exists=True, **kwargs)
        self.mart = mart
        self.candidate = candidate

    def execute(self, context: Any) -> None:
        from lakehouse.exchange import Exchange
        from lakehouse.release.approval import question

        asked = question(Exchange.from_environment(), mart=self.mart, candidate=self.candidate)
        if asked is None:
            raise AirflowSkipException(f"{self.mart}: candidate {self.candidate} needs no approval")
        # One question for each time that it waits, whatever run finds it waiting.
        self.trigger_run_id = asked["run"]
        self.conf = {"mart": self.mart, "candidate": self.candidate, "body": asked["body"]}
        super().execute(context)


class AskReviewerOperator(ApprovalOperator):
    """Waits for a reviewer's answer, with a reason that is kept. Takes up no worker meanwhile.

    A refusal is an answer too: what follows runs either way. Where the answer comes before the scheduler has heard that
    the asking half of the task ended, which takes it some seconds, Airflow 3.3.2 takes the task for lost and loses the
    answer: the task is tried again, and asks unless the candidate has been answered for meanwhile.
    """

    template_fields: Sequence[str] = (*ApprovalOperator.template_fields, "mart", "candidate")

    def __init__(
        self,
        *,
        mart: str,
        candidate: str,
        retries: int = 5,
        retry_delay: timedelta = timedelta(seconds=2),
        **kwargs: Any,
    ) -> None:
        reason = Param("", type="string", description="Why; it is kept with the release. No personal data.")
        super().__init__(params={"reason": reason}, retries=retries, retry_delay=retry_delay, **kwargs)
        self.mart = mart
        self.candidate = candidate

    def execute(self, context: Any) -> Any:
        from lakehouse.exchange import Exchange
        from lakehouse.release.answer import fate

        if fate(Exchange.from_environment(), mart=self.mart, candidate=self.candidate)["status"] != "waiting":
            return None
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        # Not the parent's: it skips what follows a refusal, which is to be kept.
        return super(ApprovalOperator, self).execute_complete(context, event)


class AnswerOperator(BaseOperator):
    """Keeps the answer and releases or ends the candidate by it. Where it was answered elsewhere before, that answer
    holds, and the run ends with what came of it."""

    template_fields: Sequence[str] = ("mart", "candidate")

    def __init__(self, *, question: str, mart: str, candidate: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.question = question
        self.mart = mart
        self.candidate = candidate

    def execute(self, context: Any) -> dict[str, Any]:
        from lakehouse.contracts.mart import read_marts
        from lakehouse.exchange import Exchange
        from lakehouse.release.answer import fate
        from lakehouse.release.approval import NotWaiting
        from lakehouse.sharing.follow import answer_and_follow

        given = context["ti"].xcom_pull(task_ids=self.question)
        exchange = Exchange.from_environment()
        if given is None:
            return fate(exchange, mart=self.mart, candidate=self.candidate)
        user = given["responded_by_user"] or {}
        try:
            outcome = answer_and_follow(
                exchange,
                mart=read_marts(exchange.settings.marts_path)[self.mart],
                candidate=self.candidate,
                verdict="approved" if given["chosen_options"] == [ApprovalOperator.APPROVE] else "refused",
                by=user.get("name") or user.get("id") or "unknown",
                reason=given["params_input"].get("reason") or "none was given",
                through="airflow",
                warn=self.log.error,
            )
        except NotWaiting:
            # Whoever answered has told of it.
            outcome = fate(exchange, mart=self.mart, candidate=self.candidate)
        self.log.info("%s: %s", self.mart, outcome)
        return outcome


class RetentionOperator(BaseOperator):
    """Removes the files of releases that are past their retention. Skipped where there are none."""

    def execute(self, context: Any) -> list[str]:
        from lakehouse.exchange import Exchange
        from lakehouse.release.retention import retention

        exchange = Exchange.from_environment()
        found = retention(exchange, now=datetime.now(UTC), days=exchange.settings.retention_days, apply=True)
        for past in found:
            self.log.info("%s v%d %s: %s bytes are let go", past.mart, past.major, past.release, f"{past.bytes:,}")
        for mart in sorted({past.mart for past in found}):
            _bring_doors(self, exchange, mart)
        if not found:
            raise AirflowSkipException("no release is past its retention")
        return [f"{past.mart}@{past.release}" for past in found]
