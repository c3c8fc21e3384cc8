"""Known faults, put into a copy of a membership record: an attack that does not see its own proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import duckdb

from lakehouse.privacy.attacks.differencing import differencing
from lakehouse.privacy.attacks.interval import interval
from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.attacks.recount import recount
from lakehouse.privacy.attacks.relinking import relinking
from lakehouse.privacy.audit import prepare

Attack = Callable[[duckdb.DuckDBPyConnection], Outcome]

# Periods of the sample; a fault is one cell's, and the attacks look at each period by itself.
PERIODS = 2
SAMPLE = """
    DELETE FROM cells WHERE NOT mine OR starts NOT IN (
        SELECT starts FROM cells WHERE mine GROUP BY starts ORDER BY starts LIMIT $periods
    )
"""
# The cell that is made faulty, and those of its units that the fault leaves in it.
CELL = "(SELECT min(cell) FROM cells WHERE mine)"
LEAST = f"(SELECT least FROM cells WHERE cell = {CELL})"
FEW = f"(SELECT unit FROM members WHERE cell = {CELL} ORDER BY unit LIMIT {LEAST} - 1)"
ONE = f"(SELECT min(unit) FROM members WHERE cell = {CELL})"
AS_PUBLISHED = """
    UPDATE cells SET units = held, value = total FROM (
        SELECT cell AS number, count(*) AS held, sum(contribution)::BIGINT AS total FROM members GROUP BY cell
    ) WHERE number = cells.cell
"""


@dataclass(frozen=True)
class Fault:
    """``statements`` put it in; each of ``seen_by`` must go red."""

    name: str
    statements: tuple[str, ...]
    seen_by: tuple[Attack, ...]


FAULTS = (
    Fault(
        "an area of K - 1",
        (f"DELETE FROM members WHERE cell = {CELL} AND unit NOT IN {FEW}", AS_PUBLISHED),
        (recount, differencing),
    ),
    Fault(
        "a dominant household",
        (
            f"UPDATE members SET contribution = 1 + 20 * (SELECT max(value) FROM cells) "
            f"WHERE cell = {CELL} AND unit = {ONE}",
            AS_PUBLISHED,
        ),
        (recount, interval),
    ),
    Fault(
        "an unsuppressed complement",
        (
            f"INSERT INTO members SELECT 1 + (SELECT max(cell) FROM cells), unit, contribution "
            f"FROM members WHERE cell = {CELL} AND unit <> {ONE}",
            f"INSERT INTO cells SELECT * REPLACE (1 + (SELECT max(cell) FROM cells) AS cell) "
            f"FROM cells WHERE cell = {CELL}",
            AS_PUBLISHED,
        ),
        (differencing,),
    ),
    Fault(
        "a row about one household",
        (f"DELETE FROM members WHERE cell = {CELL} AND unit <> {ONE}", AS_PUBLISHED),
        (relinking,),
    ),
    Fault(
        "a household counted twice",
        (f"INSERT INTO members FROM members WHERE cell = {CELL} AND unit = {ONE}", AS_PUBLISHED),
        (recount,),
    ),
    Fault("a shifted unit", (f"UPDATE cells SET value = value * 1000 WHERE cell = {CELL}",), (recount,)),
)


def unseen(connection: duckdb.DuckDBPyConnection, faults: tuple[Fault, ...] = FAULTS) -> Iterator[str]:
    """The faults that an attack stays green on. Of the tables ``cells`` and ``members`` only a sample of the record
    in question is left; it is the same after each fault."""
    connection.execute(SAMPLE, {"periods": PERIODS})
    connection.execute("DELETE FROM members WHERE cell NOT IN (SELECT cell FROM cells)")
    for fault in faults:
        connection.execute("BEGIN")
        try:
            for statement in fault.statements:
                connection.execute(statement)
            prepare(connection)
            for attack in fault.seen_by:
                if (outcome := attack(connection)).passed:
                    yield f"{fault.name}: {outcome.attack}"
        finally:
            connection.execute("ROLLBACK")
