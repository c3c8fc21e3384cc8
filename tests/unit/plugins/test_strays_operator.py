"""The task that answers stray files: whatever is wrong with one provider or contract, the others' are answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.exchange import Exchange
from lakehouse.storage.lake import AccessRefused, Entry
from lakehouse.storage.local import LocalLake
from tests.airflow_plugins import exchange_operators
from tests.mini_exchange import Mini


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    made = Mini.make(tmp_path / "exchange")
    monkeypatch.setattr(Exchange, "from_environment", made.open)
    for provider in ("city", "utility"):
        made.exchange.lake.write_bytes(f"landing-{provider}", "inbox/stray.csv", b"a\n1\n")
    return made


def test_a_provider_whose_inbox_may_not_be_read_holds_up_no_other(mini: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = LocalLake.list

    def closed(lake: LocalLake, bucket: str, prefix: str = "") -> Iterator[Entry]:
        if bucket == "landing-city":
            raise AccessRefused(f"{bucket}: may not be read")
        return honest(lake, bucket, prefix)

    task = exchange_operators.StraysOperator(task_id="refuse_strays")
    with monkeypatch.context() as patch:
        patch.setattr(LocalLake, "list", closed)
        with pytest.raises(AccessRefused, match="landing-city: may not be read"):
            task.execute({})
    assert list(mini.exchange.lake.list("landing-utility", "receipts/_unknown/"))
    assert task.execute({}) == ["stray.csv"]


def test_a_file_for_a_dataset_whose_contract_has_a_fault_is_no_stray(mini: Mini) -> None:
    (mini.root / "project" / "contracts" / "city" / "sensors.odcs.yaml").write_text("tenant: [city\n")
    mini.exchange.lake.write_bytes("landing-city", "inbox/sensors/a.csv", b"a\n1\n")
    task = exchange_operators.StraysOperator(task_id="refuse_strays")
    assert task.execute({}) == ["stray.csv", "stray.csv"]
    assert [entry.key for entry in mini.exchange.lake.list("landing-city", "inbox/")] == ["inbox/sensors/a.csv"]
