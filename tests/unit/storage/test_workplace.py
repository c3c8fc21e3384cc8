"""Where private rows are worked on: a killed process's folder goes with the next one, a living one's never."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from lakehouse.exchange import Exchange
from lakehouse.landing.intake import intake
from lakehouse.storage.workplace import sweep, workplace
from tests.killing import killed
from tests.unit.landing.conftest import READINGS, House


def test_a_new_process_removes_what_a_dead_one_left_and_nothing_of_a_live_one(tmp_path: Path) -> None:
    with workplace(tmp_path, "intake") as live:
        dead = live.parent / "build-dead"
        dead.mkdir()
        (dead / "build.duckdb").write_bytes(b"readings")
        with workplace(tmp_path, "build") as other:
            assert not dead.exists()
            assert live.is_dir()
            assert other != live
        assert not other.exists()
    assert not live.exists()


def test_a_lock_that_died_with_its_process_does_not_keep_a_folder(tmp_path: Path) -> None:
    left = tmp_path / "work" / "build-left"
    left.mkdir(parents=True)
    with (left / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    with workplace(tmp_path, "build"):
        assert not left.exists()


def _work(home: Path, says: Connection) -> None:
    with workplace(home, "intake") as folder:
        (folder / "rows.csv").write_text("meter,use_kwh\n")
        says.send(folder)
        says.recv()


def test_a_folder_is_its_process_s_until_that_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(tmp_path, there))
    process.start()
    folder = here.recv()
    with workplace(tmp_path, "build"):
        assert sweep(tmp_path) == []
        assert (folder / "rows.csv").exists()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert sweep(tmp_path, dry_run=True) == [folder.name]
    assert folder.exists()
    assert sweep(tmp_path) == [folder.name]
    assert not folder.exists()
    assert sweep(tmp_path) == []


def test_where_nobody_worked_there_is_nothing_to_sweep(tmp_path: Path) -> None:
    assert sweep(tmp_path / "home") == []
    assert not (tmp_path / "home").exists()


def take_in(exchange: Exchange, dataset: str) -> None:
    intake(exchange, exchange.contract(dataset))


def test_rows_that_a_killed_intake_left_go_with_the_next(tmp_path: Path) -> None:
    house = House(tmp_path)
    contract = house.contract(READINGS)
    work = house.exchange.settings.home_path / "work"
    left = set()
    for calls in range(0, 40, 3):
        house.drop(contract, f"meter,read_at,use_kwh\nm{calls},2024-01-02 10:00,1\n", f"{calls}.csv")
        if not killed(house.exchange.settings, take_in, contract.key, calls=calls):
            break
        for folder in work.glob("*-*"):
            if any(path.is_file() and path.name != ".lock" for path in folder.rglob("*")):
                left.add(folder.name.partition("-")[0])
        intake(house.exchange, contract)
        assert [path.name for path in work.iterdir()] == [".lock"]
    assert left == {"seal", "intake"}
