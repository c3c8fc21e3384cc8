"""A writer of Airflow's SQLite waits for another; it does not fail because that one was quicker."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from lakehouse.orchestrate.airflow_sqlite import CONNECT_ARGS


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "airflow.db", isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE run (name TEXT)")
    yield connection
    connection.close()


def _reads_then_writes(
    path: Path, connect_args: dict[str, Any], between: threading.Event, go_on: threading.Event
) -> None:
    """As Airflow makes the runs of a backfill."""
    engine = sa.create_engine(f"sqlite:///{path}?timeout=30", connect_args=connect_args)
    try:
        with Session(engine) as session, session.begin_nested():
            session.execute(sa.text("SELECT * FROM run")).all()
            between.set()
            assert go_on.wait(30)
            session.execute(sa.text("INSERT INTO run VALUES ('backfill')"))
            session.commit()
    finally:
        engine.dispose()


def test_what_reads_in_a_savepoint_before_it_writes_is_not_overtaken(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    between, go_on = threading.Event(), threading.Event()

    def schedule() -> None:
        assert between.wait(30)
        database.execute("INSERT INTO run VALUES ('scheduled')")

    scheduler = threading.Thread(target=schedule)
    scheduler.start()
    # The other writer waits for the lock; the one that has it may go on whenever it likes.
    threading.Timer(0.2, go_on.set).start()
    _reads_then_writes(tmp_path / "airflow.db", CONNECT_ARGS, between, go_on)
    scheduler.join(30)
    assert database.execute("SELECT name FROM run").fetchall() == [("backfill",), ("scheduled",)]


def test_without_that_airflow_would_fail_at_once(database: sqlite3.Connection, tmp_path: Path) -> None:
    between, go_on = threading.Event(), threading.Event()

    def schedule() -> None:
        assert between.wait(30)
        database.execute("INSERT INTO run VALUES ('scheduled')")
        go_on.set()

    scheduler = threading.Thread(target=schedule)
    scheduler.start()
    with pytest.raises(sa.exc.OperationalError, match="database is locked"):
        _reads_then_writes(tmp_path / "airflow.db", {}, between, go_on)
    scheduler.join(30)
    assert database.execute("SELECT name FROM run").fetchall() == [("scheduled",)]
