"""What a delivery is like, and when that is unlike those before it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from lakehouse.contracts.odcs import Contract
from lakehouse.landing import plain_measures
from lakehouse.landing.alarms import drift, find_alarms
from lakehouse.landing.intake import intake
from lakehouse.landing.profile import past_profiles
from lakehouse.landing.scorecard import overdue, scorecard, write_pages
from lakehouse.storage.index import delivery_profiles
from tests.documents import DOCS, blocks
from tests.unit.landing.conftest import METER, READ_AT, USE, House, column

HEADER = "meter,read_at,use_kwh\n"


def rows(day: int, *, count: int = 20, scale: float = 1, empty: int = 0) -> str:
    """A day's readings of as many meters, from 10 to 30 kWh; the first `empty` of them without a value."""
    lines = [
        f"m{number},2024-01-{day:02d} 00:00,{'' if number < empty else round((10 + number % 20 + day % 3) * scale, 3)}"
        for number in range(count)
    ]
    return HEADER + "\n".join(lines) + "\n"


def usual(house: House, contract: Contract, days: int = 6) -> None:
    for day in range(1, days + 1):
        receipt = house.deliver(contract, rows(day, count=20 + day % 2), f"{day}.csv")
        assert receipt["profile"]["alarms"] == []


def rules(receipt: dict[str, Any]) -> dict[str, str]:
    return {warning["rule"]: warning["expected"] for warning in receipt["warnings"]}


def test_a_profile_says_how_fresh_and_how_spread_the_good_rows_are(house: House) -> None:
    contract = house.contract()
    receipt = house.deliver(contract, rows(1, empty=5) + "m99,2024-01-01 00:00,-1\n")
    profile = receipt["profile"]
    assert (profile["rows"], profile["newest_event"], profile["hours_since_last"]) == (
        20, "2024-01-01T00:00:00+00:00", None,
    )  # fmt: skip
    use = profile["columns"]["use_kwh"]
    assert (use["null_share"], use["quantiles"][0], use["quantiles"][-1], use["mean"]) == (0.25, 16.0, 30.0, 23.0)
    assert len(use["quantiles"]) == 11
    assert profile["columns"]["meter"] == {"null_share": 0.0, "distinct_share": 1.0}
    [row] = house.exchange.index.rows(sa.select(delivery_profiles))
    assert (row["delivered"], row["refused"], row["profile"]) == (21, 1, profile)


def test_of_a_document_of_one_line_some_rows_are_a_sample(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_measures, "SAMPLED", 100)
    contract = house.contract(forms=[{"format": "xml", "records": "m/r"}])
    rows = (f"<r><meter>m{n}</meter><read_at>2024-01-01</read_at><use_kwh>{n}</use_kwh></r>" for n in range(2000))
    receipt = house.deliver(contract, f"<m>{''.join(rows)}</m>", "d.xml")
    median = receipt["profile"]["columns"]["use_kwh"]["quantiles"][5]
    assert 500 < median < 1500
    assert receipt["levels"]["use_kwh"]["values"] < 2000


def test_no_value_of_a_private_column_is_in_a_profile(house: House) -> None:
    contract = house.contract(
        [
            column("meter", "string", key=1, classification="identifier"),
            column("read_at", "timestamp", key=2, parse={"zone": "UTC"}, classification="quasi_identifier"),
            column("use_kwh", "number", classification="sensitive"),
        ]
    )
    profile = house.deliver(contract, HEADER + "m,2024-01-01 07:31,77\n")["profile"]
    assert all(set(measured) == {"null_share", "distinct_share"} for measured in profile["columns"].values())
    assert profile["newest_event"] == "2024-01-02T00:00:00+00:00"
    assert "77" not in str(profile["columns"])


UNUSUAL = {
    "unusual_volume": (rows(9, count=4), "usually 16 to 25 rows; this delivery has 4"),
    "null_share_rose": (rows(9, empty=8), "use_kwh: usually at most 5.0% without a value; now 40.0%"),
    "distribution_drifted": (rows(9, scale=7), "use_kwh: four of five values usually within"),
}


