"""Deliveries full of odd values, to hold the quick way to the exact one: what lands of each."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb

from tests.unit.landing.conftest import House, column

COLUMNS = [
    column("meter", "integer", key=1),
    column("read_at", "timestamp", key=2, parse={"zone": "Europe/Copenhagen"}),
    column("use_kwh", "number", required=True, logicalTypeOptions={"minimum": 0, "maximum": 5000}),
    column("flow_m3", "number", parse={"null_values": ["-"]}),
    column("ratio", "number", physicalType="DOUBLE"),
    column("state", "string", quality=[{"metric": "invalidValues", "arguments": {"validValues": ["ok", "estimated"]},
            "mustBe": 0, "severity": "warning"}]),
    column("note", "string", logicalTypeOptions={"maxLength": 12}),
    column("on", "boolean"),
]  # fmt: skip
QUALITY = [
    {
        "type": "sql",
        "name": "flow_below_use",
        "query": "SELECT count(*) FROM ${object} WHERE flow_m3 > use_kwh",
        "mustBe": 0,
    }
]
NAMES = [one["name"] for one in COLUMNS]
# What stands now and then in place of a good value.
ODD: dict[str, list[str]] = {
    "meter": ["", " 7", "7 ", "+7", "007", "\ufeff7", "7.0", "7.5", "x", "9223372036854775808", "1e2", "-3"],
    "read_at": ["", "2024-03-31 02:30:00", "2024-10-27 02:30:00", "2024-10-27T02:30:00+02:00", "2024-05-05",
                " 2024-05-05 10:00:00 ", "2024-13-01 00:00:00", "0024-01-01 00:00:00", "now"],
    "use_kwh": ["", "-0.001", "5000", "5000.0004", "5000.0005", "1.2345", "1.23449999", "0.0005", "1e3", "5e-4", ".5",
                "5.", "1_0", "12,5", " 3 ", "nan", "1000000000", "99999999999999999999", "+4"],
    "flow_m3": ["", "-", " - ", "\ufeff", "n/a", "0.0015", "1E1", "99999"],
    "ratio": ["", "nan", "inf", "-Infinity", "1e400", "1_0", "0.1", "1e-7", "x"],
    "state": ["", "OK", " ok", "estimated ", "\u00a0ok", "\ufeffok"],
    "note": ["", " spaced ", "far too long a note", "æøå", "#N/A", "kim@example.org", "010190-1234 x", "tab\there"],
    "on": ["", "true", "F", "yes", "2"],
}  # fmt: skip


def rows_of(seed: int, count: int, *, shuffled: bool = False) -> list[list[str]]:
    """Good rows, of which one in six has something odd, one in twenty comes twice, and one in forty is corrected."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        time = f"2024-{1 + number // 28 % 12:02}-{1 + number % 28:02} {number // 500 % 24:02}:00:00"
        row = [str(number % 50), time, f"{number * 0.731:.3f}", f"{number * 0.1:.3f}", f"{number / 7}",
               chance.choice(["ok", "estimated"]), f"note {number}", chance.choice(["true", "false"])]  # fmt: skip
        if chance.random() < 1 / 6:
            place = chance.randrange(len(row))
            row[place] = chance.choice(ODD[NAMES[place]])
        rows.append(row)
        if chance.random() < 1 / 20:
            rows.append(list(row))
        if chance.random() < 1 / 40:
            rows.append([*row[:2], "1.5", *row[3:]])
    if shuffled:
        chance.shuffle(rows)
    return rows


def csv_of(rows: list[list[str]], *, end: str = "\n", delimiter: str = ",") -> str:
    chance = random.Random(1)
    lines = [delimiter.join(NAMES)]
    for row in rows:
        # A comma within a value makes one field more of it; that is a case as well.
        lines.append(delimiter.join(row))
        if chance.random() < 1 / 60:
            lines.append(
                chance.choice(["", "   ", "1", delimiter.join(row[:-1]), delimiter.join([*row, ""]), "1,2,3,"])
            )
    return end.join(lines) + chance.choice(["", end])


def landed(folder: Path, text: bytes | str, name: str, form: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The receipt, the rows in clean and the faults, without what tells one delivery from the next."""
    house = House(folder)
    # By the month: a file for each of the days would be most of the work.
    time = {"column": "read_at", "partition": "month"}
    contract = house.contract(COLUMNS, forms=[form], quality=QUALITY, **{"time": time, **more})
    receipt = house.deliver(contract, text, name)
    lake = folder / "lake"
    rows = duckdb.sql(
        f"SELECT * EXCLUDE (exchange_delivery, exchange_known_at) FROM read_parquet('{lake}/clean/**/*.parquet', "
        "hive_partitioning=true) ORDER BY exchange_line"
    ).fetchall()
    faults = duckdb.sql(f"FROM read_parquet('{lake}/quarantine/**/*.parquet') ORDER BY ALL").fetchall()
    kept = ("status", "delivered", "accepted", "refused", "duplicates", "corrections", "errors", "warnings", "checks")
    return {"receipt": {name: receipt[name] for name in kept}, "rows": rows, "faults": faults}
