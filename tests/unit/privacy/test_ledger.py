"""Spending is written before the noise is drawn, never twice for the same input, and never past a cap."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from lakehouse.cli import app
from lakehouse.contracts.mart import Mart
from lakehouse.exchange import Exchange
from lakehouse.privacy import draws
from lakehouse.privacy.dp import Noise
from lakehouse.privacy.draws import fill_with_noise, policy_version
from lakehouse.privacy.filled import MeasureNotEmpty
from lakehouse.privacy.ledger import Charge, OverBudget, charge, entries, restore_ledger, spent
from lakehouse.privacy.noisy import recount_ledger
from lakehouse.privacy.statement import privacy_statement
from lakehouse.settings import Settings
from lakehouse.storage.index import privacy_ledger
from tests.dying import Died, mortal
from tests.noisy_mart import NOISY, build_database, dp_policy, noisy_mart

OCTOBER = {"2024-10": "hour_utc >= TIMESTAMPTZ '2024-10-01' AND hour_utc < TIMESTAMPTZ '2024-11-01'"}
HOUR = "2024-10-01 00:00:00+00"


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    (tmp_path / "contracts").mkdir()
    exchange = Exchange(Settings(project=tmp_path, home=tmp_path / "home", lake=(tmp_path / "lake").as_uri()))
    exchange.init()
    return exchange


@pytest.fixture
def mart(tmp_path: Path) -> Mart:
    folder = tmp_path / "dbt_project" / "models" / "marts"
    folder.mkdir(parents=True)
    return noisy_mart(folder)


def filled(
    exchange: Exchange, mart: Mart, units: str, partitions: dict[str, str] | None = None
) -> list[tuple[Any, ...]]:
    """The mart's rows, where each of these units was in area a at midnight."""
    with build_database([(unit, "a", HOUR) for unit in units]) as connection:
        fill_with_noise(exchange, connection, mart, dp_policy(mart), partitions or OCTOBER, candidate="c1")
        return connection.execute(f"FROM marts.{NOISY} ORDER BY area, hour_utc").fetchall()


def statuses(exchange: Exchange) -> list[tuple[str, str, str]]:
    return [(row["partition"], row["status"], row["rho"]) for row in entries(exchange)]


def test_the_same_input_gives_the_same_numbers_and_costs_nothing_again(exchange: Exchange, mart: Mart) -> None:
    first = filled(exchange, mart, "uvw")
    assert filled(exchange, mart, "wvu") == first
    assert statuses(exchange) == [("2024-10", "charged", "0.5"), ("2024-10", "drawn", "0")]
    assert all(isinstance(row[2], int) for row in first)
    assert {(row[3], row[4]) for row in first} == {(first[0][3], first[0][4])}


def test_another_input_is_another_draw_and_another_charge(exchange: Exchange, mart: Mart) -> None:
    assert filled(exchange, mart, "uvw") != filled(exchange, mart, "uv")
    assert [row["status"] for row in entries(exchange)] == ["charged", "drawn"] * 2
    assert str(spent(exchange, mart=NOISY, major=1)["2024-10"]) == "1.0"


def test_what_would_pass_the_years_cap_is_refused_before_anything_is_charged_or_drawn(
    exchange: Exchange, mart: Mart
) -> None:
    for units in ("u", "uv", "uvw"):
        filled(exchange, mart, units)
    before = entries(exchange), [entry.key for entry in exchange.lake.list("privacy")]
    with pytest.raises(OverBudget, match=r"budget of mini_households.*rho 1.5 of 1.5 is spent in 2024, and 0.5 more"):
        filled(exchange, mart, "uvwx")
    assert (entries(exchange), [entry.key for entry in exchange.lake.list("privacy")]) == before


def test_what_would_pass_the_lifetime_cap_is_refused(exchange: Exchange, tmp_path: Path) -> None:
    mart = noisy_mart(tmp_path, lifetime_rho__3="1.5")
    one_each_year = [{f"{year}-01": "true"} for year in range(2021, 2025)]
    for partitions in one_each_year[:3]:
        filled(exchange, mart, "u", partitions)
    with pytest.raises(OverBudget, match="rho 1.5 of 1.5 is spent in its lifetime"):
        filled(exchange, mart, "u", one_each_year[3])