@pytest.mark.parametrize("rule", UNUSUAL)
def test_a_delivery_unlike_those_before_it_raises_an_alarm_that_names_what_is_usual(house: House, rule: str) -> None:
    contract = house.contract()
    usual(house, contract)
    content, words = UNUSUAL[rule]
    receipt = house.deliver(contract, content, "unusual.csv")
    assert receipt["status"] == "accepted"
    assert words in rules(receipt)[rule]
    assert rules(receipt)[rule] in receipt["profile"]["alarms"]
    assert rule.replace("_", " ") in house.published(contract, receipt, "html").decode()


def test_a_key_that_is_not_distinct_any_more_raises_an_alarm(house: House) -> None:
    contract = house.contract()
    usual(house, contract)
    again = HEADER + "".join(f"m1,2024-01-09 {hour:02d}:00,15\n" for hour in range(20))
    alarms = house.deliver(contract, again)["profile"]["alarms"]
    assert [alarm for alarm in alarms if alarm.startswith("meter: ") and alarm.endswith(" distinct values; now 5%")]


def test_where_no_value_was_there_none_is_called_less_distinct(house: House) -> None:
    contract = house.contract([METER, READ_AT, USE, column("note", "string")])
    head = "meter,read_at,use_kwh,note\n"
    days = [[f"m{n},2024-01-{day:02d} 00:00,{n}," for n in range(20)] for day in range(1, 10)]
    for number, lines in enumerate(days[:6]):
        house.deliver(contract, head + "\n".join(lines), f"{number}.csv")
    filled = head + "".join(f"{line}n{number}\n" for number, line in enumerate(days[6]))
    assert house.deliver(contract, filled, "filled.csv")["profile"]["alarms"] == []
    none = house.deliver(contract, head + "\n".join(days[7]).replace("2024-", "24-"), "none.csv")
    assert (none["refused"], none["profile"]["rows"], none["profile"]["alarms"]) == (20, 0, [])


def test_the_words_of_an_alarm_show_what_is_unlike_before(house: House) -> None:
    contract = house.contract()
    usual(house, contract)
    few = house.deliver(contract, rows(9, count=15), "few.csv")
    assert rules(few)["unusual_volume"] == "usually 16 to 25 rows; this delivery has 15"
    far = house.deliver(contract, rows(8) + "far,2024-01-08 00:00,90000\n", "far.csv")
    assert rules(far) == {"distribution_drifted": "use_kwh: all values usually within 11 to 30; now 12 to 90,000"}


@pytest.mark.parametrize("together", [False, True])
def test_ids_that_are_all_distinct_are_never_said_to_be_less(house: House, together: bool) -> None:
    contract = house.contract()
    for day in range(1, 29 if together else 7):
        lines = (f"m{day}-{number},2024-01-{day:02d} 00:00,1\n" for number in range(10))
        house.drop(contract, HEADER + "".join(lines), f"{day}.csv")
    receipts = intake(house.exchange, contract)
    assert {receipt["batch"] is not None for receipt in receipts} == {together}
    assert {receipt["profile"]["columns"]["meter"]["distinct_share"] for receipt in receipts} == {1.0}


def test_a_usual_delivery_and_one_with_too_few_before_it_raise_none(house: House) -> None:
    contract = house.contract()
    usual(house, contract, days=4)
    assert house.deliver(contract, rows(5, count=2), "early.csv")["warnings"] == []
    assert house.deliver(contract, rows(6), "sixth.csv")["warnings"] == []


def test_the_drift_is_the_mean_difference_of_the_quantiles_in_units_of_the_usual_spread() -> None:
    deciles = [float(number) for number in range(11)]
    assert drift(deciles, deciles) == 0
    assert drift([value + 4 for value in deciles], deciles) == pytest.approx(0.5)
    assert drift([7.0] * 11, [5.0] * 11) == pytest.approx(0.4)


