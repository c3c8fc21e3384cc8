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

pytestmark = [pytest.mark.integration, pytest.mark.thorough]

# Guesses that are unique in what is shown, tried on those whom it is about and on others like them. Without a limit of
# attempts it goes on for ever where no guess is unique. Its evaluator leaves out equal records, of which each class of
# a table would count as one person: guesses are its own, and are tried here on all people.
ASKED = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np
import polars as pl
from anonymeter.evaluators.singling_out_evaluator import multivariate_singling_out_queries
from anonymeter.stats.confidence import EvaluationResults
answers = []
for name, cities in json.load(sys.stdin):
    guesses = right = by_chance = 0
    for city in cities:
        people, control, shown = (pl.DataFrame(city[part]) for part in ("people", "control", "shown"))
        made = multivariate_singling_out_queries(
            df=shown, n_queries=80, n_cols=3, rng=np.random.default_rng(1), max_attempts=400
        )
        guesses += len(made)
        right += sum(people.filter(guess).height == 1 for guess in made)
        by_chance += sum(control.filter(guess).height == 1 for guess in made)
    # By Wilson's interval, two-sided, of 95 %.
    risk = EvaluationResults((guesses,) * 3, right, 0, by_chance, confidence_level=0.95).risk()
    rate = EvaluationResults((guesses,) * 3, right, 0, None, confidence_level=0.95).risk()
    answers.append(
        {"of": name, "guesses": guesses, "right": right, "by_chance": by_chance, "risk": risk.value,
         "least": rate.ci[0], "most": rate.ci[1]}
    )
json.dump(answers, sys.stdout)
"""
CITIES, HOMES = 20, 400
CLASSES = ["kind", "decade", "label"]


def households(city: int, sample: int) -> pd.DataFrame:
    """Homes with their class, of which a city has rare ones, and year of construction, floor area and use."""
    common = np.where(np.random.default_rng(city).random(len(LEAVES)) < 0.12, 0.06, 1.0)
    chance = np.random.default_rng([city, sample])
    places, count = chance.choice(len(LEAVES), size=HOMES, p=common / common.sum()), HOMES
    frame = pd.DataFrame([LEAVES[place] for place in places], columns=CLASSES)
    area = chance.integers(40, 220, count)
    return frame.assign(
        built=chance.integers(1950, 2000, count), area=area, use=area * 100 + chance.integers(9_000, size=count)
    )


def published(people: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The finest classes whose number the table shows, a row each: what a guess can be made of."""
    counts = people.value_counts(CLASSES).to_dict()
    with build_database({2024: counts}) as connection:
        filled(connection, table_mart(folder))
        return connection.execute(
            f"SELECT kind, period AS decade, label FROM marts.{TABLE} WHERE homes > 0 "
            "AND kind <> 'all kinds' AND label <> 'all labels' AND period NOT IN ('old', 'new', 'all periods')"
        ).df()


def _city(people: pd.DataFrame, control: pd.DataFrame, shown: pd.DataFrame) -> dict[str, Any]:
    frames = {"people": people, "control": control, "shown": shown}
    return {name: frame[list(shown.columns)].to_dict("list") for name, frame in frames.items()}


def test_people_are_singled_out_of_records_and_not_of_the_table(tmp_path: Path) -> None:
    cities = [(households(city, 1), households(city, 2)) for city in range(CITIES)]
    shown = [published(people, tmp_path) for people, _ in cities]
    asked = [
        ("records", [_city(people, control, people) for people, control in cities[:1]]),
        ("the table, nothing withheld", [_city(*city, city[0][CLASSES].drop_duplicates()) for city in cities]),
        ("the table", [_city(*city, classes) for city, classes in zip(cities, shown, strict=True) if len(classes)]),
    ]
    python = checker("anonymeter", "anonymeter==1.1.0")
    done = subprocess.run([python, "-c", ASKED], input=json.dumps(asked), capture_output=True, text=True, check=True)
    records, open_table, table = json.loads(done.stdout)
    assert records["right"] == records["guesses"] > 20
    assert records["risk"] > 0.5
    # Every class is a guess, and where small ones are shown those of one home are right.
    alone = sum(int((people.value_counts(CLASSES) == 1).sum()) for people, _ in cities)
    assert open_table["right"] == alone > 10
    assert open_table["least"] > 0.02, open_table
    assert table["guesses"] == sum(map(len, shown)) > 150
    assert table["right"] == 0
    assert table["most"] < 0.03, table