def test_of_several_partitions_all_are_charged_or_none(exchange: Exchange, mart: Mart) -> None:
    months = {f"2024-{month:02d}": "true" for month in range(1, 5)}
    with pytest.raises(OverBudget, match="and 2.0 more is asked for"):
        filled(exchange, mart, "u", months)
    assert entries(exchange) == []


def test_of_many_builds_at_once_no_more_pass_than_the_cap_allows(exchange: Exchange, mart: Mart) -> None:
    def ask(number: int) -> bool:
        opened = Exchange(exchange.settings)
        month = f"2024-{number % 6 + 1:02d}"
        one = Charge(
            population="p", unit="u", mart=NOISY, major=1, partition=month, policy="x", mechanism="discrete_gaussian",
            rho=Decimal("0.5"), digest="d", candidate="c",
        )  # fmt: skip
        try:
            charge(opened, [one], dp_policy(mart).budget)
        except OverBudget:
            return False
        finally:
            opened.index.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        passed = sum(pool.map(ask, range(12)))
    # Three months of 0.5 fill the year, and each was asked for twice.
    assert (passed, len(entries(exchange))) == (6, 3)


def test_marts_about_the_same_people_share_one_budget(exchange: Exchange, mart: Mart, tmp_path: Path) -> None:
    for units in ("u", "uv", "uvw"):
        filled(exchange, mart, units)
    other = noisy_mart(tmp_path, major__1="2\n          overlap_days: 30")
    with pytest.raises(OverBudget):
        filled(exchange, other, "u")
    renamed = noisy_mart(tmp_path, population__mini_households="others")
    before = entries(exchange)
    with pytest.raises(OverBudget, match="has spent of the privacy budget of mini_households; as others the same"):
        filled(exchange, renamed, "u")
    assert entries(exchange) == before


