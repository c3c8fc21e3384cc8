"""What a build hands to dbt before a model runs."""

from pathlib import Path

import duckdb

from lakehouse.build.inputs import prepare_sources
from lakehouse.build.periods import span_of
from tests.mini_exchange import Mini


def test_an_hour_is_there_once_where_a_day_of_one_mart_lies_in_a_month_of_another(tmp_path: Path) -> None:
    mini = Mini.make(tmp_path)
    spans = [span_of("2024-10-02", "day"), span_of("2024-10-01", "month"), span_of("2024-11-01", "day")]
    database = tmp_path / "build.duckdb"
    prepare_sources(mini.exchange, files=[], spans=spans, database=database, folder=tmp_path / "inputs")
    with duckdb.connect(str(database)) as connection:
        found = connection.execute("SELECT count(*), count(DISTINCT hour_utc) FROM calendar.hours").fetchone()
    assert found == (32 * 24, 32 * 24)
