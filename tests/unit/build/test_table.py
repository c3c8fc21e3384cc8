"""A mart with totals in a whole build: what its SQL may read, what its release shows, and what a year holds still."""

import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa

from lakehouse.build.dbt import DbtProject
from lakehouse.privacy.lineage import UncoveredPrivateData
from lakehouse.release.gate import CandidateBlocked, gate
from lakehouse.release.listing import waiting_candidates
from lakehouse.release.manifest import read_candidate
from lakehouse.storage.index import deliveries
from tests.mart_files import add_mart
from tests.mini_exchange import METERS, Mini

AREAS, TYPES = ("north", "south", "harbour", "hills"), ("house", "flat")
TABLE = "meters_by_area"
YML = """version: 2
models:
  - name: meters_by_area
    description: "Meters by area and type, with totals."
    config:
      contract: {enforced: true}
      meta:
        exchange:
          title: "Meters by area"
          theme: ENVI
          licence: {id: CC0-1.0, url: https://creativecommons.org/publicdomain/zero/1.0/}
          access: open
          price: null
          major: 1
          key: [area, kind, as_of]
          partition: {column: as_of, grain: year}
          freshness_hours: 9600
          approval: auto
          privacy:
            kind: suppress
            unit: household
            unit_column: meter_id
            measure: meters
            k: 5
            dimensions:
              - {column: area, total: all areas}
              - {column: kind, total: all kinds}
            contributions: anonymised.meter_contributions
            classes: conformed.meter_classes
            cap: {value: 1, unit: meters}
    columns:
      - {name: area, data_type: varchar, description: Area, constraints: [{type: not_null}]}
      - {name: kind, data_type: varchar, description: Kind, constraints: [{type: not_null}]}
      - {name: as_of, data_type: bigint, description: Year, constraints: [{type: not_null}], config: {meta: {unit: a}}}
      - {name: meters, data_type: bigint, description: Meters, config: {meta: {unit: meters}}}
"""
MODELS = {
    f"marts/{TABLE}.yml": YML,
    f"marts/{TABLE}.sql": "{{ table_with_totals('meters_by_area', classes=ref('meter_classes')) }}",
    "conformed/meter_classes.sql": """select area, kind, cast(as_of as bigint) as as_of
        from (select unnest(['north', 'south', 'harbour', 'hills']) as area) as areas
        cross join (select unnest(['house', 'flat']) as kind) as kinds
        cross join (select distinct extract(year from hour_utc) as as_of from calendar.hours) as years""",
    # The register of the small exchange knows no kind of building: the name of the area has it.
    "anonymised/meter_contributions.sql": """select split_part(area, ':', 1) as area, split_part(area, ':', 2) as kind, as_of,
            meter_id as unit, cast(1 as bigint) as contribution
        from {{ ref('stg_utility__meters') }}
        cross join (select distinct as_of from {{ ref('meter_classes') }}) as years""",
}
SUITE = """{"name": "meters_by_area", "expectations": [{"type": "expect_column_values_to_be_between",
 "kwargs": {"column": "meters", "min_value": 5}, "severity": "critical", "meta": {"notes": "K."}}]}"""
COUNTS = {"north": (9, 12), "south": (3, 20), "harbour": (15, 8), "hills": (11, 14)}


def register(counts: dict[str, tuple[int, int]]) -> list[str]:
    rows = [
        f"m-{area}-{kind}-{number},{area}:{kind}"
        for area, each in counts.items()
        for kind, count in zip(TYPES, each, strict=True)
        for number in range(count)
    ]
    return ["meter_id,area", *rows]


@pytest.fixture(scope="module")
def table_once(tmp_path_factory: pytest.TempPathFactory) -> Mini:
    mini = Mini.make(tmp_path_factory.mktemp("table"))
    project = mini.root / "project"
    add_mart(project, TABLE, models=MODELS, suite=SUITE)
    macros = Path(__file__).parents[3] / "dbt_project" / "macros"
    for name in ("table_with_totals.sql", "stated.sql"):
        (project / "dbt_project" / "macros" / name).write_text((macros / name).read_text())
    mini.close()
    mini.deliver(METERS, "meters.csv", register(COUNTS))
    assert mini.build([TABLE]).failed == {}
    return mini


@pytest.fixture
def table(table_once: Mini, tmp_path: Path) -> Mini:
    return table_once.copy(tmp_path)


def rows(mini: Mini) -> dict[tuple[str, str], int | None]:
    manifest = mini.latest(TABLE)
    files = [str(mini.exchange.lake.local_path("marts", f"{manifest.prefix}/{file.path}")) for file in manifest.files]
    found = duckdb.sql(f"SELECT area, kind, meters, as_of FROM read_parquet({files})").fetchall()
    assert {row[3] for row in found} == {datetime.now(UTC).year}
    return {(area, kind): meters for area, kind, meters, _ in found}


