"""Columns may have any name: also those that the SQL of intake gives to what it makes."""

from __future__ import annotations

import ast
import re
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
from jinja2 import Environment

import lakehouse
from lakehouse.landing.history import history
from tests.unit.landing.conftest import House, column, faults

SQL = re.compile(r"\b(?:SELECT|FROM|JOIN|WHERE|AS|UPDATE|INSERT|OVER|USING|WITH|CREATE)\b")
NIGHT = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]


def names_in_sql() -> list[str]:
    """Of columns, aliases and tables in the SQL of intake, but for those that no contract may use."""
    package = Path(lakehouse.__file__).parent
    found: set[str] = set()
    for path in [*(package / "landing").glob("*.py"), package / "privacy" / "personal_data.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = " ".join(str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            if SQL.search(text):
                found |= set(re.findall(r"(?<!\w)[a-z][a-z_0-9]*\b(?!\()", re.sub(r"'[^']*'", "", text)))
    assert {"rowid", "place", "before", "line", "member"} <= found
    return sorted({name for name in found if not name.startswith("exchange_")} - {"event_date"})


# And what history says of a version.
NAMES = sorted({*names_in_sql(), "observed_at", "known_at", "delivery", "line", "stands"})


def counts(receipt: dict[str, Any]) -> tuple[int, ...]:
    return tuple(
        receipt[name] for name in ("delivered", "accepted", "refused", "duplicates", "corrections", "withdrawn")
    )


def test_a_key_may_have_names_of_our_own(house: House) -> None:
    """Malformed lines, a night in sequence, personal data, and a correction that is refused."""
    keys = [column(name, "string", key=number) for number, name in enumerate(NAMES, start=1)]
    parse = {"zone": "Europe/Copenhagen", "ambiguous": "sequence"}
    time = column("q_time", "timestamp", key=len(NAMES) + 1, parse=parse)
    contract = house.contract(
        [*keys, time, column("q_use", "integer"), column("q_note", "string")], corrections="refuse"
    )
    head = ",".join(item.name for item in contract.columns)

    def row(series: str, time: str, use: int, note: str = "") -> str:
        return ",".join([*[series] * len(NAMES), f"2024-10-27 {time}", str(use), note])

    # The newest first in one series, the oldest in another.
    night = [row("a", time, use) for use, time in reversed(list(enumerate(NIGHT)))]
    night += [row("b", time, use) for use, time in enumerate(NIGHT)]
    receipt = house.deliver(contract, "\n".join([head, "short", *night, row("c", "12:00", 9, "to eva@example.dk")]))
    assert counts(receipt) == (14, 12, 2, 0, 0, 0)
    assert faults(receipt) == {
        ("malformed_row", None): (1, 2, "short"),
        ("personal_data", "q_note"): (1, 15, "to (masked)"),
    }
    moments = ["26 23:30", "27 00:00", "27 00:30", "27 01:00", "27 01:30", "27 02:00"]
    found = house.clean(contract, "q_time", "kind, q_use")
    assert [f"{moment:%d %H:%M}" for (moment,) in found] == moments * 2
    receipt = house.deliver(contract, "\n".join([head, row("a", "03:00", 99), *night]), "again.csv")
    assert counts(receipt) == (13, 0, 1, 12, 0, 0)
    assert faults(receipt) == {("differs_from_earlier", None): (1, 2, None)}


def test_values_may_have_names_of_our_own(house: House) -> None:
    """Malformed records with quotes, people, personal data, and a row that moves to another day; and its history."""
    person = column("q_person", "string", key=1, classification="identifier")
    day = column("q_day", "date", required=True)
    values = [column(name, "string", classification="sensitive") for name in NAMES]
    contract = house.contract([person, day, *values, column("q_note", "string")])
    head = ",".join(item.name for item in contract.columns)

    def row(person: str, day: int, note: str = "ok") -> str:
        return ",".join([person, f"2024-01-0{day}", *(f"{day} {name}" for name in NAMES), f'"{note}"'])

    rows = [row("a", 1, "of\ntwo lines"), "short", row("b", 1), row("c", 1, "call 33 66 33 66 now")]
    receipt = house.deliver(contract, "\n".join([head, *rows]))
    assert counts(receipt) == (4, 2, 2, 0, 0, 0)
    assert {rule: line for (rule, _), (_, line, _) in faults(receipt).items()} == {
        "malformed_row": 4,
        "personal_data": 6,
    }
    receipt = house.deliver(contract, "\n".join([head, row("a", 2), row("b", 1)]), "moved.csv")
    assert counts(receipt) == (2, 1, 0, 1, 1, 1)
    names = ", ".join(f'"{name}"' for name in NAMES)
    columns = f"q_day, exchange_line, exchange_withdrawn, {names}"
    first, _, withdrawn, moved = house.clean(contract, columns, "exchange_delivery, q_day")
    expected = [tuple(f"{day} {name}" for name in NAMES) for day in (1, 2)]
    assert first[3:] == withdrawn[3:] == expected[0]
    assert withdrawn[:3] == (date(2024, 1, 1), 0, True)
    assert moved == (date(2024, 1, 2), 2, False, *expected[1])
    versions = history(house.exchange, contract, where={"q_person": "a"})
    assert [tuple(version[name] for name in NAMES) for version in versions] == expected
    assert [version["exchange_stands"] for version in versions] == [False, True]
    assert versions[0]["exchange_known_at"] > datetime(2024, 1, 1, tzinfo=UTC)


def test_models_may_ask_for_the_newest_of_columns_with_names_of_its_own() -> None:
    macros = Path(__file__).parents[3] / "dbt_project" / "macros"
    keys, columns = ["newest", "arrival"], ["kept", "delivered", "arrivals"]
    environment = Environment()
    environment.globals["adapter"] = SimpleNamespace(dispatch=lambda name: getattr(dialect, f"duckdb__{name}"))
    text = "".join((macros / name).read_text(encoding="utf-8") for name in ("dialect.sql", "newest.sql"))
    dialect = environment.from_string(text).module
    asked = environment.from_string(text + "{{ newest('rows', keys, columns) }}").render(keys=keys, columns=columns)
    with duckdb.connect() as connection:
        connection.execute(
            f"""
            CREATE TABLE rows AS
            SELECT *, false AS exchange_withdrawn FROM (VALUES
                ('a', 9, 1, 1, 1, 'd1', 2), ('a', 9, 2, 2, 2, 'd2', 2), ('a', 9, 1, 3, 1, 'd2', 3),
                ('b', 1, 4, 4, 4, 'd1', 4)
            ) AS r ({", ".join([*keys, *columns])}, exchange_delivery, exchange_line)
            """
        )
        assert sorted(connection.execute(asked).fetchall()) == [("a", 9, 1, 3, 1), ("b", 1, 4, 4, 4)]
