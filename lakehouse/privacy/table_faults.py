"""Known faults, put into a copy of a table's record: an attack that does not see its own proves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from lakehouse.privacy.attacks.tables import table_differencing, table_interval, table_recount
from lakehouse.privacy.faults import Fault

TRUTH = """(SELECT cell AS number, coalesce(sum(contribution), 0)::BIGINT AS total, count(unit) AS held
            FROM (SELECT cell, unnest(leaves) AS leaf FROM cells) LEFT JOIN members USING (leaf) GROUP BY cell)"""
AS_PUBLISHED = f"UPDATE cells SET value = total FROM {TRUTH} WHERE number = cells.cell AND value IS NOT NULL"
# A finest class, which the fault makes the only cell that must not be known and the only one that is not published.
FINEST = "(SELECT min(cell) FROM cells WHERE mine AND len(leaves) = 1)"
# The published cell that is made faulty, its K, and those of its units that the fault leaves in it.
CELL = "(SELECT arg_min(cell, (value, cell)) FROM cells WHERE mine AND value IS NOT NULL)"
OF_CELL = f"(SELECT unnest(leaves) FROM cells WHERE cell = {CELL})"
FEW = f"""(SELECT unit FROM members WHERE leaf IN {OF_CELL} ORDER BY unit
           LIMIT (SELECT k FROM cells WHERE cell = {CELL}) - 1)"""
ONE = f"(SELECT min(unit) FROM members WHERE leaf IN {OF_CELL})"

TABLE_FAULTS = (
    Fault(
        "an unsuppressed complement",
        (
            f"UPDATE cells SET share = 100, p = 0, value = total, "
            f"k = CASE WHEN cell = {FINEST} THEN held + 1 ELSE 0 END FROM {TRUTH} WHERE number = cells.cell",
            f"UPDATE cells SET value = NULL WHERE cell = {FINEST}",
        ),
        (table_interval,),
    ),
    Fault(
        "a cell of K - 1",
        (f"DELETE FROM members WHERE leaf IN {OF_CELL} AND unit NOT IN {FEW}", AS_PUBLISHED),
        (table_recount, table_differencing),
    ),
    Fault(
        "a unit counted twice",
        (f"INSERT INTO members SELECT * FROM members WHERE leaf IN {OF_CELL} AND unit = {ONE}",),
        (table_recount,),
    ),
    Fault("a shifted unit", (f"UPDATE cells SET value = value * 1000 WHERE cell = {CELL}",), (table_recount,)),
)


def unseen_in_table(connection: duckdb.DuckDBPyConnection, faults: tuple[Fault, ...] = TABLE_FAULTS) -> Iterator[str]:
    """The faults that an attack stays green on. Of ``cells`` and ``members`` only the table in question is left; it
    is the same after each fault."""
    connection.execute("DELETE FROM cells WHERE NOT mine")
    connection.execute("DELETE FROM members WHERE leaf NOT IN (SELECT unnest(leaves) FROM cells)")
    for fault in faults:
        connection.execute("BEGIN")
        try:
            for statement in fault.statements:
                connection.execute(statement)
            for attack in fault.seen_by:
                if (outcome := attack(connection)).passed:
                    yield f"{fault.name}: {outcome.attack}"
        finally:
            connection.execute("ROLLBACK")