def fresh(house: House, **more: Any) -> Contract:
    """Every hour, at most two hours old."""
    contract = house.contract(**more)
    path = house.exchange.settings.contracts_path / "town" / "readings.odcs.yaml"
    sla = "slaProperties:\n- {property: frequency, value: 1, unit: h}\n- {property: latency, value: 2, unit: h}\n"
    path.write_text(path.read_text() + sla)
    house.exchange.__dict__.pop("contracts", None)
    return house.exchange.contract(contract.key)


def entry(age: float, waited: float) -> dict[str, Any]:
    shares = {"null_share": 0.0, "distinct_share": 1.0}
    return {
        "delivered": 10,
        "age_hours": age,
        "hours_since_last": waited,
        "columns": dict.fromkeys(("meter", "read_at", "use_kwh"), shares),
    }


def test_a_late_delivery_and_stale_rows_raise_alarms(house: House) -> None:
    contract, before = fresh(house), [entry(1, 1)] * 5
    assert {alarm.rule: alarm.words for alarm in find_alarms(contract, entry(5, 72), before)} == {
        "late_delivery": "a delivery every 1 h; the one before came 3 days earlier",
        "stale_data": "newest row at most 2 h old on arrival; it was 5 h old",
    }
    assert find_alarms(contract, entry(2, 1.4), before) == []


def test_neither_history_nor_simulated_data_is_called_late(house: House) -> None:
    assert find_alarms(fresh(house), entry(5, 72), [entry(50_000, 1)] * 5) == []
    assert find_alarms(fresh(house, simulated=True), entry(5, 72), [entry(1, 1)] * 5) == []


def live(house: House, count: int = 6) -> tuple[Contract, datetime]:
    """Deliveries of the present hour; and now."""
    contract, now = fresh(house), datetime.now(UTC)
    for number in range(count):
        moment = now - timedelta(minutes=number)
        house.deliver(contract, f"{HEADER}m,{moment:%Y-%m-%d %H:%M:%S},1\n", f"{number}.csv")
    return contract, now


def test_a_delivery_that_has_not_come_is_noted_with_how_long_it_is_missed(house: House) -> None:
    contract, now = live(house)
    assert overdue(house.exchange, contract) is None
    later = now + timedelta(days=3)
    assert overdue(house.exchange, contract, now=later) == "expected every 1 h, last delivery 3 days ago"
    [score] = scorecard(house.exchange, now=later)
    assert score.notes == ("expected every 1 h, last delivery 3 days ago",)
    assert (score.grade, score.reasons) == ("B", score.notes)


def test_a_source_that_sends_the_same_bytes_again_is_missed_all_the_same(house: House) -> None:
    contract, now = live(house)
    house.deliver(contract, f"{HEADER}m,{now - timedelta(minutes=1):%Y-%m-%d %H:%M:%S},1\n", "again.csv")
    with house.exchange.index.begin() as connection:
        moved = sa.update(delivery_profiles).where(delivery_profiles.c.status == "accepted")
        connection.execute(moved.values(received_at=now - timedelta(hours=5)))
    words = "expected every 1 h, last delivery that was no repetition 5 h ago"
    assert (overdue(house.exchange, contract, now=now), scorecard(house.exchange, now=now)[0].grade) == (words, "B")


def test_a_scorecard_says_of_a_forecast_how_far_ahead_it_reaches(house: House) -> None:
    contract = fresh(house)
    house.deliver(contract, f"{HEADER}m,{datetime.now(UTC) + timedelta(hours=24):%Y-%m-%d %H:%M:%S},1\n")
    [score] = scorecard(house.exchange)
    assert score.freshness == "frequency 1 h, latency 2 h; the newest row was 24 h ahead on arrival"


