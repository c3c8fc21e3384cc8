"""`exchange check`: contracts, samples, marts, suites, licences and DAGs, offline; every fault at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lakehouse.contracts.load import ContractError, Fault, contract_paths, read_contract
from lakehouse.contracts.mart import Mart, read_mart
from lakehouse.exchange import UnknownDataset
from lakehouse.gates.suite import validate_suite
from lakehouse.landing.trial import try_sample
from lakehouse.orchestrate.lineage_check import lineage_faults
from lakehouse.settings import Settings

# Through it Airflow shows the faults of contracts, which are looked for here anyway.
NO_DAG = "contract_faults.py"
# Run in a process of its own: lakehouse imports no Airflow, and a DAG file may do anything at import.
LOAD_DAGS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
found = []
for path in sys.argv[1:]:
    bag = DagBag(path, safe_mode=False)
    problems = [text.strip().splitlines()[-1] for text in bag.import_errors.values()]
    if not problems and not bag.dags:
        problems = ["defines no DAG"]
    found += [{"file": path, "problem": problem} for problem in problems]
print("DAGS" + json.dumps(found))
"""


def check_project(settings: Settings, *, only: str | None = None) -> tuple[list[dict[str, Any]], str]:
    """Faults as ``{file, line, field, problem}`` and words for what was checked.

    ``only`` is a ``provider/dataset``; then just that contract and its sample. Raises :class:`UnknownDataset`
    if there is no such contract file.
    """
    paths = contract_paths(settings.contracts_path)
    if only is not None:
        paths = [path for path in paths if f"{path.parent.name}/{path.name.split('.')[0]}" == only]
        if not paths:
            raise UnknownDataset(f"there is no contract {only}; `exchange new-source {only} --from SAMPLE` drafts one")
    faults: list[Fault] = []
    for path in paths:
        try:
            contract = read_contract(path, root=settings.project)
        except ContractError as error:
            faults += error.faults
        else:
            faults += try_sample(contract, path, root=settings.project)
    words = f"{len(paths)} contract{'' if len(paths) == 1 else 's'} with their samples"
    if only is None:
        marts = sorted(settings.marts_path.glob("*.yml"))
        for path in marts:
            faults += _mart_faults(settings, path)
        faults += lineage_faults(settings)
        dags = sorted(path for path in (settings.project / "dags").glob("*.py") if path.name != NO_DAG)
        faults += _dag_faults(settings, dags)
        words += f", {len(marts)} marts with their suites and licences, {len(dags)} DAG files"
    return [fault.to_dict() for fault in sorted(faults)], words


def _mart_faults(settings: Settings, path: Path) -> list[Fault]:
    try:
        mart = read_mart(path, root=settings.project)
    except ContractError as error:
        return error.faults
    return _suite_faults(settings, mart)


def _suite_faults(settings: Settings, mart: Mart) -> list[Fault]:
    suite = settings.expectations_path / f"{mart.name}.json"
    shown = str(suite.relative_to(settings.project))
    if not suite.exists():
        problem = f"is missing: {mart.name} would be released without a check"
        return [Fault(file=shown, line=1, field="(file)", problem=problem)]
    columns = [column.name for column in mart.columns]
    return [
        Fault(file=shown, line=1, field="expectations", problem=problem)
        for problem in validate_suite(path=suite, columns=columns)
    ]


def _dag_faults(settings: Settings, paths: list[Path]) -> list[Fault]:
    path = os.pathsep.join([str(settings.project / "plugins"), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ,
        "PYTHONPATH": path.rstrip(os.pathsep),
        "AIRFLOW_HOME": str(settings.home_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "EXCHANGE_PROJECT": str(settings.project),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD_DAGS, *(str(path) for path in paths)],
        env=environment,
        capture_output=True,
        text=True,
    )
    answer = next((line for line in done.stdout.splitlines() if line.startswith("DAGS")), None)
    if answer is None:
        problem = f"DAGs cannot be loaded: {done.stderr.strip().splitlines()[-1:]}"
        return [Fault(file="dags", line=1, field="(file)", problem=problem)]
    return [
        Fault(
            file=str(Path(entry["file"]).relative_to(settings.project)),
            line=1,
            field="(file)",
            problem=entry["problem"],
        )
        for entry in json.loads(answer.removeprefix("DAGS"))
    ]
