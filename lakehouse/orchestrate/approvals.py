"""Questions that stand open in Airflow about candidates whose fate is known: answered there too, so that their runs
go on and nobody is asked twice."""

from __future__ import annotations

from lakehouse.exchange import Exchange
from lakehouse.orchestrate.airflow_client import AirflowClient, RunFailed
from lakehouse.orchestrate.airflow_process import find_running
from lakehouse.release.answer import fate

DAG = "approval"
APPROVE, REJECT = "Approve", "Reject"


def answer_in_airflow(exchange: Exchange) -> int:
    """Tells the Airflow that runs on this project, if one does. Returns how many waiting runs went on."""
    standing = find_running(exchange.settings)
    if standing is None:
        return 0
    with AirflowClient(standing.url) as client:
        return answer_settled(exchange, client)


def answer_settled(exchange: Exchange, client: AirflowClient) -> int:
    """Answers each open question whose candidate waits no more, by what became of it. The answer that is on record
    is the one that holds: the run only reads it. Returns how many were answered."""
    answered = 0
    for question in client.questions(DAG):
        mart, candidate = question.conf.get("mart", ""), question.conf.get("candidate", "")
        found = fate(exchange, mart=mart, candidate=candidate)
        if found["status"] == "waiting":
            continue
        option = APPROVE if found["status"] in ("released", "unchanged") else REJECT
        reason = f"{found['status']}: {found['reason'] or 'see the candidate'}"
        try:
            client.answer(question, option=option, given={"reason": reason})
        except RunFailed:
            # Somebody answered it in Airflow just now.
            continue
        answered += 1
    return answered
