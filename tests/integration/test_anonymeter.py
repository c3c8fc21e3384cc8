"""anonymeter singles people out of a table with a row a household, and finds nobody in what is published of them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.checkers import checker
from tests.table_mart import LEAVES, TABLE, build_database, filled, table_mart

pytestmark = pytest.mark.integration

# Guesses that are unique in what is published, tried on those whom it is about and on others like them. Without a
# limit of attempts it goes on for ever where no guess is unique.
ASKED = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np
import pandas as pd
from anonymeter.evaluators import SinglingOutEvaluator
answers = []
for given in json.load(sys.stdin):
    people, control, shown = (pd.DataFrame(given[name]) for name in ("people", "control", "shown"))
    np.random.seed(1)
    attack = SinglingOutEvaluator(
        ori=people, syn=shown, control=control, n_attacks=80, n_cols=given["columns"], max_attempts=800
    )
    try:
        attack.evaluate(mode="multivariate")
        risk = attack.risk(confidence_level=0.95)
        answers.append({"guesses": len(attack.queries()), "risk": risk.value, "most": risk.ci[1]})
    except RuntimeError as error:
        answers.append({"guesses": 0, "risk": 0.0, "most": 0.0, "why": str(error)})
json.dump(answers, sys.stdout)
"""


def households(seed: int, count: int) -> pd.DataFrame:
    """Homes with their class, year of construction, floor area and use."""
    chance = np.random.default_rng(seed)
    places = chance.integers(len(LEAVES), size=count)
    frame = pd.DataFrame([LEAVES[place] for place in places], columns=["kind", "decade", "label"])
    area = chance.integers(40, 220, count)
    return frame.assign(
        built=chance.integers(1950, 2000, count), area=area, use=area * 100 + chance.integers(9_000, size=count)
    )


def published(people: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The finest classes that the table shows, written out as the records that they count."""
    counts = people.value_counts(["kind", "decade", "label"]).to_dict()
    with build_database({2024: counts}) as connection:
        filled(connection, table_mart(folder))
        cells = connection.execute(
            f"SELECT kind, period AS decade, label, homes FROM marts.{TABLE} WHERE homes IS NOT NULL "
            "AND kind <> 'all kinds' AND label <> 'all labels' AND period NOT IN ('old', 'new', 'all periods')"
        ).df()
    return cells.loc[cells.index.repeat(cells["homes"]), ["kind", "decade", "label"]].reset_index(drop=True)


def _asked(people: pd.DataFrame, control: pd.DataFrame, shown: pd.DataFrame, *, columns: int) -> dict[str, Any]:
    frames = {"people": people, "control": control, "shown": shown}
    return {name: frame.to_dict("list") for name, frame in frames.items()} | {"columns": columns}


def test_people_are_singled_out_of_records_and_not_of_the_table(tmp_path: Path) -> None:
    people, control = households(1, 250), households(2, 250)
    shown = published(people, tmp_path)
    assert len(shown) > 100
    classes = list(shown.columns)
    asked = [
        _asked(people, control, people, columns=3),
        # Of two columns: of three a few guesses are unique by what they exclude, and none of them is right.
        _asked(people[classes], control[classes], shown, columns=2),
    ]
    python = checker("anonymeter", "anonymeter==1.1.0")
    done = subprocess.run([python, "-c", ASKED], input=json.dumps(asked), capture_output=True, text=True, check=True)
    records, table = json.loads(done.stdout)
    assert records["guesses"] > 40
    assert records["risk"] > 0.5
    assert table["most"] < 0.05, table