def test_killed_between_the_ledger_and_the_draw_the_spending_stands_and_is_not_made_again(
    exchange: Exchange, mart: Mart, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    seen: list[list[tuple[str, str, str]]] = []

    def die(noise: Noise, counts: object) -> None:
        seen.append(statuses(exchange))
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(draws.Noise, "draw", die)
        with pytest.raises(Killed):
            filled(exchange, mart, "uvw")
    # The ledger was written before the noise was asked for, and nothing of the draw is there.
    assert seen == [[("2024-10", "charged", "0.5")]]
    assert not list(exchange.lake.list("privacy", "draws/"))
    filled(exchange, mart, "uvw")
    assert statuses(exchange) == [("2024-10", "charged", "0.5"), ("2024-10", "drawn", "0")]


@pytest.mark.parametrize("statement", [sa.update(privacy_ledger).values(rho="0"), sa.delete(privacy_ledger)])
def test_the_ledger_is_only_added_to(exchange: Exchange, mart: Mart, statement: Any) -> None:
    filled(exchange, mart, "u")
    with (
        pytest.raises(sa.exc.IntegrityError, match="only added to"),
        exchange.index.begin() as connection,
    ):
        connection.execute(statement)
    assert len(entries(exchange)) == 2


def test_a_lost_index_gets_its_spendings_back_from_the_lake(exchange: Exchange, mart: Mart, tmp_path: Path) -> None:
    numbers = filled(exchange, mart, "uvw")
    exchange.index.close()
    (tmp_path / "home" / "exchange.db").unlink()
    again = Exchange(exchange.settings)
    again.init()
    assert (restore_ledger(again), restore_ledger(again)) == (1, 0)
    assert spent(again, mart=NOISY, major=1) == {"2024-10": dp_policy(mart).budget.rho}
    assert filled(again, mart, "uvw") == numbers
    assert [row["status"] for row in entries(again)] == ["charged", "drawn"]


def test_a_measure_that_the_sql_fills_is_refused_before_anything_is_spent(exchange: Exchange, mart: Mart) -> None:
    with build_database([("u", "a", HOUR)]) as connection:
        connection.execute(f"UPDATE marts.{NOISY} SET homes = 1 WHERE area = 'a'")
        with pytest.raises(MeasureNotEmpty, match="fills homes, error_90, standard_error itself; leave them empty"):
            fill_with_noise(exchange, connection, mart, dp_policy(mart), OCTOBER, candidate="c1")
    assert entries(exchange) == []


def test_the_statement_says_what_is_spent_and_left_and_no_digest(exchange: Exchange, mart: Mart) -> None:
    filled(exchange, mart, "uvw")
    found = privacy_statement(exchange, {NOISY: mart})
    year, lifetime = found["populations"]
    assert (year["period"], year["rho"], year["cap"], year["left"]) == ("2024", "0.5", "1.5", "1.0")
    assert (lifetime["period"], lifetime["left"]) == ("lifetime", "2.5")
    [of_mart] = found["marts"]
    assert (of_mart["partitions"], of_mart["charged"], of_mart["drawn"], of_mart["rho"]) == (1, 1, 1, "0.5")
    assert entries(exchange)[0]["digest"] not in json.dumps(found, default=str)


@pytest.mark.parametrize("grown", [("2025", 4, [0, 1]), ("2024-10", 1, [0, 0])])
def test_the_gate_finds_what_was_not_paid_for_and_what_is_above_a_cap(
    exchange: Exchange, mart: Mart, grown: tuple[str, int, list[int]]
) -> None:
    filled(exchange, mart, "u")
    partition, times, expected = grown
    with exchange.index.begin() as connection:
        standing = {**entries(exchange)[0], "partition": partition}
        del standing["entry"]
        rows = [{**standing, "digest": f"another way, {number}"} for number in range(times)]
        connection.execute(sa.insert(privacy_ledger), rows)
    found = recount_ledger(exchange, mart=mart, policy=dp_policy(mart), partitions=["2024-10"])
    assert [violation.cells for violation in found] == expected
    found = recount_ledger(exchange, mart=mart, policy=dp_policy(mart), partitions=["2024-10", "2024-12"])
    assert found[0].cells == 1


def test_the_command_prints_what_the_statement_says(
    exchange: Exchange, mart: Mart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCHANGE_PROJECT", str(tmp_path))
    monkeypatch.setenv("EXCHANGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EXCHANGE_LAKE", (tmp_path / "lake").as_uri())
    run = CliRunner()
    assert "nothing has been spent" in run.invoke(app, ["ledger", "privacy"]).output
    filled(exchange, mart, "uvw")
    printed = run.invoke(app, ["ledger", "privacy"]).output
    assert re.search(r"mini_households +2024 +0\.5 +1\.5 +1\.0", printed)
    assert re.search(rf"{NOISY} v1 +household +1 +2024-10 +2024-10 +0\.5 +1 +1", printed)
    said = json.loads(run.invoke(app, ["ledger", "privacy", "--json"]).output)
    assert [entry["status"] for entry in said["entries"]] == ["charged", "drawn"]
    assert said["entries"][0]["candidate"] == "c1"


def test_a_build_that_dies_at_any_call_spends_once_and_ends_with_one_draw(
    exchange: Exchange, mart: Mart, tmp_path: Path
) -> None:
    deaths = 0
    for calls in range(40):
        # Of each length of life another policy, so that each begins with nothing of it on the ledger.
        wide = noisy_mart(tmp_path, **{"year_rho__1.5": f"{50 + calls}", "lifetime_rho__3": "100"})
        dying, fuse = mortal(exchange, calls)
        try:
            filled(dying, wide, "uvw")
        except Died:
            deaths += 1
        drawn = len(list(exchange.lake.list("privacy", "draws/")))
        charged = sum(row["status"] == "charged" for row in entries(exchange))
        assert drawn <= charged, "a draw is kept that the ledger does not know"
        numbers = filled(exchange, wide, "uvw")
        assert filled(exchange, wide, "uvw") == numbers
        of_it = [row["status"] for row in entries(exchange) if row["policy"] == policy_version(dp_policy(wide))]
        assert of_it == ["charged", "drawn"]
        if not fuse.dead:
            break
    assert deaths > 5
