"""A mart's code is all that decides its bytes but its rows, and nothing else."""

import os
from pathlib import Path

import pytest

from lakehouse.build.dbt import BuildFailed, DbtProject
from lakehouse.build.lineage import HiddenLineage, NoSuchModel
from lakehouse.build.reads import undeclared
from tests.mini_exchange import COUNTS, METERS, READINGS, SENSORS, TRAFFIC, WATER, Mini


def codes(mini: Mini) -> dict[str, str]:
    project = DbtProject(mini.exchange)
    return {name: project.lineage(name).code for name in (TRAFFIC, WATER)}


def test_a_mart_is_made_of_the_datasets_above_it(parsed: DbtProject) -> None:
    lineage = parsed.lineage(TRAFFIC)
    assert lineage.datasets == {COUNTS, SENSORS}
    assert lineage.ancestors == {
        "model.mini.traffic_by_road_hour",
        "model.mini.traffic_counts",
        "model.mini.stg_city__traffic_counts",
        "model.mini.stg_city__sensors",
        "source.mini.city.traffic_counts",
        "source.mini.city.sensors",
    }
    assert parsed.lineage(WATER).datasets == {READINGS, METERS}


def test_a_model_that_is_not_there(parsed: DbtProject) -> None:
    with pytest.raises(NoSuchModel, match="knows no model 'nothing'"):
        parsed.lineage("nothing")


@pytest.mark.parametrize(
    "plain", ["conformed.traffic_counts", '"conformed" . "traffic_counts"', "CONFORMED.traffic_counts"]
)
def test_a_model_that_reads_another_by_its_plain_name_is_refused(filled: Mini, plain: str) -> None:
    filled.edit(f"{TRAFFIC}.sql", "{{ ref('traffic_counts') }}", plain)
    project = DbtProject(filled.exchange)
    with pytest.raises(
        HiddenLineage, match=r"(?i)traffic_by_road_hour.sql reads conformed.traffic_counts by its plain name"
    ) as told:
        project.lineage(TRAFFIC)
    assert "ref('traffic_counts')" in str(told.value)
    assert project.lineage(WATER).datasets == {READINGS, METERS}


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("select * from s.stated, other.free, range(4), unnest([1])", []),
        ("with own as (from s.stated) select * from own where x in (select y from own)", []),
        ("select * from s.stated, s.hidden", ["s.hidden"]),
        ("select * from S.stated as a join /* not seen */ build.S . Hidden using (x)", ["s.hidden"]),
        ("select (select max(x) from s.hidden) from s.stated", ["s.hidden"]),
        ("select * from hidden", ["hidden"]),
        ("from 'lake/clean/a.parquet' union all from read_parquet('b')", ["lake/clean/a.parquet", "read_parquet(…)"]),
        ("from query_table('s.hidden')", ["query_table(…)"]),
    ],
)
def test_what_a_model_reads_beyond_what_it_states(sql: str, found: list[str]) -> None:
    assert undeclared(sql, stated=[("s", "stated")], schemas=["s"]) == found


def test_a_model_that_a_macro_or_a_comma_lets_read_another_stops_the_build(filled: Mini) -> None:
    # Both marts are built together, so the private relation is there to be read.
    filled.edit(f"{TRAFFIC}.sql", "as counts\n", "as counts cross join {{ 'utility' ~ '.' ~ 'meters' }} as hidden\n")
    with pytest.raises(HiddenLineage, match=r"traffic_by_road_hour.sql reads utility.meters, which hides"):
        filled.build()


ROAD = 'logicalType: {}\n        required: true\n        classification: public\n        description: "Road'


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        pytest.param("traffic_by_road_hour.sql", "count(*) as", "count(1) as", {TRAFFIC}, id="the mart's SQL"),
        pytest.param("conformed/traffic_counts.sql", "group by", "group  by", {TRAFFIC}, id="SQL above it"),
        pytest.param("midnight.sql", "'day'", "'month'", {WATER}, id="a macro of one mart"),
        pytest.param("newest.sql", "arg_max(", "arg_min(", {TRAFFIC, WATER}, id="a dispatched macro below a macro"),
        pytest.param("traffic_by_road_hour.yml", "Vehicles that all", "All", {TRAFFIC}, id="words in the Parquet"),
        pytest.param("water_by_area_day.yml", "p_percent: 10", "p_percent: 20", {WATER}, id="a policy"),
        pytest.param("meter_readings.odcs.yaml", "hours: 24", "hours: 36", {WATER}, id="how readings count"),
        pytest.param(
            "sensors.odcs.yaml", ROAD.format("string"), ROAD.format("date"), {TRAFFIC}, id="a type in a contract"
        ),
        pytest.param("sensors.odcs.yaml", "On which", "In which", set(), id="words about a contract"),
        pytest.param("generate_schema_name.sql", "{% macro", "{# #}{% macro", set(), id="a macro that no mart calls"),
    ],
)
def test_code_changes_with_what_a_mart_is_made_by(
    filled: Mini, parsed: DbtProject, file: str, old: str, new: str, changed: set[str]
) -> None:
    before = {name: parsed.lineage(name).code for name in (TRAFFIC, WATER)}
    filled.edit(file, old, new)
    after = codes(filled)
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_project_that_cannot_be_parsed_says_why(filled: Mini) -> None:
    filled.edit("conformed/traffic_counts.sql", "ref('stg_city__traffic_counts')", "ref('nowhere')")
    with pytest.raises(BuildFailed, match="nowhere"):
        DbtProject(filled.exchange)


def test_a_file_that_is_put_back_with_its_old_time_is_read_again(filled: Mini) -> None:
    path, before = filled.path(f"{TRAFFIC}.yml"), codes(filled)
    text, times = path.read_text(), path.stat()
    filled.edit(f"{TRAFFIC}.yml", "Vehicles that all", "All")
    assert codes(filled) != before
    path.write_text(text)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert codes(filled) == before


def test_a_parsed_project_writes_no_log(parsed: DbtProject, filled_once: Mini) -> None:
    assert not list(filled_once.root.rglob("*.log"))
    assert not list(Path.cwd().glob("logs/dbt.log"))
