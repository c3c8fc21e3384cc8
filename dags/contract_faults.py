"""No DAG: where contracts have faults, Airflow shows them as an import error of this file, and reads all other DAGs."""

from __future__ import annotations

from pathlib import Path

from lakehouse.contracts.load import read_contracts
from lakehouse.settings import Settings

read_contracts(Path(Settings().contracts_path))
