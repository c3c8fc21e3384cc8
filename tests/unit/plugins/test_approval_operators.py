"""The tasks that ask a reviewer and keep the answer, where a candidate has been answered for already."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lakehouse.exchange import Exchange
from lakehouse.release.answer import answer
from tests.airflow_plugins import exchange_operators
from tests.mini_exchange import TRAFFIC, Mini


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    made = Mini.make(tmp_path / "exchange")
    made.edit(f"{TRAFFIC}.yml", "approval: auto", "approval: required")
    made.fill(days=2)
    made.build([TRAFFIC])
    monkeypatch.setattr(Exchange, "from_environment", lambda: made.exchange)
    return made


def test_a_question_that_was_answered_elsewhere_is_not_asked_again(mini: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    [waiting] = mini.release()
    assert waiting["status"] == "waiting"
    asked: list[Any] = []
    monkeypatch.setattr(exchange_operators.ApprovalOperator, "execute", lambda self, context: asked.append(self))
    which = {"mart": TRAFFIC, "candidate": waiting["candidate"]}
    ask = exchange_operators.AskReviewerOperator(task_id="approve", subject="Release it?", **which)
    ask.execute({})
    assert len(asked) == 1

    came = answer(
        mini.exchange, mart=mini.mart(TRAFFIC), candidate=waiting["candidate"], verdict="approved", by="Ida",
        reason="looked at it", through="command",
    )  # fmt: skip
    assert ask.execute({}) is None
    assert len(asked) == 1
    keep = exchange_operators.AnswerOperator(task_id="answer", question="approve", **which)
    found = keep.execute({"ti": SimpleNamespace(xcom_pull=lambda task_ids: None)})
    assert (found["status"], found["release"]) == ("released", came["release"])
