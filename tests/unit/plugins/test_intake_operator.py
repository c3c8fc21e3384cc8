"""The task that takes in what waits of a dataset: what it returns, when it is skipped, what lineage hears."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from lakehouse.contracts.derive import inbox_prefix, landing_bucket
from lakehouse.exchange import Exchange
from lakehouse.lineage.store import kept
from tests.airflow_plugins import AirflowSkipException, exchange_operators
from tests.mini_exchange import COUNTS, Mini, traffic


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
    assert task.execute({}) == {
        "deliveries": 5, "delivered": rows, "accepted": rows, "refused": 0, "duplicates": 0, "corrections": 0,
    }  # fmt: skip
    told = [event for event in kept(mini.exchange, datetime.now(UTC).date()) if event["eventType"] == "COMPLETE"]
    assert len(told) == 5


def test_where_no_row_is_new_nothing_is_built(mini: Mini) -> None:
    task = exchange_operators.IntakeOperator(task_id="intake", dataset=COUNTS)
    with pytest.raises(AirflowSkipException, match="nothing was delivered"):
        task.execute({})
    drop(mini, 1)
    task.execute({})
    contract = mini.exchange.contract(COUNTS)
    mini.exchange.lake.write_bytes(
        landing_bucket(contract.provider), f"{inbox_prefix(contract.dataset)}again.csv",
        ("\n".join(traffic(date(2024, 10, 1))) + "\n").encode(),
    )  # fmt: skip
    with pytest.raises(AirflowSkipException, match="deliveries brought no new row"):
        task.execute({})
