"""The gate's report as a page for quality reviewers: one HTML file that needs no network, no script, no
asset."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lakehouse.gates.report import GateReport, GateResult, counted

TEMPLATES = Path(__file__).parent / "templates"

VERDICTS = {
    "passed": "Passed: every check holds.",
    "passed with warnings": "Passed with warnings: nothing blocks the release.",
    "blocked": "Blocked: this candidate cannot be released. The release before it stands.",
}


def render_report(
    *,
    report: GateReport,
    extra_results: Sequence[GateResult] = (),
    context: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """The files to keep under `reports/<mart>/<candidate>/`: `index.html` for people, `results.json` for
    programs.

    `extra_results` are those of other gates (physical, privacy, dbt); they count towards the verdict.
    `context` holds further facts for the head of the page, label to text (licence, release before, …), `links`
    pages that stand beside it, label to relative address.
    Examples of failing rows are left out for a private mart, whoever brings them.
    """
    whole = report.joined(extra_results)
    facts = dict(context or {})
    results = json.dumps({**_shown(whole), "context": facts}, indent=1, ensure_ascii=False, default=str)
    page = _environment().get_template("report.html.j2")
    html = page.render(
        report=whole,
        facts=facts,
        links=dict(links or {}),
        sections=_sections(whole),
        sentence=VERDICTS[whole.verdict],
    )
    return {"index.html": html.encode(), "results.json": f"{results}\n".encode()}


def _shown(report: GateReport) -> dict[str, object]:
    held = report.to_dict()
    if report.private:
        for result in held["results"] if isinstance(held["results"], list) else []:
            result["examples"] = []
    return held


def _sections(report: GateReport) -> list[tuple[str, str, list[GateResult]]]:
    """The failed checks, the worst first: anchor, heading, results."""
    sections = [
        ("blocking", "Checks that block", report.blocking),
        ("warnings", "Warnings", report.warnings),
    ]
    return [section for section in sections if section[2]]


def _by_gate(results: Sequence[GateResult]) -> list[tuple[str, list[GateResult]]]:
    """The results under the gate that they come from, gates in the order in which they first come."""
    order = list(dict.fromkeys(result.gate for result in results))
    ordered = sorted(results, key=lambda result: order.index(result.gate))
    return [(gate, list(members)) for gate, members in groupby(ordered, key=lambda result: result.gate)]


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(by_gate=_by_gate)
    environment.globals.update(counted=counted)
    return environment
