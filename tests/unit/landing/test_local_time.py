"""Times: offsets, zones, the hour that is missing in spring and the one that comes twice in autumn."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lakehouse.contracts.odcs import Contract
from tests.unit.landing.conftest import House, column, faults

ZONE = "Europe/Copenhagen"
AUTUMN = datetime(2024, 10, 27)
SPRING = datetime(2024, 3, 31)


def series(house: House, **parse: Any) -> Contract:
    """A value of a meter at a time; the number tells rows apart."""
    columns = [
        column("meter", "string", key=1),
        column("t", "timestamp", key=2, parse=parse),
        column("n", "integer"),
    ]
    return house.contract(columns)


def deliver(house: House, contract: Contract, times: list[str], meters: list[str] | None = None) -> dict[str, Any]:
    named = meters or ["m"] * len(times)
    lines = [f"{meter},{time},{n}" for n, (meter, time) in enumerate(zip(named, times, strict=True))]
    return house.deliver(contract, "\n".join(["meter,t,n", *lines]))


def utc(house: House, contract: Contract) -> list[str]:
    """The stored moments in the order of the rows that gave them."""
    return [f"{t:%d %H:%M}" for _, t in house.clean(contract, "n, t", "exchange_line")]


def quarters(day: datetime, hours: list[int]) -> list[str]:
    return [f"{day:%Y-%m-%d} {hour:02}:{minute:02}" for hour in hours for minute in (0, 15, 30, 45)]


def test_offsets_in_the_text_are_honoured(house: House) -> None:
    contract = series(house, zone=ZONE)
    moments = [
        "2024-01-31T12:00:00Z",
        "2024-01-31T12:01:00+01:00",
        "2024-01-31 12:02:00 +0200",
        "2024-01-31T12:03:00-05",
        "2024-01-31 12:04:00 UTC",
        "2024-01-31 12:05",
        "2024-01-31 24:00",
        "2024-07-31 12:06:00.5",
        "2024-1-31 9:7:5+02:00",
        "2024-01-31T12:08:00.Z",
    ]
    deliver(house, contract, moments)
    assert utc(house, contract) == [
        "31 12:00", "31 11:01", "31 10:02", "31 17:03", "31 12:04", "31 11:05", "31 23:00", "31 10:06",
        "31 07:07", "31 12:08",
    ]  # fmt: skip


def test_what_is_no_moment_is_refused(house: House) -> None:
    contract = series(house, zone=ZONE)
    wrong = ["2024-01-31 12:00+99:00", "2024-01-31 25:00", "2024-02-30 12:00", "12:00", "2024-01-31 12:00 Mars/Base"]
    receipt = deliver(house, contract, [*wrong, "0024-01-31 12:00", "infinity", "epoch", "2024-01-31 12:00+15:00"])
    assert faults(receipt) == {("not_a_timestamp", "t"): (9, 2, wrong[0])}


def test_without_zone_and_without_offset_a_time_is_refused(house: House) -> None:
    contract = series(house)
    receipt = deliver(house, contract, ["2024-01-31 12:00", "2024-01-31", "2024-01-31T12:00+01:00"])
    assert (receipt["accepted"], receipt["refused"]) == (1, 2)
    assert "offset" in receipt["errors"][0]["expected"]


@pytest.mark.parametrize(("epoch", "text"), [("seconds", "1706702400.5"), ("milliseconds", "1706702400500")])
def test_epochs(house: House, epoch: str, text: str) -> None:
    contract = series(house, epoch=epoch)
    receipt = deliver(house, contract, [text, "1706702400500000", "x", "nan"])
    assert house.clean(contract, "t") == [(datetime(2024, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC),)]
    assert receipt["refused"] == 3


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%d/%m/%Y %H:%M:%S", "31/01/2024 13:00:00"),
        ("%H:%M %d-%m-%Y", "13:00 31-01-2024"),
        ("%m/%d/%Y %I:%M %p", "01/31/2024 01:00 PM"),
        ("%d.%m.%Y %H:%M %z", "31.01.2024 14:00 +0200"),
        ("%Y%m%d%H%M", "202401311300"),
    ],
)
def test_formats(house: House, form: str, text: str) -> None:
    contract = series(house, zone=ZONE, formats=[form])
    deliver(house, contract, [text])
    assert utc(house, contract) == ["31 12:00"]


def test_the_missing_hour_is_refused(house: House) -> None:
    contract = series(house, zone=ZONE)
    times = [f"{SPRING:%Y-%m-%d} {hour:02}:00" for hour in range(24)]
    receipt = deliver(house, contract, times)
    assert faults(receipt) == {("time_does_not_exist", "t"): (1, 4, "2024-03-31 02:00")}
    assert len(set(utc(house, contract))) == 23


def test_the_missing_hour_is_shifted(house: House) -> None:
    contract = series(house, zone=ZONE, nonexistent="shift_forward")
    deliver(house, contract, ["2024-03-31 02:30"])
    assert utc(house, contract) == ["31 01:30"]


def test_the_repeated_hour_is_refused_unless_it_has_an_offset(house: House) -> None:
    contract = series(house, zone=ZONE)
    receipt = deliver(house, contract, ["2024-10-27 02:30", "2024-10-27T02:30+02:00", "2024-10-27 03:00"])
    assert faults(receipt) == {("time_ambiguous", "t"): (1, 2, "2024-10-27 02:30")}
    assert utc(house, contract) == ["27 00:30", "27 02:00"]


@pytest.mark.parametrize(("rule", "moment"), [("earlier", "27 00:30"), ("later", "27 01:30")])
def test_the_repeated_hour_by_rule(house: House, rule: str, moment: str) -> None:
    contract = series(house, zone=ZONE, ambiguous=rule)
    deliver(house, contract, ["2024-10-27 02:30"])
    assert utc(house, contract) == [moment]


def local_day(day: datetime, count: int, step: timedelta) -> list[str]:
    """The local times of a day as a clock shows them, so many steps long, without offsets."""
    from zoneinfo import ZoneInfo

    first = day.replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
    return [f"{(first + step * n).astimezone(ZoneInfo(ZONE)):%Y-%m-%d %H:%M}" for n in range(count)]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("minutes", [15, 30, 60])
@pytest.mark.parametrize(("day", "hours"), [(AUTUMN, 25), (SPRING, 23)])
def test_long_and_short_days_in_sequence(
    house: House, day: datetime, hours: int, minutes: int, backwards: bool
) -> None:
    contract = series(house, zone=ZONE, ambiguous="sequence")
    count = hours * 60 // minutes
    times = local_day(day, count, timedelta(minutes=minutes))
    receipt = deliver(house, contract, times[::-1] if backwards else times)
    assert (receipt["accepted"], receipt["warnings"]) == (count, [])
    found = [t for (t,) in house.clean(contract, "t", "exchange_line DESC" if backwards else "exchange_line")]
    # Every moment once, evenly spaced, in the order in which they happened.
    assert {later - earlier for earlier, later in zip(found, found[1:], strict=False)} == {timedelta(minutes=minutes)}
    assert len({t.replace(minute=0) for t in found}) == hours


def test_sequence_is_told_for_each_series(house: House) -> None:
    contract = series(house, zone=ZONE, ambiguous="sequence")
    times = quarters(AUTUMN, [1, 2, 2, 3])
    interleaved = [(meter, time) for time in times for meter in ("a", "b")]
    deliver(house, contract, [time for _, time in interleaved], [meter for meter, _ in interleaved])
    found = house.clean(contract, "meter, t", "exchange_line")
    for wanted in ("a", "b"):
        moments = [t for meter, t in found if meter == wanted]
        assert moments == sorted(set(moments))
        assert len(moments) == 16


def test_sequence_with_only_one_pass_takes_the_first(house: House) -> None:
    contract = series(house, zone=ZONE, ambiguous="sequence")
    receipt = deliver(house, contract, quarters(AUTUMN, [1, 2, 3]))
    assert utc(house, contract)[4:8] == ["27 00:00", "27 00:15", "27 00:30", "27 00:45"]
    (warning,) = receipt["warnings"]
    assert (warning["rule"], warning["rows"], warning["first_line"]) == ("time_ambiguous", 4, 6)
    assert warning["value"] == "2024-10-27 02:00:00"
    assert all(check["success"] for check in receipt["checks"])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("format_", ["xml", "json", "wide"])
def test_rows_of_one_line_are_in_sequence_too(house: House, format_: str, backwards: bool) -> None:
    night = ["2024-10-26 10:00", *quarters(AUTUMN, [1, 2, 2, 3]), "2024-10-27 10:00"]
    rows = list(enumerate(night))[:: -1 if backwards else 1]
    parse = {"zone": ZONE, "ambiguous": "sequence"}
    form: dict[str, Any]
    if format_ == "xml":
        form = {"format": "xml", "records": "m/r"}
        content = f"<m>{''.join(f'<r><meter>a</meter><t>{time}</t><n>{n}</n></r>' for n, time in rows)}</m>"
    elif format_ == "json":
        form = {"format": "json", "unnest": "values"}
        content = json.dumps([{"values": [{"meter": "a", "t": time, "n": n} for n, time in rows]}])
    else:
        form = {"format": "csv", "unpivot": {"columns": "m_(.)", "name": "meter", "value": "n"}}
        content = "\n".join(["t,m_a,m_b", *(f"{time},{n},{n + 100}" for n, time in rows)])
    columns = [column("meter", "string", key=1), column("t", "timestamp", key=2, parse=parse), column("n", "integer")]
    contract = house.contract(columns, forms=[form])
    receipt = house.deliver(contract, content, f"night.{format_}")
    assert (receipt["refused"], receipt["duplicates"], receipt["warnings"]) == (0, 0, [])
    found = [f"{t:%d %H:%M}" for _, t in house.clean(contract, "n, t", "n") if _ < 100]
    hours = [f"{day} {hour}" for day, hour in ((26, 23), (27, "00"), (27, "01"), (27, "02"))]
    assert found == ["26 08:00", *(f"{hour}:{minute:02}" for hour in hours for minute in (0, 15, 30, 45)), "27 09:00"]


def test_a_row_that_is_refused_has_its_place_in_the_sequence(house: House) -> None:
    columns = [
        column("t", "timestamp", key=1, parse={"zone": ZONE, "ambiguous": "sequence"}),
        column("n", "integer", logicalTypeOptions={"maximum": 100}),
    ]
    contract = house.contract(columns)
    first, second = (
        "t,n\n2024-10-27 01:30,1\n2024-10-27 02:30,{}\n2024-10-27 02:30,{}\n".format(*n) for n in ((999, 3), (2, 999))
    )
    receipt = house.deliver(contract, first, "first.csv")
    assert (receipt["accepted"], receipt["refused"], receipt["warnings"]) == (2, 1, [])
    assert utc(house, contract) == ["26 23:30", "27 01:30"]
    # Of the other pass nothing is left, but which one this is can be told.
    receipt = house.deliver(contract, second, "second.csv")
    assert (receipt["accepted"], receipt["refused"], receipt["warnings"]) == (1, 1, [])
    assert utc(house, contract) == ["26 23:30", "27 00:30", "27 01:30"]


def test_a_day_is_utc_s_and_not_the_clock_s(house: House) -> None:
    contract = series(house, zone=ZONE)
    receipt = deliver(house, contract, ["2024-07-01 00:30", "2024-07-01 12:00"])
    assert receipt["partitions"] == {"count": 2, "first": "2024-06-30", "last": "2024-07-01"}
