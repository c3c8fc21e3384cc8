"""The task that takes in what waits of a dataset: what it returns, when it is skipped, what lineage hears."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.exchange import Exchange
from lakehouse.landing.listing import list_receipts
from lakehouse.lineage.store import kept
from tests.airflow_plugins import AirflowSkipException, exchange_operators
from tests.mini_exchange import COUNTS, Mini, traffic

FIRST, SECOND = ({"ti": SimpleNamespace(try_number=number)} for number in (1, 2))


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    made = Mini.make(tmp_path / "exchange")
    monkeypatch.setattr(Exchange, "from_environment", lambda: made.exchange)
    return made


def drop(mini: Mini, day: int) -> int:
    """Returns how many rows."""
    contract = mini.exchange.contract(COUNTS)
    lines = traffic(date(2024, 10, day))
    key = f"{inbox_prefix(contract.dataset)}{day}.csv"
    mini.exchange.lake.write_bytes(landing_bucket(contract.provider), key, ("\n".join(lines) + "\n").encode())
    return len(lines) - 1


def test_all_that_waits_is_taken_in_and_told(mini: Mini) -> None:
    rows = sum(drop(mini, day) for day in range(1, 6))
    task = exchange_operators.IntakeOperator(task_id="intake", dataset=COUNTS)
    assert task.execute(FIRST) == {
        "deliveries": 5, "delivered": rows, "accepted": rows, "refused": 0, "duplicates": 0, "corrections": 0,
    }  # fmt: skip
    told = [event for event in kept(mini.exchange, datetime.now(UTC).date()) if event["eventType"] == "COMPLETE"]
    assert len(told) == 5


def test_where_no_row_is_new_nothing_is_built(mini: Mini) -> None:
    task = exchange_operators.IntakeOperator(task_id="intake", dataset=COUNTS)
    with pytest.raises(AirflowSkipException, match="nothing was delivered"):
        task.execute(FIRST)
    drop(mini, 1)
    task.execute(FIRST)
    contract = mini.exchange.contract(COUNTS)
    mini.exchange.lake.write_bytes(
        landing_bucket(contract.provider), f"{inbox_prefix(contract.dataset)}again.csv",
        ("\n".join(traffic(date(2024, 10, 1))) + "\n").encode(),
    )  # fmt: skip
    with pytest.raises(AirflowSkipException, match="deliveries brought no new row"):
        task.execute(FIRST)


def test_what_a_try_took_in_before_it_died_is_built_after_the_next(mini: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(*_: object, **__: object) -> None:
        raise OSError("no space left")

    rows = drop(mini, 1)
    task = exchange_operators.IntakeOperator(task_id="intake", dataset=COUNTS)
    with monkeypatch.context() as patch:
        patch.setattr("lakehouse.landing.intake.write_receipts", dying)
        with pytest.raises(OSError, match="no space left"):
            task.execute(FIRST)
    assert sum(receipt["accepted"] for receipt in list_receipts(mini.exchange)) == rows
    # Its receipt is written now; of a try that died after that the next finds nothing, and is not skipped either.
    assert task.execute(SECOND)["accepted"] == rows
    assert task.execute(SECOND)["accepted"] == 0
    with pytest.raises(AirflowSkipException, match="nothing was delivered"):
        task.execute(FIRST)
