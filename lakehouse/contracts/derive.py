"""What follows from a contract: names in the lake and in Airflow, types, the dbt staging model."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from lakehouse.contracts.extract import PagedJsonApi
from lakehouse.contracts.odcs import Column, Contract
from lakehouse.contracts.written import write_all

LINEAGE_COLUMNS = {
    "exchange_delivery": ("VARCHAR", "the delivery that brought the row; ids sort by time of arrival"),
    "exchange_line": ("BIGINT", "line (or row) of the delivered file, from 1"),
    "exchange_known_at": ("TIMESTAMPTZ", "when the exchange received the row (UTC)"),
    "exchange_withdrawn": ("BOOLEAN", "true where a later version of the row belongs to another partition"),
}
UNDATED = "undated"


def loopback_extract(contract: Contract) -> PagedJsonApi | None:
    """The dataset's extract, where a server on loopback can stand in for its source: dated rows, paged by offset."""
    extract = contract.exchange.extract
    if not isinstance(extract, PagedJsonApi) or extract.paging != "offset" or not extract.by_interval:
        return None
    return extract if contract.exchange.time else None


def is_asked(contract: Contract, *, live: bool) -> bool:
    """Whether the dataset's source is asked for it. Else it is what is dropped."""
    return contract.exchange.extract is not None and (live or loopback_extract(contract) is not None)


def history_start(contract: Contract) -> datetime:
    """From when on a source is asked that is asked by interval."""
    return datetime.fromisoformat(contract.exchange.history_start or "2016-01-01").replace(tzinfo=UTC)


def landing_bucket(provider: str) -> str:
    return f"landing-{provider}"


def inbox_prefix(dataset: str) -> str:
    return f"inbox/{dataset}/"


def clean_asset_uri(key: str) -> str:
    """The Airflow asset that intake updates when it has changed the partitions of ``provider/dataset``."""
    return f"exchange://clean/{key}"


def landing_asset_uri(contract: Contract) -> str:
    """The Airflow asset that files in a dataset's inbox update."""
    return f"exchange://landing/{contract.provider}/{contract.dataset}"


def dag_id(contract: Contract) -> str:
    return f"{contract.provider}__{contract.dataset}"


def duckdb_type(column: Column) -> str:
    """The type that a column has in ``clean`` (timestamps are UTC, geometries EPSG:4326)."""
    if column.parse.geometry:
        return "GEOMETRY"
    if column.logicalType == "number":
        return str(column.physicalType).upper()
    if column.logicalType == "integer":
        return "BIGINT"
    return {"string": "VARCHAR", "boolean": "BOOLEAN", "date": "DATE", "timestamp": "TIMESTAMPTZ"}[column.logicalType]


def clean_columns(contract: Contract) -> dict[str, str]:
    """Names and DuckDB types of a dataset's rows in ``clean``."""
    lineage = {name: type_ for name, (type_, _) in LINEAGE_COLUMNS.items()}
    return {**{column.name: duckdb_type(column) for column in contract.columns}, **lineage}


def source_name(contract: Contract) -> str:
    """The name of the dbt staging model."""
    return f"stg_{contract.provider}__{contract.dataset}"


def staging_sql(contract: Contract) -> str:
    """The generated staging model: accepted rows of the partitions that this build takes, typed."""
    names = [column.name for column in contract.columns] + list(LINEAGE_COLUMNS)
    # In quotes, since some are words of SQL, as `from` and `to`.
    columns = ",\n    ".join(f'"{name}"' for name in names)
    return (
        f"-- Generated from contracts/{contract.provider}/{contract.dataset}.odcs.yaml; changes here are lost.\n"
        f"select\n    {columns}\n"
        f"from {{{{ source('{contract.provider}', '{contract.dataset}') }}}}\n"
    )


def staging_properties(contract: Contract) -> dict[str, Any]:
    """The generated model's description; privacy class and unit of each column under ``meta``."""
    columns = [
        {
            "name": column.name,
            "description": column.description,
            "data_type": duckdb_type(column),
            "config": {"meta": {"privacy": column.classification.value, "unit": column.unit}},
        }
        for column in contract.columns
    ]
    columns += [
        {"name": name, "data_type": type_, "description": text, "config": {"meta": {"privacy": "public"}}}
        for name, (type_, text) in LINEAGE_COLUMNS.items()
    ]
    readings = contract.exchange.readings
    facts = {"contract": contract.key, "readings": readings.model_dump() if readings else None}
    return {
        "name": source_name(contract),
        "description": f"{contract.name}: {contract.description.purpose}",
        "config": {"materialized": "view", "meta": {"exchange": facts}},
        "columns": columns,
    }


def write_staging(contracts: dict[str, Contract], folder: Path) -> list[Path]:
    """Writes the staging models of all contracts into a folder, and removes those without a contract.

    Only files that differ are written, so that dbt's partial parsing is kept.
    """
    wanted: dict[Path, str] = {}
    for contract in contracts.values():
        wanted[folder / f"{source_name(contract)}.sql"] = staging_sql(contract)
    providers = sorted({contract.provider for contract in contracts.values()})
    sources = [
        {
            "name": provider,
            "schema": provider,
            "tables": [{"name": c.dataset} for c in contracts.values() if c.provider == provider],
        }
        for provider in providers
    ]
    models = [staging_properties(contract) for contract in contracts.values()]
    properties = {"version": 2, "sources": sources, "models": models}
    wanted[folder / "staging.yml"] = "# Generated from contracts/; changes here are lost.\n" + yaml.safe_dump(
        properties, sort_keys=False, allow_unicode=True, width=110
    )
    return write_all(wanted, folder)
