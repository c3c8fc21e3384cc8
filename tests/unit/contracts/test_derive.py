"""What follows from a contract: the dbt staging models and the types of the lake."""

from __future__ import annotations

from pathlib import Path

import duckdb
import yaml

from lakehouse.contracts.derive import clean_columns, staging_sql, write_staging
from lakehouse.contracts.load import read_contract
from tests.unit.contracts.test_load import GOOD, write


def test_types_of_the_lake(tmp_path: Path) -> None:
    contract = read_contract(write(tmp_path, GOOD))
    assert clean_columns(contract) == {
        "meter": "VARCHAR",
        "read_at": "TIMESTAMPTZ",
        "use_kwh": "DECIMAL(12,3)",
        "exchange_delivery": "VARCHAR",
        "exchange_line": "BIGINT",
        "exchange_known_at": "TIMESTAMPTZ",
        "exchange_withdrawn": "BOOLEAN",
    }


def test_staging_reads_columns_that_sql_has_words_for(tmp_path: Path) -> None:
    contract = read_contract(write(tmp_path, GOOD.replace("name: use_kwh", "name: from")))
    sql = staging_sql(contract).partition("select")[2].partition("from {{")[0]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE clean AS SELECT " + ", ".join(f'1 AS "{n}"' for n in clean_columns(contract)))
        assert connection.execute(f"SELECT {sql} FROM clean").fetchall() == [(1,) * len(clean_columns(contract))]


def test_staging_is_written_anew_only_where_it_differs(tmp_path: Path) -> None:
    contract = read_contract(write(tmp_path, GOOD))
    folder = tmp_path / "staging"
    paths = write_staging({contract.key: contract}, folder)
    assert [path.name for path in paths] == ["staging.yml", "stg_town__readings.sql"]
    assert (folder / "stg_town__readings.sql").read_text() == staging_sql(contract)
    (model,) = yaml.safe_load((folder / "staging.yml").read_text())["models"]
    use = next(column for column in model["columns"] if column["name"] == "use_kwh")
    assert use["config"]["meta"] == {"privacy": "sensitive", "unit": "kWh"}
    before = [path.stat().st_mtime_ns for path in paths]
    (folder / "stg_town__gone.sql").write_text("select 1")
    write_staging({contract.key: contract}, folder)
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert not (folder / "stg_town__gone.sql").exists()
