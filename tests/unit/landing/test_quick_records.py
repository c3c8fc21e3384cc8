"""Records of ndjson that are split at their commas are held to the exact way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lakehouse.landing import quick_ndjson, quick_rows
from lakehouse.landing.quick_rows import Rest
from tests.unit.landing.both_ways import COLUMNS, landed
from tests.unit.landing.conftest import House

WRITTEN = {"meter": "7", "read_at": '"2024-05-05 10:00:00"', "use_kwh": '"1.5"', "more": '"z"', "flow_m3": "0.1",
           "ratio": "0.5", "state": '"ok"', "note": '"x"', "on": "true"}  # fmt: skip
ODDLY_WRITTEN = {
    "meter": ["07", "+7", "-0", "7.0", "1e2", '"7"', "null", "7 ", "12345678901234567890", "-7", "", "x"],
    "read_at": ["1714903200", '"2024-05-05T10:00:00Z"', '"2024-05-05 10:00:00', "null", '""'],
    "use_kwh": ["1.5", '"1.5', '1.5"', '"1.\\u0035"', '"1.5""', '" 1.5"', "null", '"1e1"', '"007.5"', '""', '"-1"',
                '"1.5"x', "'1.5'"],
    "more": ['"z""', '"\x01"', "1.0", "01", "[1]", "null", '{"a":1}', "nan", '"\\u00e6"', "[1,2]"],
    "flow_m3": ["0.12345678901234567", "00.1", ".1", "1.", "-0.5", "-.5", "1e1", '"0.1"', "NaN", "Infinity", "0.1x",
                "[1]", '{"a":1}', "null", "12345678901234.125", "-00.5", "- 1", '"-"'],
    "ratio": ["1e-7", "0.1e1", "-0.0", "NaN", '"nan"', "0.30000000000000004"],
    "state": ['"OK"', "null", '"ok" ', "1", "1.50", "-0", "false", '"ok}"'],
    "note": ['"a, b"', '"a\\"b"', '"a\\\\b"', '"a\tb"', '"}"', '"æøå"', "null", "5", "1.50", "true", '"kim@example.org"'],
    "on": ["false", '"true"', "1", "null", "TRUE", "true}", "true,", 'true, "on": false'],
}  # fmt: skip


def _alike(comma: str, colon: str) -> str:
    """Records written alike but for some; lines of other kinds stand between them."""
    lines: list[str] = []

    def add(written: dict[str, str]) -> None:
        hour = f'"2024-05-{1 + len(lines) % 28:02} {len(lines) // 28 % 24:02}:00:00"'
        if written["read_at"] == WRITTEN["read_at"]:
            written = {**written, "read_at": hour}
        lines.append("{" + comma.join(f'"{name}"{colon}{value}' for name, value in written.items()) + "}")

    for number in range(150):
        add({**WRITTEN, "use_kwh": f'"{number}.5"', "ratio": f"{number / 7}"})
    for name, odd in ODDLY_WRITTEN.items():
        for value in odd:
            for number in range(4):
                add({**WRITTEN, "use_kwh": f'"{number}.25"'})
            add({**WRITTEN, name: value})
    whole = lines[200]
    lines += [
        whole.replace('"meter"' + colon, "", 1), whole.replace('"on"' + colon, "", 1), whole[1:], whole[:-1],
        whole + ",", whole + ",,}", whole + " x", " " + whole, whole.replace('"note"', '"nOte"'), whole[:40], "[1]", "5",
        comma.join(["{" + whole.split(comma)[1], whole.split(comma)[0][1:], *whole.split(comma)[2:]]),
        whole.replace(comma + '"note"', comma + comma + '"note"'), whole.replace('"z"', '"z', 1), whole + whole,
        whole.replace('"state"', '"note"'), whole.replace('"on"', '"meter"'),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("comma", "colon"), [(",", ":"), (", ", ": ")])
def test_records_written_alike_are_split_at_commas_and_land_the_same(
    comma: str, colon: str, tmp_path: Path, ways: list[Rest | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_ndjson, "MOST_UNLIKE", 1)
    monkeypatch.setattr(quick_ndjson, "_read_any", lambda *_: pytest.fail("they are not split at commas"))
    text, form = _alike(comma, colon), {"format": "ndjson"}
    quickly = landed(tmp_path / "quick", text, "a.ndjson", form)
    (rest,) = ways
    assert rest is not None
    assert rest.plain > 300
    quick_rows.LEAST_BYTES = 1 << 40
    exactly = landed(tmp_path / "exact", text, "a.ndjson", form)
    assert len(exactly["faults"]) > 50
    assert quickly["faults"] == exactly["faults"]
    assert quickly["rows"] == exactly["rows"]
    assert quickly == exactly


def _with_blank(lines: list[str], place: int) -> list[str]:
    return [*lines[:place], "", *lines[place:]]


@pytest.mark.parametrize(
    "change",
    [lambda lines: ["\ufeff" + lines[0], *lines[1:]], lambda lines: _with_blank(lines, 50),
     lambda lines: _with_blank(lines, 0), lambda lines: _with_blank(lines, 140), lambda lines: lines[:100],
     lambda lines: lines[:99], lambda lines: [line + "\r" for line in lines],
     lambda lines: [*lines[:100], *(line + "\r" for line in lines[100:])]],
    ids=["a mark before it", "blank among the first", "blank at first", "blank behind the first", "no others",
         "fewer", "ends of two characters", "two kinds of ends"],
)  # fmt: skip
def test_the_first_records_go_the_exact_way_and_land_the_same(
    change: Callable[[list[str]], list[str]], tmp_path: Path, ways: list[Rest | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_ndjson, "MOST_UNLIKE", 1)
    lines = _alike(",", ":").split("\n")[:190]
    lines[4] = lines[4].replace('"4.5"', '"four"')
    lines = change(lines)
    text, form = "\n".join([*lines, ""]), {"format": "ndjson"}
    quickly = landed(tmp_path / "quick", text, "a.ndjson", form)
    quick_rows.LEAST_BYTES = 1 << 40
    assert landed(tmp_path / "exact", text, "a.ndjson", form) == quickly
    assert quickly["receipt"]["accepted"] > 50


def test_a_required_field_that_no_record_has_is_missed_in_each(
    tmp_path: Path, ways: list[Rest | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_ndjson, "MOST_UNLIKE", 1)
    lines = [f'{{"meter":{n},"read_at":"2024-05-05 10:00:00","flow_m3":1.5}}' for n in range(300)]
    whole = '{"meter":7,"read_at":"2024-05-06 10:00:00","flow_m3":1.5,"use_kwh":2}'
    house = House(tmp_path)
    contract = house.contract(COLUMNS, forms=[{"format": "ndjson"}], thresholds={"max_refused_share": 1})
    receipt = house.deliver(contract, "\n".join([*lines, whole]), "a.ndjson")
    assert ways[0] is not None
    assert (receipt["accepted"], receipt["refused"]) == (1, 300)