def test_a_release_shows_totals_and_withholds_what_would_tell_of_few(table: Mini) -> None:
    made = table.release()
    assert [(outcome["mart"], outcome["status"]) for outcome in made] == [(TABLE, "released")]
    shown = rows(table)
    assert len(shown) == 5 * 3
    assert shown["all areas", "all kinds"] == sum(map(sum, COUNTS.values()))
    assert shown["south", "all kinds"] is None or shown["south", "flat"] is None
    assert shown["south", "house"] is None
    withheld = [cell for cell, meters in shown.items() if meters is None]
    # The small one, one more in its row, and one more of each in their columns.
    assert len(withheld) == 4
    manifest = table.latest(TABLE)
    assert manifest.privacy["kind"] == "suppress"
    report = table.exchange.lake.read_bytes("reports", f"{TABLE}/{manifest.candidate}/results.json").decode()
    passed = {result["name"] for result in json.loads(report)["results"] if result["success"]}
    assert {
        "attack_interval", "attack_differencing", "attack_recount", "pattern_is_frozen", "cells_are_as_recorded",
        "gate_sees_known_faults",
    } <= passed  # fmt: skip
    page = table.exchange.lake.read_bytes("reports", f"{TABLE}/{manifest.candidate}/index.html").decode()
    assert "A number of fewer than 5 of a household is withheld" in page


def test_the_same_register_gives_the_same_bytes(table: Mini, table_once: Mini, tmp_path: Path) -> None:
    [name] = {path.name for path in (table.root / "lake" / "candidates" / TABLE).iterdir()}
    first = read_candidate(table.exchange, mart=TABLE, candidate=name)
    table.build([TABLE])
    again = read_candidate(table.exchange, mart=TABLE, candidate=name)
    assert [file and file.sha256 for file in again.built.values()] == [
        file and file.sha256 for file in first.built.values()
    ]


def test_small_cells_alone_withheld_are_refused_at_the_gate_and_named_to_reviewers_only(
    table: Mini, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lakehouse.privacy import withheld

    monkeypatch.setattr(withheld, "suppress", lambda table, **_: table.sensitive.copy())
    [made] = table.build([TABLE]).candidates
    with pytest.raises(CandidateBlocked, match="attack by interval") as blocked:
        gate(table.exchange, mart=table.mart(TABLE), candidate=made["candidate"])
    assert "south" not in str(blocked.value)
    outcomes = json.loads(table.exchange.lake.read_bytes("reports", f"{TABLE}/{made['candidate']}/attacks.json"))
    [cells] = [outcome["cells"] for outcome in outcomes if outcome["attack"] == "interval"]
    assert cells == [f"area=south, kind=house, as_of={datetime.now(UTC).year}: 3 units (k 5), known from 3 to 3"]


def test_a_years_table_stands_and_the_next_years_is_audited_against_it(table: Mini) -> None:
    table.release()
    before = rows(table)
    table.deliver(METERS, "more.csv", register(dict.fromkeys(AREAS, (4, 4))))
    summary = table.build([TABLE])
    assert summary.candidates == []
    assert "published, and its policy allows no restatement" in str(summary.held)
    assert rows(table) == before
    # As if it had been delivered a year ago: now one household more in one class tells of that household.
    with table.exchange.index.begin() as connection:
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.file == "more.csv")
            .values(received_at=datetime(2031, 3, 1, tzinfo=UTC))
        )
    table.deliver(METERS, "one.csv", ["meter_id,area", "m-hills-house-99,hills:house"])
    with table.exchange.index.begin() as connection:
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.file == "one.csv")
            .values(received_at=datetime(2031, 4, 1, tzinfo=UTC))
        )
    [made] = table.build([TABLE]).candidates
    newest = read_candidate(table.exchange, mart=TABLE, candidate=made["candidate"])
    assert list(newest.built) == ["2031"]
    [waiting] = [row["candidate"] for row in waiting_candidates(table.exchange)]
    with pytest.raises(CandidateBlocked, match="attack by differencing"):
        gate(table.exchange, mart=table.mart(TABLE), candidate=waiting)
    assert rows(table) == before


def test_sql_that_reads_private_rows_stops_the_build(table: Mini) -> None:
    table.edit(f"{TABLE}.sql", "ref('meter_classes')", "ref('meter_contributions')")
    with pytest.raises(
        UncoveredPrivateData, match=r"'suppress' but its SQL is made of private columns \(utility/meters"
    ):
        table.build([TABLE])


def test_counts_come_from_a_second_node_of_the_lineage(table: Mini) -> None:
    lineage = DbtProject(table.exchange).lineage(TABLE)
    assert lineage.models == [TABLE, "meter_contributions"]
    assert (lineage.selected, lineage.datasets) == (frozenset(), {METERS})
