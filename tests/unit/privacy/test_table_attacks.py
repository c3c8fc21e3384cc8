"""Attacks on tables with totals win where complements, K or a sibling are left out, and get nowhere where they are not."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.privacy import withheld
from lakehouse.privacy.attacks.tables import table_differencing, table_interval, table_recount
from lakehouse.privacy.recorded import differing_rows
from lakehouse.privacy.table_faults import TABLE_FAULTS, unseen_in_table
from tests.mini_exchange import Mini
from tests.table_mart import LEAVES, TABLE, build_database, filled, recorded, some_counts, suppress_policy, table_mart

ATTACKS = (table_recount, table_interval, table_differencing)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    return Mini.make(tmp_path_factory.mktemp("tables")).exchange


@pytest.fixture
def mart(tmp_path: Path) -> Mart:
    return table_mart(tmp_path)


@pytest.fixture
def attacked(mart: Mart, exchange: Exchange, tmp_path: Path) -> Callable[..., duckdb.DuckDBPyConnection]:
    """The record of a table as the build makes it, with other counts in other years beside it."""

    def make(*counts: dict[tuple[str, str, str], int]) -> duckdb.DuckDBPyConnection:
        years = {2024 + number: one for number, one in enumerate(counts)}
        with build_database(years) as connection:
            filled(connection, mart, years)
            return recorded(connection, mart, exchange, tmp_path, years)

    return make


@pytest.mark.parametrize("seed", range(4))
def test_intervals_win_on_small_cells_alone_withheld_and_not_on_the_whole_pattern(
    attacked: Callable[..., duckdb.DuckDBPyConnection], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    with attacked(some_counts(seed)) as record:
        lost = [attack(record) for attack in ATTACKS]
    assert [(one.passed, one.success, one.cells) for one in lost] == [(True, 0, ())] * 3
    monkeypatch.setattr(withheld, "suppress", lambda table, **_: table.sensitive.copy())
    with attacked(some_counts(seed)) as record:
        won = table_interval(record)
        groups = table_differencing(record)
        assert table_recount(record).passed
    assert not won.passed
    assert won.success >= 5
    assert len(won.cells) == won.success
    assert all("units (k 5), known from" in cell for cell in won.cells)
    assert not groups.passed
    assert "of at least 5 units isolated by" in groups.cells[0]


def test_intervals_win_where_cells_are_protected_from_exact_disclosure_alone(
    attacked: Callable[..., duckdb.DuckDBPyConnection],
) -> None:
    """Two of 400 homes and two of 4 add up to a published number: within one per cent, and not exact."""
    counts = dict.fromkeys(LEAVES, 400)
    for leaf in (("flat", "1950s", "A"), ("flat", "1950s", "B"), ("house", "1950s", "A"), ("house", "1950s", "B")):
        counts[leaf] = 4
    with attacked(counts) as record:
        record.execute("UPDATE cells SET k = 401 WHERE name LIKE '%kind=flat, period=1960s, label=A,%'")
        record.execute(
            "UPDATE cells SET value = NULL WHERE len(leaves) = 1 AND name SIMILAR TO '.*=(flat|house), .*=(1950s|1960s), .*=[AB],.*'"
        )
        outcome = table_interval(record)
    assert [cell.split(", as_of")[0] for cell in outcome.cells] == ["kind=flat, period=1960s, label=A"]
    assert "0 are known exactly and 1 nearly" in outcome.found


def test_a_published_cell_of_too_few_is_seen_by_each_attack(attacked: Callable[..., duckdb.DuckDBPyConnection]) -> None:
    with attacked(some_counts(3) | {LEAVES[0]: 4}) as record:
        record.execute("UPDATE cells SET value = 4 WHERE name LIKE 'kind=house, period=1950s, label=A,%'")
        outcomes = [attack(record) for attack in ATTACKS]
    assert [outcome.passed for outcome in outcomes] == [False] * 3
    assert all(any("kind=house, period=1950s, label=A" in cell for cell in one.cells) for one in outcomes[:2])
    assert all("kind=house" not in outcome.found + str(outcome.public) for outcome in outcomes)


def test_a_later_year_in_which_a_few_moved_tells_of_them(attacked: Callable[..., duckdb.DuckDBPyConnection]) -> None:
    """The same homes a year on, and two more in one class whose number is published in both."""
    counts = dict.fromkeys(LEAVES, 30)
    with attacked(counts, counts) as record:
        assert all(attack(record).passed for attack in ATTACKS)
    with attacked(counts | {LEAVES[0]: 32}, counts) as record:
        outcome = table_differencing(record)
    assert not outcome.passed
    assert outcome.cells[0].startswith("2 of at least 5 units isolated by")
    with attacked(counts | {LEAVES[0]: 35}, counts) as record:
        assert table_differencing(record).passed


def test_what_a_sum_says_of_the_number_of_its_units_is_known_too(
    attacked: Callable[..., duckdb.DuckDBPyConnection],
) -> None:
    counts = some_counts(2)
    with attacked(counts) as record:
        [cell, name, leaves] = record.execute(
            "SELECT cell, name, leaves FROM cells WHERE value IS NULL AND len(leaves) = 1 ORDER BY cell LIMIT 1"
        ).fetchone() or (0, "", [])
        [[held]] = record.execute("SELECT count(*) FROM members WHERE leaf = ?", [leaves[0]]).fetchall()
        record.execute("UPDATE cells SET k = 1000 WHERE cell = ?", [cell])
        record.execute("INSERT INTO counted VALUES ('heat', ?, ?, false)", [leaves, held // 2])
        assert table_interval(record).passed, "half of them is no value"
        record.execute("UPDATE counted SET units = ?, every = true", [held])
        outcome = table_interval(record)
    assert any(cell.startswith(name) for cell in outcome.cells)


@pytest.mark.parametrize("seed", range(2))
def test_the_gate_sees_each_fault_of_a_table(attacked: Callable[..., duckdb.DuckDBPyConnection], seed: int) -> None:
    with attacked(some_counts(seed)) as record:
        before = record.execute("FROM cells ORDER BY cell").fetchall(), record.execute("FROM members").fetchall()
        assert list(unseen_in_table(record)) == []
        assert (
            record.execute("FROM cells ORDER BY cell").fetchall(),
            record.execute("FROM members").fetchall(),
        ) == before


def test_an_attack_that_sees_nothing_is_named_with_its_fault(
    attacked: Callable[..., duckdb.DuckDBPyConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    with attacked(some_counts(1)) as record:
        passing = table_recount(record)
        blind = [replace(fault, seen_by=tuple(lambda _: passing for _ in fault.seen_by)) for fault in TABLE_FAULTS]
        assert len(list(unseen_in_table(record, tuple(blind)))) == sum(len(fault.seen_by) for fault in TABLE_FAULTS)


def test_the_record_holds_no_name_and_agrees_with_the_file(
    mart: Mart, exchange: Exchange, attacked: Callable[..., duckdb.DuckDBPyConnection], tmp_path: Path
) -> None:
    with attacked(some_counts(2)) as record:
        assert record.execute("SELECT count(DISTINCT unit) FROM members").fetchone() == (sum(some_counts(2).values()),)
    folder = exchange.lake.local_path("audit", f"{TABLE}/c1/year=2024/cells.parquet")
    assert folder is not None
    assert not any(b"flat/1950s" in path.read_bytes() for path in folder.parent.iterdir())
    file = tmp_path / "mart.parquet"
    with build_database({2024: some_counts(2)}) as connection:
        filled(connection, mart)
        connection.execute(f"COPY marts.{TABLE} TO '{file}' (FORMAT parquet)")
        assert differing_rows(connection, mart=mart, policy=suppress_policy(mart), file=file, cells=folder) == 0
        connection.execute(
            f"UPDATE marts.{TABLE} SET homes = 17 WHERE kind = 'flat' AND period = '1950s' AND label = 'A'"
        )
        other = tmp_path / "other.parquet"
        connection.execute(f"COPY marts.{TABLE} TO '{other}' (FORMAT parquet)")
        assert differing_rows(connection, mart=mart, policy=suppress_policy(mart), file=other, cells=folder) == 2


def test_a_withheld_zero_is_no_more_known_than_another(attacked: Callable[..., duckdb.DuckDBPyConnection]) -> None:
    """An empty class is withheld as a small one is, and nothing tells that it is empty."""
    counts = dict.fromkeys(LEAVES, 30) | {LEAVES[0]: 0}
    with attacked(counts) as record:
        assert table_interval(record).passed
        withheld_too = record.execute(
            "SELECT count(*) FROM cells WHERE value IS NULL AND EXISTS (FROM members WHERE list_contains(leaves, leaf))"
        ).fetchone()
    assert withheld_too is not None
    assert withheld_too[0] >= 3
