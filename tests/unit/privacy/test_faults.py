"""The gate's test of itself: every known fault is seen, and a check that is blind to its fault is named."""

import duckdb
import pytest

from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.attacks.recount import recount
from lakehouse.privacy.faults import FAULTS, Fault, unseen
from tests.unit.privacy.city import record


def test_every_known_fault_is_seen() -> None:
    with record(households=90, areas=3, days=4) as city:
        city.publish()
        assert list(unseen(city.connection)) == []
        assert recount(city.connection).passed, "a fault was left in the copy"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_check_that_is_blind_to_its_fault_is_named(fault: Fault) -> None:
    def blind(connection: duckdb.DuckDBPyConnection) -> Outcome:
        return Outcome(attack="blind", success=0, chance=0, limit=0, passed=True, found="")

    with record(households=90, areas=3, days=1) as city:
        city.publish()
        assert list(unseen(city.connection, (Fault(fault.name, fault.statements, (blind,)),))) == [
            f"{fault.name}: blind"
        ]
