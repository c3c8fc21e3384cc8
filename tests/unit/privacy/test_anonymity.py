"""k, l and t by SQL are those of pyCANON, on made tables of records and on the members of published cells."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest

from lakehouse.privacy.attacks.anonymity import k_l_t
from tests.anonymity_by_pycanon import Records, agree, ours, theirs
from tests.table_mart import ERAS, TABLE, build_database, filled, some_counts, table_mart
from tests.unit.privacy.city import record


def adult_like(seed: int, rows: int) -> pd.DataFrame:
    """People as the Adult table of the UCI has them, generalised to ten years of age."""
    chance = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": chance.integers(2, 7, rows) * 10,
            "education": chance.choice(["basic", "bachelor", "master"], rows, p=[0.6, 0.3, 0.1]),
            "sex": chance.choice(["female", "male"], rows),
            "occupation": chance.choice(
                ["clerk", "craft", "sales", "service", "tech"], rows, p=[0.3, 0.3, 0.2, 0.15, 0.05]
            ),
            "hours": chance.integers(4, 13, rows) * 5,
        }
    )


def tables() -> list[Records]:
    people = [(adult_like(seed, rows), ["age", "education", "sex"]) for seed, rows in ((1, 400), (2, 150))]
    made = [
        Records(frame, quasi, column, column == "hours")
        for frame, quasi in people
        for column in ("occupation", "hours")
    ]
    made.append(Records(people[0][0], ["sex"], "hours", True))
    with record(households=60, areas=3, days=1) as city:
        city.publish()
        members = city.connection.execute("SELECT cell, contribution FROM members").df()
    made.append(Records(members.astype({"contribution": "int64"}), ["cell"], "contribution", True))
    # The finest classes that a table with totals shows, as the records that they count.
    made.append(Records(shown_by_a_table(), ["kind", "decade"], "label", False))
    # Deliberately about one household a row.
    made.append(Records(members.assign(meter=range(len(members))), ["cell", "meter"], "contribution", True))
    return made


def shown_by_a_table() -> pd.DataFrame:
    with TemporaryDirectory() as folder, build_database({2024: some_counts(1, mean=8)}) as connection:
        filled(connection, table_mart(Path(folder)))
        return connection.execute(
            f"SELECT kind, period AS decade, label FROM marts.{TABLE}, range(homes) "
            f"WHERE kind <> 'all kinds' AND label <> 'all labels' AND period IN {tuple(ERAS)}"
        ).df()


def test_pycanon_agrees_on_every_table() -> None:
    given = tables()
    found = [ours(one) for one in given]
    assert [agree(*pair) for pair in zip(found, theirs(given), strict=True)] == [True] * len(given)
    assert found[-1].k == 1
    assert found[-2].k >= 5
    assert found[-3].k == 20


def test_a_table_by_hand() -> None:
    frame = pd.DataFrame({"area": ["a", "a", "a", "a", "b", "b"], "use": [1, 1, 2, 3, 3, 3]})
    found = ours(Records(frame, ["area"], "use", True))
    assert (found.k, found.l) == (2, 1)
    assert found.entropy_l == pytest.approx(1)
    # Shares of 1, 2 and 3: 2, 1 and 3 of 6. Area b has only 3: earth of 1/3 and 1/2 is moved one step of two.
    assert found.t == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert ours(Records(frame, ["area"], "use", False)).t == pytest.approx(1 / 2)
    with pytest.raises(ValueError, match="no record"):
        ours(Records(frame[:0], ["area"], "use", True))


def test_cells_of_too_few_or_of_one_value_are_seen() -> None:
    with record(households=90, areas=3, days=2) as city:
        city.publish()
        outcome = k_l_t(city.connection)
        assert outcome.passed
        assert outcome.found.startswith("day: k 30, l ")
        city.change("UPDATE members SET contribution = 5 WHERE cell = 1")
        city.change("DELETE FROM members WHERE cell = 2 AND unit > 30")
        outcome = k_l_t(city.connection)
    assert (outcome.passed, outcome.success) == (False, 2)
    assert "l 1" in outcome.cells[0]
    assert "of 15" in outcome.cells[1]
