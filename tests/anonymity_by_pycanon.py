"""k, l and t of tables of records, ours beside those of pyCANON, which runs in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pandas as pd
import pytest

from lakehouse.privacy.attacks.anonymity import Anonymity, anonymity
from tests.checkers import checker

# One process for all tables: pyCANON takes seconds to import.
ASKED = """
import json, sys
import pandas as pd
from pycanon import anonymity
answers = []
for table in json.load(sys.stdin):
    frame, quasi, sensitive = pd.DataFrame(table["columns"]), table["quasi"], [table["sensitive"]]
    answers.append({
        "k": int(anonymity.k_anonymity(frame, quasi)),
        "l": int(anonymity.l_diversity(frame, quasi, sensitive)),
        "entropy_l": int(anonymity.entropy_l_diversity(frame, quasi, sensitive)),
        "t": float(anonymity.t_closeness(frame, quasi, sensitive)),
    })
json.dump(answers, sys.stdout)
"""


@dataclass(frozen=True)
class Records:
    """A table of records, its quasi-identifiers, the sensitive column, and whether that has an order."""

    frame: pd.DataFrame
    quasi: list[str]
    sensitive: str
    ordered: bool


def ours(given: Records) -> Anonymity:
    with duckdb.connect() as connection:
        connection.register("given", given.frame)
        return anonymity(connection, "FROM given", quasi=given.quasi, sensitive=given.sensitive, ordered=given.ordered)


def theirs(given: Sequence[Records]) -> list[dict[str, float]]:
    asked = [{"columns": one.frame.to_dict("list"), "quasi": one.quasi, "sensitive": one.sensitive} for one in given]
    python = checker("pycanon", "pycanon==1.3.6")
    done = subprocess.run([python, "-c", ASKED], input=json.dumps(asked), capture_output=True, text=True, check=True)
    answers: list[dict[str, float]] = json.loads(done.stdout)
    assert len(answers) == len(asked)
    return answers


def agree(found: Anonymity, answer: dict[str, float]) -> bool:
    # It rounds entropy l down, and a power of e may fall just below a whole number.
    entropy = {int(found.entropy_l - 1e-9), int(found.entropy_l + 1e-9)}
    return (
        (found.k, found.l) == (answer["k"], answer["l"])
        and answer["entropy_l"] in entropy
        and found.t == pytest.approx(answer["t"], abs=1e-9)
    )
