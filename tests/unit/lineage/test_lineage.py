"""From a mart's column to the provider's, from a delivery to its releases, and what is told of each step."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from openlineage.client.client import OpenLineageClient
from openlineage.client.serde import Serde

from lakehouse import cli
from lakehouse.build.dbt import DbtProject
from lakehouse.lineage.columns import LineageUnknown, column_lineage, column_lineages
from lakehouse.lineage.dbt import DATABASE_NAMESPACE, dbt_events
from lakehouse.lineage.events import build_events, gate_event, landing_events, promotion_event
from lakehouse.lineage.releases import NoSuchDelivery, releases_of
from lakehouse.lineage.store import keep, keep_line, kept, tell
from lakehouse.orchestrate.airflow_process import LINEAGE
from lakehouse.release.listing import waiting_candidates
from lakehouse.storage.index import deliveries
from tests.airflow_plugins import exchange_operators
from tests.mini_exchange import COUNTS, METERS, READINGS, TRAFFIC, WATER, Mini


def delivery_of(mini: Mini, file: str) -> str:
    row = mini.exchange.index.row(sa.select(deliveries.c.delivery).where(deliveries.c.file == file))
    assert row is not None
    return str(row["delivery"])


def test_a_mart_s_column_leads_to_the_column_that_the_provider_names(released: Mini, parsed: DbtProject) -> None:
    marts = [released.mart(TRAFFIC), released.mart(WATER)]
    found = column_lineages(released.exchange, marts, project=parsed)
    traffic, water = found[TRAFFIC], found[WATER]
    assert {(field.dataset, field.source) for field in traffic.origins("vehicles") if field.source} >= {
        (COUNTS, "vehicles")
    }
    assert {field.dataset for field in traffic.origins("road")} == {"city/sensors"}
    # Rows are counted: of no column, and of these datasets.
    assert {field.column for field in traffic.origins("sensors")} <= {"*", "sensor_id"}
    assert {(field.dataset, field.source) for field in water.origins("area") if field.source} >= {(METERS, "area")}
    assert (READINGS, "reading_l") in {(field.dataset, field.source) for field in water.origins("water_use_l")}
    tree = traffic.tree("road")
    assert (tree["relation"], tree["column"]) == (f"marts.{TRAFFIC}", "road")
    assert tree["from"][0]["from"]
    with pytest.raises(KeyError, match="has no column 'trucks'; it has: road, hour_utc"):
        traffic.tree("trucks")


def test_sql_that_nobody_can_follow_is_said(filled: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlglot.errors import ParseError

    def fails(*_: Any, **__: Any) -> None:
        raise ParseError("no such syntax")

    monkeypatch.setattr("lakehouse.lineage.columns.parse_one", fails)
    with pytest.raises(LineageUnknown, match=r"its SQL cannot be taken apart \(no such syntax\)"):
        column_lineage(filled.exchange, filled.mart(TRAFFIC))


def test_a_delivery_leads_to_each_release_that_can_hold_a_row_of_it(second: Mini) -> None:
    second.release()
    known = releases_of(second.exchange, delivery_of(second, "2024-10-02.csv"))
    assert [(entry["release"][:4], entry["latest"]) for entry in known["releases"]] == [("0001", False), ("0002", True)]
    assert known["releases"][0]["files"] == ["day=2024-10-02/part-0.parquet"]
    # The correction came after the first release, and is in the second alone.
    late = releases_of(second.exchange, delivery_of(second, "late.csv"))
    assert [entry["release"][:4] for entry in late["releases"]] == ["0002"]
    with pytest.raises(NoSuchDelivery, match="no delivery 'nothing'; `exchange receipts --json` has the ids of all"):
        releases_of(second.exchange, "nothing")


def test_each_step_is_told_by_the_classes_of_the_official_client(second: Mini, parsed: DbtProject) -> None:
    exchange = second.exchange
    [waiting] = waiting_candidates(exchange)
    candidate = waiting["candidate"]
    receipts = [
        row["receipt"]
        for row in exchange.index.rows(sa.select(deliveries).where(deliveries.c.dataset == "traffic_counts"))
    ]
    [outcome] = second.release()
    keep(exchange, landing_events(exchange, receipts))
    keep(exchange, build_events(exchange, [dict(waiting)], project=parsed))
    keep(exchange, [gate_event(exchange, **waiting, blocked=False), promotion_event(exchange, outcome)])
    events = {event["job"]["name"]: event for event in kept(exchange, datetime.now(UTC).date())}
    assert events.keys() == {
        "landing.city.traffic_counts",
        f"build.{TRAFFIC}",
        f"gate.{TRAFFIC}",
        f"promotion.{TRAFFIC}",
    }
    lake = exchange.settings.lake_url
    # One chain of names: raw → clean → candidate → mart.
    landing, build, gate, promotion = (events[name] for name in sorted(events, key=lambda name: "lbgp".index(name[0])))
    assert [one["name"] for one in landing["outputs"]] == ["clean/city/traffic_counts"]
    assert (lake, "clean/city/traffic_counts") in [(one["namespace"], one["name"]) for one in build["inputs"]]
    assert (
        build["outputs"][0]["name"]
        == gate["inputs"][0]["name"]
        == promotion["inputs"][0]["name"]
        == f"candidates/{TRAFFIC}/{candidate}"
    )
    assert promotion["outputs"][0]["facets"]["version"]["datasetVersion"] == outcome["release"]
    fields = build["outputs"][0]["facets"]["columnLineage"]["fields"]["vehicles"]["inputFields"]
    assert ("raw/city/traffic_counts", "vehicles") in [(one["name"], one["field"]) for one in fields]
    assert gate["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    for event in events.values():
        assert event["schemaURL"].startswith("https://openlineage.io/spec/")
        assert event["eventType"] == "COMPLETE"
    # What was worked out for this code is not worked out again.
    assert [entry.key for entry in exchange.lake.list("lineage", "columns/")] != []


def test_a_step_that_is_repeated_tells_of_the_same_run(second: Mini) -> None:
    [outcome] = second.release()
    exchange = second.exchange
    first, again = promotion_event(exchange, outcome), promotion_event(exchange, outcome)
    assert first.run.runId == again.run.runId
    keep(exchange, [first, first, again])
    [entry] = exchange.lake.list("lineage", "events/")
    assert len(exchange.lake.read_bytes("lineage", entry.key).splitlines()) == 2


def test_a_refusal_is_told_by_its_rule_and_no_value(filled: Mini) -> None:
    [receipt] = filled.deliver(COUNTS, "bad.csv", ["sensor_id,hour_utc,vehicles", "s1,SECRET,SECRET"])
    assert receipt["status"] == "refused"
    [event] = landing_events(filled.exchange, [receipt])
    assert event.eventType is not None
    assert event.eventType.value == "FAIL"
    keep(filled.exchange, [event])
    [entry] = filled.exchange.lake.list("lineage", "events/")
    said = filled.exchange.lake.read_bytes("lineage", entry.key)
    assert b"too_many_refused" in said
    assert b"SECRET" not in said


def test_what_cannot_be_told_is_a_warning_and_no_failure(filled: Mini) -> None:
    said: list[str] = []

    def fails() -> list[Any]:
        raise RuntimeError("no")

    tell(filled.exchange, fails, warn=said.append)
    assert said == ["lineage was not told: RuntimeError: no"]
    with pytest.raises(ValueError, match="is no id of a run"):
        keep_line(filled.exchange, json.dumps({"run": {"runId": "../../x"}, "eventTime": "2024-10-10T00:00:00Z"}))


def test_what_dbt_ran_is_told_in_one_object_and_names_no_place_of_the_machine(
    filled: Mini, parsed: DbtProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exchange, warned = filled.exchange, list[str]()

    def built(target: Path) -> None:
        tell(exchange, lambda: dbt_events(exchange, target), warn=warned.append, together=True)
        shutil.copytree(target, tmp_path / "target")

    monkeypatch.setattr(parsed, "_built", built)
    assert filled.build([TRAFFIC], project=parsed).failed == {}
    assert warned == []
    [entry] = exchange.lake.list("lineage", "events/")
    said = exchange.lake.read_bytes("lineage", entry.key).decode()
    # dbt's artifacts are full of such paths; the lake's own address is the namespace of all that is told.
    places = [
        str(path) for path in (exchange.settings.home_path, exchange.settings.project, exchange.settings.dbt_path)
    ]
    assert any(place in (tmp_path / "target" / "run_results.json").read_text() for place in places)
    elsewhere = said.replace(exchange.settings.lake_url, "")
    assert not [place for place in (*places, str(tmp_path), "/work/build-") if place in elsewhere]
    assert '"sql"' not in said

    events = list(kept(exchange, datetime.now(UTC).date()))
    invocation = events[0]
    assert (invocation["job"]["name"], invocation["eventType"]) == ("dbt.build", "COMPLETE")
    assert {one["run"]["facets"]["parent"]["run"]["runId"] for one in events[1:]} == {invocation["run"]["runId"]}
    by = {(one["job"]["name"], one["eventType"]): one for one in events}
    mart = f"build.marts.mini.{TRAFFIC}.build"
    assert {(f"{mart}.{what}", state) for what in ("run", "test") for state in ("START", "COMPLETE")} <= by.keys()
    [made] = by[f"{mart}.run", "COMPLETE"]["outputs"]
    assert (made["namespace"], made["name"]) == (DATABASE_NAMESPACE, f"build.marts.{TRAFFIC}")
    assert "vehicles" in made["facets"]["columnLineage"]["fields"]
    [judged] = by[f"{mart}.test", "COMPLETE"]["inputs"]
    [assertion] = judged["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (assertion["assertion"], assertion["column"], assertion["success"]) == ("not_null", "vehicles", True)
    # The chain goes on in the lake, at the clean dataset.
    [source] = by["build.staging.mini.stg_city__traffic_counts.build.run", "COMPLETE"]["inputs"]
    [clean] = source["facets"]["symlinks"]["identifiers"]
    assert (clean["namespace"], clean["name"]) == (exchange.settings.lake_url, f"clean/{COUNTS}")

    _what_did_not_pass_is_told_so(filled, tmp_path / "target")


def test_the_task_that_builds_tells_of_dbt_and_of_its_candidates(filled: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("project", "home", "lake", "database"):
        monkeypatch.setenv(f"EXCHANGE_{name.upper()}", str(getattr(filled.exchange.settings, name)))
    monkeypatch.setenv("EXCHANGE_MARTS", TRAFFIC)
    exchange_operators.BuildOperator(task_id="build").execute(
        {"ti": SimpleNamespace(xcom_push=lambda key, value: None)}
    )
    jobs = {event["job"]["name"] for event in kept(filled.exchange, datetime.now(UTC).date())}
    assert {"dbt.build", f"build.{TRAFFIC}", f"build.marts.mini.{TRAFFIC}.build.run"} <= jobs


def _what_did_not_pass_is_told_so(mini: Mini, target: Path) -> None:
    """By the same artifacts, as dbt leaves them where a test fails, a model breaks and another is skipped."""
    path = target / "run_results.json"
    results = json.loads(path.read_text())
    status = {"not_null": ("fail", 77123), "stg_city__sensors": ("error", None), "traffic_counts": ("skipped", None)}
    for result in results["results"]:
        for name, (said, failures) in status.items():
            if result["unique_id"].split(".")[2].startswith(name):
                result |= {"status": said, "failures": failures, "message": "SECRET"}
    path.write_text(json.dumps(results))
    events = list(dbt_events(mini.exchange, target))
    states = {(event.job.name, event.eventType.value) for event in events if event.eventType is not None}
    assert {
        ("dbt.build", "FAIL"),
        (f"build.marts.mini.{TRAFFIC}.build.test", "FAIL"),
        ("build.staging.mini.stg_city__sensors.build.run", "FAIL"),
    } <= states
    assert "build.conformed.mini.traffic_counts.build.run" not in {name for name, _ in states}
    said = "".join(Serde.to_json(event) for event in events)
    assert "SECRET" not in said
    assert "77123" not in said


def test_a_build_is_none_the_worse_where_dbt_s_events_cannot_be_told(
    filled: Mini, parsed: DbtProject, tmp_path: Path
) -> None:
    warned: list[str] = []
    tell(filled.exchange, lambda: dbt_events(filled.exchange, tmp_path), warn=warned.append, together=True)
    [why] = warned
    assert why.startswith("lineage was not told: FileNotFoundError")
    assert list(filled.exchange.lake.list("lineage", "events/")) == []


@pytest.mark.parametrize("answered", ["approved", "refused"])
def test_a_reviewer_s_answer_tells_of_the_promotion(
    second: Mini, monkeypatch: pytest.MonkeyPatch, answered: str
) -> None:
    second.edit(f"{TRAFFIC}.yml", "approval: auto", "approval: required")
    [outcome] = second.release()
    for name in ("project", "home", "lake", "database"):
        monkeypatch.setenv(f"EXCHANGE_{name.upper()}", str(getattr(second.exchange.settings, name)))
    given = {
        "responded_by_user": {"name": "Ida"},
        "chosen_options": ["Approve" if answered == "approved" else "Reject"],
        "params_input": {"reason": "as the city confirmed"},
    }
    operator = exchange_operators.AnswerOperator(
        task_id="answer", question="ask", mart=TRAFFIC, candidate=outcome["candidate"]
    )
    task = SimpleNamespace(xcom_pull=lambda task_ids: given)
    came = operator.execute({"ti": task})
    [event] = kept(second.exchange, datetime.now(UTC).date())
    assert event["job"]["name"] == f"promotion.{TRAFFIC}"
    versions = [one["facets"]["version"]["datasetVersion"] for one in event["outputs"]]
    assert versions == ([came["release"]] if answered == "approved" else [])
    # Who comes too late tells nothing more.
    assert operator.execute({"ti": task})["release"] == came["release"]
    assert len({one["run"]["runId"] for one in kept(second.exchange, datetime.now(UTC).date())}) == 1


def test_events_of_the_official_client_come_into_the_lake(second: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Airflow's provider is set up: the transport by its name."""
    for name in ("project", "home", "lake", "database"):
        monkeypatch.setenv(f"EXCHANGE_{name.upper()}", str(getattr(second.exchange.settings, name)))
    [outcome] = second.release()
    client = OpenLineageClient(config={"transport": {"type": LINEAGE}})
    client.emit(promotion_event(second.exchange, outcome))
    [event] = kept(second.exchange, datetime.now(UTC).date())
    assert event["job"]["name"] == f"promotion.{TRAFFIC}"


def test_the_command_draws_a_tree_and_prints_json(
    released: Mini, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("project", "home", "lake", "database"):
        monkeypatch.setenv(f"EXCHANGE_{name.upper()}", str(getattr(released.exchange.settings, name)))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["exchange", "lineage", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert run(f"{TRAFFIC}.road") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"marts.{TRAFFIC}.road"
    assert "city/sensors: road, as 'road'" in said
    assert run("--delivery", delivery_of(released, "sensors.csv"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["releases"][0]["mart"] == TRAFFIC
    assert run() == run(TRAFFIC, "--delivery", "x") == run("nothing") == run(f"{TRAFFIC}.nothing") == 2
