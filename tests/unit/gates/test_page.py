"""The report page: what a reviewer reads, and that it needs nothing but itself."""

import json
import re
from dataclasses import replace

import pyarrow as pa

from lakehouse.gates.page import render_report
from lakehouse.gates.report import GateResult
from tests.unit.gates.conftest import Gate, expectation

SUITE = [
    expectation("expect_column_values_to_be_between", column="use_m3", min_value=0),
    expectation("expect_column_values_to_be_between", column="use_m3", max_value=50, severity="warning"),
    expectation("expect_column_values_to_not_be_null", column="area"),
]
LEAK = GateResult(
    name="dominance",
    expectation="dominance",
    severity="blocking",
    success=False,
    expected="no household holds more than 15 % of a cell",
    reason="One of 40 cells is held by one household.",
    gate="Privacy",
)


def table(use: float, area: str = "Valby") -> dict[str, pa.Table]:
    return {"day=0": pa.table({"area": [area], "use_m3": [use]})}


def test_the_page_asks_for_nothing_outside_itself(gate: Gate) -> None:
    for use in (1.0, -1.0):
        page = render_report(report=gate(SUITE, table(use)))["index.html"].decode()
        references = re.findall(r"""(?:src|href|url|action|data)\s*[=(]\s*["']?([^"')\s>]+)""", page)
        assert [target for target in references if not target.startswith(("#", "results.json"))] == []
        assert "://" not in page
        assert "<script" not in page
        assert "@import" not in page


def test_a_blocked_page_leads_with_the_verdict_and_the_failed_checks(gate: Gate) -> None:
    page = render_report(
        report=gate(SUITE, table(-1.0)), context={"Licence": "CC BY 4.0", "Release before": "2024-03-01"}
    )["index.html"].decode()
    order = [
        page.index(words)
        for words in (
            "Blocked: this candidate",
            "CC BY 4.0",
            "Checks that block (1)",
            "Checks that passed (2)",
        )
    ]
    assert order == sorted(order)
    assert "use_m3 is at least 0" in page
    assert "1 of 1 rows (100 %) fail, in partition day=0" in page
    assert "so that it is right" in page


def test_warnings_and_passes_are_told_apart(gate: Gate) -> None:
    warned = render_report(report=gate(SUITE, table(60.0)))["index.html"].decode()
    assert "Passed with warnings" in warned
    assert "Checks that block" not in warned
    passed = render_report(report=gate(SUITE, table(1.0)))["index.html"].decode()
    assert "Passed: every check holds." in passed
    assert "Warnings (" not in passed


def test_results_of_other_gates_count_towards_the_verdict(gate: Gate) -> None:
    report = gate(SUITE, table(1.0))
    pages = render_report(report=report, extra_results=[LEAK])
    assert "Blocked:" in pages["index.html"].decode()
    assert json.loads(pages["results.json"])["verdict"] == "blocked"
    assert report.joined([LEAK]).blocked
    assert not report.blocked
    passed = replace(LEAK, success=True)
    assert "<h3>Privacy</h3>" in render_report(report=report, extra_results=[passed])["index.html"].decode()


def test_results_json_holds_everything_for_programs(gate: Gate) -> None:
    held = json.loads(render_report(report=gate(SUITE, table(-1.0)), context={"Access": "open"})["results.json"])
    assert (held["mart"], held["candidate"], held["blocked"]) == (
        "water_use_by_area_hour",
        "candidate-1",
        True,
    )
    assert (held["rows_checked"], held["partitions_checked"], held["context"]) == (1, 1, {"Access": "open"})
    assert held["results"][0]["arguments"] == {"column": "use_m3", "min_value": 0}
    assert held["failed"][0]["reason"].startswith("Expected: use_m3 is at least 0.")


def test_values_of_the_data_are_escaped(gate: Gate) -> None:
    suite = [expectation("expect_column_values_to_be_in_set", column="area", value_set=["Valby"])]
    page = render_report(report=gate(suite, table(1.0, area="<script>alert(1)</script>")))["index.html"].decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