def test_a_scorecard_grades_a_dataset_with_reasons(house: House) -> None:
    contract = house.contract()
    [empty] = scorecard(house.exchange)
    assert (empty.grade, empty.deliveries, empty.last_delivery) == ("", 0, None)
    usual(house, contract)
    [good] = scorecard(house.exchange)
    assert (good.grade, good.reasons, good.deliveries, good.rows) == ("A", (), 6, 123)
    house.deliver(contract, rows(9, count=4) + "x,2024-01-09 00:00,-1\n" * 30, "bad.csv")
    [bad] = scorecard(house.exchange)
    assert (bad.grade, bad.alarms[0][12:]) == ("D", "usually 16 to 25 rows; this delivery has 34")
    assert bad.reasons == (
        "more than 1% of the rows of the last 7 deliveries were refused",
        "more than 10% of the rows of the last 7 deliveries were refused",
        f"{len(bad.alarms)} alarms in the last 30 days",
    )
    [later] = scorecard(house.exchange, now=datetime.now(UTC) + timedelta(days=31))
    assert later.alarms == ()


def test_the_page_of_a_provider_needs_no_network_and_shows_each_dataset(house: House) -> None:
    contract = house.contract()
    usual(house, contract)
    pages = write_pages(house.exchange, scorecard(house.exchange))
    page = house.exchange.lake.read_bytes("reports", "_scorecards/town.html")
    assert pages == {"_scorecards/town.html": page}
    text = page.decode()
    assert "town/readings" in text
    assert text.count("<polyline points=") == 2
    assert "http" not in text
    [score] = scorecard(house.exchange)
    many = replace(score, alarms=tuple(f"2026-01-01: alarm {number}" for number in range(1_022)))
    text = write_pages(house.exchange, [many])["_scorecards/town.html"].decode()
    assert text.count("2026-01-01: alarm") == 20
    assert "and 1,002 before these" in text


def test_profiles_can_be_asked_as_the_guide_says(house: House) -> None:
    house.deliver(house.contract(), rows(1, empty=5))
    [asked] = [
        block.text for block in blocks(DOCS / "guide-data-engineer.md") if "FROM delivery_profiles" in block.text
    ]
    for theirs, ours in {"exampletown": "town", "air_quality": "readings", "no2_ug_per_m3": "use_kwh"}.items():
        asked = asked.replace(theirs, ours)
    with sqlite3.connect(house.folder / "home" / "exchange.db") as index:
        [(_, *found)] = index.execute(asked)
    assert (found[:3], found[4]) == (["accepted", 20, 0], 0.25)


def test_past_profiles_are_those_before_a_delivery(house: House) -> None:
    contract = house.contract([METER, READ_AT, USE])
    usual(house, contract)
    last = house.exchange.index.rows(sa.select(sa.func.max(delivery_profiles.c.delivery).label("last")))[0]["last"]
    assert len(past_profiles(house.exchange, contract)) == 6
    assert len(past_profiles(house.exchange, contract, before=last)) == 5


@pytest.mark.parametrize("together", [False, True])
def test_doubles_whose_sum_or_median_has_no_end_leave_a_receipt_that_is_json(house: House, together: bool) -> None:
    contract = house.contract([METER, READ_AT, column("x", "number", physicalType="DOUBLE")])
    for day in range(1, 9 if together else 2):
        lines = (f"m{number},2024-01-{day:02d} 00:00,1.7976931348623157e308\n" for number in range(3))
        house.drop(contract, "meter,read_at,x\n" + "".join(lines), f"{day}.csv")
    receipts = intake(house.exchange, contract)
    assert (receipts[0]["batch"] is not None) == together
    for receipt in receipts:
        assert (receipt["accepted"], receipt["profile"]["columns"]["x"]["mean"]) == (3, None)
        assert receipt["levels"]["x"]["median"] == float.fromhex("0x1.fffffffffffffp+1023")
        assert receipt["profile"]["alarms"] == []
        json.dumps(receipt, allow_nan=False)
